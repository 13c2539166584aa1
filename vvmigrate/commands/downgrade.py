"""`downgrade`: take back, newest first, from what was recorded; and put a hold on what was taken back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vvmigrate.commands.returning import bring, brought_again
from vvmigrate.engine import intention
from vvmigrate.engine.sources import Revision
from vvmigrate.errors import RefusedError, UsageError
from vvmigrate.report import Report
from vvmigrate.runs.forecast import DOWN, Forecast, Workplace
from vvmigrate.runs.opening import Call
from vvmigrate.runs.outlook import outlook, reached, version_after
from vvmigrate.runs.pending import check_not_ahead, degraded
from vvmigrate.runs.releases import last_of
from vvmigrate.runs.taking_back import down_to, hold_of, settle_if_possible
from vvmigrate.runs.work import Run, carry_out, nothing_done


def downgrade(call: Call, target: str) -> Report:
    """Take revisions back down to a target.

    Args:
        target: a revision in Alembic's syntax, `base`, or `head`: this package's last one, for a host ahead of it.

    Returns:
        The report of `downgrade`, by docs/cli.md.
    """

    def nothing() -> dict[str, Any]:
        _check_base(str(call.options.get("to_release") or target))
        return nothing_done()

    return carry_out(call, lambda run: _downgrade(run, target), first=_settle, nothing=nothing)


def _settle(run: Run) -> None:
    """A run that should take itself back and cannot may go back by hand, as far as that is possible."""
    intention.read(run.place.session.host)  # what cannot be understood is for `confirm` to end, first
    if error := settle_if_possible(run):
        run.tell("warning", text=error.message)


def steps_down(place: Workplace, target: str) -> list[Revision]:
    """The revisions on the way back to a target, or with the option `to_release` to the last revision of that release.

    Raises:
        UsageError: no such revision or release, or it lies ahead.
        StateError: the release has no revision, so that its head would be base.
    """
    if release := place.call.options.get("to_release"):
        target = last_of(place, release)
    if target == "head":
        head = place.line.head()
        if place.version in place.line.package:
            return []
        if not head:
            check_not_ahead(place)  # a release that was not unpacked whole must not take the host down
        target = head or "base"
    if not place.version:
        _check_base(target)
        return []
    return down_to(place, target)


def _check_base(target: str) -> None:
    """A host at base can be taken nowhere else.

    Raises:
        UsageError: somebody wants that.
    """
    if target != "base":
        raise UsageError(f"the host is at base: there is nothing below it to go back to (asked for {target})")


def _downgrade(run: Run, target: str) -> None:
    place = run.place
    if run.said.get("reverted") and target.startswith("-"):
        text = f"the host went back to {place.version or 'base'} by itself: nothing more was taken back"
        run.tell("warning", text=text)  # whoever counts steps back counted from where it was
        return
    revisions = steps_down(place, target)
    forecasts = place.forecast(revisions, DOWN)
    returning = brought_again(place, forecasts)
    holds = holds_of(place, forecasts)
    run.preflight([*forecasts, *returning])
    _confirm(
        place, [*forecasts, *returning], version_after(place, reached(revisions, forecasts), down=True), shown(holds)
    )
    bring(run, [*forecasts, *returning])
    run.report.body["held"] = held = []
    for forecast in forecasts:
        its = tuple(hold for hold in holds if hold["revision"] == forecast.revision)
        if not run.perform(forecast, its):
            return
        held += shown(its)
    for forecast in returning:
        lacks_still = forecast.proposal.degraded and not forecast.proposal.changes
        if not lacks_still and not run.perform(forecast):
            break
    run.report.body["degraded"] = degraded(place)


def holds_of(place: Workplace, forecasts: list[Forecast]) -> list[Mapping[str, Any]]:
    """The holds that come with steps down. None with `no_hold`; none on the way to base, which is no protection."""
    last = forecasts[-1].code if forecasts else None
    if last is None or not last.revision.down_revision or place.call.options.get("no_hold"):
        return []
    reason = str(place.call.options.get("reason") or f"downgrade by {place.session.run['user']}")
    return [hold_of(forecast, reason) for forecast in forecasts]


def shown(holds: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a report says of holds that are put on revisions."""
    return [{name: hold[name] for name in ("revision", "reason")} for hold in holds]


def _confirm(place: Workplace, forecasts: list[Forecast], target: str, held: list[dict[str, Any]]) -> None:
    """Show a person at a terminal what is going to happen, and ask.

    Raises:
        RefusedError: the answer was no.
    """
    options = place.call.options
    confirm = options.get("confirm")
    if confirm is None or options.get("yes") or not forecasts:
        return
    place.call.listener("outlook", **outlook(place, forecasts, target), held=held, error=None)
    if not confirm(f"Go back from {place.version} to {target or 'base'}?"):
        raise RefusedError("not confirmed: nothing was taken back", hint="without the question: --yes")
