"""Settling what a crash, or a failing step, left: finish it or undo it, and say so in the history.

The step id in the database decides, never an exception: a COMMIT can report an error although it happened.
"""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from vvmigrate.engine import journal as journals
from vvmigrate.engine import lodging, noted, preflight, stage, vault
from vvmigrate.engine.actor import now
from vvmigrate.engine.chain import ADOPT_ROW
from vvmigrate.engine.contents import DECISION, RUN
from vvmigrate.engine.database import translate
from vvmigrate.engine.effects import Effect
from vvmigrate.engine.host import HOME, Host
from vvmigrate.engine.journal import Journal
from vvmigrate.engine.ledger import COMMITTED
from vvmigrate.engine.rows import RECONCILE
from vvmigrate.engine.session import Session
from vvmigrate.engine.signals import put_off
from vvmigrate.engine.state import ADOPT, Kept
from vvmigrate.engine.undo import undo
from vvmigrate.errors import RefusedError, StateError, VvmigrateError

FINISH, UNDO, FORGET = "finish", "undo", "forget"


def decide(journal: Journal, row: Mapping[str, Any] | None, head: str, version: str) -> str:
    """What becomes of a journal; a pure function of what journal and database say.

    Args:
        row: the history's row for the journal's step, if it has one.
        head: hash at the end of the chain.
        version: the version row.

    Returns:
        FINISH (the step happened), UNDO (it did not), or FORGET (it was undone and recorded already).

    Raises:
        StateError: the database is not the one that the journal belongs to: restored, or moved on.
    """
    if row is not None:
        return FINISH if row["result"] in COMMITTED else FORGET
    if head == journal.head and version == journal.version_before:
        return UNDO
    raise StateError(
        f"a journal of revision {journal.step.get('revision')} waits, but the database is not the one it was written "
        f"for: expected the chain at {journal.head[:12] or 'its beginning'} and version "
        f"{journal.version_before or 'base'}, found {head[:12] or 'its beginning'} and {version or 'base'}",
        hint=f"put the database of that moment back (nothing was touched); or: {RECONCILE}",
    )


def recover(session: Session) -> list[str]:
    """Settle whatever the last command left.

    Returns:
        A sentence for each thing that was done or kept.

    Raises:
        StateError: what is there does not fit together; nothing was touched. Or the disk refused: the journal waits.
        RefusedError: nothing waits, but the disk refuses to be written.
    """
    try:
        return _recover(session)
    except OSError as problem:
        kind = RefusedError if journals.pending(session.host.private) is None else StateError
        where = problem.filename if isinstance(problem.filename, str) else session.host.private.path
        raise kind(
            f"what the last command left could not be settled: {where}: {problem.strerror or problem}",
            hint="mend what stands in the way, then: vvmigrate recover",
        ) from problem


def _recover(session: Session) -> list[str]:
    state = session.host.private
    said: list[str] = []
    with put_off():
        journal = journals.read(state, session.ledger_id)
        left, decided = noted.left_run(session), noted.left_decision(session)
        if journal is not None or left is not None:
            # Nothing is taken back as long as the history could not be told of it. Not by one transaction around both:
            # files may be long to compare, and the orchestrator would wait.
            preflight.check_database(session)
        if journal is not None:
            done, kept = settle(session, journal, result="interrupted", error="interrupted: the process ended")
            said.append(f"revision {journal.step['revision']}: an interrupted step was {done}")
            said.extend(f"kept: {item.path}: {item.reason}" for item in kept)
        elif left is not None and left["step"]:
            said.extend(_settle_unsealed(session, left["step"]))
        stage.sweep(session.host)
        said.extend(lodging.sweep(session.host.state(HOME)))
        if left is not None:
            _end_left_run(session, left["run"])
            (state / RUN).remove_file()
            state.fsync()
        if decided is not None:
            said.extend(_record_decision(session, **decided))
        vault.drop_anchor(state, session.ledger.head())
        vault.ensure_reserve(state)
    return said


