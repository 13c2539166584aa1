"""A run that takes itself back: after a step that failed, a health check that did, or a confirm that never came.

What was promised is durable before the first step (`engine/intention.py`). `conclude` is the end of the run itself;
`settle` is whoever comes next, after a kill or when the time is over. Both go the ordinary way down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from vvmigrate.engine import intention as intentions
from vvmigrate.engine import journal, lock
from vvmigrate.engine.host import HOME
from vvmigrate.engine.intention import CHECKING, REVERTING, WAITING, Intention, Moment, Verdict
from vvmigrate.engine.signals import Ended
from vvmigrate.engine.sources import Revision
from vvmigrate.errors import HeldError, RefusedError, StateError, StepError, VvmigrateError
from vvmigrate.report import SIGNALLED
from vvmigrate.runs.admission import admit
from vvmigrate.runs.forecast import DOWN, UP, Forecast, Workplace, open_workplace
from vvmigrate.runs.health import HealthCheck
from vvmigrate.runs.promised import as_json, standing
from vvmigrate.runs.trial import Going

BY_A_SIGNAL = Verdict("the run was ended by a signal", hold=False)


# ---- after the last step ---------------------------------------------------------------------------------------------


def conclude(run: Going) -> None:
    """See whether the run has fulfilled its conditions, and take it back if it has not.

    Raises:
        StateError: it could not be taken back; the promise stands.
        Ended: a signal came while it was; the promise stands.
    """
    with _promise_stands():
        _conclude(run)


def _conclude(run: Going) -> None:
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
    if not session.ledger.applied_by(found.run_id):
        _drop(run, found)
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
    if not conditions:
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
        intentions.write(run.place.session.host, mine._replace(state=CHECKING))
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
    made = {step["revision"] for step in session.ledger.applied_by(session.run["run_id"])}
    for other in run.outcomes:
        if other.happened and other.direction == UP and other.revision not in made:
            text = f"revision {other.revision} was applied before and only done again: that is not taken back"
            run.tell("warning", text=text)


def _wait(run: Going, found: Intention) -> None:
    now = Moment.of(run.place.session)
    waiting = found._replace(state=WAITING, boot_id=now.boot_id, since_s=now.uptime_s)
    intentions.write(run.place.session.host, waiting)
    run.said["confirm"] = as_json(waiting, now)


# ---- whoever comes next ----------------------------------------------------------------------------------------------


def settle(run: Going) -> None:
    """Carry out what an earlier run promised, if its time has come.

    Raises:
        StateError: it could not be taken back; the promise stands.
    """
    with _promise_stands():
        _settle(run)


def _settle(run: Going) -> None:
    session = run.place.session
    found = intentions.read(session.host)
    if found is None:
        return
    if standing(session) is None:
        intentions.drop(session.host)  # a person ended it, and was killed before this
    elif not session.ledger.applied_by(found.run_id):
        _drop(run, found)
    elif verdict := found.due(Moment.of(session)):
        run.tell("recovered", text=f"{found.who} is being taken back: {verdict.reason}")
        take_back(run, found, verdict)
        run.place = open_workplace(run.place.call, run.place.settings, session)


def settle_if_possible(run: Going) -> VvmigrateError | None:
    """As `settle`, for a verb by which a person can do something about a promise that cannot be kept.

    Returns:
        What is in the way; the promise stands, and the run may go on.

    Raises:
        StateError: a step could not be undone either.
    """
    try:
        settle(run)
    except VvmigrateError as error:
        if journal.pending(run.place.session.host.private):
            raise
        run.report.error, run.report.exit_code = None, 0
        run.place = open_workplace(run.place.call, run.place.settings, run.place.session)
        return error
    return None


def foretell(place: Workplace) -> bool:
    """As `settle`, for who only looks: tell of a run that the next command that writes takes back first.

    Returns:
        Whether a run waits for its confirm still, so that nothing may be built upon it.

    Raises:
        StateError: the promise cannot be understood, or cannot be kept.
    """
    found = standing(place.session)
    if found is None or place.ledger is None or _is_under_way(place, found):
        return False
    if not place.ledger.applied_by(found.run_id):
        return False
    verdict = found.due(Moment.of(place.session))
    if verdict is None:
        return True
    with _promise_stands():
        forecasts = _steps_back(place, found, verdict)
        admit(place, forecasts)
    for forecast in forecasts:
        if forecast.error is not None:
            raise _does_not_go_back(verdict, forecast, forecast.error)
    text = f"{found.who} is taken back first: {verdict.reason}; this is planned for the host as it is now"
    place.call.listener("warning", text=text)
    return False


def _is_under_way(place: Workplace, found: Intention) -> bool:
    """Whether the run is not at its end yet: its health check, for one, may look at what is planned."""
    state = place.session.host.state(HOME)
    return found.state != WAITING and state is not None and lock.is_held(state)


def _drop(run: Going, found: Intention) -> None:
    """Nothing that a run applied is applied still: it did nothing, it was taken back by hand, or a person decided so.

    What the database does not know any more was named to the person who went on with it (`adopt`).
    """
    if found.run_id != run.place.session.run["run_id"]:
        run.tell("recovered", text=f"nothing of {found.who} is applied any more: it need not be taken back")
    intentions.drop(run.place.session.host)


# ---- the way down ----------------------------------------------------------------------------------------------------


def down_to(place: Workplace, target: str) -> list[Revision]:
    """The revisions on the way back to a target in Alembic's syntax, newest first.

    Raises:
        UsageError: the target does not exist or does not lie behind.
        RevisionError: one of them was declared irreversible.
    """
    steps = place.scripts.downgrades(target, place.version)
    return [place.line.revision(step.revision.revision) for step in steps]


def take_back(run: Going, found: Intention, verdict: Verdict) -> None:
    """Take back, newest first, all that a run applied; hold it, if there is a reason to.

    Raises:
        StateError: a step back could not be done; the promise stands.
    """
    session = run.place.session
    going = found._replace(state=REVERTING, reason=verdict.reason, hold=verdict.hold)
    if going != found:
        intentions.write(session.host, going)
    forecasts = _steps_back(run.place, found, verdict)
    run.preflight(forecasts)
    earlier = {name: _held_again(hold) for name, hold in session.ledger.released_by(found.run_id).items()}
    done = run.said["reverted"] = []
    for forecast in forecasts:
        hold = hold_of(forecast, verdict.reason) if verdict.hold else earlier.get(forecast.revision)
        if not run.perform(forecast, (hold,) if hold else (), verdict.reason):
            why = run.outcomes[-1].error
            raise _does_not_go_back(verdict, forecast, why)
        done.append({"revision": forecast.revision, "reason": verdict.reason, "held": bool(hold)})
    intentions.drop(session.host)


def _steps_back(place: Workplace, found: Intention, verdict: Verdict) -> list[Forecast]:
    made = place.session.ledger.applied_by(found.run_id)
    if (top := made[-1]["version_after"]) != place.version:
        raise _stuck(f"{verdict.reason}, but expected the host at {top}, found it at {place.version or 'base'}")
    return place.forecast(down_to(place, made[0]["version_before"] or "base"), DOWN)


@contextmanager
def _promise_stands() -> Iterator[None]:
    """What is in the way of a promise needs a person, who has to know that the host is not as it was promised to be."""
    try:
        yield
    except RefusedError as error:
        raise _stuck(error.message, error.path) from error
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else None
        raise _stuck(f"{where or 'the host'}: {error.strerror or error}", where) from error


def _stuck(why: str, path: str | None = None) -> StateError:
    hint = "mend what stands in the way, then: vvmigrate recover; to keep the host as it is: vvmigrate confirm --yes"
    return StateError(f"a run that had promised to take itself back could not be settled: {why}", hint=hint, path=path)


def _does_not_go_back(verdict: Verdict, forecast: Forecast, why: VvmigrateError | None) -> StateError:
    return _stuck(f"{verdict.reason}, but revision {forecast.revision} does not go back: {why}")


def _held_again(hold: Mapping[str, Any]) -> Mapping[str, Any]:
    """A hold that a run had lifted, as it was before: what that run did is judged by nobody."""
    return {name: hold[name] for name in ("revision", "state", "reason", "script_sha256")}


def hold_of(forecast: Forecast, reason: str) -> Mapping[str, Any]:
    """The row that keeps a revision from coming back by itself."""
    return {
        "revision": forecast.revision,
        "state": "held",
        "reason": reason,
        "script_sha256": forecast.source.sha256,
    }
