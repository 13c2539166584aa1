"""What `migrations/env.py` calls, so that plain `alembic upgrade` and `downgrade` go through the same engine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from vvmigrate.errors import UsageError, VvmigrateError


def run() -> None:
    """Carry out the Alembic command that is running, with the settings of the environment.

    Raises:
        SystemExit: with the contract's exit code where something is in the way.
    """
    from alembic import context
    from alembic.util import CommandError

    config: Any = context.config
    name = _command(config)
    if context.is_offline_mode():
        raise CommandError("--sql is refused: a step changes files too, and a script of its SQL would leave them out")
    if name not in ("upgrade", "downgrade", "current"):
        raise CommandError(
            f"alembic {name} is refused: it would move versions without their effects; see vvmigrate --help"
        )
    try:
        # As it was typed: get_revision_argument() would have Alembic import every revision before anything is checked.
        code = _carry_out(name, str(getattr(config.cmd_opts, "revision", "")), config)
    except VvmigrateError as error:
        raise CommandError(error.message + (f"\n  {error.hint}" if error.hint else "")) from error
    if code:
        sys.exit(code)


def _command(config: Any) -> str:
    """The verb of Alembic's command line; `upgrade` or `downgrade` where it is called as a library."""
    options = getattr(config, "cmd_opts", None)
    if options is not None and getattr(options, "cmd", None):
        return str(options.cmd[0].__name__)
    raise UsageError("call alembic's command line, or vvmigrate's functions", hint="vvmigrate upgrade head")


def _carry_out(name: str, revision: str, config: Any) -> int:
    from vvmigrate import text
    from vvmigrate.commands import downgrade, inspect, upgrade
    from vvmigrate.commands.opening import Call
    from vvmigrate.engine import signals

    signals.install()
    home = Path(os.path.realpath(config.config_file_name)).parent
    screen = text.Screen()
    call = Call(name, {"home": str(home)}, [name, revision], listener=screen.listen)
    if name == "current":
        report = inspect.current(call)
    elif name == "upgrade":
        report = upgrade.upgrade(call, "head" if revision == "heads" else revision)
    else:
        report = downgrade.downgrade(call, revision)
    text.show(screen, report)
    return report.exit_code
