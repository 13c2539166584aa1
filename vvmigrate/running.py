"""Running a verb from a shell: options in, its report printed, an exit code out. Knows no verb by name."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import click

from vvmigrate.given import ask_person, masked, read_given
from vvmigrate.options import Verb, confirming, with_globals


def verb(name: str, **settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """A verb of the command line; its function gets a call and its own options, and returns a report."""

    def wrap(function: Callable[..., Any]) -> click.Command:
        own = {parameter.name for parameter in getattr(function, "__click_params__", [])}

        @click.pass_context
        def body(context: click.Context, /, **options: Any) -> None:
            given = {key: value for key, value in options.items() if value is not None}
            ours = {key: options[key] for key in own if key in options}
            run(name, {**(context.obj or {}), **given}, lambda call: function(call, **ours))

        body.__doc__ = function.__doc__
        body.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        return click.command(name, cls=Verb, help=function.__doc__, **settings)(with_globals(body))

    return wrap


def run(name: str, options: Mapping[str, Any], function: Callable[[Any], Any]) -> None:
    """Run a verb, show its report, exit with its code."""
    from vvmigrate import text
    from vvmigrate.engine import signals
    from vvmigrate.errors import VvmigrateError
    from vvmigrate.report import SIGNALLED, Report
    from vvmigrate.runs.opening import Call

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
            {
                **options,
                "values": read_given(options.get("set_values", ()), options.get("answers")),
                "confirm": confirming(options, asks=asks),
            },
            masked(sys.argv[1:]),
            listener=text.listener(screen),
            ask=ask_person if asks else None,
        )
        report = function(call)
    except VvmigrateError as error:
        report = Report(name)
        report.fail(error)
    except signals.Ended as ended:
        report = Report(name)
        report.raise_to(SIGNALLED + ended.number)
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


def refuse(error: click.ClickException) -> None:
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
    from vvmigrate import text

    with suppress(OSError):
        if as_json:
            sys.stdout.write(json.dumps(report.as_json(), ensure_ascii=True, default=repr) + "\n")
            sys.stdout.flush()
            if report.error is not None and screen is not None:
                screen.end()
                screen.error(report.error)
        else:
            text.show(screen, report)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # the interpreter's last flush must have somewhere to go
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def open_streams() -> None:
    """Put `/dev/null` where a standard stream is closed, so that no file that is opened later takes its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115 - as long as the process
