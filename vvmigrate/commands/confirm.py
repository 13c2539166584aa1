"""`confirm`: an upgrade that waits for it stays; and what cannot be taken back as promised, if a person says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vvmigrate.engine import intention as intentions
from vvmigrate.engine import recovery
from vvmigrate.engine.intention import Intention, Moment
from vvmigrate.errors import StateError, StepError, VvmigrateError
from vvmigrate.report import Report
from vvmigrate.runs.opening import Call
from vvmigrate.runs.promised import as_json
from vvmigrate.runs.taking_back import settle_if_possible
from vvmigrate.runs.work import Run, add_nothing, carry_out

PATIENCE_S = 60
"""How long it waits for whoever works here, if nobody says: the unit that watches the deadline looks every minute."""


def confirm(call: Call) -> Report:
    """End the waiting of a `--confirm-within`; without one, nothing happens.

    Returns:
        `confirmed`: the run that stays, or None. Exit code 1 where it was taken back: the time was over. `ended`: why a
        run that should have been taken back could not be, where a person ended that; exit code 4 where nobody did.
    """
    options: dict[str, Any] = {"lock_timeout": PATIENCE_S, **call.options}
    asked = replace(call, options=options).asking_nobody()
    return carry_out(asked, lambda run: _confirm(run, call), fill=add_nothing, first=add_nothing, nothing=_nothing)


def _nothing() -> dict[str, Any]:
    return {"confirmed": None, "ended": None}


def _confirm(run: Run, call: Call) -> None:
    run.report.body |= _nothing()
    if error := settle_if_possible(run):
        if not _is_to_stay(call, error):
            raise error
        run.report.body["ended"] = error.message
    elif reverted := run.said.get("reverted"):
        raise StepError(
            f"too late: {', '.join(step['revision'] for step in reverted)} was taken back ({reverted[0]['reason']})",
            hint="to apply it again: vvmigrate upgrade head --release-hold",
        )
    found = _found(run)
    if found is None and not run.report.body["ended"]:
        return
    if found is not None:
        run.report.body["confirmed"] = as_json(found, Moment.of(run.place.session))
    _end(run, found)


def _is_to_stay(call: Call, error: VvmigrateError) -> bool:
    """Whether a person wants the host to stay as it is, now that it cannot be taken back."""
    ask = call.options.get("confirm")
    return bool(call.options.get("yes") or (ask is not None and ask(f"{error.message}.\nKeep the host as it is?")))


def _found(run: Run) -> Intention | None:
    """What was promised, as far as it can be understood."""
    try:
        return intentions.read(run.place.session.host)
    except StateError:
        return None


def _end(run: Run, found: Intention | None) -> None:
    """The history's row first: from there on nothing is taken back, whoever is killed before the promise is gone."""
    session, ended = run.place.session, run.report.body["ended"]
    what = found.who if found is not None else "a run that cannot be told"
    title = f"kept as it is: {what}" if ended else f"confirmed: {what}"
    row = recovery.decision(session.run, title, {})
    row |= {"result": "adopted", "error": ended}
    if found is not None:
        row["step_id"] = found.ended_by
    session.note_decision()
    recovery.record(session, row)
    intentions.drop(session.host)
