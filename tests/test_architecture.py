"""The arrows between the folders, and the one module that changes the file system, read from the source itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "vvmigrate"
FILES = {
    ".".join(("vvmigrate", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_bytes(), str(path)) for name, path in FILES.items()}

ARROWS: dict[str, set[str]] = {
    "__main__": {"cli", "runs"},
    "cli": {"verbs", "options", "running", "completion"},
    "verbs": {"commands", "options", "running", "errors"},
    "running": {"runs", "engine", "text", "options", "given", "report", "errors"},
    "environment": {"commands", "runs", "engine", "text", "errors"},  # Alembic's way in: a second cli
    "options": {"completion"},
    "given": {"content", "errors"},  # a file of answers is read as .env is
    "completion": {"settings", "errors"},
    "text": {"report", "progress", "errors"},
    "progress": set(),
    "commands": {
        "runs",
        "authoring",
        "operations",
        "engine",
        "content",
        "settings",
        "report",
        "log",
        "files",
        "errors",
    },
    "runs": {"operations", "engine", "content", "settings", "report", "log", "files", "errors", "schema"},
    "authoring": {"operations", "engine", "content", "settings", "files", "errors", "schema"},
    "log": {"engine", "files"},
    "report": {"errors"},
    "operations": {"engine", "content", "settings", "files", "errors"},
    "settings": {"files", "errors"},
    "engine": {"files", "errors", "schema"},
    "content": {"files", "errors"},
    "files": {"errors"},
    "schema": set(),
    "errors": set(),
}


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that a file names in an import, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(name: str) -> set[str]:
    """The modules of ours that a module imports."""
    found = set()
    for wanted in imports(TREES[name]):
        module = wanted
        while module and module not in FILES:
            module = module.rpartition(".")[0]
        if module.startswith("vvmigrate."):
            found.add(module)
    return found - {name}


def part(module: str) -> str:
    """The folder, or the file at the top, that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


def test_no_arrow_is_drawn_that_nobody_follows() -> None:
    """The list says how it is, not how it once was."""
    followed = {(part(name), part(module)) for name in FILES for module in ours(name)}
    assert {(one, other) for one, others in ARROWS.items() for other in others} <= followed


@pytest.mark.parametrize("name", [name for name in FILES if name != "vvmigrate"])
def test_every_import_follows_an_arrow(name: str) -> None:
    """Whoever looks for the reason of a failure reads downwards: cli, commands, runs, operations, engine, files."""
    allowed = ARROWS[part(name)] | {part(name)}
    wrong = {module for module in ours(name) if part(module) not in allowed}
    assert not wrong, f"{name} imports {sorted(wrong)}, allowed are {sorted(allowed)}"


def test_there_is_no_import_cycle() -> None:
    """Every module can be read, and imported, after those that it needs; also where an import hides in a function."""
    needs = {name: ours(name) for name in FILES}
    for name in FILES:  # a package is read before its modules, and reads those that it exports
        if any(other.startswith(name + ".") for other in FILES):
            needs[name] = {module for module in needs[name] if not module.startswith(name + ".")}
    done: set[str] = set()
    while ready := {name for name in needs if name not in done and needs[name] <= done}:
        done |= ready
    assert not needs.keys() - done, {name: needs[name] - done for name in sorted(needs.keys() - done)}


# ---- who writes ------------------------------------------------------------------------------------------------------

