"""How a run on trial stands now, for those who look."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from vvmigrate.engine import intention as intentions
from vvmigrate.engine.intention import CHECKING, WAITING, Intention, Moment
from vvmigrate.engine.session import Session
from vvmigrate.runs.site import Site


def seen(site: Site) -> dict[str, Any] | None:
    """What is promised on this host, as reports show it; None for nothing."""
    found = standing(site.session)
    return as_json(found, Moment.of(site.session)) if found is not None else None


def standing(session: Session) -> Intention | None:
    """The intention that stands. One that a person has ended may still lie there: the history's row decides.

    Raises:
        StateError: it cannot be understood.
    """
    found = intentions.read(session.host)
    ended = found is not None and session.connection is not None and session.ledger.step(found.ended_by)
    return None if ended else found


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
