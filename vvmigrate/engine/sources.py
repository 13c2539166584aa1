"""Sources of revisions: their bytes, and what a usual one says of itself as text, before anything of it is run.

Needs no Alembic: whoever only looks at a host does not wait for it.
"""

from __future__ import annotations

import ast
import hashlib
import re
import reprlib
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from vvmigrate.engine.acts import Act
from vvmigrate.errors import RevisionError
from vvmigrate.files import Place

FOLDER = "migrations/versions"
IRREVERSIBLE = "irreversible"
"""By this name a revision says why it cannot be taken back; then it needs no `downgrade()`."""
_FILE = re.compile(r"(?!\.\#)[^_].*\.py\Z|_(?!_init__\.py\Z).*\.py\Z")
_INSTALLED = frozenset({"alembic", "sqlalchemy"}) | sys.stdlib_module_names
"""What a revision can import without failing."""
_ID = re.compile(r"(?!(heads?|base|current)\Z)[A-Za-z0-9_]{1,32}")
"""What Alembic's column holds, and none of the words and signs that mean something else where a revision is named."""
MEND = "install the release again; whoever writes it: vvmigrate check"
"""What helps with a revision's file that is none."""
_HALF = re.compile("[\ud800-\udfff]")
_NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What parser and compiler raise; the last two where something is nested too deep for them."""
_UNUSUAL = ("branch_labels", "depends_on", "__doc__")
"""Names by which a revision says more than its place in a line."""


@dataclass(frozen=True)
class Revision:
    """What a revision says of itself.

    Attributes:
        title: the first paragraph of its docstring, as Alembic takes it; empty where it has none.
        follows: the revision before it; empty for the first.
        release: the release that it belongs to; empty where it says none.
    """

    revision: str
    title: str
    follows: str
    release: str


@dataclass(frozen=True)
class Source:
    """One revision's bytes.

    Attributes:
        said: what it says of itself; None where that is only certain once it was run.
    """

    revision: str
    path: str
    data: bytes
    said: Revision | None = field(default=None, kw_only=True)

    @property
    def sha256(self) -> str:
        """Of the bytes, in hex."""
        return hashlib.sha256(self.data).hexdigest()


Check = Callable[[Place, bytes], None]
"""Sees a file's bytes before they are used, and raises where they may not be."""


def unchecked(_place: Place, _data: bytes) -> None:
    """Every byte may be used."""


@dataclass(frozen=True)
class Recorded(Source):
    """A revision that the host has applied, as it was then.

    Attributes:
        title, follows, release: as the history has them; `follows` is empty for the first revision.
        way_back: reads the acts of its downgrade.
    """

    title: str
    follows: str
    release: str
    way_back: Callable[[], list[Act]]


def read_package(home: Place, check: Check = unchecked) -> list[Source]:
    """The revisions of the installed release, in the order of their file names.

    Args:
        home: the release folder.
        check: see `Check`.

    Raises:
        RevisionError: unreadable, not Python, without a revision id, or two with the same.
    """
    sources: dict[str, Source] = {}
    for place in revision_files(home):
        source = read_source(place, check)
        if source.revision in sources:
            raise RevisionError(
                f"two revisions have the number {source.revision}: {sources[source.revision].path} and {source.path}",
                hint="give one of them the next free number",
                path=source.path,
            )
        sources[source.revision] = source
    return list(sources.values())


def revision_files(home: Place) -> list[Place]:
    """The files that Alembic would take for revisions, in the order of their names.

    Args:
        home: the release folder.
    """
    folder = home / FOLDER
    return [folder / name for name in folder.names() if _FILE.match(name)]


def read_source(place: Place, check: Check = unchecked) -> Source:
    """Read one revision.

    Raises:
        RevisionError: unreadable, not Python, or without a revision id.
    """
    try:
        data = place.read()
        check(place, data)
        return parse(data, place.path)
    except OSError as error:
        text = f"{place.path}: cannot be read: {error.strerror}"
        raise RevisionError(text, hint=MEND, path=place.path) from error


def parse(data: bytes, path: str) -> Source:
    """Find a revision's id without running it.

    Raises:
        RevisionError: not Python, or no `revision = "..."`.
    """
    try:
        tree = ast.parse(data, path)
    except _NOT_PYTHON as error:
        text = f"{path}: is not Python: {str(error) or type(error).__name__}"
        raise RevisionError(text, hint=MEND, path=path) from error
    for node in tree.body:
        names, value = _assigned(node)
        if "revision" in names and isinstance(value, ast.Constant) and isinstance(value.value, str):
            _check_id(value.value, path)
            return Source(value.value, path, data, said=_said(tree, value.value) if _compiles(tree, path) else None)
    raise RevisionError(f'{path}: expected a line like revision = "0007", found none', hint=MEND, path=path)


