"""`history`: every attempt, newest first. Reads the ledger alone: no release is needed to know what was done.

`--verify` compares with what the ledger's owner cannot write: the key, the anchor, the stored sources, the release.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vvmigrate.engine import database
from vvmigrate.engine.effects import Effect
from vvmigrate.engine.rows import notes_of
from vvmigrate.engine.session import DATABASE, Session
from vvmigrate.engine.state import ADOPT, ATTRIBUTES
from vvmigrate.engine.vault import RESTORE_KEY
from vvmigrate.errors import IntegrityError, VvmigrateError
from vvmigrate.report import Report
from vvmigrate.runs.audit import PUT_BACK, audit
from vvmigrate.runs.opening import Call

ENTRY = (
    *("run_id", "revision", "title", "direction", "result", "started_at", "finished_at", "duration_s", "user", "host"),
    *("tool_version", "script_sha256", "error", "hash", "previous_hash"),
)


COMPARE = (
    "compare with a copy of the database, of the log, or of the release; if there is no better one: "
    "vvmigrate adopt --reconcile"
)


UNREADABLE = "the effects that are recorded of it cannot be read: vvmigrate history --verify"


def history(call: Call, span: str = "") -> Report:
    """Every attempt, newest first.

    Args:
        span: `A:B`, revisions between which attempts are shown; empty for all.

    Returns:
        The report of `history`; `older` is how many attempts the option `limit` left out; with the option `verify`
        also `problems`, a sentence each.
    """
    report = Report(call.command, body={"entries": [], "older": 0})
    try:
        with call.read_ledger() as session:
            if session.connection is not None:
                with database.translated(session.host.place(DATABASE)):
                    _tell(session, report, call.options, span)
    except VvmigrateError as error:
        report.fail(error)
    return report


def _tell(session: Session, report: Report, options: Mapping[str, Any], span: str) -> None:
    """Inside the translation of SQLite's errors."""
    if options.get("verify"):
        of_rows, beside = audit(session)
        report.body["problems"] = of_rows + beside
        report.body["not_verifiable"] = max(session.ledger.epoch_seq() - 1, 0)
        mends = RESTORE_KEY if session.key is None else COMPARE if of_rows else PUT_BACK
        for problem in (of_rows + beside)[:1]:
            report.fail(IntegrityError(problem, hint=mends))
    where, arguments = _chosen(options, span)
    limit = int(options.get("limit") or 0)
    rows = session.ledger.newest("vv_step", where, arguments, limit)
    report.body["entries"] = [_entry(session, row, options) for row in rows]
    report.body["older"] = session.ledger.count("vv_step", where, arguments) - len(rows) if limit else 0


def _chosen(options: Mapping[str, Any], span: str) -> tuple[str, tuple[Any, ...]]:
    """Which attempts are asked for, as an SQL condition and its arguments."""
    first, colon, last = span.partition(":")
    found: list[tuple[str, tuple[Any, ...]]] = [("1", ())]
    if run := options.get("run"):
        found.append(("substr(run_id, 1, ?) = ?", (len(run), run)))
    if options.get("failures"):
        found.append(("result IN (?, ?)", ("failed", "interrupted")))
    if first:
        found.append(("revision >= ?", (first,)))
    if last or (first and not colon):
        found.append(("revision <= ?", (last or first,)))
    return " AND ".join(text for text, _ in found), tuple(value for _, values in found for value in values)


def _entry(session: Session, row: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {name: row[name] for name in ENTRY}
    notes = notes_of(row)
    entry["release"] = notes.get("release")
    entry["kept"] = notes.get("kept", [])
    if options.get("effects"):
        entry["warnings"] = notes.get("warnings", [])
        try:
            effects = [_effect(session, effect) for effect in session.ledger.effects(row["step_id"])]
            entry["effects"] = effects + [_statement(session, line) for line in notes.get("sql", ())]
        except (IntegrityError, ValueError, TypeError, KeyError, AttributeError):  # a row that proves nothing
            entry["effects"] = []
            entry["warnings"] = [*entry["warnings"], UNREADABLE]
    return entry


def _effect(session: Session, effect: Effect) -> dict[str, Any]:
    host = session.host
    shown = {"action": effect.action, "path": host.path(effect.target), "detail": effect.detail, "before_image": None}
    replaced = effect.before.exists and effect.slot and effect.action not in (ADOPT, ATTRIBUTES)
    if replaced and host.state(effect.store) is not None and effect.slot_place(host).stat() is not None:
        shown["before_image"] = effect.slot_place(host).path
    return shown


def _statement(session: Session, line: object) -> dict[str, Any]:
    return {"action": "sql", "path": session.database_path, "detail": str(line), "before_image": None}