def _settle_unsealed(session: Session, step: dict[str, Any]) -> list[str]:
    """Nothing was published yet: the attempt is only recorded."""
    if session.ledger.step(step["step_id"]) is not None:
        return []
    record(
        session, step | {"result": "interrupted", "error": "interrupted: the process ended before it changed anything"}
    )
    return [f"revision {step['revision']}: an interrupted attempt is recorded; it had changed nothing"]


def _record_decision(session: Session, run: Mapping[str, Any], move: Mapping[str, str]) -> list[str]:
    """A storage root that was to be another one: the binding tells whether it is, and the history is told, once."""
    state, said = session.host.private, []
    if move and session.bound is not None and session.bound.storage_root == move["new"]:
        title = f"storage root moved from {move['old'] or 'another home'} to {move['new']}"
        row = decision(run, title, move) | {"step_id": f"{run['run_id']}.move"}
        if session.ledger.step(row["step_id"]) is None:
            record(session, row | {"result": "adopted", "error": None})
            said.append(title)
    if run["run_id"] != session.run["run_id"]:
        _end_left_run(session, run)
        (state / DECISION).remove_file()
        state.fsync()
    return said


def decision(run: Mapping[str, Any], title: str, notes: Mapping[str, Any]) -> dict[str, Any]:
    """What the row says of a person's decision about the host as a whole, which is a step of no revision.

    Args:
        run: in which it was decided.
    """
    return {
        "step_id": run["run_id"],
        "revision": "",
        "title": title,
        "direction": ADOPT_ROW,
        "started_at": run["started_at"],
        "script_sha256": "",
        "digest_before": "",
        "notes": json.dumps(dict(notes), sort_keys=True),
        **{name: run[name] for name in ("run_id", "user", "host", "tool_version")},
    }


def _end_left_run(session: Session, run: Mapping[str, Any]) -> None:
    """A run that was killed gets its row too, if any step of it has one."""
    ledger = session.ledger
    steps = ledger.rows("vv_step", "run_id = ?", (run["run_id"],))
    if steps and not ledger.rows("vv_run", "run_id = ?", (run["run_id"],)):
        end_run(session, run, exit_code=None, affects=[])


def settle(
    session: Session, journal: Journal, *, result: str, error: str, once: bool = False
) -> tuple[str, list[Kept]]:
    """Finish or undo one journalled step. Idempotent: a crash at any of its calls leaves it to be done again.

    Args:
        result: `failed` or `interrupted`, for the row of a step that did not happen.
        error: the same row's reason.
        once: see `record`.

    Returns:
        "finished" or "undone", and what was kept.

    Raises:
        StateError: see `decide`.
        OSError: the disk refuses; the journal stays.
    """
    ledger = session.ledger
    try:
        ledger.check_chain()
        ledger.check_version()
        verdict = decide(journal, ledger.step(journal.step_id), ledger.head().hash, ledger.version())
    except sqlite3.Error as problem:
        raise translate(problem, session.database_path) from problem
    if verdict == FINISH:
        finish(session, journal.step_id)
        return "finished", []
    kept: list[Kept] = []
    if verdict == UNDO:
        if strange := {effect.merge for effect in journal.effects if effect.merge} - session.mergers.keys():
            raise StateError(f"nothing here can take back files of kind {', '.join(strange)}; nothing was touched")
        for effect in reversed(journal.effects):
            kept += undo(effect, session.host, session.mergers)
        fsync_all(session.host, journal.effects)
        notes = json.loads(journal.step.get("notes", "{}")) | {"kept": [item._asdict() for item in kept]}
        record(session, {**journal.step, "result": result, "error": error, "notes": json.dumps(notes)}, once=once)
    journals.remove(session.host.private)
    stage.sweep(session.host)
    return "undone", kept


