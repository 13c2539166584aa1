"""Verbs for authors of releases: they work in a bare checkout, and need no host."""

from __future__ import annotations

from typing import Any

from vvmigrate.running import verb


@verb("check")
def check(call: Any) -> Any:
    """Check a release's revisions, for its CI: no host is needed, nothing is written. Exit 3 if anything is found.

    \b
    vvmigrate check
    vvmigrate check --json
    """
    from vvmigrate.commands.check import check as command

    return command(call)


VERBS = (check,)
