"""A host whose database is not the one that it had, or whose key is lost: what is in doubt, and going on all the same.

A person decides. What they decide is a row of the chain. Where older rows cannot be proved any more, that row begins an
*epoch*: they stay as they are, sealed by their SHA-256, and nothing is done because of them; the host is at base, and
each revision is taken over again where it holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from vvmigrate.engine import database, intention, journal, noted, recovery, stage, vault
from vvmigrate.engine.actor import now
from vvmigrate.engine.binding import Binding
from vvmigrate.engine.chain import EPOCH_ROW
from vvmigrate.engine.host import HOME, ROOT
from vvmigrate.engine.journal import Journal
from vvmigrate.engine.ledger import COMMITTED
from vvmigrate.engine.rows import RECONCILE, plain
from vvmigrate.engine.session import DATABASE, Session, check_identity, make_database, open_database
from vvmigrate.engine.signals import put_off
from vvmigrate.engine.sources import read_package
from vvmigrate.engine.undo import undo
from vvmigrate.errors import IntegrityError, RefusedError, StateError, VvmigrateError
from vvmigrate.files import Place
from vvmigrate.schema import FORMAT, VERSION_TABLE

RECONCILED, REKEYED = "reconciled with the database that is there", "new key: the old one is lost"

Confirm = Callable[[str], None]
"""Asks a person whether to go on, and raises if not."""


def doubts(session: Session) -> list[VvmigrateError]:
    """Why an open host cannot simply be continued; nothing is changed. Empty where all is well, or on the first day."""
    return unproved(session) or contradictions(session)


def unproved(session: Session) -> list[VvmigrateError]:
    """Why nothing may be read out of the rows of an open host; empty where they are as they were written.

    Whoever may not see the key cannot tell.
    """
    bound = session.bound
    if not _is_known(session) or bound is None or session.connection is None:
        return []
    place = session.host.place(DATABASE)
    checks: list[Callable[[], object]] = [
        lambda: check_identity(session, bound),
        lambda: database.check_tables(session.ledger.connection, place.path),
        lambda: _check_chain(session, place),
    ]
    return list(islice(_failing(place, checks), 1))  # where one fails, those after it tell nothing, or cannot be made


def unprovable(session: Session) -> list[VvmigrateError]:
    """That the key is lost by which the rows of an open host could be proved; empty where it is there."""
    state = session.host.state(ROOT)
    if not _is_known(session) or state is None or session.connection is None:
        return []
    return list(_failing(session.host.place(DATABASE), [lambda: vault.require_key(state, session.ledger)]))


def contradictions(session: Session) -> list[VvmigrateError]:
    """What says something else than the rows of an open host, which are as they were written."""
    state = session.host.state(ROOT)
    if not _is_known(session) or state is None:
        return []
    place = session.host.place(DATABASE)
    if session.connection is None:
        text = f"{place.path}: holds no ledger, although this host has one"
        return [StateError(text, hint=f"put the right database back; or: {RECONCILE}", path=place.path)]
    ledger = session.ledger
    checks: list[Callable[[], object]] = [
        lambda: vault.check_anchor(state, ledger, place.path),
        lambda: ledger.check_version() if session.key is not None else None,
        lambda: _check_journal(session),
        lambda: noted.check(session),
    ]
    return [*unprovable(session), *_failing(place, checks)]


def _is_known(session: Session) -> bool:
    """Whether the host has had its first day, and this user may see what is known of it."""
    return session.host.state(ROOT) is not None and session.bound is not None and session.bound.complete


def _failing(place: Place, checks: Iterable[Callable[[], object]]) -> Iterator[VvmigrateError]:
    for check in checks:
        try:
            with database.translated(place):
                check()
        except (StateError, IntegrityError) as error:
            yield error


def _check_chain(session: Session, place: Place) -> None:
    if session.key is None:
        return
    try:
        session.ledger.check_chain()
    except IntegrityError:  # of a history whose end is gone that is said first, as it is by whoever opens it to write
        vault.check_anchor(session.host.private, session.ledger, place.path)
        raise


def _check_journal(session: Session) -> None:
    state = session.host.private
    waits = journal.read(state, session.ledger_id)
    if waits is not None:
        ledger = session.ledger
        recovery.decide(waits, ledger.step(waits.step_id), ledger.head().hash, ledger.version())


class Settling:
    """Opens the database of a host of which something is in doubt, once a person has seen what.

    Args:
        rekey: whether the key is what is missing.
        confirm: asks the person.

    Attributes:
        found: what was in doubt, and what ends with the decision, a sentence each.
    """

    def __init__(self, *, rekey: bool, confirm: Confirm) -> None:
        """Nothing was looked at yet."""
        self._rekey, self._confirm = rekey, confirm
        self.found: list[str] = []

    def __call__(self, session: Session, bound: Binding) -> None:
        """See `session.open_database`, which this stands in for.

        Raises:
            StateError: the person does not want it; or what is there is not for `adopt` to settle.
            RefusedError: it is the other of the two commands that is needed.
        """
        state = session.host.private
        waits = journal.read(state, bound.ledger_id)
        noted.check(session)
        problems = self._look(session, bound)
        if session.connection is None or not vault.finish_rekey(state, session.ledger):
            self._check_kind(session)
        else:
            problems = doubts(session)
        if not problems:
            open_database(session, bound)
            return
        _check_release(session)
        self.found = [*(problem.message for problem in problems), *_promised(session)]
        self._confirm(f"{'; '.join(self.found)}. {_consequence(session, bound)}")
        with put_off():
            self._go_on(session, bound, waits)
        session.disconnect()
        open_database(session, bound)

    def _look(self, session: Session, bound: Binding) -> list[VvmigrateError]:
        """What is in doubt; the database is open afterwards, if there is one."""
        place = session.host.place(DATABASE)
        try:
            database.is_missing(place, known=bound.complete)
        except StateError as error:
            return [error]
        if not bound.complete:
            return []
        session.reconnect()
        session.key = vault.key(session.host.private)
        with database.translated(place):
            if session.ledger.installed():
                session.ledger.check_format()  # of a newer tool: not for `adopt` to settle
                database.check_tables(session.ledger.connection, place.path)
        return doubts(session)

    def _check_kind(self, session: Session) -> None:
        state = session.host.private
        lost = vault.key(state) is None
        rows = session.connection is not None and session.ledger.installed() and session.ledger.head().seq
        if self._rekey and not lost:
            place = state / "key"
            raise RefusedError(
                f"{place.path}: the key is there: only one that is lost is replaced",
                hint="vvmigrate doctor; for a database that is not the right one: vvmigrate adopt --reconcile",
                path=place.path,
            )
        if lost and rows and not self._rekey:
            vault.require_key(state, session.ledger)

    def _go_on(self, session: Session, bound: Binding, waits: Journal | None) -> None:
        place, state = session.host.place(DATABASE), session.host.private
        if session.connection is None:
            make_database(session, bound)
            session.reconnect()
            session.key = vault.key(state)
        with database.translated(place):
            if not session.ledger.installed():
                database.install_tables(session.ledger.connection, bound.ledger_id)
            proved = _is_proved(session, bound)
            if waits is not None:
                _undo(session, waits)
            if vault.key(state) is None:
                if aside := vault.set_aside_key(state):
                    self.found.append(f"what stood in place of the key was set aside: {aside}")
                session.key = vault.next_key(state) if session.ledger.head().seq else vault.make_key(state)
        session.note_decision()
        title = REKEYED if self._rekey else RECONCILED
        recovery.transaction(
            session,
            lambda: _write(session, bound, _row(session, self.found, epoch=not proved, title=title), waits),
            happened=lambda: session.ledger.step(session.run["run_id"]) is not None,
        )
        if vault.key(state) is None:
            vault.settle_key(state)
        intention.drop(session.host)
        journal.remove(state)
        stage.sweep(session.host)


def _promised(session: Session) -> list[str]:
    """That a run was to be taken back, which cannot be done by a history that is in doubt."""
    try:
        found = intention.read(session.host)
    except StateError as error:
        return [f"{error.message}; that ends with this"]
    if found is None:
        return []
    what = "waits for a confirm" if found.state == intention.WAITING else "is to be taken back"
    return [f"{found.who} {what}; that ends with this, and what it did stays"]


def _consequence(session: Session, bound: Binding) -> str:
    """What going on means, for the person who decides."""
    if session.connection is None or not session.ledger.installed():
        return "History and rows of the database that was here are not there: files are taken over where they hold"
    if _is_proved(session, bound):
        return "What was done after the last row is taken over where it holds, and cannot be taken back"
    return "The history so far is kept but proves nothing any more: what was done until now cannot be taken back"


def _check_release(session: Session) -> None:
    """The release must know the revision that the database claims: an epoch is begun from what it says.

    Raises:
        StateError: it does not.
    """
    home, known = session.host.tree(HOME), session.connection is not None and session.ledger.installed()
    claimed = _version(session) if known else ""
    if home is not None and claimed and claimed not in {source.revision for source in read_package(home / "")}:
        raise StateError(
            f"the database says revision {claimed}, which this release does not have",
            hint="install the release that it belongs to, or put the row of vv_version back; then the same command",
        )


def _is_proved(session: Session, bound: Binding) -> bool:
    """Whether the rows that are there are this host's own, as they were written: it only lacks the last of them."""
    if session.key is None:
        return session.ledger.head().seq == 0
    with suppress(StateError, IntegrityError), database.translated(session.host.place(DATABASE)):
        check_identity(session, bound)
        session.ledger.check_chain()
        session.ledger.check_version()
        return True
    return False


