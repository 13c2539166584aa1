"""Verbs that look, and change nothing."""

from __future__ import annotations

from typing import Any

import click

from vvmigrate.options import revisions
from vvmigrate.running import verb

FIRST_PAGE = 50
"""How many attempts people are shown at once."""


def forecast(call: Any, revision: str, *, down: bool = False) -> Any:
    """`plan`, also as an option of the verbs that it is the beginning of."""
    from dataclasses import replace

    from vvmigrate.commands.plan import plan as command

    return command(replace(call, command="plan"), revision, down=down)


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
@click.option(
    "--limit", type=click.IntRange(min=0), metavar="N", help="At most so many, 0 for all (default: 50; --json: all)."
)
def history(call: Any, span: str, **_: Any) -> Any:
    """Show every attempt, newest first.

    SPAN is one revision, or A:B, a range of them. With -v: effects too.

    \b
    vvmigrate history
    vvmigrate history 0002:0004 -v
    vvmigrate history --failures
    """
    from dataclasses import replace

    from vvmigrate.commands.history import history as command

    limit = call.options.get("limit", 0 if call.options.get("as_json") else FIRST_PAGE)
    options = {**call.options, "effects": call.options.get("verbose"), "limit": limit}
    return command(replace(call, options=options), span)


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
    from vvmigrate.commands.status import status as command

    return command(call)


@verb("verify")
@click.argument("paths", nargs=-1, type=click.Path())
@click.option(
    "--quick",
    is_flag=True,
    default=None,
    help="By kind, mode, owner, size; reads only small files that were touched.",
)
@click.option("--deep", is_flag=True, default=None, help="Read from the disk again what the kernel has in memory.")
def verify(call: Any, paths: tuple[str, ...], **_: Any) -> Any:
    """Compare this host with what is recorded, by content.

    Exit 3 if anything differs. PATHS: only these, and what is below them.

    \b
    vvmigrate verify
    vvmigrate verify --quick
    vvmigrate verify storage/models --deep
    """
    from vvmigrate.commands.verify import verify as command

    return command(call, paths)


@verb("why")
@click.argument("path", type=click.Path())
def why(call: Any, path: str, **_: Any) -> Any:
    """Tell which step made a path, when, by whom, and from what.

    And whether it is still as we left it.

    \b
    vvmigrate why storage/models/bitnet_summarizer
    vvmigrate why .env
    """
    from vvmigrate.commands.why import why as command

    return command(call, path)


@verb("doctor")
@click.option("--quick", is_flag=True, default=None, help="As verify's.")
@click.option("--deep", is_flag=True, default=None, help="As verify's.")
def doctor(call: Any, **_: Any) -> Any:
    """Show all that looks wrong, each with what mends it.

    Exit 3 or higher if anything does.

    \b
    vvmigrate doctor
    """
    from vvmigrate.commands.doctor import doctor as command

    return command(call)


VERBS = (plan, history, current, heads, show, status, verify, why, doctor)
