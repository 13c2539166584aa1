"""What `migrations/env.py` calls, so that plain `alembic upgrade` and `downgrade` go through the same engine.

So do Alembic's functions (`alembic.command.upgrade(config, "head")`), and whatever is made of them. A program hands
options of a call in `config.attributes["vvmigrate"]`: `{"storage_root": ..., "release_hold": True, "toward": "head"}`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from vvmigrate.errors import UsageError, VvmigrateError

if TYPE_CHECKING:
    from vvmigrate.engine.scripts import Scripts
    from vvmigrate.runs.opening import Call


def run() -> None:
    """Carry out the Alembic command that is running, with the settings of the environment.

    Raises:
        SystemExit: with the contract's exit code where something is in the way, under Alembic's command line.
        CommandError: something is in the way.
    """
    from alembic import context
    from alembic.util import CommandError

    config: Any = context.config
    if context.is_offline_mode():
        raise CommandError("--sql is refused: a step changes files too, and a script of its SQL would leave them out")
    options = getattr(config, "cmd_opts", None)
    try:
        if options is not None and getattr(options, "cmd", None):
            _command(str(options.cmd[0].__name__), config)
        else:
            _function(context, config)
    except VvmigrateError as error:
        raise CommandError(error.message + (f"\n  {error.hint}" if error.hint else "")) from error


# ---- Alembic's command line ------------------------------------------------------------------------------------------


def _command(name: str, config: Any) -> None:
    from vvmigrate import text
    from vvmigrate.engine import signals

    if name not in ("upgrade", "downgrade", "current"):
        _refuse(f"alembic {name}")
    signals.install()
    screen = text.Screen()
    # As it was typed: get_revision_argument() would have Alembic import every revision before anything is checked.
    target = str(getattr(config.cmd_opts, "revision", ""))
    report = _report(name, "head" if target == "heads" else target, config, screen.listen)
    text.show(screen, report)
    if report.exit_code:
        sys.exit(report.exit_code)


# ---- Alembic's functions ---------------------------------------------------------------------------------------------


class _NoDatabase:
    """Stands for Alembic's context of a database, which nobody gets from us."""

    def __getattr__(self, name: str) -> NoReturn:
        from alembic.util import CommandError

        raise CommandError("this function of Alembic's wants the database, and is refused: see vvmigrate --help")


def _function(context: Any, config: Any) -> None:
    """Ask Alembic's function which steps it wants from where the host stands, and take them.

    This is what env.py is there for; a function that only looks wants none.
    """
    from alembic.runtime.migration import RevisionStep

    context.configure(dialect_name="sqlite")  # Alembic hands its function out only with a context
    current, scripts = _checked(config)
    context.script.revision_map = scripts.revision_map  # its own would import files, and their bytecode, unchecked
    steps = list(context.get_context().opts["fn"]((current,) if current else (), _NoDatabase()))
    if not all(isinstance(step, RevisionStep) for step in steps):
        _refuse("this function of Alembic's")
    if steps and steps[-1].is_upgrade:
        _report("upgrade", steps[-1].revision.revision, config)
    elif steps:
        _report("downgrade", str(steps[-1].revision.down_revision or "base"), config)


def _checked(config: Any) -> tuple[str, Scripts]:
    """Where the host stands, and its revisions, run from the bytes that were checked.

    Raises:
        VvmigrateError: see `forecast.open_workplace`.
    """
    from vvmigrate.runs.forecast import open_workplace

    call = _call("current", "", config)
    settings, session = call.read()
    with session:
        place = open_workplace(call, settings, session)
        return place.version, place.scripts


def _call(name: str, target: str, config: Any, listener: Any = None) -> Call:
    """A call of a command of ours, with the home that Alembic's configuration stands for.

    Raises:
        UsageError: it stands for none.
    """
    from vvmigrate.runs.opening import Call, silent

    if config.config_file_name is None:
        raise UsageError("expected a Config of the release's alembic.ini, found one without a file")
    home = Path(os.path.realpath(config.config_file_name)).parent
    options = {**config.attributes.get("vvmigrate", {}), "home": str(home)}
    return Call(name, options, [name, *([target] if name != "current" else [])], listener=listener or silent)


def _report(name: str, target: str, config: Any, listener: Any = None) -> Any:
    """Carry out a command of ours.

    Raises:
        VvmigrateError: it failed, and there is no listener who could be told.
    """
    from vvmigrate.commands import downgrade, inspect, upgrade

    call = _call(name, target, config, listener)
    verbs = {"upgrade": upgrade.upgrade, "downgrade": downgrade.downgrade}
    report = verbs[name](call, target) if name in verbs else inspect.current(call)
    if listener is None and report.error is not None:
        raise report.error
    return report


def _refuse(what: str) -> NoReturn:
    from alembic.util import CommandError

    raise CommandError(f"{what} is refused: it would move versions without their effects; see vvmigrate --help")
