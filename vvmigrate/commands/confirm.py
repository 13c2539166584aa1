"""`confirm`: an upgrade that waits for it stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vvmigrate.commands.opening import Call
from vvmigrate.commands.promised import as_json
from vvmigrate.commands.work import Run, add_nothing, carry_out
from vvmigrate.engine import intention as intentions
from vvmigrate.engine import recovery
from vvmigrate.engine.intention import Moment
from vvmigrate.errors import StepError
from vvmigrate.report import Report

PATIENCE_S = 60
"""How long it waits for whoever works here, if nobody says: the unit that watches the deadline looks every minute."""


def confirm(call: Call) -> Report:
    """End the waiting of a `--confirm-within`; without one, nothing happens.

    Returns:
        `confirmed`: the run that stays, or None. Exit code 1 where it was taken back: the time was over.
    """
    options: dict[str, Any] = {"lock_timeout": PATIENCE_S, **call.options}
    return carry_out(replace(call, options=options).asking_nobody(), _confirm, fill=add_nothing)


def _confirm(run: Run) -> None:
    session = run.place.session
    run.report.body["confirmed"] = None
    if reverted := run.said.get("reverted"):
        raise StepError(
            f"too late: {', '.join(step['revision'] for step in reverted)} was taken back ({reverted[0]['reason']})",
            hint="to apply it again: vvmigrate upgrade head --release-hold",
        )
    found = intentions.read(session.host)
    if found is None:
        return
    run.report.body["confirmed"] = as_json(found, Moment.of(session))
    intentions.drop(session.host)
    recovery.end_run(session, session.run, exit_code=0, affects=())
