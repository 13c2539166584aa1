"""Verbs for authors of releases: they work in a bare checkout, and need no host."""

from __future__ import annotations

from typing import Any

import click

from vvmigrate.running import verb


@verb("revision")
@click.option("-m", "--message", "title", required=True, metavar="TEXT", help="What it is for, in a few words.")
@click.option("--autogenerate", is_flag=True, default=None, help="Write what the release's inputs ask for.")
@click.option("--renamed", multiple=True, metavar="OLD=NEW", help="A key of .env.example has a new name; repeatable.")
@click.option("--removed", multiple=True, metavar="KEY", help="A key of .env.example has none; repeatable.")
def revision(call: Any, title: str, **_: Any) -> Any:
    """Write the next revision's file, in the release folder.

    \b
    vvmigrate revision -m "a second camera"
    vvmigrate revision -m "release 1.1" --autogenerate
    vvmigrate revision -m "release 1.1" --autogenerate --renamed DVR_IP=DVR_ADDRESS
    """
    from vvmigrate.commands.revision import revision as command

    return command(call, title)


@verb("check")
def check(call: Any) -> Any:
    """Check a release's revisions, for its CI.

    No host is needed, and nothing is written. Exit 3 if anything is found.

    \b
    vvmigrate check
    vvmigrate check --json
    """
    from vvmigrate.commands.check import check as command

    return command(call)


VERBS = (revision, check)
