"""The command line: options in, a report printed, an exit code out. Everything else is imported when it is needed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from vvmigrate import __version__
from vvmigrate.options import Verb, Verbs, with_globals


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
            _run(name, {**context.obj, **given}, lambda call: function(call, **ours))

        body.__doc__ = function.__doc__
        body.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        return cli.command(name, cls=Verb, help=function.__doc__, **settings)(with_globals(body))

    return wrap


# ---- running ---------------------------------------------------------------------------------------------------------


def _run(name: str, options: Mapping[str, Any], function: Callable[[Any], Any]) -> None:
    """Run a verb, show its report, exit with its code."""
    from vvmigrate import text
    from vvmigrate.commands.opening import Call
    from vvmigrate.engine import signals
    from vvmigrate.errors import VvmigrateError
    from vvmigrate.report import Report

    signals.install()
    as_json = bool(options.get("as_json"))
    screen = text.Screen(
        options.get("color", "auto"),
        quiet=bool(options.get("quiet")),
        verbose=bool(options.get("verbose")),
        to_stderr=as_json,
    )
    asks = not options.get("non_interactive") and sys.stdin is not None and sys.stdin.isatty()
    try:
        call = Call(
            name,
            {**options, "values": _values(options.get("set_values", ())), "confirm": _confirm(options, asks=asks)},
            _masked(sys.argv[1:]),
            listener=screen.listen,
            ask=_ask if asks else None,
        )
        report = function(call)
    except VvmigrateError as error:
        report = Report(name)
        report.fail(error)
    except signals.Ended as ended:
        report = Report(name, exit_code=128 + ended.number)
    except Exception as error:
        if options.get("debug"):
            raise
        report = Report(name)
        report.fail(
            VvmigrateError(f"unforeseen: {type(error).__name__}: {error}", hint="again with --debug, for a report")
        )
    signals.stand_down()
    _print(report, screen, as_json=as_json)
    sys.exit(report.exit_code)


def _refuse(error: click.ClickException) -> None:
    """Show a command line that could not be understood; as a document where one was asked for."""
    from vvmigrate.errors import UsageError
    from vvmigrate.report import Report

    error.show()
    if "--json" in sys.argv:
        context = getattr(error, "ctx", None)
        report = Report(context.info_name if context else "vvmigrate")
        report.fail(UsageError(error.format_message(), hint="vvmigrate --help"))
        _print(report, None, as_json=True)
    sys.exit(error.exit_code)


def _print(report: Any, screen: Any, *, as_json: bool) -> None:
    """Show a report; whoever stopped reading does not make the command fail."""
    try:
        if as_json:
            sys.stdout.write(json.dumps(report.as_json(), ensure_ascii=True) + "\n")
            sys.stdout.flush()
            if report.error is not None and screen is not None:
                screen.show(type(report)(report.command, error=report.error))
        else:
            screen.show(report)
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the interpreter's last flush has somewhere to go


def _open_streams() -> None:
    """Put `/dev/null` where a standard stream is closed, so that no file that is opened later takes its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115 - as long as the process


def _values(pairs: tuple[str, ...]) -> dict[str, str]:
    """`--set KEY=VALUE`, `KEY=@FILE`, `KEY=-`."""
    from vvmigrate.errors import UsageError

    values = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--set: expected KEY=VALUE, found {key!r}")
        if value == "-":
            value = sys.stdin.readline().rstrip("\n")
        elif value.startswith("@"):
            try:
                with open(value[1:], encoding="utf-8") as file:
                    value = file.read().rstrip("\n")
            except (OSError, UnicodeError) as error:
                raise UsageError(f"--set {key}: {value[1:]}: cannot be read: {error}") from error
        values[key] = value
    return values


