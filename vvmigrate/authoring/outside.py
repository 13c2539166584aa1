"""What a revision does outside its operations, found by reading its syntax tree: nobody could plan or undo it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping

from vvmigrate import schema
from vvmigrate.authoring import statements
from vvmigrate.authoring.findings import Finding
from vvmigrate.authoring.release import Draft
from vvmigrate.authoring.sql import Statement
from vvmigrate.engine.guard import READING_PRAGMAS
from vvmigrate.engine.kept_rows import KEPT

_USE_OPERATIONS = "use an operation (op.make_directories, op.install_assets ...): it is planned, recorded and undone"
_MODULES: Mapping[str, str] = {
    **dict.fromkeys(("shutil", "tempfile"), "changes files"),
    **dict.fromkeys(("subprocess", "multiprocessing", "pty"), "starts processes"),
    **dict.fromkeys(("threading", "concurrent", "asyncio", "signal", "ctypes", "mmap"), "leaves the step's control"),
    **dict.fromkeys(("socket", "ssl", "http", "urllib.request", "ftplib", "smtplib"), "talks to a network"),
    **dict.fromkeys(("requests", "urllib3", "httpx", "aiohttp"), "talks to a network"),
    **dict.fromkeys(("sqlite3", "dbm", "shelve"), "opens a database of its own"),
    **dict.fromkeys(("importlib", "runpy"), "runs code that is not written here"),
    "alembic.command": "moves versions by itself",
}
"""Modules that a revision has no use for, and what they do."""

_TOOLS = frozenset({"alembic", "sqlalchemy", "__future__"})
_OS = frozenset(
    {"rename", "renames", "replace", "mkdir", "makedirs", "mkfifo", "mknod", "unlink", "remove", "removedirs", "rmdir"}
    | {"link", "symlink", "truncate", "ftruncate", "chmod", "fchmod", "chown", "fchown", "lchown", "utime", "setxattr"}
    | {"removexattr", "open", "fdopen", "write", "pwrite", "writev", "sendfile", "copy_file_range", "system", "popen"}
    | {"putenv", "unsetenv", "umask", "chdir", "fork", "kill", "_exit", "abort", "posix_spawn", "startfile"}
)
"""Of `os`: what changes files, processes or this process; names that begin with exec or spawn belong to them too."""

_PATH_METHODS = frozenset(
    {"write_text", "write_bytes", "mkdir", "unlink", "rename", "rmdir", "touch", "symlink_to", "hardlink_to"}
    | {"chmod", "lchmod"}
)
_FUNCTIONS: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("exec", "eval", "compile", "__import__"), ("runs code that is not written here", "write it out")),
    **dict.fromkeys(("input", "breakpoint"), ("waits for a person, where there is none", "remove it")),
    "sqlalchemy.create_engine": ("opens a database of its own", "use op.get_bind()"),
    "time.sleep": ("waits while nobody else can write to the database", "remove it"),
}
_TRANSACTION = frozenset({"commit", "rollback", "autocommit_block", "executescript"})
_CONTROL = frozenset(
    {"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "ATTACH", "DETACH", "VACUUM", "PRAGMA"}
)


def findings(draft: Draft, said: list[Statement]) -> Iterator[Finding]:
    """Everything that goes round the operations, or round the step's transaction.

    Args:
        said: the statements of both functions.
    """
    names: dict[str, str] = {}
    for node in ast.walk(draft.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imports(draft, node, names)
    for call in statements.calls(draft.tree):
        yield from _call(draft, call, names)
    for one in said:
        yield from _sql(draft, one)


# ---- imports ---------------------------------------------------------------------------------------------------------


def _imports(draft: Draft, node: ast.Import | ast.ImportFrom, names: dict[str, str]) -> Iterator[Finding]:
    """What an import brings; `names` learns what its names stand for."""
    for module, alias in _named(node, names):
        top = module.partition(".")[0]
        known = next((what for name, what in _MODULES.items() if f"{module}.".startswith(f"{name}.")), "")
        if known:
            yield draft.finding(node.lineno, "outside", f"imports {alias}, which {known}", _USE_OPERATIONS)
        elif top not in _TOOLS and top not in sys.stdlib_module_names:
            yield draft.finding(
                node.lineno,
                "import",
                f"imports {alias}, which changes with the release: a revision must mean the same for ever",
                "write out here what it needs, as it is today",
            )


def _named(node: ast.Import | ast.ImportFrom, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The full name of each thing that is imported, and its module as it is written."""
    for alias in node.names:
        if isinstance(node, ast.Import):
            top = alias.name.partition(".")[0]
            names[alias.asname or top] = alias.name if alias.asname else top
            yield alias.name, alias.name
        else:
            module = "." * node.level + (node.module or "")
            names[alias.asname or alias.name] = f"{module}.{alias.name}"
            yield f"{module}.{alias.name}" if not node.level else module, module