def _check_id(revision: str, path: str) -> None:
    """A revision's id is typed by people, and stands in names and in rows.

    Raises:
        RevisionError: it is none.
    """
    if not _ID.fullmatch(revision):
        raise RevisionError(
            f"{path}: expected a revision of up to 32 letters, digits and _, found {shown(revision)}",
            hint="give it the next free number",
            path=path,
        )


def shown(value: object) -> str:
    """A value as an error shows it, which may be of any kind and size."""
    try:
        return reprlib.repr(value)
    except Exception:  # noqa: BLE001 - a number of 5,000 digits has no text, an object any
        return f"a value of type {type(value).__name__}"


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value is text that a row can hold: half a character, such as \\udcff, is none."""
    return isinstance(value, str) and not _HALF.search(value)


def _assigned(node: ast.stmt) -> tuple[list[str], ast.expr | None]:
    """The names that a statement gives a value, and the value."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)], getattr(node, "value", None)


# ---- as text ---------------------------------------------------------------------------------------------------------


def _said(tree: ast.Module, revision: str) -> Revision | None:
    """What a usual revision says of itself; None for another one, which has to be run to know.

    Usual is a docstring, imports of what is installed with this tool, names with literal values, and plain functions,
    with all that `scripts.load` asks for: running it could neither fail nor say anything else.
    """
    names: dict[str, Any] = {}
    for node in tree.body:
        if _is_plain_function(node):
            names[node.name] = node
        elif not _is_harmless(node) and not _read_literal(node, names):
            return None
    follows, release = names.get("down_revision", ""), names.get("release", "")
    one = follows is None or (isinstance(follows, str) and follows)
    plain = names.get("revision") == revision and is_text(release) and not any(map(names.get, _UNUSUAL))
    doc = (ast.get_docstring(tree, clean=False) or "").strip()
    if not plain or not one or not is_text(doc) or not _has_both_ways(names):
        return None
    return Revision(revision, doc.split("\n\n")[0], follows or "", release)


def _has_both_ways(names: Mapping[str, Any]) -> bool:
    """Whether there is a way there, and a way back or the reason why there is none."""
    reason = names.get(IRREVERSIBLE, "")
    declared = is_text(reason) and bool(reason.strip())
    ways = [isinstance(names.get(name), ast.FunctionDef) for name in ("upgrade", "downgrade")]
    return all(ways) if IRREVERSIBLE not in names else ways[0] and declared


def _is_plain_function(node: ast.stmt) -> TypeGuard[ast.FunctionDef]:
    """Nothing of it is run before it is called."""
    if not isinstance(node, ast.FunctionDef) or node.decorator_list or any(ast.iter_child_nodes(node.args)):
        return False
    return node.returns is None or (isinstance(node.returns, ast.Constant) and node.returns.value is None)


def _compiles(tree: ast.Module, path: str) -> bool:
    """Whether the compiler finds nothing that the parser let through."""
    try:
        compile(tree, path, "exec", dont_inherit=True)
    except _NOT_PYTHON:
        return False
    return True


def literal(node: ast.expr) -> Any:
    """The value of a literal.

    Raises:
        ValueError: it is none, or nested too deep to be read as one.
    """
    try:
        return ast.literal_eval(node)
    except (TypeError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from error


def _read_literal(node: ast.stmt, names: dict[str, Any]) -> bool:
    """Take a statement such as `release = "2.3"` over into the names; whether it is one."""
    if not isinstance(node, ast.Assign) or not all(isinstance(target, ast.Name) for target in node.targets):
        return False
    try:
        value = literal(node.value)
    except ValueError:
        return False
    names.update(dict.fromkeys(_assigned(node)[0], value))
    return True


def _is_harmless(node: ast.stmt) -> bool:
    if isinstance(node, ast.Import):
        return all(alias.name.partition(".")[0] in _INSTALLED for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return not node.level and (node.module or "").partition(".")[0] in _INSTALLED
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def said_by(data: bytes, path: str, revision: str) -> Revision | None:
    """What the recorded bytes of a revision say of it; None where they have to be run for that."""
    with suppress(RevisionError):
        source = parse(data, path)
        return source.said if source.revision == revision else None
    return None
