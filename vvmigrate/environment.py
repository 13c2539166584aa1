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
        code = _carry_out(name, context.get_revision_argument() if name != "current" else None, config)
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


def _carry_out(name: str, revision: Any, config: Any) -> int:
    from vvmigrate import text
    from vvmigrate.commands import downgrade, inspect, upgrade
    from vvmigrate.commands.opening import Call
    from vvmigrate.engine import signals

    signals.install()
    home = Path(os.path.realpath(config.config_file_name)).parent
    screen = text.Screen()
    call = Call(name, {"home": str(home)}, [name, str(revision or "")], listener=screen.listen)
    if name == "current":
        report = inspect.current(call)
    elif name == "upgrade":
        target = revision[0] if isinstance(revision, tuple) else revision
        report = upgrade.upgrade(call, "head" if target in (None, "heads") else str(target))
    else:
        report = downgrade.downgrade(call, str(revision) if revision is not None else "base")
    text.show(screen, report)
    return report.exit_code
