"""What the command line accepts everywhere; nothing here runs anything."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
_BACK = re.compile(r"-\d+(:.*)?")

GLOBALS: tuple[Callable[[Any], Any], ...] = (
    click.option("--home", metavar="DIR", help="The release folder (default: VV_HOME, else the nearest alembic.ini)."),
    click.option("--storage-root", metavar="DIR", help="The storage root (default: VIDEO_STORAGE_ROOT)."),
    click.option("--json", "as_json", is_flag=True, default=None, help="One JSON document on standard output."),
    click.option("-q", "--quiet", is_flag=True, default=None, help="Only errors."),
    click.option("-v", "--verbose", is_flag=True, default=None, help="Also what was skipped, and every effect."),
    click.option("--log-file", metavar="FILE", help="Default: logs/bootstrap.log in the home."),
    click.option("--color", type=click.Choice(["auto", "always", "never"]), help="Default: auto; NO_COLOR is heeded."),
    click.option("--non-interactive", is_flag=True, default=None, help="Never ask (default without a terminal)."),
    click.option("--yes", is_flag=True, default=None, help="Answer yes to every question."),
    click.option("--lock-timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait for another vvmigrate."),
    click.option("--debug", is_flag=True, default=None, help="Tracebacks."),
)


def with_globals(command: Command) -> Command:
    """Accept the global options here too."""
    for option in reversed(GLOBALS):
        command = option(command)
    return command


class Verbs(click.Group):
    """A group that shows its verbs by what they are for, and guesses what was meant."""

    def __init__(self, *args: Any, sections: Mapping[str, tuple[str, ...]] | None = None, **settings: Any) -> None:
        """Take the verbs of each section, in the order in which help shows them."""
        super().__init__(*args, **settings)
        self.sections = sections or {}

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs, section by section."""
        longest = max(map(len, self.commands))
        room = formatter.width - longest - 6  # indented by 2, two columns apart, as click has it
        for title, names in self.sections.items():
            lines = [(name.ljust(longest), self.commands[name].get_short_help_str(room)) for name in names]
            with formatter.section(title):
                formatter.write_dl(lines)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find a verb, or say which one is like it."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1) if args else []
            if not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from None


class Verb(click.Command):
    """A command among whose arguments may be a step back, `-1`, which is no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put steps back behind `--`; everything else that begins with a dash must be a known option."""
        options = [parameter for parameter in self.params if isinstance(parameter, click.Option)]
        takes_value = {name for option in options if not option.is_flag for name in option.opts}
        before = ["", *args]
        backwards = [n for n, word in enumerate(args) if _BACK.fullmatch(word) and before[n] not in takes_value]
        if backwards and "--" not in args:
            rest = [word for n, word in enumerate(args) if n not in backwards]
            args = [*rest, "--", *(args[n] for n in backwards)]
        return super().parse_args(ctx, args)


def confirming(options: Mapping[str, Any], *, asks: bool) -> Callable[[str], bool] | None:
    """What asks a person yes or no; None where nobody is there."""
    if not asks:
        return None

    def confirm(question: str) -> bool:
        try:
            return bool(options.get("yes")) or click.confirm(question, err=True)
        except click.Abort:  # the end of input is no yes
            return False

    return confirm


def revisions(context: click.Context, _: click.Parameter, typed: str) -> Any:
    """What is offered where a revision is typed."""
    from vvmigrate.completion import complete

    return complete(context, typed)
