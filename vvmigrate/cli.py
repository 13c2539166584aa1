"""The command line's verbs: what each is called, takes, and says of itself. The rest is imported when needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from vvmigrate import __version__
from vvmigrate.options import Verb, Verbs, with_globals
from vvmigrate.running import open_streams, refuse, run


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", message="vvmigrate %(version)s")
@with_globals
@click.pass_context
def cli(context: click.Context, /, **options: Any) -> None:
    """Bring a host up in numbered, recorded, reversible steps.

    \b
    vvmigrate upgrade head      bring this host up
    vvmigrate status            where it stands
    vvmigrate history           what was done, when, by whom
    vvmigrate downgrade -1      take the last revision back
    """
    context.obj = {name: value for name, value in options.items() if value is not None}


def verb(name: str, **settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """A verb of the command line; its function gets a call and its own options, and returns a report."""

    def wrap(function: Callable[..., Any]) -> click.Command:
        own = {parameter.name for parameter in getattr(function, "__click_params__", [])}

        @click.pass_context
        def body(context: click.Context, /, **options: Any) -> None:
            given = {key: value for key, value in options.items() if value is not None}
            ours = {key: options[key] for key in own if key in options}
            run(name, {**context.obj, **given}, lambda call: function(call, **ours))

        body.__doc__ = function.__doc__
        body.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        return cli.command(name, cls=Verb, help=function.__doc__, **settings)(with_globals(body))

    return wrap


def _revisions(context: click.Context, _: click.Parameter, typed: str) -> Any:
    """What is offered where a revision is typed."""
    from vvmigrate.completion import complete

    return complete(context, typed)


# ---- the verbs -------------------------------------------------------------------------------------------------------


@verb("upgrade")
@click.argument("revision", default="head", shell_complete=_revisions)
@click.option(
    "--skip-existing", is_flag=True, default=None, help="Leave alone what exists already, even if it differs."
)
@click.option("--update-env", is_flag=True, default=None, help="Merge the template into .env again.")
@click.option(
    "--set", "set_values", multiple=True, metavar="KEY=VALUE", help="Set a key of .env (KEY=@FILE, KEY=- too)."
)
@click.option("--strict", is_flag=True, default=None, help="A required key without value is an error (exit 6).")
@click.option("--offline", is_flag=True, default=None, help="Only what is on the host: nobody is asked for a model.")
@click.option("--allow-degraded", is_flag=True, default=None, help="A model that cannot be had does not stop the rest.")
@click.option("--no-resume", is_flag=True, default=None, help="Keep nothing of a download for a later run.")
@click.option("--release-hold", is_flag=True, default=None, help="Apply also what was taken back.")
@click.option("--plan", "only_plan", is_flag=True, help="Same as plan.")
def upgrade(call: Any, revision: str, only_plan: bool, **_: Any) -> Any:  # noqa: FBT001 - click's order
    """Apply what is pending.

    \b
    vvmigrate upgrade head
    vvmigrate upgrade head --set DVR_IP=192.168.1.20
    vvmigrate upgrade +1 --plan
    """
    from vvmigrate.commands.upgrade import upgrade as command

    return _plan(call, revision) if only_plan else command(call, revision)


@verb("downgrade")
@click.argument("revision", shell_complete=_revisions)
@click.option("--no-hold", is_flag=True, default=None, help="Let it come back with the next upgrade.")
@click.option("--reason", metavar="TEXT", help="Why, for the history of holds.")
@click.option("--plan", "only_plan", is_flag=True, help="Only show what would go, and what would be kept.")
def downgrade(call: Any, revision: str, only_plan: bool, **_: Any) -> Any:  # noqa: FBT001 - click's order
    """Take revisions back: -1, base, a revision, or head (this package's, on a host that is ahead of it).

    \b
    vvmigrate downgrade -1
    vvmigrate downgrade 0003 --plan
    """
    from vvmigrate.commands.downgrade import downgrade as command

    return _plan(call, revision, down=True) if only_plan else command(call, revision)


@verb("fetch")
@click.argument("revision", default="head", shell_complete=_revisions)
@click.option("--to", metavar="DIR", help="Plain files in a folder, for hosts that use it as VV_MODEL_MIRROR.")
def fetch(call: Any, revision: str, **_: Any) -> Any:
    """Download what upgrade would download, and change nothing else: upgrade --offline uses it.

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
    """Models in one file, for hosts without a network: create it here, apply it there, then upgrade --offline.

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
    """Remove old model generations, received files that nothing needs, and before-images of what was taken back.

    \b
    vvmigrate prune --dry-run
    vvmigrate prune --keep 2
    """
    from vvmigrate.commands.prune import prune as command

    return command(call)


@verb("recover")
def recover(call: Any) -> Any:
    """Settle what a crash left, and nothing else (every command that writes does it first).

    \b
    vvmigrate recover
    """
    from vvmigrate.commands.recover import recover as command

    return command(call)


@verb("plan")
@click.argument("revision", default="head", shell_complete=_revisions)
@click.option("--skip-existing", is_flag=True, default=None, help="As upgrade's.")
def plan(call: Any, revision: str, **_: Any) -> Any:
    """Show what upgrade would do. Exit 3 if anything is pending.

    \b
    vvmigrate plan
    vvmigrate plan +1 --json
    """
    return _plan(call, revision)


def _plan(call: Any, revision: str, *, down: bool = False) -> Any:
    from dataclasses import replace

    from vvmigrate.commands import inspect

    return inspect.plan(replace(call, command="plan"), revision, down=down)


@verb("history")
@click.argument("span", default="", shell_complete=_revisions)
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
@click.argument("revision", shell_complete=_revisions)
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


@cli.command("completion", cls=Verb)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what teaches a shell to complete commands, options and revisions.

    \b
    vvmigrate completion bash > /etc/bash_completion.d/vvmigrate
    vvmigrate completion zsh > /usr/local/share/zsh/site-functions/_vvmigrate
    vvmigrate completion fish > ~/.config/fish/completions/vvmigrate.fish
    """
    from vvmigrate.completion import script

    click.echo(script(cli, shell))


@verb("stamp", hidden=True, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def stamp(_call: Any) -> Any:
    """Refused: versions do not move without their effects."""
    from vvmigrate.errors import UsageError

    raise UsageError(
        "stamp is refused: a version does not move without its effects",
        hint="vvmigrate upgrade head; for a host that bootstrap.py set up: vvmigrate adopt",
    )


def main() -> None:
    """Entry point."""
    open_streams()
    try:
        cli.main(prog_name="vvmigrate", standalone_mode=False)
    except click.ClickException as error:
        refuse(error)


if __name__ == "__main__":
    main()
