"""`status`: where a host stands, and what is not as it should be."""

from __future__ import annotations

from typing import Any

from vvmigrate.commands.forecast import Workplace
from vvmigrate.commands.likeness import state_digest
from vvmigrate.commands.looking import FINDINGS, looking
from vvmigrate.commands.opening import Call, root_of
from vvmigrate.commands.releases import release_of
from vvmigrate.commands.trial import is_a_finding, seen
from vvmigrate.commands.upgrade import degraded, pending, split_at_hold
from vvmigrate.commands.verify import as_json, compare
from vvmigrate.engine import adoption, journal
from vvmigrate.engine.drift import QUICK
from vvmigrate.engine.host import ROOT
from vvmigrate.engine.state import Target
from vvmigrate.operations.env_file import NAME, missing_required
from vvmigrate.report import Report


def status(call: Call) -> Report:
    """Where the host stands, and what is not as it should be.

    Returns:
        The report of `status`; exit code 3 if something is pending, held, degraded, missing, or waits for recovery.
    """

    def look(place: Workplace, report: Report) -> None:
        steps = pending(place, "head") if not is_ahead(place) else []
        _, held, _ = split_at_hold(place, steps)
        waits = journal.pending(place.session.host.state(ROOT))
        runs = place.ledger.rows("vv_run") if place.ledger else []
        rows = place.ledger.rows("vv_step") if place.ledger else []
        failures = [row for row in rows if row["result"] in ("failed", "interrupted")]
        drift = as_json(place, compare(place, [], QUICK).drift)
        report.body = {
            "home": str(place.settings.home),
            "storage_root": root_of(place.session),
            "revision": place.version,
            "release": release_of(place, place.version),
            "head": place.scripts.package_head(),
            "pending": [{"revision": s.revision.revision, "title": s.revision.doc} for s in steps],
            "drift": drift,
            "degraded": degraded(place),
            "journal": waits.path if waits else None,
            "state_digest": state_digest(place),
            "last_run": _run(runs[-1]) if runs else None,
            "last_failure": {k: failures[-1][k] for k in ("revision", "result", "finished_at", "error")}
            if failures
            else None,
            "generations": [
                name for name in place.session.host.names(Target(ROOT, "models/.store")) if "." not in name[-5:]
            ],
            "held": [held] if held else [],
            "required_missing": list(missing(place)),
            "confirm": seen(place),
        }
        keys = ("pending", "drift", "degraded", "journal", "held", "required_missing")
        if any(report.body[key] for key in keys) or is_a_finding(report.body["confirm"]):
            report.raise_to(FINDINGS)
        if is_ahead(place):
            pending(place, "head")
        for doubt in adoption.doubts(place.session):
            report.fail(doubt)

    return looking(call, look)


def is_ahead(place: Workplace) -> bool:
    """Whether the host is at a revision that this release does not have."""
    return bool(place.version) and place.version not in place.scripts.package


def _run(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("run_id", "command", "user", "started_at", "finished_at", "exit_code")}


def missing(place: Workplace) -> tuple[str, ...]:
    """Required keys without a value, once `.env` is managed."""
    managed = [t for t in place.ledger.recorded() if t.name == NAME] if place.ledger is not None else []
    if not managed or place.session.host.glance(managed[0]).kind not in ("file", "absent"):
        return ()  # what stands in its place is drift
    try:
        return missing_required(place.situation(place.session.host))
    except OSError:
        return ()  # another user's .env
