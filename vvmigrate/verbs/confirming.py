"""The verb that ends an upgrade's time of trial."""

from __future__ import annotations

from typing import Any

from vvmigrate.running import verb


@verb("confirm")
def confirm(call: Any) -> Any:
    """Keep an upgrade that was made with --confirm-within.

    Without one, nothing happens. Too late: it is taken back, and the exit code is 1. One that should be taken back and
    cannot be: with --yes, or after a question, that ends, and the host stays as it is.

    \b
    vvmigrate upgrade head --confirm-within 10m
    vvmigrate confirm
    """
    from vvmigrate.commands.confirm import confirm as command

    return command(call)


VERBS = (confirm,)
