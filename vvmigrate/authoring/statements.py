"""The statements of a revision's function, in order, told from its syntax tree: SQL, expressions, operations."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from vvmigrate.authoring import sql
from vvmigrate.authoring.release import Draft
from vvmigrate.authoring.sql import UNREAD, Statement

RUNS = frozenset({"execute", "exec_driver_sql", "executemany", "scalar", "scalars"})
"""Methods that take a statement, of whatever."""

_BUILDS = {"update": "UPDATE", "delete": "DELETE", "insert": "INSERT", "select": "SELECT"}
"""SQLAlchemy's words for a statement, as functions and as methods of a table."""

_OPERATIONS = {
    "create_table": "CREATE TABLE",
    "drop_table": "DROP TABLE",
    "add_column": "ADD COLUMN",
    "drop_column": "DROP COLUMN",
    "batch_alter_table": "ALTER",
    "alter_column": "ALTER",
    "rename_table": "ALTER",
    "create_index": "CREATE",
    "drop_index": "DROP",
}
"""Alembic's operations that change the schema; its others follow from these."""

_DEPTH = 8
"""How far names that stand for names are followed."""


def of(draft: Draft, function: str) -> list[Statement]:
    """The statements that a function and those that it calls would run, in the order of their words."""
    reader = _Reader(draft)
    return list(reader.function(function))


@dataclass
class _Reader:
    draft: Draft
    batches: dict[str, str] = field(default_factory=dict)
    local: dict[str, ast.expr | None] = field(default_factory=dict)
    been: set[str] = field(default_factory=set)

    def function(self, name: str) -> Iterator[Statement]:
        body = self.draft.functions.get(name)
        if body is None or name in self.been:
            return
        self.been.add(name)
        self._note_names(body)
        for call in calls(body):
            if isinstance(call.func, ast.Name):
                yield from self.function(call.func.id)
            elif isinstance(call.func, ast.Attribute):
                yield from self._method(call, call.func)

    def _note_names(self, body: ast.AST) -> None:
        """What local names stand for; a name that gets several values stands for none of them."""
        for node in ast.walk(body):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        self.local[target.id] = None if target.id in self.local else node.value
            elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                self.local[node.target.id] = None
            elif isinstance(node, ast.withitem) and isinstance(node.context_expr, ast.Call):
                name = getattr(node.optional_vars, "id", "")
                self.batches[name] = self._first_text(node.context_expr)

    def _method(self, call: ast.Call, method: ast.Attribute) -> Iterator[Statement]:
        name = method.attr
        if name in RUNS and call.args:
            yield self._statement(call.args[0], call.lineno)
        elif name == "bulk_insert" and call.args:
            yield Statement(call.lineno, "INSERT", self._table(call.args[0]))
        elif name in _OPERATIONS:
            batch = self.batches.get(method.value.id) if isinstance(method.value, ast.Name) else None
            table = self._first_text(call) if batch is None else batch
            if name in ("create_index", "drop_index") and batch is None:
                table = ""
            yield Statement(call.lineno, _OPERATIONS[name], table, self._column(call, name, batched=batch is not None))

    def _column(self, call: ast.Call, name: str, *, batched: bool) -> frozenset[str]:
        """The column that an operation adds or drops."""
        given = call.args[0 if batched else 1 :]
        if name not in ("add_column", "drop_column") or not given:
            return frozenset()
        column = self._resolved(given[0])
        text = self._text(column) or (self._first_text(column) if isinstance(column, ast.Call) else "")
        return frozenset({text} - {""})

    # ---- a statement that is run ---------------------------------------------------------------------------------

    def _statement(self, node: ast.expr, line: int) -> Statement:
        node = self._resolved(node)
        if text := self._text(node):
            return sql.read(text, line)
        chain = self._chain(node)
        verb = next((word for word in chain if word in _BUILDS), "")
        if not verb:
            return Statement(line, UNREAD)
        start = chain[verb]
        base = start.args[0] if start.args else start.func.value if isinstance(start.func, ast.Attribute) else node
        whole = "from_select" in chain if verb == "insert" else "where" not in chain and verb != "select"
        columns = _set(chain["values"]) if verb == "update" and "values" in chain else frozenset()
        return Statement(line, _BUILDS[verb], self._table(base), columns, whole)

    def _chain(self, node: ast.expr) -> dict[str, ast.Call]:
        """The methods of an expression like `sa.update(t).where(...).values(...)`, the last one first."""
        chain: dict[str, ast.Call] = {}
        while isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            chain[name] = node
            node = self._resolved(node.func.value) if isinstance(node.func, ast.Attribute) else node.func
        return chain

    def _table(self, node: ast.expr) -> str:
        """The name of a table that is written as `sa.table("name", ...)`, or as a name that stands for that."""
        node = self._resolved(node)
        return self._first_text(node) if isinstance(node, ast.Call) else ""

    def _resolved(self, node: ast.expr) -> ast.expr:
        for _ in range(_DEPTH):
            value = self.local.get(node.id, self.draft.assigned.get(node.id)) if isinstance(node, ast.Name) else None
            if value is None:
                break
            node = value
        return node

    def _first_text(self, call: ast.Call) -> str:
        return self._text(call.args[0]) if call.args else ""

    def _text(self, node: ast.expr, depth: int = _DEPTH) -> str:
        """A text as far as it is written here; `?` stands for what is not. Empty for what is no text."""
        node = self._resolved(node)
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else ""
        if isinstance(node, ast.JoinedStr):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "?" for part in node.values)
        if isinstance(node, ast.BinOp) and depth:
            left, right = self._text(node.left, depth - 1), self._text(node.right, depth - 1)
            return left + (right or "?") if isinstance(node.op, ast.Add) and left else left
        if isinstance(node, ast.Call) and depth:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("text", "DDL", "dedent"):
                return self._first_text(node)
            return self._text(node.func.value, depth - 1) if isinstance(node.func, ast.Attribute) else ""
        return ""


def calls(node: ast.AST) -> Iterator[ast.Call]:
    """Every call below a node, in the order in which they are written, arguments before what takes them."""
    for child in ast.iter_child_nodes(node):
        yield from calls(child)
    if isinstance(node, ast.Call):
        yield node


def _set(values: ast.Call) -> frozenset[str]:
    """The columns that `.values(...)` names."""
    keys = [keyword.arg for keyword in values.keywords]
    for argument in values.args:
        keys += [getattr(key, "value", None) for key in argument.keys] if isinstance(argument, ast.Dict) else [None]
    return frozenset(map(str, keys)) if all(isinstance(key, str) for key in keys) else frozenset()
