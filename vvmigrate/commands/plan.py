"""`plan`: what upgrade or downgrade would do."""

from __future__ import annotations

from typing import Any

from vvmigrate.commands.downgrade import steps_down
from vvmigrate.commands.forecast import DOWN, UP, Workplace, open_workplace
from vvmigrate.commands.looking import FINDINGS, looking
from vvmigrate.commands.opening import Call
from vvmigrate.commands.outlook import outlook, version_after
from vvmigrate.commands.pending import split_at_hold
from vvmigrate.commands.returning import brought_again
from vvmigrate.commands.upgrade import wanted
from vvmigrate.report import Report


def plan(call: Call, target: str = "head", *, down: bool = False) -> Report:
    """What upgrade (or downgrade) would do: the same forecast, stopped before the first write.

    Returns:
        The report of `plan`; exit code 3 if anything is pending.
    """

    def look(place: Workplace, report: Report) -> None:
        held: dict[str, Any] | None = None
        if down:
            revisions = steps_down(place, target)
        else:
            revisions, held, _ = split_at_hold(place, wanted(place, target))
        forecasts = place.forecast(revisions, DOWN if down else UP)
        forecasts += brought_again(place, forecasts) if down else []
        report.body = {
            **outlook(place, forecasts, version_after(place, revisions, down=down)),
            "held": [held] if held else [],
        }
        for forecast in forecasts:
            if forecast.error is not None:
                raise forecast.error
        if forecasts or held:
            report.raise_to(FINDINGS)

    return looking(call, open_workplace, look)
