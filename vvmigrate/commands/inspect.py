"""Looking: plan, history, current, heads, show, status. No lock, no recovery, nothing written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from vvmigrate.commands.downgrade import steps_down
from vvmigrate.commands.forecast import DOWN, UP, Workplace, json_of, open_workplace
from vvmigrate.commands.opening import Call, root_of
from vvmigrate.commands.upgrade import degraded, pending, split_at_hold
from vvmigrate.commands.work import paths_of
from vvmigrate.engine import journal, preflight
from vvmigrate.engine.host import ROOT
from vvmigrate.engine.session import Session
from vvmigrate.engine.state import Proposal, Target, digest
from vvmigrate.errors import IntegrityError, UsageError, VvmigrateError
from vvmigrate.operations.env_file import missing_required
from vvmigrate.report import Report

FINDINGS = 3
ENTRY = (
    *("run_id", "revision", "title", "direction", "result", "started_at", "finished_at", "duration_s", "user", "host"),
    *("tool_version", "script_sha256", "error", "hash", "previous_hash"),
)


def looking(call: Call, look: Callable[[Workplace, Report], None]) -> Report:
    """A whole command that only looks; it asks nobody anything.

    Returns:
        Its report, whatever happened.
    """
    report = Report(call.command)
    call = call.asking_nobody()
    try:
        settings, session = call.read()
        with session:
            for text in session.warnings:
                call.listener("warning", text=text)
            if waits := journal.pending(session.host.state(ROOT)):
                call.listener("warning", text=f"{waits.path}: a step was interrupted and waits: vvmigrate recover")
            look(open_workplace(call, settings, session), report)
    except VvmigrateError as error:
        report.fail(error)
    return report


def plan(call: Call, target: str = "head", *, down: bool = False) -> Report:
    """What upgrade (or downgrade) would do: the same forecast, stopped before the first write.

    Returns:
        The report of `plan`; exit code 3 if anything is pending.
    """

    def look(place: Workplace, report: Report) -> None:
        held: dict[str, Any] | None = None
        if down:
            steps = steps_down(place, target)
        else:
            steps, held, _ = split_at_hold(place, pending(place, target))
        forecasts = place.forecast(steps, DOWN if down else UP)
        total = sum((forecast.proposal for forecast in forecasts), Proposal())
        report.body = {
            "from": place.version,
            "to": _version_after(place, steps, down=down),
            "steps": [json_of(forecast, paths_of(place)) for forecast in forecasts],
            "disk": preflight.disk(place.session.host, total),
            "held": [held] if held else [],
        }
        for forecast in forecasts:
            if forecast.error is not None:
                raise forecast.error
        if forecasts or held:
            report.raise_to(FINDINGS)

    return looking(call, look)


def _version_after(place: Workplace, steps: list[Any], *, down: bool) -> str:
    if not steps:
        return place.version
    last = steps[-1].revision
    return str(last.down_revision or "") if down else str(last.revision)


def history(call: Call, span: str = "") -> Report:
    """Every attempt, newest first.

    Args:
        span: `A:B`, revisions between which attempts are shown; empty for all.

    Returns:
        The report of `history`.
    """
    report = Report(call.command, body={"entries": []})
    try:
        _, session = call.read()
        with session:
            if session.connection is None:
                return report
            if call.options.get("verify"):
                problems = session.ledger.problems()
                report.body["problems"] = problems
                if problems:
                    report.fail(IntegrityError(problems[0], hint="compare with a copy of the database, or of the log"))
            report.body["entries"] = _entries(session, call, span)
    except VvmigrateError as error:
        report.fail(error)
    return report


def _entries(session: Session, call: Call, span: str) -> list[dict[str, Any]]:
    first, _, last = span.partition(":")
    rows = session.ledger.rows("vv_step")
    if run := call.options.get("run"):
        rows = [row for row in rows if row["run_id"].startswith(run)]
    if call.options.get("failures"):
        rows = [row for row in rows if row["result"] in ("failed", "interrupted")]
    if first:
        rows = [row for row in rows if row["revision"] >= first]
    if last or (span and ":" not in span):
        rows = [row for row in rows if row["revision"] <= (last or first)]
    entries = []
    for row in reversed(rows):
        entry = {name: row[name] for name in ENTRY}
        entry["kept"] = json.loads(row["notes"]).get("kept", [])
        if call.options.get("effects"):
            entry["effects"] = [
                {"action": effect.action, "path": session.host.path(effect.target), "detail": effect.detail}
                for effect in session.ledger.effects(row["step_id"])
            ]
        entries.append(entry)
    return entries


def current(call: Call) -> Report:
    """The revision that the host is at."""

    def look(place: Workplace, report: Report) -> None:
        head = place.scripts.package_head()
        title = place.scripts.script(place.version).doc if place.version else ""
        report.body = {"revision": place.version, "title": title, "head": head, "is_head": place.version == head}

    return looking(call, look)


def heads(call: Call) -> Report:
    """The last revision of the installed release."""

    def look(place: Workplace, report: Report) -> None:
        head = place.scripts.package_head()
        report.body = {"heads": [{"revision": head, "title": place.scripts.script(head).doc}] if head else []}

    return looking(call, look)


def show(call: Call, revision: str) -> Report:
    """One revision: where it stands, what it is for, what it asks for.

    Raises:
        UsageError: (in the report) there is none.
    """

    def look(place: Workplace, report: Report) -> None:
        if not revision:
            raise UsageError("show needs a revision", hint="vvmigrate show head")
        wanted = place.version if revision == "current" else revision
        script = place.scripts.script(place.scripts.package_head() if wanted == "head" else wanted)
        source = place.scripts.sources[script.revision]
        report.body = {
            "revision": script.revision,
            "title": script.doc,
            "follows": script.down_revision,
            "path": source.path,
            "sha256": source.sha256,
            "applied": any(step["revision"] == script.revision for step in place.ledger.applied())
            if place.ledger
            else False,
            "source": source.data.decode("utf-8", "replace"),
        }

    return looking(call, look)


def status(call: Call) -> Report:
    """Where the host stands, and what is not as it should be.

    Returns:
        The report of `status`; exit code 3 if something is pending, held, degraded, missing, or waits for recovery.
    """

    def look(place: Workplace, report: Report) -> None:
        steps = pending(place, "head") if not _is_ahead(place) else []
        _, held, _ = split_at_hold(place, steps)
        waits = journal.pending(place.session.host.state(ROOT))
        runs = place.ledger.rows("vv_run") if place.ledger else []
        rows = place.ledger.rows("vv_step") if place.ledger else []
        failures = [row for row in rows if row["result"] in ("failed", "interrupted")]
        drift = _quick_drift(place)
        report.body = {
            "home": str(place.settings.home),
            "storage_root": root_of(place.session),
            "revision": place.version,
            "head": place.scripts.package_head(),
            "pending": [{"revision": s.revision.revision, "title": s.revision.doc} for s in steps],
            "drift": drift,
            "degraded": degraded(place),
            "journal": waits.path if waits else None,
            "state_digest": _digest(place),
            "last_run": _run(runs[-1]) if runs else None,
            "last_failure": {k: failures[-1][k] for k in ("revision", "result", "finished_at", "error")}
            if failures
            else None,
            "generations": [
                name for name in place.session.host.names(Target(ROOT, "models/.store")) if "." not in name[-5:]
            ],
            "held": [held] if held else [],
            "required_missing": list(_missing(place)),
        }
        keys = ("pending", "drift", "degraded", "journal", "held", "required_missing")
        if any(report.body[key] for key in keys):
            report.raise_to(FINDINGS)
        if _is_ahead(place):
            pending(place, "head")

    return looking(call, look)


def _is_ahead(place: Workplace) -> bool:
    return bool(place.version) and place.version not in place.scripts.package


def _run(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("run_id", "command", "user", "started_at", "finished_at", "exit_code")}


def _missing(place: Workplace) -> tuple[str, ...]:
    if place.ledger is None or not any(target.name == ".env" for target in place.ledger.recorded()):
        return ()
    try:
        return missing_required(place.situation(place.session.host))
    except OSError:
        return ()  # another user's .env


def _quick_drift(place: Workplace) -> list[dict[str, Any]]:
    """What differs from what is recorded, by a quick look: kind, mode, link target, size. Contents are not read."""
    found = []
    recorded = place.ledger.recorded() if place.ledger else {}
    links = ((target, effect.after) for target, (effect, _) in recorded.items() if effect.after.kind == "link")
    current = {os.path.join(os.path.dirname(target.name), after.target) for target, after in links}
    for target, (effect, _) in sorted(recorded.items()):
        wanted, seen = effect.after, place.session.host.glance(target)
        if effect.lasting and not seen.exists and target.name.removesuffix(".json") not in current:
            continue  # pruned
        facts = {"kind": (wanted.kind, seen.kind)}
        if seen.kind == wanted.kind:
            facts["mode"] = (f"{wanted.mode:04o}", f"{seen.mode:04o}")
            facts["target"] = (wanted.target, seen.target)
            if wanted.kind == "file" and not effect.secret:
                facts["size_bytes"] = (str(wanted.size_bytes), str(seen.size_bytes))
        for what, (expected, actual) in facts.items():
            if expected != actual:
                path = place.session.host.path(target)
                found.append({"path": path, "expected": f"{what} {expected}", "actual": f"{what} {actual}"})
    return found


def _digest(place: Workplace) -> str:
    recorded = place.ledger.recorded() if place.ledger else {}
    entries = {}
    for target, (effect, _) in recorded.items():
        host = place.session.host
        try:
            entries[target] = host.glance(target) if effect.secret or effect.after.kind == "dir" else host.entry(target)
        except OSError:
            entries[target] = host.glance(target)
    keys = {target: tuple(effect.note["keys"]) for target, (effect, _) in recorded.items() if "keys" in effect.note}
    return digest(place.version, entries, keys, place.settings.owner)