# ---- calls -----------------------------------------------------------------------------------------------------------


def _full_name(node: ast.expr, names: Mapping[str, str]) -> str:
    """What is called: `os.remove`, `open`; `.mkdir` for a method of whatever."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        base = _full_name(node.value, names)
        known = isinstance(node.value, ast.Name) and node.value.id in names
        known |= isinstance(node.value, ast.Attribute) and not base.startswith(".")
        return f"{base}.{node.attr}" if known else f".{node.attr}"
    return "."


def _call(draft: Draft, call: ast.Call, names: Mapping[str, str]) -> Iterator[Finding]:
    name = _full_name(call.func, names)
    module, _, last = name.rpartition(".")
    if name in _FUNCTIONS:
        reason, remedy = _FUNCTIONS[name]
        yield draft.finding(call.lineno, "outside", f"{name}() {reason}", remedy)
    elif last in _TRANSACTION and module != "os":
        yield draft.finding(
            call.lineno,
            "transaction",
            f"{last}() ends the step's transaction, and is refused when it runs",
            "remove it",
        )
    elif (
        (module == "os" and (last in _OS or last.startswith(("exec", "spawn"))))
        or _is_opened_for_writing(name, call)
        or _is_of_a_path(module, last, call)
    ):
        yield draft.finding(call.lineno, "outside", f"{name.lstrip('.')}() changes files or processes", _USE_OPERATIONS)


def _is_of_a_path(module: str, last: str, call: ast.Call) -> bool:
    """A method of pathlib's, of whatever object; `replace` has one argument there, and two for a text."""
    one_argument = len(call.args) == 1 and not call.keywords
    return (
        module in ("", "pathlib.Path")
        and (last in _PATH_METHODS or (last == "replace" and one_argument))
        and isinstance(call.func, ast.Attribute)
    )


def _is_opened_for_writing(name: str, call: ast.Call) -> bool:
    if name not in ("open", "io.open", "codecs.open", ".open"):
        return False
    mode = [word.value for word in call.keywords if word.arg == "mode"] + call.args[0 if name == ".open" else 1 :][:1]
    if not mode:
        return False
    return not isinstance(mode[0], ast.Constant) or bool(set(str(mode[0].value)) & set("wax+"))


# ---- SQL -------------------------------------------------------------------------------------------------------------


def _sql(draft: Draft, one: Statement) -> Iterator[Finding]:
    control = one.raw and one.verb in _CONTROL and not (one.verb == "PRAGMA" and one.table.lower() in READING_PRAGMAS)
    if control:
        yield draft.finding(
            one.line,
            "transaction",
            f"{one.verb} belongs to the step's transaction or connection, and is refused when it runs",
            "remove it: each step is one transaction already",
        )
    elif one.verb != "SELECT" and (one.table in schema.TABLES or one.table.startswith(KEPT)):
        yield draft.finding(
            one.line,
            "ledger",
            f"{one.verb} of {one.table}, which is vvmigrate's and is refused when it runs",
            "remove it",
        )
