"""The orchestrator's SQLAlchemy metadata, imported from a release folder without leaving a trace."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData

from vvmigrate.authoring.imports import imports_from
from vvmigrate.engine.signals import is_signal
from vvmigrate.engine.sources import Check
from vvmigrate.errors import RefusedError, VvmigrateError
from vvmigrate.files import Tree


def load(home: Tree, setting: str, may_run: Check) -> MetaData:
    """Import a release's metadata.

    Args:
        home: the release folder, its path without links.
        setting: `module:attribute`.
        may_run: sees the bytes of each module of the release that is imported for it.

    Raises:
        RefusedError: there is none, it cannot be imported, or the caller is root and others may have written it.
        VvmigrateError: what `may_run` raises.
    """
    where = f"alembic.ini: metadata = {setting}"
    hint = "name it as module:attribute, as in orchestrator.tables:metadata"
    module, _, attribute = setting.partition(":")
    try:
        with imports_from(home, may_run):
            found: Any = importlib.import_module(module)
            for name in attribute.split("."):  # which may import, too (PEP 562)
                found = getattr(found, name)
    except VvmigrateError:
        raise
    except BaseException as error:
        if is_signal(error):
            raise
        text = f"{where}: cannot be imported from {home.path}: {type(error).__name__}: {error}"
        raise RefusedError(text, hint=hint) from error
    if not isinstance(found, MetaData):
        raise RefusedError(f"{where}: expected SQLAlchemy's MetaData, found {type(found).__name__}", hint=hint)
    return found


def file_of(home: Path, setting: str) -> str:
    """The file that declares the tables, relative to the release; the setting itself where there is none."""
    module = setting.partition(":")[0].replace(".", "/")
    return next((name for name in (f"{module}.py", f"{module}/__init__.py") if (home / name).is_file()), setting)
