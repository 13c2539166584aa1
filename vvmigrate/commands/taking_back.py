"""A run that takes itself back: after a step that failed, a health check that did, or a confirm that never came.

What was promised is durable before the first step (`engine/intention.py`). `conclude` is the end of the run itself;
`settle` is whoever comes next, after a kill or when the time is over. Both go the ordinary way down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, Self

from vvmigrate.commands.forecast import DOWN, UP, Forecast, Workplace, open_workplace
from vvmigrate.commands.health import HealthCheck
from vvmigrate.engine import intention as intentions
from vvmigrate.engine import journal
from vvmigrate.engine.intention import CHECKING, REVERTING, WAITING, Intention, Moment, Verdict
from vvmigrate.engine.ledger import Ledger
from vvmigrate.engine.signals import Ended
from vvmigrate.engine.step import Outcome
from vvmigrate.errors import HeldError, RefusedError, StateError, StepError
from vvmigrate.report import SIGNALLED, Report
from vvmigrate.settings import Settings

BY_A_SIGNAL = Verdict("the run was ended by a signal", hold=False)


@dataclass(frozen=True)
class Conditions:
    """What a run must fulfil to stand.

    Attributes:
        whole: a step that fails takes the others of its run with it.
        within_s: how long it may stand without a confirm; None for ever.
    """

    whole: bool
    check: HealthCheck
    within_s: float | None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the settings say."""
        return cls(settings.revert_run, HealthCheck.of(settings), settings.confirm_within_s)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self.whole or bool(self.check.line) or self.within_s is not None


class Going(Protocol):
    """A run under way, as far as it has to be known here.

    Attributes:
        conditions: None for a run that only goes where it is told.
        said: what its report says beside the verb's own.
    """

    place: Workplace
    report: Report
    outcomes: list[Outcome]
    conditions: Conditions | None
    said: dict[str, Any]

    @property
    def affects(self) -> list[str]:
        """What it changed."""

    def preflight(self, forecasts: list[Forecast]) -> None:
        """Refuse what cannot be done."""

    def perform(self, forecast: Forecast, holds: tuple[Mapping[str, Any], ...] = (), reason: str = "") -> bool:
        """Do one step; whether it happened."""

    def tell(self, event: str, **facts: Any) -> None:
        """Tell the listener and the log."""


# ---- before the first step -------------------------------------------------------------------------------------------


def refuse_while_waiting(run: Going) -> None:
    """Nothing is built upon a run that may still be taken back, and nothing that it needs is removed.

    Raises:
        RefusedError: one waits for a confirm.
    """
    found = intentions.read(run.place.session.host)
    if found is not None:
        left = found.left_s(Moment.of(run.place.session))
        raise RefusedError(
            f"the run of {found.user} at {found.started_at} waits to be confirmed, {left:.0f} s more",
            hint="to keep it: vvmigrate confirm; to take it back: vvmigrate downgrade",
        )


def begin(run: Going) -> None:
    """Promise, durably, what becomes of this run if it does not fulfil its conditions."""
    if run.conditions:
        facts = run.place.session.run
        intentions.write(
            run.place.session.host,
            Intention(facts["run_id"], facts["user"], facts["started_at"], within_s=run.conditions.within_s or 0.0),
        )


# ---- after the last step ---------------------------------------------------------------------------------------------


def conclude(run: Going) -> None:
    """See whether the run has fulfilled its conditions, and take it back if it has not.

    Raises:
        StateError: it could not be taken back; the promise stands.
        Ended: a signal came while it was; the promise stands.
    """
    session = run.place.session
    if journal.pending(session.host.private):
        return  # what could not be undone is settled first, by whoever comes next
    found = intentions.read(session.host)
    mine = found if found is not None and found.run_id == session.run["run_id"] else None
    verdict = _judge(run, mine)
    if verdict:
        _say_what_stays(run)
    if found is None:
        return
    if not steps_of(session.ledger, found.run_id):
        intentions.drop(session.host)  # it did nothing, or it was taken back by hand
    elif mine and verdict:
        run.place = open_workplace(run.place.call, run.place.settings, session)
        take_back(run, mine, verdict)
    elif mine and mine.within_s:
        _wait(run, mine)
    elif mine:
        intentions.drop(session.host)


def _judge(run: Going, mine: Intention | None) -> Verdict | None:
    """Why a run may not stand; None if it may, as far as can be told now."""
    conditions = run.conditions
    if conditions is None:
        return None
    if run.report.exit_code >= SIGNALLED:
        return BY_A_SIGNAL
    ups = [outcome for outcome in run.outcomes if outcome.direction == UP]
    failed = [outcome for outcome in ups if outcome.result == "failed"]
    if failed and conditions.whole:
        return Verdict(f"revision {failed[0].revision} failed", hold=True)
    stopped = run.report.error is not None and run.report.exit_code != HeldError.exit_code
    asked = conditions.check.always and not stopped
    due = conditions.check.line and (asked or any(outcome.happened for outcome in ups))
    return _check(run, conditions.check, mine) if due else None