def _masked(arguments: list[str]) -> list[str]:
    """The command line as it may be recorded: values given with --set are left out."""
    shown, hide = [], False
    for argument in arguments:
        if hide or argument.startswith("--set="):
            key = argument.removeprefix("--set=").partition("=")[0]
            shown.append(("" if hide else "--set=") + f"{key}=***")
        else:
            shown.append(argument)
        hide = argument == "--set"
    return shown


def _ask(name: str, description: str, hidden: bool, problem: Callable[[str], str | None]) -> str | None:  # noqa: FBT001 - base.Ask
    """Ask on the terminal until the answer is good; an empty one leaves the key as it is."""
    click.echo(f"\n{description}", err=True)
    while True:
        try:
            answer = str(click.prompt(name, default="", show_default=False, hide_input=hidden, err=True)).strip()
        except click.Abort:  # the end of input is no answer
            return None
        if not answer:
            return None
        why = problem(answer)
        if why is None:
            return answer
        click.echo(f"  {why}", err=True)


def _confirm(options: Mapping[str, Any], *, asks: bool) -> Callable[[str], bool] | None:
    if not asks:
        return None
    return lambda question: bool(options.get("yes")) or click.confirm(question, err=True)


# ---- the verbs -------------------------------------------------------------------------------------------------------


@verb("upgrade")
@click.argument("revision", default="head")
@click.option(
    "--skip-existing", is_flag=True, default=None, help="Leave alone what exists already, even if it differs."
)
@click.option("--update-env", is_flag=True, default=None, help="Merge the template into .env again.")
@click.option(
    "--set", "set_values", multiple=True, metavar="KEY=VALUE", help="Set a key of .env (KEY=@FILE, KEY=- too)."
)
@click.option("--strict", is_flag=True, default=None, help="A required key without value is an error (exit 6).")
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
@click.argument("revision")
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


@verb("recover")
def recover(call: Any) -> Any:
    """Settle what a crash left, and nothing else (every command that writes does it first)."""
    from vvmigrate.commands.recover import recover as command

    return command(call)


@verb("plan")
@click.argument("revision", default="head")
@click.option("--skip-existing", is_flag=True, default=None, help="As upgrade's.")
def plan(call: Any, revision: str, **_: Any) -> Any:
    """Show what upgrade would do. Exit 3 if anything is pending."""
    return _plan(call, revision)


def _plan(call: Any, revision: str, *, down: bool = False) -> Any:
    from dataclasses import replace

    from vvmigrate.commands import inspect

    return inspect.plan(replace(call, command="plan"), revision, down=down)


@verb("history")
@click.argument("span", default="")
@click.option("--failures", is_flag=True, default=None, help="Only attempts that failed or were interrupted.")
@click.option("--run", metavar="ID", help="Only one run.")
@click.option("--verify", is_flag=True, default=None, help="Recompute the chain of hashes.")
def history(call: Any, span: str, **_: Any) -> Any:
    """Show every attempt, newest first; A:B for a range of revisions, -v with effects."""
    from dataclasses import replace

    from vvmigrate.commands import inspect

    options = {**call.options, "effects": call.options.get("verbose")}
    return inspect.history(replace(call, options=options), span)


@verb("current")
def current(call: Any) -> Any:
    """Show the revision that this host is at."""
    from vvmigrate.commands import inspect

    return inspect.current(call)


@verb("heads")
def heads(call: Any) -> Any:
    """Show the last revision of the installed release."""
    from vvmigrate.commands import inspect

    return inspect.heads(call)


@verb("show")
@click.argument("revision")
def show(call: Any, revision: str) -> Any:
    """Show one revision."""
    from vvmigrate.commands import inspect

    return inspect.show(call, revision)


@verb("status")
def status(call: Any) -> Any:
    """Show where the host stands. Exit 3 if something needs attention."""
    from vvmigrate.commands import inspect

    return inspect.status(call)


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
    _open_streams()
    try:
        cli.main(prog_name="vvmigrate", standalone_mode=False)
    except click.ClickException as error:
        _refuse(error)


if __name__ == "__main__":
    main()
