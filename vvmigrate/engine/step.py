"""One step: the one function for upgrade, downgrade, repair, `--update-env` and the retry of a degraded step.

observe and diff → stage → seal → publish → commit; whatever goes wrong is undone and recorded.
"""

from __future__ import annotations

import json
import sqlite3
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from alembic.runtime.migration import RevisionStep

from vvmigrate.engine import database, recovery, runtime, stage, state, statements, vault
from vvmigrate.engine.actor import now
from vvmigrate.engine.effects import ONCE, Effect
from vvmigrate.engine.journal import Journal
from vvmigrate.engine.ledger import COMMITTED
from vvmigrate.engine.publish import publish
from vvmigrate.engine.recorded import recorded_digest
from vvmigrate.engine.session import Session
from vvmigrate.engine.signals import Ended, put_off
from vvmigrate.engine.state import Change, Kept, Proposal
from vvmigrate.errors import RefusedError, StateError, StepError, VvmigrateError

Proposer = Callable[[], tuple[Proposal, tuple[runtime.HostOperation, ...]]]
"""Looks at the host and says what the step wants changed, and which operations its code is expected to ask for."""


@dataclass(frozen=True)
class Attempt:
    """What is to be tried.

    Attributes:
        direction: `up`, `down` or `repair`.
        version_after: the revision that the database is at afterwards; empty for base.
        source: the revision's bytes, recorded with the step.
        way_back: the record of the revision's way back (see `engine.way_back`), kept with the step; may be empty.
        release: the release that the revision belongs to; may be empty.
        code: the revision's own code; None where only host operations are done again.
        propose: see `Proposer`.
        holds: rows for `vv_hold`, written with the step.
        adopts: what it wants is there already, and it is only taken over.
        reason: why it is done, where nobody asked for it.
        retry: a degraded step, tried again by every upgrade: nobody asked for it either.
    """

    revision: str
    title: str
    direction: str
    version_after: str
    source: bytes
    propose: Proposer
    code: RevisionStep | None = None
    holds: tuple[Mapping[str, Any], ...] = ()
    way_back: bytes = b""
    release: str = ""
    adopts: bool = False
    reason: str = ""
    retry: bool = False


@dataclass
class Outcome:
    """What became of an attempt; what reports are made of.

    Attributes:
        traceless: a retry that changed nothing and resolved nothing, of which nothing is recorded; or one that nobody
            asked for, and that failed as the last time.
    """

    revision: str
    title: str
    direction: str
    result: str = ""
    duration_s: float = 0.0
    changes: tuple[Effect, ...] = ()
    statements: tuple[statements.Statement, ...] = ()
    proposal: Proposal = field(default_factory=Proposal)
    kept: tuple[Kept, ...] = ()
    error: VvmigrateError | None = None
    ended: Ended | None = None
    step_id: str = ""
    traceless: bool = False

    @property
    def happened(self) -> bool:
        """Whether it is in the history as done."""
        return self.result in COMMITTED and not self.traceless


def perform(session: Session, attempt: Attempt) -> Outcome:
    """Do one step, wholly or not at all.

    Returns:
        The outcome; a failure that was undone is one too (`result` is `failed`).

    Raises:
        StateError: it failed and could not be undone; the journal waits for `recover`.
    """
    return _Step(session, attempt).perform()