def finish(session: Session, step_id: str) -> None:
    """The step is committed: anchor, before-images, journal."""
    state = session.host.private
    vault.drop_anchor(state, session.ledger.head())
    stage.settle_images(session.host, step_id)
    journals.remove(state)


def unsettled(session: Session, step: Mapping[str, Any], problem: VvmigrateError, why: Exception) -> StateError:
    """That a step which failed could not be settled; where it is committed it happened, whatever failed after that.

    Args:
        step: its row.
        problem: what it failed of.
        why: what kept it from being settled.
    """
    row: Mapping[str, Any] | None = None
    with suppress(VvmigrateError, sqlite3.Error):
        row = session.ledger.step(step["step_id"])
    what = f"failed ({problem.message}) and could not be undone"
    if row is not None and row["result"] in COMMITTED:
        what = "is done and in the history, but could not be brought to its end"
    text = f"revision {step['revision']}: {step['direction']} {what}: {why}"
    return StateError(text, hint="mend what stands in the way, then: vvmigrate recover")


def fsync_all(host: Host, effects: Iterable[Effect]) -> None:
    """Make the names that effects changed durable: every directory once, the user's side and ours."""
    places = {}
    for effect in effects:
        if effect.action == ADOPT:
            continue
        path = host.place(effect.target)
        places[path.parent.path] = path.parent
        if effect.store:
            slot = effect.slot_place(host)
            places[slot.parent.path] = slot.parent
    for place in places.values():
        if place.identity()[0] == "dir":
            place.fsync()


def record(session: Session, step: Mapping[str, Any], *, once: bool = False) -> None:
    """Write the row of an attempt that changed nothing, in a transaction of its own.

    Args:
        once: not if the last row says the same: nobody asked for the attempt, and it is made again and again.
    """
    if once and is_told(session, step):
        return
    run = session.run
    version = session.ledger.version()
    row = {
        "notes": "{}",
        "duration_s": None,
        **step,
        "finished_at": now(),
        "version_before": version,
        "version_after": version,
        "digest_after": step["digest_before"],
    }
    row.setdefault("run_id", run["run_id"])
    transaction(
        session,
        lambda: session.ledger.append_step(row, ()),
        happened=lambda: session.ledger.step(row["step_id"]) is not None,
    )


def is_told(session: Session, step: Mapping[str, Any]) -> bool:
    """Whether the last row of the history says the same of an attempt."""
    same = ("revision", "direction", "result", "error")
    return any(all(row[name] == step[name] for name in same) for row in session.ledger.newest("vv_step", limit=1))


def end_run(session: Session, run: Mapping[str, Any], *, exit_code: int | None, affects: Iterable[str]) -> None:
    """Write a run's row when it has ended."""
    row = {**run, "finished_at": now(), "exit_code": exit_code, "affects": json.dumps(sorted(affects))}
    transaction(
        session,
        lambda: session.ledger.append("vv_run", row),
        happened=lambda: bool(session.ledger.rows("vv_run", "run_id = ?", (row["run_id"],))),
    )


def transaction(session: Session, work: Callable[[], object], *, happened: Callable[[], bool]) -> None:
    """Do some work on the ledger in a transaction, with the reserve's space if the disk is full; move the anchor.

    Args:
        happened: whether the work is in the database: asked after a COMMIT that reported an error.

    Raises:
        VvmigrateError: locked, read-only or damaged.
    """
    state = session.host.private
    for last in (False, True):
        connection = session.ledger.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            work()
            connection.execute("COMMIT")
            break
        except sqlite3.Error as problem:
            session.reconnect()
            if happened():
                break
            if last or problem.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise translate(problem, session.database_path) from problem
            vault.free_reserve(state)
        except BaseException:
            session.reconnect()
            raise
    try:
        vault.drop_anchor(state, session.ledger.head())
    except OSError as problem:
        if problem.errno != errno.ENOSPC:
            raise
        vault.free_reserve(state)
        vault.drop_anchor(state, session.ledger.head())
