"""A run on trial: the conditions under which it may stand, promised before its first step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from vvmigrate.engine import intention as intentions
from vvmigrate.engine.intention import Intention, Moment
from vvmigrate.engine.step import Outcome
from vvmigrate.errors import RefusedError, RevisionError
from vvmigrate.report import Report
from vvmigrate.runs.forecast import UP, Forecast, Workplace
from vvmigrate.runs.health import HealthCheck
from vvmigrate.runs.promised import standing
from vvmigrate.runs.site import Site
from vvmigrate.settings import Settings


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

    def preflight(self, forecasts: list[Forecast], *, building: bool = False) -> None:
        """Refuse what cannot be done."""

    def perform(self, forecast: Forecast, holds: tuple[Mapping[str, Any], ...] = (), reason: str = "") -> bool:
        """Do one step; whether it happened."""

    def tell(self, event: str, **facts: Any) -> None:
        """Tell the listener and the log."""


# ---- before the first step -------------------------------------------------------------------------------------------


def refuse_while_waiting(site: Site) -> None:
    """Nothing is built upon a run that may still be taken back, and nothing that it needs is removed.

    Raises:
        RefusedError: one waits for a confirm.
    """
    session = site.session
    found = standing(session)
    if found is not None:
        made = session.ledger.applied_by(found.run_id)
        before = (made[0]["version_before"] if made else site.version) or "base"
        raise RefusedError(
            f"{found.who} waits to be confirmed, {found.left_s(Moment.of(session)):.0f} s more",
            hint=f"to keep it: vvmigrate confirm; to take it back: vvmigrate downgrade {before}",
        )


def refuse_without_way_back(place: Workplace, forecasts: list[Forecast], conditions: Conditions | None) -> None:
    """Nothing is promised that cannot be kept.

    Raises:
        RefusedError: there is no way back from where these steps lead, or it fails when it is rehearsed.
    """
    moving = [forecast for forecast in forecasts if forecast.code is not None and forecast.direction == UP]
    if not conditions or not moving:
        return
    problem = next((f"revision {it.revision}: {it.way_back.problem}" for it in moving if it.way_back.fails), "")
    try:
        place.scripts.downgrades(place.version or "base", moving[-1].revision)
    except RevisionError as error:
        problem = error.message
    if problem:
        raise RefusedError(
            f"{problem}, but this upgrade is to be taken back if it does not end well",
            hint="leave out --on-failure, --verify-with, --confirm-within, and health_check in alembic.ini",
        )


def begin(run: Going) -> None:
    """Promise, durably, what becomes of this run if it does not fulfil its conditions."""
    if not run.conditions:
        return
    facts = run.place.session.run
    within_s = run.conditions.within_s or 0.0
    intentions.write(
        run.place.session.host, Intention(facts["run_id"], facts["user"], facts["started_at"], within_s=within_s)
    )
