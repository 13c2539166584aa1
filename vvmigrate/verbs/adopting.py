"""The verb that takes over what is there."""

from __future__ import annotations

from typing import Any

import click

from vvmigrate.options import revisions
from vvmigrate.running import verb


@verb("adopt")
@click.argument("revision", default="head", shell_complete=revisions)
@click.option(
    "--skip-existing", is_flag=True, default=None, help="Also what has another mode or owner, with a warning."
)
@click.option(
    "--rekey", is_flag=True, default=None, help="The history's key is lost: begin a new epoch with a new one."
)
@click.option("--reconcile", is_flag=True, default=None, help="Go on with the database that is there, or without one.")
def adopt(call: Any, revision: str, **_: Any) -> Any:
    """Take over what is there, where a revision wants the same.

    It is recorded; nothing is downloaded, and no content is changed. Exit 3 if anything is left. With --storage-root
    DIR this host's storage root is from now on the one in DIR, to which it was moved. --rekey and --reconcile ask
    first, or need --yes.

    \b
    vvmigrate adopt
    vvmigrate adopt --storage-root /mnt/disk/storage
    vvmigrate adopt --reconcile
    """
    from vvmigrate.commands.adopt import adopt as command

    return command(call, revision)


VERBS = (adopt,)
