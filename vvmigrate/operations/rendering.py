"""How operations are written in a revision; one renderer serves every kind."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import renderers

from vvmigrate.engine.runtime import HostOperation
from vvmigrate.operations.base import Operation, WayBack

WIDTH = 116  # of 120 columns, four are a function's indent
STEP = 4


@renderers.dispatch_for(HostOperation)
def render_operation(context: AutogenContext, operation: Operation) -> str:
    """A call with its arguments, in double quotes, a line each where one line would be too long."""
    positional, named = operation.arguments()
    whole = [*map(literal, positional), *(f"{name}={literal(value)}" for name, value in named.items())]
    head = f"{_prefix(context)}{operation.verb}"
    if len(line := f"{head}({', '.join(whole)})") <= WIDTH:
        return line
    inner = " " * STEP
    parts = [f"{inner}{literal(value, STEP)},\n" for value in positional]
    parts += [f"{inner}{name}={literal(value, STEP, len(name) + 1)},\n" for name, value in named.items()]
    return f"{head}(\n{''.join(parts)})"


@renderers.dispatch_for(WayBack)
def render_way_back(context: AutogenContext, _: WayBack) -> str:
    """The same words for all."""
    return f"{_prefix(context)}revert()"


def _prefix(context: AutogenContext) -> str:
    return str(context.opts["alembic_module_prefix"])


def literal(value: Any, indent: int = 0, before: int = 0) -> str:
    """A text, number, list or dictionary as Python writes it.

    Args:
        indent: columns before it; a list or dictionary that does not fit is written an item a line.
        before: columns that something else takes on its first line.
    """
    if isinstance(value, str):
        return f'"{value}"' if value.isprintable() and not set(value) & {'"', "\\"} else ascii(value)
    if not isinstance(value, dict | list):
        return repr(value)
    items = (
        [f"{literal(k)}: {literal(v)}" for k, v in value.items()] if isinstance(value, dict) else map(literal, value)
    )
    inside = list(items)
    left, right = "{}" if isinstance(value, dict) else "[]"
    line = f"{left}{', '.join(inside)}{right}"
    if len(line) + indent + before < WIDTH:
        return line
    pad = " " * (indent + STEP)
    return f"{left}\n{''.join(f'{pad}{item},' + chr(10) for item in inside)}{' ' * indent}{right}"
