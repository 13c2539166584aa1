"""`plan`: what upgrade or downgrade would do."""

from __future__ import annotations

from vvmigrate.commands.downgrade import holds_of, shown, steps_down
from vvmigrate.commands.returning import brought_again
from vvmigrate.commands.upgrade import ahead, wanted, with_room
from vvmigrate.engine import intention
from vvmigrate.errors import StateError
from vvmigrate.report import Report
from vvmigrate.runs.admission import admit
from vvmigrate.runs.forecast import DOWN, Workplace, open_workplace
from vvmigrate.runs.looking import FINDINGS, looking
from vvmigrate.runs.opening import Call
from vvmigrate.runs.outlook import outlook, reached, version_after
from vvmigrate.runs.pending import split_at_hold
from vvmigrate.runs.taking_back import foretell
from vvmigrate.runs.trial import Conditions


def plan(call: Call, target: str = "head", *, down: bool = False) -> Report:
    """What upgrade (or downgrade) would do: the same forecast, stopped before the first write.

    Returns:
        The report of `plan`; exit code 3 if anything is pending; and what upgrade or downgrade would refuse, with the
        same code.
    """

    def look(place: Workplace, report: Report) -> None:
        if down:
            revisions = steps_down(place, target)
            forecasts = place.forecast(revisions, DOWN)
            held = shown(holds_of(place, forecasts))
            forecasts += brought_again(place, forecasts)
        else:
            revisions, hold, _ = split_at_hold(place, wanted(place, target))
            forecasts = with_room(place, ahead(place, revisions))
            held = [hold] if hold else []
        report.body = {
            **outlook(place, forecasts, version_after(place, reached(revisions, forecasts), down=down)),
            "held": held,
        }
        waits = _foretell(place, down=down)
        admit(place, forecasts, None if down else Conditions.of(place.settings), building=waits and not down)
        for forecast in forecasts:
            if forecast.error is not None:
                raise forecast.error
        if forecasts or held:
            report.raise_to(FINDINGS)

    return looking(call, open_workplace, look, planning=True)


def _foretell(place: Workplace, *, down: bool) -> bool:
    """See `foretell`; a way back by hand is there also for what cannot be taken back by itself."""
    intention.read(place.session.host)  # what cannot be understood is for `confirm` to end, first
    try:
        return foretell(place)
    except StateError as error:
        if not down:
            raise
        place.call.listener("warning", text=error.message)
        return False