class _Step:
    """One attempt under way."""

    def __init__(self, session: Session, attempt: Attempt) -> None:
        self.session, self.attempt = session, attempt
        self.step_id = uuid.uuid4().hex
        self.outcome = Outcome(attempt.revision, attempt.title, attempt.direction, step_id=self.step_id)
        self.journal: Journal | None = None
        self.way_back = ""  # the SHA-256 of its record
        self.started = time.monotonic()
        self.calm = ExitStack()  # holds signals back from the first rename until the step is settled
        run = session.run
        self.row: dict[str, Any] = {
            "step_id": self.step_id,
            "revision": attempt.revision,
            "title": attempt.title,
            "direction": attempt.direction,
            "started_at": now(),
            "script_sha256": "",
            "digest_before": recorded_digest(session),
            "notes": json.dumps({"release": attempt.release} if attempt.release else {}),
            **{name: run[name] for name in ("run_id", "user", "host", "tool_version")},
        }

    def perform(self) -> Outcome:
        """See `perform`."""
        try:
            private = self.session.host.private
            self.row["script_sha256"] = vault.keep_source(private, self.attempt.source)
            if self.attempt.way_back:
                self.way_back = vault.keep_source(private, self.attempt.way_back, vault.WAY_BACK)
            self.session.note_run(self.row)
            ready = self._prepare()
            if ready is None:
                return self.outcome
            self._seal(ready[1])
            self._commit(ready[0])
        except BaseException as error:  # noqa: BLE001 - a signal is undone like any other failure
            self._fail(error)
        return self.outcome

    def _prepare(self) -> tuple[tuple[runtime.HostOperation, ...], tuple[Effect, ...]] | None:
        """Look and stage; and again without what cannot be had, if the step may happen without it.

        Returns:
            The operations that the code is expected to ask for, and what is staged; None where nothing is to be done.
        """
        missed: set[str] = set()
        while True:
            self.outcome.proposal, operations = self.attempt.propose()
            if self._has_nothing_to_say():
                return None
            try:
                return operations, stage.stage(self.session.host, self.step_id, self.outcome.proposal.changes)
            except state.WithoutError as error:
                if error.message in missed:
                    raise
                missed.add(error.message)
                stage.sweep(self.session.host)

    def _has_nothing_to_say(self) -> bool:
        """A retry that would change nothing and resolve nothing leaves no trace."""
        proposal = self.outcome.proposal
        if self.attempt.code is not None or proposal.degraded == "":
            return False
        recorded = self.session.ledger.recorded()
        if any(tells_something(change, recorded) for change in proposal.changes):
            return False
        self.outcome.result, self.outcome.traceless = "degraded", True
        return True

    def _seal(self, effects: tuple[Effect, ...]) -> None:
        session, ledger = self.session, self.session.ledger
        self.journal = Journal(
            session.ledger_id,
            session.run["run_id"],
            self.step_id,
            ledger.head().hash,
            ledger.version(),
            self.attempt.version_after,
            {**self.row, "duration_s": round(time.monotonic() - self.started, 3)},
            effects,
        )
        self.journal.seal(session.host.private)

    # ---- the transaction -----------------------------------------------------------------------------------------

    def _commit(self, operations: tuple[runtime.HostOperation, ...]) -> None:
        raw = self.session.ledger.connection
        with self.calm:
            if self.attempt.code is not None:
                play = runtime.Stage(raw, self.step_id, operations)
                runtime.run(raw, self.attempt.code, play, begun=self._check, applied=lambda: self._publish(play))
            else:
                raw.execute("BEGIN IMMEDIATE")
                self._check()
                self._publish()
                raw.execute("COMMIT")
            recovery.finish(self.session, self.step_id)

    def _check(self) -> None:
        """Inside the transaction: the database is still the one that the journal was sealed for."""
        journal, ledger = self._sealed(), self.session.ledger
        if ledger.version() != journal.version_before or ledger.head().hash != journal.head:
            raise StateError("the history moved while the step was being staged")
        database.check_tables(ledger.connection, self.session.database_path)

    def _publish(self, play: runtime.Stage | None = None) -> None:
        """Inside the transaction, last: make every effect visible, write the rows. From here signals wait."""
        self.calm.enter_context(put_off())
        self.outcome.statements = tuple(play.statements) if play is not None else ()
        ledger, journal = self.session.ledger, self._sealed()
        if self.attempt.version_after != (version := ledger.version()):
            raise StateError(
                f"expected the version row at {self.attempt.version_after or 'base'}, found {version or 'base'}"
            )
        database.check_tables(ledger.connection, self.session.database_path)
        for effect in journal.effects:
            publish(effect, self.session.host)
        recovery.fsync_all(self.session.host, journal.effects)
        self.outcome.result = self._result()
        self.outcome.changes = journal.effects
        self.outcome.kept = self.outcome.proposal.kept
        self.outcome.duration_s = round(time.monotonic() - self.started, 3)
        settled = [effect.settled() for effect in journal.effects]
        row = {
            **self.row,
            "result": self.outcome.result,
            "finished_at": now(),
            "duration_s": self.outcome.duration_s,
            "version_before": journal.version_before,
            "version_after": self.attempt.version_after,
            "digest_after": recorded_digest(
                self.session, settled, self.attempt.revision if self.attempt.direction == "down" else ""
            ),
            "notes": json.dumps(self._notes()),
            "error": self.outcome.proposal.degraded or self.attempt.reason or None,
        }
        ledger.append_step(row, settled)
        for hold in self.attempt.holds:
            ledger.append("vv_hold", {**hold, "run_id": self.row["run_id"], "user": self.row["user"], "at": now()})

    def _notes(self) -> dict[str, Any]:
        proposal = self.outcome.proposal
        return {
            **json.loads(self.row["notes"]),
            **({"way_back": self.way_back} if self.way_back else {}),
            **({state.SUPERSEDED: [item._asdict() for item in proposal.superseded]} if proposal.superseded else {}),
            **({"sql": sql} if (sql := statements.for_history(self.outcome.statements)) else {}),
            "kept": [item._asdict() for item in proposal.kept],
            "warnings": list(proposal.warnings),
            "skipped": list(proposal.skipped),
        }

    def _sealed(self) -> Journal:
        if self.journal is None:
            raise StateError("a step was about to be published before its journal was sealed")
        return self.journal

    def _result(self) -> str:
        proposal = self.outcome.proposal
        if self.attempt.direction == "down":
            return "reverted"
        if self.attempt.direction == "repair":
            return "repaired"
        if proposal.degraded:
            return "degraded"
        if proposal.superseded:
            return "superseded"
        if self.attempt.adopts:
            return "adopted"
        acts = any(change.action != state.ADOPT for change in proposal.changes)
        return "applied" if acts or not proposal.changes else "adopted"

    # ---- failure -------------------------------------------------------------------------------------------------

    def _fail(self, error: BaseException) -> None:
        """Undo, then record; the step id in the database decides whether there is anything to undo."""
        with put_off():
            traceback.clear_frames(error.__traceback__)  # cursors in them would keep the old connection's locks
            problem = self._explained(error)
            self.outcome.result = "interrupted" if isinstance(error, Ended) else "failed"
            try:
                self._undo(problem)
            except (VvmigrateError, OSError, sqlite3.Error) as second:
                raise recovery.unsettled(self.session, self.row, problem, second) from error
            if self.outcome.result in ("failed", "interrupted"):
                self.outcome.error = problem
                self.outcome.changes = ()
        if isinstance(error, Ended):
            self.outcome.ended = error
        elif isinstance(error, KeyboardInterrupt):
            self.outcome.ended = Ended(2)

    def _undo(self, problem: VvmigrateError) -> None:
        session, once = self.session, bool(self.attempt.reason or self.attempt.retry)
        session.reconnect()
        row = {**self.row, "result": self.outcome.result, "error": problem.message}
        self.outcome.traceless = once and recovery.is_told(session, row)
        if self.journal is None:
            stage.sweep(session.host)
            if session.ledger.step(self.step_id) is None:
                row["duration_s"] = round(time.monotonic() - self.started, 3)
                recovery.record(session, row, once=once)
            return
        done, kept = recovery.settle(
            session, self.journal, result=self.outcome.result, error=problem.message, once=once
        )
        self.outcome.kept = tuple(kept)
        if done == "finished":
            self.outcome.result, self.outcome.traceless = self._result(), False

    def _explained(self, error: BaseException) -> VvmigrateError:
        """The failure as an error for people, without a value that might be secret in an SQL parameter."""
        if isinstance(error, VvmigrateError):
            return error
        if isinstance(error, OSError):
            where = f" {error.filename}" if isinstance(error.filename, str) else ""
            return StepError(f"{error.strerror or error}{where}", path=where.strip() or None)
        if isinstance(error, sqlite3.Error):
            return database.translate(error, self.session.database_path)
        if isinstance(error, Ended | KeyboardInterrupt):
            return StepError(str(error) or "interrupted from the keyboard")
        first = (str(error).strip() or "no message").splitlines()[0]
        cause = getattr(error, "orig", None)
        if isinstance(cause, sqlite3.OperationalError) and cause.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            return RefusedError(database.translate(cause, self.session.database_path).message)
        return StepError(f"{type(error).__name__}: {first}")


def tells_something(change: Change, recorded: Mapping[state.Target, tuple[Effect, Mapping[str, Any]]]) -> bool:
    """Whether a change would alter the host, or what is recorded of it."""
    known = recorded.get(change.target)
    return change.action != state.ADOPT or known is None or _lasting(change.note) != _lasting(known[0].note)


def _lasting(note: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in note.items() if name != ONCE}
