"""Verbs for the author of a release."""

from __future__ import annotations

from typing import Any

import click

from vvmigrate.running import verb

_PASSWORD_FILE = click.option(
    "--password-file", metavar="FILE", help="The key's password is its first line (default: it is asked for, hidden)."
)


@verb("keygen")
@click.argument("key")
@click.option("--no-password", is_flag=True, default=None, help="Whoever reads the file can sign.")
@_PASSWORD_FILE
def keygen(call: Any, key: str, **_: Any) -> Any:
    """Make a pair of keys for signing releases.

    In minisign's format: KEY, and beside it the public one (.pub).

    \b
    vvmigrate keygen ~/keys/release.key
    """
    from vvmigrate.commands.sign import keygen as command

    return command(call, key)


@verb("sign")
@click.option("--key", required=True, metavar="FILE", help="The secret key, keygen's or minisign's.")
@_PASSWORD_FILE
@click.option("--comment", metavar="TEXT", help="The signature's trusted comment, signed too (default: time and name).")
def sign(call: Any, key: str, **_: Any) -> Any:
    """List this release's files, and sign the list.

    The list is vv-release.json, the signature vv-release.json.minisig.

    \b
    vvmigrate sign --key ~/keys/release.key
    minisign -Vm vv-release.json -p ~/keys/release.pub
    """
    from vvmigrate.commands.sign import sign as command

    return command(call, key)


VERBS = (keygen, sign)