CHANGING = {
    "os": {
        *("rename", "renames", "replace", "mkdir", "makedirs", "mkfifo", "mknod", "unlink", "remove", "removedirs"),
        *("rmdir", "link", "symlink", "truncate", "ftruncate", "chmod", "fchmod", "chown", "fchown", "lchown"),
        *("utime", "setxattr", "removexattr", "open", "fdopen", "write", "pwrite", "writev", "sendfile", "splice"),
        *("copy_file_range", "posix_fallocate", "fsync", "fdatasync", "sync", "chflags", "system", "popen"),
    },
    "pathlib": {
        *("write_text", "write_bytes", "mkdir", "unlink", "rename", "replace", "rmdir", "touch", "symlink_to"),
        *("hardlink_to", "chmod", "lchmod"),
    },
    "tempfile": {"*"},
    "shutil": {"*"},
    "subprocess": {"*"},
    "ctypes": {"*"},
    "fcntl": {"*"},
    "mmap": {"*"},
}
"""What changes a file system, or could; `*` is the whole module."""

EXCEPTIONS = {
    ("vvmigrate.running", "os.open"): "/dev/null in the place of a stream that is closed or broken",
    ("vvmigrate.running", "open(w)"): "the same stream, by its number",
    ("vvmigrate.engine.database", "sqlite3.connect"): "SQLite opens its own files; nobody else may",
    (
        "vvmigrate.runs.shell",
        "subprocess",
    ): "the release's commands: told of changes, asked for health",
    ("vvmigrate.engine.rehearsal", "sqlite3.connect"): "in memory",
    ("vvmigrate.engine.existing", "sqlite3.connect"): "in memory",
}
"""(module, what it does): why it may."""

OURS = {"make_directory", "replace", "move"}
"""Methods of `files.Place` that have a name of pathlib's or os's."""


def _called(node: ast.Call) -> tuple[str, str]:
    """The object and the name of what is called, as it is written."""
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        return (owner.id if isinstance(owner, ast.Name) else "?"), node.func.attr
    return "", node.func.id if isinstance(node.func, ast.Name) else ""


def _mode(node: ast.Call, position: int) -> str:
    """The mode of an `open`: the text where it is written, every letter of a conditional one."""
    given = [keyword.value for keyword in node.keywords if keyword.arg == "mode"] + node.args[position : position + 1]
    return "".join(str(n.value) for value in given for n in ast.walk(value) if isinstance(n, ast.Constant))


def changes(name: str) -> Iterator[str]:
    """What in a module changes, or could change, the file system."""
    tree = TREES[name]
    for wanted in imports(tree):
        module, _, last = wanted.partition(".")
        if "*" in CHANGING.get(module, ()) or (module == "os" and last in CHANGING["os"]):
            yield wanted
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        owner, called = _called(node)
        if owner == "os" and called in CHANGING["os"]:
            yield f"os.{called}"
        elif owner == "sqlite3" and called == "connect":
            yield "sqlite3.connect"
        elif called == "open" and owner in ("", "io", "codecs") and set(_mode(node, 1)) & set("wax+"):
            yield "open(w)"
        elif called == "open" and owner == "?" and set(_mode(node, 0)) & set("wax+"):
            yield ".open(w)"
        elif owner not in ("os", "") and called in CHANGING["pathlib"] - OURS:
            yield f".{called}"


@pytest.mark.parametrize("name", [name for name in FILES if part(name) != "files"])
def test_only_the_files_package_changes_the_file_system(name: str) -> None:
    """Whether something can break the host half-way is answered by one folder."""
    found = {what for what in changes(name) if (name, what) not in EXCEPTIONS}
    assert not found, f"{name}: {sorted(found)}: use vvmigrate.files"


def test_every_exception_is_still_needed() -> None:
    """An exception that nobody needs any more is a hole."""
    assert {(name, what) for name in FILES for what in changes(name)} >= EXCEPTIONS.keys()


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_too_long_to_be_read(name: str) -> None:
    """A file that does not fit into a head does two things."""
    assert len(FILES[name].read_text().splitlines()) <= 350


@pytest.mark.parametrize("name", FILES)
def test_every_module_and_every_public_name_says_what_it_is_for(name: str) -> None:
    """The first sentence of each module is where a reader begins."""
    if name != "vvmigrate" and FILES[name].read_text().strip():
        assert ast.get_docstring(TREES[name]), name