def _undo(session: Session, waits: Journal) -> None:
    """A step that this database does not know did not happen: what it had made visible goes back, by rename."""
    row = session.ledger.step(waits.step_id)
    if row is not None and row["result"] in COMMITTED:
        stage.settle_images(session.host, waits.step_id)
        return
    for effect in reversed(waits.effects):
        undo(effect, session.host, session.mergers)
    recovery.fsync_all(session.host, waits.effects)


def _row(session: Session, found: Sequence[str], *, epoch: bool, title: str) -> dict[str, Any]:
    """What the history tells of it: who, when, why, and where the old chain ended."""
    ledger = session.ledger
    notes: dict[str, Any] = {"found": list(found), "anchor": None}
    with suppress(StateError):  # one that is lost is among what was found
        notes["anchor"] = vault.anchor(session.host.private)._asdict()
    row = recovery.decision(session.run, title, notes)
    claimed = _version(session)
    row |= {"result": "adopted", "error": "; ".join(found), "version_before": claimed, "version_after": claimed}
    if epoch:
        head = ledger.head()
        notes["epoch"] = {"rows": head.seq, "sha256": ledger.seal(ledger.next_seq()), "claimed": claimed}
        row |= {"direction": EPOCH_ROW, "version_after": "", "notes": json.dumps(notes, sort_keys=True)}
    return row


