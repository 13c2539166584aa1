"""What is in the way of a run before its first step: asked by who goes on to it, and by who only plans it."""

from __future__ import annotations

from collections.abc import Sequence

from vvmigrate.engine import preflight
from vvmigrate.engine.state import Proposal
from vvmigrate.errors import RefusedError, StepError
from vvmigrate.operations import MergeEnv
from vvmigrate.operations.env_file import set_hint
from vvmigrate.runs.forecast import UP, Forecast, Workplace
from vvmigrate.runs.trial import Conditions, refuse_while_waiting, refuse_without_way_back
from vvmigrate.runs.unset import missing


def admit(
    place: Workplace, forecasts: list[Forecast], conditions: Conditions | None = None, *, building: bool = False
) -> None:
    """See that nothing is in the way of a run; nothing is written for it.

    Args:
        conditions: what it must fulfil to stand.
        building: whether it builds upon what is there, which a run that waits for its confirm may still take back.

    Raises:
        VvmigrateError: what is in the way. A revision that fails by itself is an attempt, and recorded: it does not
            raise here. Nor does anything but a required key (`--strict`) where there is nothing to be done.
    """
    if forecasts:
        if building:
            refuse_while_waiting(place)
        for forecast in forecasts:
            if forecast.error is not None and forecast.error.exit_code > StepError.exit_code:
                raise forecast.error
        preflight.check(place.session, sum((forecast.proposal for forecast in forecasts), Proposal()))
        refuse_without_way_back(place, forecasts, conditions)
    _refuse_incomplete(place, forecasts)


def _refuse_incomplete(place: Workplace, forecasts: list[Forecast]) -> None:
    """A step that merges `.env` has judged it; where none does, it will be as it is now. No way back hangs on that."""
    merges = any(isinstance(operation, MergeEnv) for forecast in forecasts for operation in forecast.operations)
    up = all(forecast.direction == UP for forecast in forecasts)
    if place.settings.strict and up and not merges:
        refuse_without_value(missing(place))


def refuse_without_value(names: Sequence[str]) -> None:
    """With `--strict` required keys must have their values.

    Raises:
        RefusedError: these have none.
    """
    if names:
        raise RefusedError(f".env: no value for {', '.join(names)} (--strict)", hint=set_hint(tuple(names)))
