"""A revision as a file: its number, its name, and its text from the release's template."""

from __future__ import annotations

import configparser
import re
import unicodedata
import warnings
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from io import StringIO
from textwrap import indent
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import render_op
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import MigrateOperation, ops
from alembic.util import format_as_comma
from mako.pygen import PythonPrinter  # type: ignore[import-untyped]
from mako.template import Template  # type: ignore[import-untyped]
from sqlalchemy.types import TypeDecorator

from vvmigrate.authoring.checkout import Checkout
from vvmigrate.authoring.difference import Remark, Section
from vvmigrate.engine.roots import check_trust
from vvmigrate.engine.sources import FOLDER, Source, parse
from vvmigrate.errors import RefusedError, UsageError
from vvmigrate.operations.base import WayBack

TEMPLATE = "migrations/script.py.mako"
FIRST = "0001"
LONGEST_SLUG = 40  # Alembic's own default
MODE = 0o644


def next_number(head: str) -> str:
    """The number that follows; it is as long.

    Raises:
        RefusedError: the last revision has no number.
    """
    if not head:
        return FIRST
    if not (head.isascii() and head.isdecimal()):
        raise RefusedError(f"the last revision is called {head!r}: expected a number such as 0006")
    return f"{int(head) + 1:0{len(head)}d}"


def file_name(checkout: Checkout, number: str, title: str) -> str:
    """By alembic.ini's `file_template`, in letters that every file system and shell takes.

    Raises:
        RefusedError: the template is none, or leads into another folder.
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = "_".join(re.findall(r"[a-z0-9]+", plain))
    slug = words if len(words) <= LONGEST_SLUG else words[: LONGEST_SLUG + 1].rpartition("_")[0] or words[:LONGEST_SLUG]
    today = datetime.now(UTC)
    dates = {part: getattr(today, part) for part in ("year", "month", "day", "hour", "minute", "second")}
    values = {"rev": number, "slug": slug, "epoch": int(today.timestamp()), **dates}
    try:
        wanted = Config(str(checkout.home / "alembic.ini")).get_main_option("file_template")
        name = (wanted or "%(rev)s_%(slug)s") % values
    except (configparser.Error, KeyError, ValueError, TypeError) as error:
        raise RefusedError(f"alembic.ini: file_template: {type(error).__name__}: {error}") from error
    if "/" in name:
        raise RefusedError(f"alembic.ini: file_template: expected a name within {FOLDER}, found {name!r}")
    return f"{name.rstrip('_')}.py"


def text(checkout: Checkout, number: str, title: str, sections: Sequence[Section]) -> str:
    """A revision's source.

    Raises:
        RefusedError: the template cannot be rendered.
        RevisionError: what it renders is no revision.
    """
    context = rendering()
    upward = [operation for section in sections for operation in (*map(Remark, _seen(section)), *section.operations)]
    upgrade = ops.UpgradeOps(ops=[op for op in upward if not isinstance(op, Remark)])
    downward = [op for op in upgrade.reverse_into(ops.DowngradeOps(ops=[])).ops if not isinstance(op, WayBack)]
    values = {
        "message": title,
        "up_revision": number,
        "down_revision": checkout.scripts.line.head() or None,
        "branch_labels": None,
        "depends_on": None,
        "upgrades": _body(upward, context),
        "downgrades": _body(downward, context),
        "comma": format_as_comma,
        "create_date": datetime.now(UTC),
    }
    needs_sa = any(re.search(r"\bsa\.", str(values[name])) for name in ("upgrades", "downgrades"))
    values["imports"] = "\n".join((["import sqlalchemy as sa"] if needs_sa else []) + sorted(context.imports))
    place = checkout.tree / TEMPLATE
    if place.identity()[0] != "file":
        raise RefusedError(f"{place.path}: expected the template of revisions, found none", path=place.path)
    check_trust(checkout.home, [checkout.home / TEMPLATE])
    try:
        template = Template(place.read(), strict_undefined=True)  # noqa: S702 - it makes Python, not HTML
        source: str = template.render_unicode(**values)
    except Exception as error:  # a template may raise anything
        raise RefusedError(f"{place.path}: {type(error).__name__}: {error}", path=place.path) from error
    found = parse(source.encode(), place.path)
    if found.revision != number:
        raise RefusedError(f"{place.path}: makes revision {found.revision!r}, expected {number!r}", path=place.path)
    return source


def write(checkout: Checkout, name: str, source: str) -> Source:
    """Make the file, whole or not at all; one that is there is never replaced.

    Raises:
        UsageError: it is there.
        RefusedError: it cannot be made.
    """
    folder = checkout.tree / FOLDER
    place, fresh = folder / name, folder / f".{name}.new"
    try:
        fresh.remove_file(missing_ok=True)
        fresh.write(source.encode(), MODE)
        fresh.move(place)
        folder.fsync()
    except FileExistsError as error:
        raise UsageError(f"{place.path}: exists already", path=place.path) from error
    except OSError as error:
        raise RefusedError(f"{place.path}: cannot be made: {error.strerror}", path=place.path) from error
    finally:
        with suppress(OSError):
            fresh.remove_file(missing_ok=True)
    return parse(source.encode(), place.path)


def _seen(section: Section) -> list[str]:
    return [*map(str, section.differences), *section.advice]


# ---- operations as Python --------------------------------------------------------------------------------------------


def rendering() -> AutogenContext:
    """How Alembic is to write operations of the orchestrator's database."""
    opts = {
        "sqlalchemy_module_prefix": "sa.",
        "alembic_module_prefix": "op.",
        "user_module_prefix": None,
        "render_as_batch": True,  # SQLite changes and drops columns only by making the table anew
        "render_item": _plain_type,
    }
    return AutogenContext(MigrationContext.configure(dialect_name="sqlite"), opts=opts)


def _plain_type(kind: str, item: Any, _: AutogenContext) -> Any:
    """The orchestrator's own types as what they are in the database: a revision imports none of its modules."""
    if kind == "type" and isinstance(item, TypeDecorator) and not type(item).__module__.startswith("sqlalchemy."):
        return f"sa.{item.impl!r}"
    return False


def _body(operations: Sequence[MigrateOperation], context: AutogenContext) -> str:
    """Lines of a function, indented but for the first."""
    buffer = StringIO()
    printer = PythonPrinter(buffer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # `tables` has said it: what has no name cannot be dropped
        for operation in operations:
            for line in render_op(context, operation):
                printer.writeline(_laid_out(line))
    return indent(buffer.getvalue(), "    ").strip()


def _laid_out(line: str) -> str:
    """Alembic's calls over several lines, their arguments indented."""
    first, *inner, last = line.split("\n") if line.count("\n") > 1 else (line, "")
    if not inner or inner[0].startswith(" "):
        return line
    return "\n".join([first, *(f"    {part}" for part in inner), last])
