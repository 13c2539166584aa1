"""Values for `.env` that a person gives: on the command line, in a file, on standard input, at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from vvmigrate.errors import EnvFileError, UsageError

STANDARD_INPUT = "-"


def read_given(pairs: tuple[str, ...], answers: str | None) -> dict[str, str]:
    """The explicit values of a call.

    Args:
        pairs: of `--set`; they outrank the file.
        answers: of `--answers`: a file, or `-` for standard input.

    Raises:
        UsageError: one cannot be understood, or read.
    """
    return {**(read_answers(answers) if answers else {}), **read_values(pairs)}


def read_values(pairs: tuple[str, ...]) -> dict[str, str]:
    """`--set KEY=VALUE`, `KEY=@FILE`, `KEY=-`: one line of standard input, not echoed where somebody types it.

    Raises:
        UsageError: not like that, a file that cannot be read, or a standard input that has ended.
    """
    values = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError("--set: expected KEY=VALUE, found no = behind a key")
        if value == STANDARD_INPUT:
            value = _line(key)
        elif value.startswith("@"):
            value = _contents(value[1:], f"--set {key}").rstrip("\n")
        values[key] = value
    return values


def read_answers(path: str) -> dict[str, str]:
    """A file of KEY=VALUE lines, with quotes and comments as in `.env`. A key without a value is no answer.

    Raises:
        UsageError: it cannot be read, or a line of it cannot.
    """
    from vvmigrate.content.env.document import Document
    from vvmigrate.content.env.readers import NAME
    from vvmigrate.content.env.warnings import unread_lines

    name = "standard input" if path == STANDARD_INPUT else path
    data = _from_standard_input("--answers", sys.stdin.read) if path == STANDARD_INPUT else _contents(path, "--answers")
    try:
        document = Document.parse(data.encode(), name=f"--answers {name}")
    except EnvFileError as error:
        raise UsageError(error.message, hint=error.hint) from error
    odd = (binding.line for binding in document.bindings if binding.value is None or not NAME.fullmatch(binding.key))
    unread = [*unread_lines(document), *odd]  # named by their number: a key pasted without quotes has such lines
    if unread:
        raise UsageError(f"--answers {name}, line {min(unread)}: expected KEY=VALUE")
    return {key: value for key in document.keys() if (value := document.get(key))}  # noqa: SIM118 - no dictionary


def _contents(path: str, who: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{who}: {path}: cannot be read: {error}") from error


def _line(key: str) -> str:
    def read() -> str:
        return str(click.prompt(key, hide_input=True, err=True)) if sys.stdin.isatty() else sys.stdin.readline()

    try:
        line = _from_standard_input(f"--set {key}", read)
    except click.Abort:
        line = ""
    if not line:
        raise UsageError(f"--set {key}=-: standard input has ended")
    return line.rstrip("\r\n")


def _from_standard_input(who: str, read: Callable[[], str]) -> str:
    try:
        text = read()
        text.encode()  # under some locales what is no UTF-8 comes as half a character, and not as an error
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{who}: standard input: cannot be read: {error}") from error
    return text


def masked(arguments: list[str]) -> list[str]:
    """The command line as it may be recorded: values given with --set are left out."""
    shown, hide = [], False
    for argument in arguments:
        if hide or argument.startswith("--set="):
            key, equals, _ = argument.removeprefix("--set=").partition("=")
            shown.append(("" if hide else "--set=") + (f"{key}=***" if equals else "***"))
        else:
            shown.append(argument)
        hide = argument == "--set"
    return shown


def ask_person(name: str, description: str, hidden: bool, problem: Callable[[str], str | None]) -> str | None:  # noqa: FBT001 - base.Ask
    """Ask on the terminal until the answer is good, or empty; None where there will be no answer any more."""
    click.echo(f"\n{description}", err=True)
    while True:
        try:
            answer = str(click.prompt(name, default="", show_default=False, hide_input=hidden, err=True)).strip()
        except click.Abort:  # the end of input
            click.echo(err=True)
            return None
        why = problem(answer) if answer else None
        if why is None:
            return answer
        click.echo(f"  {why}", err=True)
