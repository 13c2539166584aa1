"""The orchestrator's SQLAlchemy metadata, imported from a release folder without leaving a trace."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData

from vvmigrate.engine.roots import check_trust
from vvmigrate.engine.signals import is_signal
from vvmigrate.errors import RefusedError


def load(home: Path, setting: str) -> MetaData:
    """Import a release's metadata.

    Args:
        home: the release folder, absolute.
        setting: `module:attribute`.

    Raises:
        RefusedError: there is none, it cannot be imported, or the caller is root and others may have written it.
    """
    where = f"alembic.ini: metadata = {setting}"
    hint = "name it as module:attribute, as in orchestrator.tables:metadata"
    module, _, attribute = setting.partition(":")
    top = home / module.partition(".")[0]
    check_trust(home, sorted(path for path in (top.with_name(f"{top.name}.py"), top, *top.rglob("*")) if path.exists()))
    try:
        with _imports_from(home):
            found: Any = importlib.import_module(module)
        for name in attribute.split("."):
            found = getattr(found, name)
    except BaseException as error:
        if is_signal(error):
            raise
        text = f"{where}: cannot be imported from {home}: {type(error).__name__}: {error}"
        raise RefusedError(text, hint=hint) from error
    if not isinstance(found, MetaData):
        raise RefusedError(f"{where}: expected SQLAlchemy's MetaData, found {type(found).__name__}", hint=hint)
    return found


def file_of(home: Path, setting: str) -> str:
    """The file that declares the tables, relative to the release; the setting itself where there is none."""
    module = setting.partition(":")[0].replace(".", "/")
    return next((name for name in (f"{module}.py", f"{module}/__init__.py") if (home / name).is_file()), setting)


@contextmanager
def _imports_from(home: Path) -> Iterator[None]:
    """Modules of the release can be imported in the block, and are forgotten with it; no bytecode is written."""
    known, path, writes = set(sys.modules), list(sys.path), sys.dont_write_bytecode
    sys.path.insert(0, str(home))
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:], sys.dont_write_bytecode = path, writes
        for name in set(sys.modules) - known:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(f"{home}/"):
                del sys.modules[name]
