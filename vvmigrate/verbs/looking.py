"""Verbs that look, and change nothing."""

from __future__ import annotations

from typing import Any

import click

from vvmigrate.options import revisions
from vvmigrate.running import verb


def forecast(call: Any, revision: str, *, down: bool = False) -> Any:
    """`plan`, also as an option of the verbs that it is the beginning of."""
    from dataclasses import replace

    from vvmigrate.commands import inspect

    return inspect.plan(replace(call, command="plan"), revision, down=down)


@verb("plan")
@click.argument("revision", default="head", shell_complete=revisions)
@click.option("--skip-existing", is_flag=True, default=None, help="As upgrade's.")
def plan(call: Any, revision: str, **_: Any) -> Any:
    """Show what upgrade would do. Exit 3 if anything is pending.

    \b
    vvmigrate plan
    vvmigrate plan +1 --json
    """
    return forecast(call, revision)


@verb("history")
@click.argument("span", default="", shell_complete=revisions)
@click.option("--failures", is_flag=True, default=None, help="Only attempts that failed or were interrupted.")
@click.option("--run", metavar="ID", help="Only one run.")
@click.option("--verify", is_flag=True, default=None, help="Recompute the chain of hashes.")
def history(call: Any, span: str, **_: Any) -> Any:
    """Show every attempt, newest first; A:B for a range of revisions, -v with effects.

    \b
    vvmigrate history
    vvmigrate history 0002:0004 -v
    vvmigrate history --failures
    """
    from dataclasses import replace

    from vvmigrate.commands import inspect

    options = {**call.options, "effects": call.options.get("verbose")}
    return inspect.history(replace(call, options=options), span)


@verb("current")
def current(call: Any) -> Any:
    """Show the revision that this host is at.

    \b
    vvmigrate current
    """
    from vvmigrate.commands import inspect

    return inspect.current(call)


@verb("heads")
def heads(call: Any) -> Any:
    """Show the last revision of the installed release.

    \b
    vvmigrate heads
    """
    from vvmigrate.commands import inspect

    return inspect.heads(call)


@verb("show")
@click.argument("revision", shell_complete=revisions)
def show(call: Any, revision: str) -> Any:
    """Show one revision.

    \b
    vvmigrate show head
    vvmigrate show 0003
    """
    from vvmigrate.commands import inspect

    return inspect.show(call, revision)


@verb("status")
def status(call: Any) -> Any:
    """Show where the host stands. Exit 3 if something needs attention.

    \b
    vvmigrate status
    vvmigrate status --json
    """
    from vvmigrate.commands import inspect

    return inspect.status(call)


VERBS = (plan, history, current, heads, show, status)
