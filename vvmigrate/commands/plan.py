"""`plan`: what upgrade or downgrade would do."""

from __future__ import annotations

from typing import Any

from vvmigrate.commands.downgrade import steps_down
from vvmigrate.commands.returning import brought_again
from vvmigrate.commands.upgrade import ahead, wanted, with_room
from vvmigrate.engine.intention import CHECKING, WAITING, Moment
from vvmigrate.report import Report
from vvmigrate.runs.forecast import DOWN, Forecast, Workplace, open_workplace
from vvmigrate.runs.looking import FINDINGS, looking
from vvmigrate.runs.opening import Call
from vvmigrate.runs.outlook import outlook, version_after
from vvmigrate.runs.pending import split_at_hold
from vvmigrate.runs.promised import standing
from vvmigrate.runs.trial import Conditions, refuse_while_waiting, refuse_without_way_back


def plan(call: Call, target: str = "head", *, down: bool = False) -> Report:
    """What upgrade (or downgrade) would do: the same forecast, stopped before the first write.

    Returns:
        The report of `plan`; exit code 3 if anything is pending; and what upgrade or downgrade would refuse, with the
        same code.
    """

    def look(place: Workplace, report: Report) -> None:
        held: dict[str, Any] | None = None
        if down:
            revisions = steps_down(place, target)
            forecasts = place.forecast(revisions, DOWN)
            forecasts += brought_again(place, forecasts)
        else:
            revisions, held, _ = split_at_hold(place, wanted(place, target))
            forecasts = with_room(place, ahead(place, revisions))
        report.body = {
            **outlook(place, forecasts, version_after(place, revisions, down=down)),
            "held": [held] if held else [],
        }
        for forecast in forecasts:
            if forecast.error is not None:
                raise forecast.error
        if not down:
            _check(place, forecasts)
        if forecasts or held:
            report.raise_to(FINDINGS)

    return looking(call, open_workplace, look)


def _check(place: Workplace, forecasts: list[Forecast]) -> None:
    """What upgrade looks at before its first step, and what it would do even before that.

    Raises:
        RefusedError: it would refuse.
    """
    found = standing(place.session)
    verdict = found.due(Moment.of(place.session)) if found is not None and found.state != CHECKING else None
    if found is not None and verdict:
        text = f"{found.who} is taken back first: {verdict.reason}; this is planned for the host as it is now"
        place.call.listener("warning", text=text)
    elif forecasts and found is not None and found.state == WAITING:
        refuse_while_waiting(place)
    refuse_without_way_back(place, forecasts, Conditions.of(place.settings))
