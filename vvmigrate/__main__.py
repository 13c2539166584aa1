"""The program: the upgrade of every boot first, which mostly has nothing to do; else the command line."""

import gc
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_TAKES_VALUE = frozenset({"--home", "--storage-root", "--color", "--lock-timeout"})
_SAYS = {"--color": "auto|always|never", "--lock-timeout": "[0-9]{1,9}"}
"""Of these what the short way understands: what else stands there may be wrong."""

_FLAGS = frozenset(
    {
        *("--json", "-q", "--quiet", "--non-interactive", "--yes", "--debug", "--offline", "--skip-existing"),
        *("--allow-degraded", "--no-resume"),
    }
)
"""Options that give an upgrade nothing to do; one that is not here is for the command line to judge."""


def main() -> None:
    """Entry point."""
    gc.disable()  # neither a look of milliseconds nor an import leaves anything that would have to be collected
    options = plain_upgrade(sys.argv[1:])
    if options is not None and "_VVMIGRATE_COMPLETE" not in os.environ and _is_settled(options):
        os._exit(0)  # taking an interpreter apart would be a tenth of the whole, and nothing is open any more
    from vvmigrate.cli import main as command_line

    gc.enable()
    command_line()


def plain_upgrade(arguments: list[str]) -> dict[str, str] | None:
    """The options of `upgrade [head]`, by name; None where anything else is asked for."""
    words, options, rest = [], {}, iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name in _TAKES_VALUE:
            options[name] = value if equals else next(rest, "")
            if name in _SAYS and not re.fullmatch(_SAYS[name], options[name]):
                return None
        elif argument in _FLAGS:
            options[argument] = argument
        elif not argument.startswith("-"):
            words.append(argument)
        else:
            return None
    return options if words in (["upgrade"], ["upgrade", "head"]) else None


def _is_settled(options: dict[str, str]) -> bool:
    """Whether there was nothing to do; then it was said."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        return False
    from vvmigrate.runs.settled import nothing_to_do

    given = {"home": options.get("--home"), "storage_root": options.get("--storage-root")}
    found = nothing_to_do(given, dict(os.environ), Path.cwd())
    if found is None:
        return False
    with suppress(OSError):  # whoever stopped reading does not make an upgrade fail
        report, warnings = found
        _say(report.as_json(), warnings, options)
    return True


def _say(report: dict[str, Any], warnings: tuple[str, ...], options: dict[str, str]) -> None:
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ and options.get("--color") != "never"
    mark = "\x1b[33mwarning:\x1b[0m" if colour or options.get("--color") == "always" else "warning:"
    for text in warnings:
        sys.stderr.write(f"{mark} {text}\n")
    if "--json" in options:
        import json

        sys.stdout.write(json.dumps(report, ensure_ascii=True) + "\n")
    elif not {"-q", "--quiet"} & options.keys():
        sys.stdout.write(f"nothing to do: at {report['to'] or 'base'}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
