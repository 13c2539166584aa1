"""What `plan` says: what will change, what will be kept and why, what cannot be restored, what needs the network."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from vvmigrate.engine import preflight
from vvmigrate.engine.sources import Revision
from vvmigrate.engine.state import Proposal
from vvmigrate.runs.forecast import DOWN, Forecast, Workplace
from vvmigrate.runs.opening import paths_of


def outlook(place: Workplace, forecasts: list[Forecast], target: str) -> dict[str, Any]:
    """The steps ahead, and what they come to.

    Args:
        target: the revision that the host is at afterwards; empty for base.

    Returns:
        The keys of `plan` that do not depend on who asks.
    """
    total = sum((forecast.proposal for forecast in forecasts), Proposal())
    return {
        "from": place.version,
        "to": target,
        "steps": [json_of(forecast, paths_of(place.session)) for forecast in forecasts],
        "rows": [
            {"revision": forecast.revision, "table": item.table, "column": item.column or None, "rows": item.rows}
            for forecast in forecasts
            for item in forecast.dropped
        ],
        "cannot": [item for forecast in forecasts for item in _cannot(forecast)],
        "network_bytes": sum(item.network_bytes for item in total.downloads),
        "disk": preflight.disk(place.session.host, total),
    }


def reached(revisions: list[Revision], forecasts: list[Forecast]) -> list[Revision]:
    """Those of some revisions that these steps come to: none behind the first that fails."""
    done = {forecast.revision for forecast in takewhile(lambda forecast: forecast.error is None, forecasts)}
    return list(takewhile(lambda revision: revision.revision in done, revisions))


def version_after(place: Workplace, revisions: list[Revision], *, down: bool) -> str:
    """The revision that the host is at after some, or before them; empty for base."""
    if not revisions:
        return place.version
    return revisions[-1].follows if down else revisions[-1].revision


def _cannot(forecast: Forecast) -> list[dict[str, Any]]:
    """What a way back will not bring back as it was, and why."""
    if forecast.direction != DOWN and forecast.code is not None:
        return []
    found: list[tuple[str | None, str]] = [(item.path, item.reason) for item in forecast.proposal.kept if item.lost]
    if forecast.proposal.degraded:
        found.append((None, forecast.proposal.degraded))
    if forecast.error is not None:
        found.append((forecast.error.path, forecast.error.message))
    return [{"revision": forecast.revision, "path": path, "reason": reason} for path, reason in found]


def _statements(forecast: Forecast) -> tuple[str, ...]:
    """The SQL of the revision's own code, and of its operations; these leave rows alone where they are done again."""
    if forecast.rehearsed is None or forecast.code is None:
        return ()
    return (*(one.text for one in forecast.rehearsed.statements), *forecast.proposal.statements)


def json_of(forecast: Forecast, paths: Mapping[str, str]) -> dict[str, Any]:
    """A forecast as `plan` reports it.

    Args:
        paths: absolute path of each area.
    """
    changes = [
        {
            "action": change.action,
            "path": f"{paths[change.target.area]}/{change.target.name}",
            "detail": change.detail,
            "diff": change.diff or None,
        }
        for change in forecast.proposal.changes
    ]
    statements = [
        {"action": "sql", "path": paths["database"], "detail": statement, "diff": None}
        for statement in _statements(forecast)
    ]
    return {
        "revision": forecast.revision,
        "title": forecast.title,
        "release": forecast.release or None,
        "direction": forecast.direction,
        "changes": changes + statements,
        "downloads": [
            {"url": item.url, "size_bytes": item.size_bytes, "sha256": item.sha256}
            for item in forecast.proposal.downloads
        ],
        "kept": [item._asdict() for item in forecast.proposal.kept],
        "skipped": list(forecast.proposal.skipped),
        "warnings": list(forecast.proposal.warnings)
        + (
            ["reads the orchestrator's rows: what it does may differ"]
            if forecast.rehearsed and forecast.rehearsed.reads_rows
            else []
        ),
        "degraded": forecast.proposal.degraded or None,
        "required_missing": list(forecast.proposal.required_missing),
    }
