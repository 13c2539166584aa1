"""Verbs that change a host."""

from __future__ import annotations

from typing import Any

import click

from vvmigrate.options import revisions
from vvmigrate.running import verb
from vvmigrate.verbs.looking import forecast


@verb("upgrade")
@click.argument("revision", default="head", shell_complete=revisions)
@click.option(
    "--skip-existing", is_flag=True, default=None, help="Leave alone what exists already, even if it differs."
)
@click.option("--update-env", is_flag=True, default=None, help="Merge the template into .env again.")
@click.option(
    "--set", "set_values", multiple=True, metavar="KEY=VALUE", help="Set a key of .env (KEY=@FILE, KEY=- too)."
)
@click.option(
    "--answers", metavar="FILE", help="Set keys of .env from a file of KEY=VALUE lines (- for standard input)."
)
@click.option("--strict", is_flag=True, default=None, help="A required key without value is an error (exit 6).")
@click.option("--offline", is_flag=True, default=None, help="Only what is on the host: nobody is asked for a model.")
@click.option("--allow-degraded", is_flag=True, default=None, help="A model that cannot be had does not stop the rest.")
@click.option("--no-resume", is_flag=True, default=None, help="Keep nothing of a download for a later run.")
@click.option(
    "--on-failure",
    type=click.Choice(["stop", "revert-run"]),
    help="revert-run: a step that fails takes back the others of this run too (default: stop).",
)
@click.option("--verify-with", metavar="CMD", help="A line for /bin/sh; if it fails, what this run did is taken back.")
@click.option("--confirm-within", metavar="TIME", help="90s, 10m, 2h: taken back unless `vvmigrate confirm` came.")
@click.option("--release-hold", is_flag=True, default=None, help="Apply also what was taken back.")
@click.option("--plan", "only_plan", is_flag=True, help="Same as plan.")
def upgrade(call: Any, revision: str, only_plan: bool, **_: Any) -> Any:  # noqa: FBT001 - click's order
    """Apply what is pending.

    \b
    vvmigrate upgrade head
    vvmigrate upgrade head --set DVR_IP=192.168.1.20
    vvmigrate upgrade +1 --plan
    vvmigrate upgrade head --verify-with 'curl -fsS localhost:8080/health' --confirm-within 10m
    """
    from vvmigrate.commands.upgrade import upgrade as command

    return forecast(call, revision) if only_plan else command(call, revision)


@verb("downgrade")
@click.argument("revision", required=False, default="", shell_complete=revisions)
@click.option("--to-release", metavar="NAME", help="Instead of a revision: the last one of a release.")
@click.option("--no-hold", is_flag=True, default=None, help="Let it come back with the next upgrade.")
@click.option("--reason", metavar="TEXT", help="Why, for the history of holds.")
@click.option("--offline", is_flag=True, default=None, help="Only what is on the host: nobody is asked for a model.")
@click.option("--allow-degraded", is_flag=True, default=None, help="Go back also where a model cannot be had again.")
@click.option("--plan", "only_plan", is_flag=True, help="Only show what would go, and what would be kept.")
def downgrade(call: Any, revision: str, only_plan: bool, **_: Any) -> Any:  # noqa: FBT001 - click's order
    """Take revisions back, exactly and offline.

    REVISION is -1, base, a revision, or head (this package's, on a host that is ahead of it).

    \b
    vvmigrate downgrade -1
    vvmigrate downgrade 0003 --plan
    vvmigrate downgrade --to-release 2.2
    """
    from vvmigrate.commands.downgrade import downgrade as command
    from vvmigrate.errors import UsageError

    if bool(revision) == bool(call.options.get("to_release")):
        raise UsageError("expected either REVISION or --to-release NAME", hint="vvmigrate downgrade --help")
    return forecast(call, revision, down=True) if only_plan else command(call, revision)


@verb("fetch")
@click.argument("revision", default="head", shell_complete=revisions)
@click.option("--to", metavar="DIR", help="Plain files in a folder, for hosts that use it as VV_MODEL_MIRROR.")
def fetch(call: Any, revision: str, **_: Any) -> Any:
    """Download what upgrade or repair would download, and change nothing else.

    upgrade --offline, or repair --offline, installs it.

    \b
    vvmigrate fetch
    vvmigrate fetch --to /media/stick
    """
    from vvmigrate.commands.fetch import fetch as command

    return command(call, revision)


@verb("bundle")
@click.argument("action", type=click.Choice(["create", "apply"]))
@click.argument("file")
@click.option(
    "--variant", "variants", multiple=True, metavar="NAME", help="Of which variant (default: this host's); repeatable."
)
def bundle(call: Any, action: str, file: str, **_: Any) -> Any:
    """Put models into one file, for hosts without a network.

    Create it here, apply it there, then upgrade --offline.

    \b
    vvmigrate bundle create models.tar --variant full
    vvmigrate bundle apply models.tar
    """
    from vvmigrate.commands.bundle import bundle as command

    return command(call, action, file)


@verb("prune")
@click.option(
    "--keep", type=click.IntRange(min=0), metavar="N", help="Releases that can be taken back without a download (1)."
)
@click.option("--dry-run", is_flag=True, default=None, help="Only show what would go.")
def prune(call: Any, **_: Any) -> Any:
    """Remove old models, and what else nothing needs any more.

    That is: model generations, received files, and before-images of what was taken back.

    \b
    vvmigrate prune --dry-run
    vvmigrate prune --keep 2
    """
    from vvmigrate.commands.prune import prune as command

    return command(call)


@verb("repair")
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--quick", is_flag=True, default=None, help="As verify's.")
@click.option("--deep", is_flag=True, default=None, help="As verify's.")
@click.option("--offline", is_flag=True, default=None, help="Only what is on the host: nobody is asked for a model.")
def repair(call: Any, paths: tuple[str, ...], **_: Any) -> Any:
    """Publish again what was recorded.

    What somebody changed is set aside, and named. Exit 3 if anything is left.

    \b
    vvmigrate repair
    vvmigrate repair storage/fallback
    """
    from vvmigrate.commands.repair import repair as command

    return command(call, paths)


@verb("recover")
def recover(call: Any) -> Any:
    """Settle what a crash left, and nothing else.

    Every command that writes does it first. A run that has promised to take itself back is taken back too, if its
    time has come.

    \b
    vvmigrate recover
    """
    from vvmigrate.commands.recover import recover as command

    return command(call)


@verb("stamp", hidden=True, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def stamp(_call: Any) -> Any:
    """Refused: versions do not move without their effects."""
    from vvmigrate.errors import UsageError

    raise UsageError(
        "stamp is refused: a version does not move without its effects",
        hint="vvmigrate upgrade head; for a host that bootstrap.py set up: vvmigrate adopt",
    )


VERBS = (upgrade, downgrade, fetch, bundle, prune, repair, recover, stamp)