def _check(run: Going, check: HealthCheck, mine: Intention | None) -> Verdict | None:
    if mine is not None:
        intentions.write(run.place.session.host, replace(mine, state=CHECKING))
    try:
        run.said["health"], why = check.run(run.place, run.affects)
    except Ended as ended:
        run.report.exit_code = SIGNALLED + ended.number
        return BY_A_SIGNAL
    if not why:
        return None
    run.report.fail(StepError(why, hint="vvmigrate history"))
    return Verdict(why, hold=True)


def _say_what_stays(run: Going) -> None:
    """A revision that was only done again was applied by another run: it is not this one's to take back."""
    session = run.place.session
    made = {step["revision"] for step in steps_of(session.ledger, session.run["run_id"])}
    for other in run.outcomes:
        if other.happened and other.direction == UP and other.revision not in made:
            text = f"revision {other.revision} was applied before and only done again: that is not taken back"
            run.tell("warning", text=text)


def _wait(run: Going, found: Intention) -> None:
    now = Moment.of(run.place.session)
    waiting = replace(found, state=WAITING, boot_id=now.boot_id, since_s=now.uptime_s)
    intentions.write(run.place.session.host, waiting)
    run.said["confirm"] = as_json(waiting, now)


# ---- whoever comes next ----------------------------------------------------------------------------------------------


def settle(run: Going) -> None:
    """Carry out what an earlier run promised, if its time has come.

    Raises:
        StateError: it could not be taken back; the promise stands.
    """
    session = run.place.session
    found = intentions.read(session.host)
    if found is None:
        return
    if not steps_of(session.ledger, found.run_id):
        intentions.drop(session.host)  # it did nothing, or it was taken back by hand
    elif verdict := found.due(Moment.of(session)):
        run.tell("recovered", text=f"the run of {found.user} at {found.started_at} is taken back: {verdict.reason}")
        take_back(run, found, verdict)
        run.place = open_workplace(run.place.call, run.place.settings, session)


# ---- the way down ----------------------------------------------------------------------------------------------------


def steps_of(ledger: Ledger, run_id: str) -> list[dict[str, Any]]:
    """The steps by which a run applied revisions that are applied still, oldest first."""
    line: dict[str, dict[str, Any]] = {}
    for step in ledger.committed():
        if step["result"] == "reverted":
            line.pop(step["revision"], None)
        elif step["version_before"] != step["version_after"]:
            line[step["revision"]] = step
    return [step for step in line.values() if step["run_id"] == run_id]


def take_back(run: Going, found: Intention, verdict: Verdict) -> None:
    """Take back, newest first, all that a run applied; hold it, if there is a reason to.

    Raises:
        StateError: a step back could not be done; the promise stands.
    """
    session = run.place.session
    intentions.write(session.host, replace(found, state=REVERTING, reason=verdict.reason, hold=verdict.hold))
    made = steps_of(session.ledger, found.run_id)
    if (top := made[-1]["version_after"]) != run.place.version:
        raise _stuck(verdict, f"expected the host at {top}, found it at {run.place.version or 'base'}")
    target = made[0]["version_before"] or "base"
    forecasts = run.place.forecast(run.place.scripts.downgrades(target, run.place.version), DOWN)
    try:
        run.preflight(forecasts)
    except RefusedError as error:
        raise _stuck(verdict, error.message) from error
    done = run.said["reverted"] = []
    for forecast in forecasts:
        holds = (hold_of(forecast, verdict.reason),) if verdict.hold else ()
        if not run.perform(forecast, holds, verdict.reason):
            raise _stuck(verdict, f"revision {forecast.revision} does not go back")
        done.append({"revision": forecast.revision, "reason": verdict.reason, "held": verdict.hold})
    intentions.drop(session.host)


def _stuck(verdict: Verdict, why: str) -> StateError:
    return StateError(
        f"a run could not be taken back ({verdict.reason}): {why}",
        hint="mend what stands in the way, then: vvmigrate recover",
    )


def hold_of(forecast: Forecast, reason: str) -> Mapping[str, Any]:
    """The row that keeps a revision from coming back by itself."""
    return {
        "revision": forecast.revision,
        "state": "held",
        "reason": reason,
        "script_sha256": forecast.source.sha256,
    }


# ---- for those who look ----------------------------------------------------------------------------------------------


def seen(place: Workplace) -> dict[str, Any] | None:
    """What is promised on this host, as reports show it; None for nothing."""
    found = intentions.read(place.session.host)
    return as_json(found, Moment.of(place.session)) if found is not None else None


def is_a_finding(promise: Mapping[str, Any] | None) -> bool:
    """Whether it needs attention. A health check may well ask `status`: its own run must not make it fail."""
    return promise is not None and promise["state"] != CHECKING


def as_json(found: Intention, now: Moment) -> dict[str, Any]:
    """An intention as reports show it; `until` is by this host's clock, for people, and decides nothing."""
    left = found.left_s(now) if found.state == WAITING else None
    until = datetime.now(UTC) + timedelta(seconds=left) if left is not None else None
    return {
        **{name: getattr(found, name) for name in ("run_id", "user", "started_at", "state")},
        "reason": found.reason or None,
        "within_s": found.within_s or None,
        "left_s": round(left, 1) if left is not None else None,
        "until": until.isoformat(timespec="seconds").replace("+00:00", "Z") if until is not None else None,
    }
