"""`status`: where a host stands, and what is not as it should be."""

from __future__ import annotations

from typing import Any

from vvmigrate.commands.verify import as_json, compare
from vvmigrate.content.store import STORE
from vvmigrate.engine import journal
from vvmigrate.engine.drift import QUICK
from vvmigrate.engine.host import ROOT
from vvmigrate.engine.state import Target
from vvmigrate.report import Report
from vvmigrate.runs.hook import untold
from vvmigrate.runs.likeness import state_digest
from vvmigrate.runs.looking import FINDINGS, looking
from vvmigrate.runs.opening import Call, root_of
from vvmigrate.runs.pending import check_not_ahead, degraded, is_ahead, other_variant, pending, split_at_hold
from vvmigrate.runs.promised import is_a_finding, seen
from vvmigrate.runs.releases import release_of
from vvmigrate.runs.site import Site, open_site
from vvmigrate.runs.unset import missing

STILL_FAILED = (
    "result IN ('failed', 'interrupted') AND NOT EXISTS (SELECT 1 FROM vv_step AS later WHERE "
    "later.revision = vv_step.revision AND later.seq > vv_step.seq AND later.result NOT IN ('failed', 'interrupted'))"
)
"""Attempts after which the same revision has not succeeded."""


def status(call: Call) -> Report:
    """Where the host stands, and what is not as it should be.

    Returns:
        The report of `status`; exit code 3 if something is pending, held, degraded, missing, not told to
        `after_change`, or waits for recovery.
    """

    def look(site: Site, report: Report) -> None:
        ahead = pending(site) if not is_ahead(site) else []
        _, held, _ = split_at_hold(site, ahead)
        waits = journal.pending(site.session.host.state(ROOT))
        ledger = site.ledger
        runs = ledger.newest("vv_run", limit=1) if ledger else []
        failures = ledger.newest("vv_step", STILL_FAILED, limit=1) if ledger else []
        drift, generations = as_json(site, compare(site, [], QUICK).drift), list[str]()
        with site.unseeing():
            generations = [name for name in site.session.host.names(Target(ROOT, STORE)) if "." not in name[-5:]]
        report.body = {
            "home": str(site.settings.home),
            "storage_root": root_of(site.session),
            "revision": site.version,
            "release": release_of(site, site.version),
            "head": site.line.head(),
            "pending": [{"revision": revision.revision, "title": revision.title} for revision in ahead],
            "drift": drift,
            "degraded": degraded(site),
            "journal": waits.path if waits else None,
            "state_digest": state_digest(site),
            "last_run": _run(runs[0]) if runs else None,
            "last_failure": {k: failures[0][k] for k in ("revision", "result", "finished_at", "error")}
            if failures
            else None,
            "generations": generations,
            "held": [held] if held else [],
            "required_missing": list(missing(site)),
            "confirm": seen(site),
            "untold": untold(site),
            "other_variant": other_variant(site),
        }
        keys = ("untold", "other_variant", "pending", "drift", "degraded", "journal", "held", "required_missing")
        if any(report.body[key] for key in keys) or is_a_finding(report.body["confirm"]):
            report.raise_to(FINDINGS)
        check_not_ahead(site)

    return looking(call, open_site, look, judging=True)


def _run(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("run_id", "command", "user", "started_at", "finished_at", "exit_code")}
