"""The command line: the group that all verbs belong to."""

from __future__ import annotations

from typing import Any

import click

from vvmigrate import __version__
from vvmigrate.options import Verb, Verbs, with_globals
from vvmigrate.running import open_streams, refuse
from vvmigrate.verbs import adopting, authoring, changing, confirming, looking, signing, trying

SECTIONS = {
    "Every day": ("upgrade", "plan", "status", "history", "downgrade", "confirm"),
    "When something is wrong": ("doctor", "verify", "why", "repair", "recover", "adopt"),
    "Models, and room on the disk": ("fetch", "bundle", "prune"),
    "Revisions": ("current", "heads", "show"),
    "For authors of releases": ("revision", "check", "rehearse", "keygen", "sign"),
    "For shells": ("completion",),
}
"""The verbs as --help shows them; one that stands in no section is hidden."""


@click.group(
    cls=Verbs, sections=SECTIONS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
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


AREAS = (changing, confirming, adopting, looking, trying, authoring, signing)

for command in (command for area in AREAS for command in area.VERBS):
    cli.add_command(command)


@cli.command("completion", cls=Verb)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what teaches a shell to complete what is typed.

    Commands, options and revisions.

    \b
    vvmigrate completion bash > /etc/bash_completion.d/vvmigrate
    vvmigrate completion zsh > /usr/local/share/zsh/site-functions/_vvmigrate
    vvmigrate completion fish > ~/.config/fish/completions/vvmigrate.fish
    """
    from vvmigrate.completion import script

    click.echo(script(cli, shell))


def main() -> None:
    """Entry point."""
    open_streams()
    try:
        cli.main(prog_name="vvmigrate", standalone_mode=False)
    except click.ClickException as error:
        refuse(error)


if __name__ == "__main__":
    main()