def _version(session: Session) -> str:
    """What the version row claims; nothing where there are several."""
    with suppress(StateError):
        return session.ledger.version()
    return ""


def _write(session: Session, bound: Binding, row: dict[str, Any], waits: Journal | None) -> None:
    """Inside the transaction."""
    ledger, epoch = session.ledger, row["direction"] == EPOCH_ROW
    held = ledger.holds().values() if epoch else ()
    ended = {"finished_at": now(), "digest_after": row["digest_before"], "duration_s": None}
    ledger.append_step(row | ended, ())
    if epoch:
        ledger.connection.execute("DELETE FROM vv_ledger")
        ledger.connection.execute("INSERT INTO vv_ledger VALUES (?, ?)", (bound.ledger_id, FORMAT))
        ledger.connection.execute(f"DELETE FROM {VERSION_TABLE}")  # noqa: S608 - our own name
    for hold in held:  # what was taken back does not return because a key was lost
        names = ("revision", "state", "reason", "script_sha256", "user", "at")
        ledger.append("vv_hold", {name: plain(hold[name]) for name in names} | {"run_id": row["run_id"]})
    at = {"version_before": row["version_after"], "version_after": row["version_after"]}
    with suppress(StateError):  # one that cannot be understood ends without a row of its own
        if (promise := intention.read(session.host)) is not None:
            said = recovery.decision(session.run, f"kept as it is: {promise.who}", {}) | at | ended
            ledger.append_step(said | {"step_id": promise.ended_by, "result": "adopted", "error": row["title"]}, ())
    if waits is not None and ledger.step(waits.step_id) is None:
        error = "interrupted: the process ended, and the database is not the one of that moment"
        step = {"notes": "{}", **waits.step, **at, **ended, "result": "interrupted", "error": error}
        ledger.append_step(step | {"digest_after": step["digest_before"]}, ())
