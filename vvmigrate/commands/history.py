"""`history`: every attempt, newest first. Reads the ledger alone: no release is needed to know what was done.

`--verify` compares with what the ledger's owner cannot write: the key, the anchor, the stored sources, the release.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from vvmigrate.engine import adoption, database
from vvmigrate.engine.effects import Effect
from vvmigrate.engine.rows import notes_of
from vvmigrate.engine.session import DATABASE, Session
from vvmigrate.engine.state import ADOPT, ATTRIBUTES
from vvmigrate.engine.vault import RESTORE_KEY
from vvmigrate.errors import IntegrityError, VvmigrateError
from vvmigrate.report import Report
from vvmigrate.runs.audit import PUT_BACK, audit
from vvmigrate.runs.opening import Call

DOWN = "down"
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
        span: `A:B`, revisions between which attempts are shown, or one revision; empty for all.

    Returns:
        The report of `history`; `older` is how many attempts the option `limit` left out, `attempts` how many there
        are, whatever is asked for; with the option `verify` also `problems`, a sentence each.
    """
    report = Report(call.command, body={"entries": [], "older": 0, "attempts": 0})
    try:
        with call.read_ledger() as session:
            if session.connection is not None:
                with database.translated(session.host.place(DATABASE)):
                    _tell(session, report, call, span)
            elif span:
                _between(call, session, span)
    except VvmigrateError as error:
        report.fail(error)
    return report


def _tell(session: Session, report: Report, call: Call, span: str) -> None:
    """Inside the translation of SQLite's errors."""
    if call.options.get("verify"):
        of_rows, beside = audit(session)
        report.body["problems"] = of_rows + beside
        report.body["not_verifiable"] = max(session.ledger.epoch_seq() - 1, 0)
        mends = RESTORE_KEY if session.key is None else COMPARE if of_rows else PUT_BACK
        for problem in (of_rows + beside)[:1]:
            report.fail(IntegrityError(problem, hint=mends))
    where, arguments = _chosen(call.options, _between(call, session, span) if span else None)
    limit = int(call.options.get("limit") or 0)
    rows = session.ledger.newest("vv_step", where, arguments, limit)
    report.body["entries"] = [_entry(session, row, call.options) for row in rows]
    report.body["older"] = session.ledger.count("vv_step", where, arguments) - len(rows) if limit else 0
    report.body["attempts"] = session.ledger.count("vv_step")


def _chosen(options: Mapping[str, Any], revisions: Collection[str] | None) -> tuple[str, tuple[Any, ...]]:
    """Which attempts are asked for, as an SQL condition and its arguments."""
    found: list[tuple[str, tuple[Any, ...]]] = [("1", ())]
    if run := options.get("run"):
        found.append(("substr(run_id, 1, ?) = ?", (len(run), run)))
    if options.get("failures"):
        found.append(("result IN (?, ?)", ("failed", "interrupted")))
    if revisions is not None:
        found.append((f"revision IN ({', '.join('?' * len(revisions))})", tuple(revisions)))
    return " AND ".join(text for text, _ in found), tuple(value for _, values in found for value in values)


# ---- the revisions that somebody names -------------------------------------------------------------------------------


def _between(call: Call, session: Session, span: str) -> list[str]:
    """The revisions from one to another, whichever is named first; from base on also what was done for none of them.

    The release is asked only for names that the history itself does not have.

    Raises:
        UsageError: no such revision.
        VvmigrateError: the release would have to be asked, and cannot be.
    """
    follows = _followed(session)
    ids = {name: name for name in follows}
    first, colon, last = span.partition(":")
    if names := {first, last} - {"", *ids}:
        from vvmigrate.commands.inspect import named  # not at the top: the history alone needs no release
        from vvmigrate.runs.site import open_site

        for doubt in adoption.unproved(session) or adoption.unprovable(session):
            raise doubt
        site = open_site(call, call.settings(), session)
        follows |= {revision.revision: revision.follows for revision in site.line.order}
        ids |= {name: named(site, name) for name in names}
    start = _place(follows, ids.get(first, ""))
    end = start if not colon else _place(follows, ids[last]) if last else len(follows)
    low, high = sorted((start, end))
    return [revision for revision in ("", *follows) if low <= _place(follows, revision) <= high]


def _followed(session: Session) -> dict[str, str]:
    """Which revision each one followed, by what was done: the steps that moved the version know it best."""
    follows: dict[str, str] = {}
    for row in session.ledger.rows("vv_step", "revision != ''") if session.connection is not None else ():
        revision, before, after = (str(row[name]) for name in ("revision", "version_before", "version_after"))
        upper, lower = (before, after) if row["direction"] == DOWN else (after, before)
        if upper == revision != lower:
            follows[revision] = lower
        else:
            follows.setdefault(revision, before)
    return follows


def _place(follows: Mapping[str, str], revision: str) -> int:
    """How many steps a revision is from base, in whatever line it stands or stood."""
    behind: set[str] = set()
    while revision and revision not in behind:
        behind.add(revision)
        revision = follows.get(revision, "")
    return len(behind)


# ---- one attempt -----------------------------------------------------------------------------------------------------


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
