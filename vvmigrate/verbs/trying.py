"""Verbs that try something, and leave the host as it is."""

from __future__ import annotations

from typing import Any

import click

from vvmigrate.options import revisions
from vvmigrate.running import verb


@verb("rehearse")
@click.argument("revision", default="head", shell_complete=revisions)
@click.option("--in", "within", metavar="DIR", help="Where the shadow is made (default: the home's state directory).")
@click.option("--skip-existing", is_flag=True, default=None, help="As upgrade's.")
@click.option("--offline", is_flag=True, default=None, help="Only what is on the host: nobody is asked for a model.")
@click.option("--allow-degraded", is_flag=True, default=None, help="As upgrade's.")
def rehearse(call: Any, revision: str, **_: Any) -> Any:
    """Try upgrade and downgrade for real, in a shadow of this host.

    It proves that everything comes back. Each pending revision goes up, down and up again. With -1 or another revision
    behind, each applied one goes down, up and down again. The host itself is not touched.

    \b
    vvmigrate rehearse
    vvmigrate rehearse -1
    vvmigrate rehearse --in /var/tmp
    """
    from vvmigrate.commands.rehearse import rehearse as command

    return command(call, revision)


VERBS = (rehearse,)
