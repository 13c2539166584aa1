"""Opening a host: locks, binding, state directories, database, and the run that everything is recorded under."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Self

from vvmigrate.engine import binding as bindings
from vvmigrate.engine import database, lock, roots, vault
from vvmigrate.engine.contents import DECISION, RUN
from vvmigrate.engine.effects import Merger
from vvmigrate.engine.host import HOME, ROOT, Host, check_usable, closed, is_anothers, make_folders, state_tree
from vvmigrate.engine.known import check_host, check_known
from vvmigrate.engine.ledger import Ledger
from vvmigrate.engine.rows import RECONCILE, Head
from vvmigrate.engine.state import Target
from vvmigrate.errors import RefusedError, StateError, VvmigrateError
from vvmigrate.files import Owner, Tree, prepare_to_write


class Opening(NamedTuple):
    """What is needed to open a host.

    Attributes:
        home: the release folder, absolute, links resolved.
        requested_root: the storage root that somebody named, or None.
        default_root: the one to take where nobody did and nothing is bound.
        named_by: who named the root, in words: see `binding.OPTION` and its neighbours.
        owner: of what is made; None where this user cannot give things away.
        lock_timeout_s: how long to wait for another vvmigrate.
        database_timeout_s: how long to wait for the orchestrator.
        take_over: the storage root is named on purpose, and may be another one than is bound; asks whether another
            home's may become this one's, and raises if not. None for all commands but that one.
        open_database: opens a database of which something is in doubt; None for the way of all other commands.
    """

    home: Path
    requested_root: Path | None
    default_root: Path
    named_by: str = ""
    variant: str = ""
    owner: Owner | None = None
    directory_mode: int = 0o775
    lock_timeout_s: float = 0
    database_timeout_s: float = 10
    take_over: Callable[[str], None] | None = None
    open_database: Callable[[Session, bindings.Binding], None] | None = None


class Session:
    """A host that is open for writing, or for reading.

    `connection` is None for a reader on a host that has no database yet; `unclaimed` is one that it finds there
    already, an older system's. `refusals` is why a command that writes would not open what a reader did.
    """

    def __init__(
        self,
        host: Host,
        opening: Opening,
        run: dict[str, Any],
        ledger_id: str,
        connection: sqlite3.Connection | None,
        key: bytes | None,
        bound: bindings.Binding | None = None,
        mergers: Mapping[str, Merger] | None = None,
    ) -> None:
        """Take over what was opened."""
        self.host = host
        self.opening = opening
        self.run = run
        self.ledger_id = ledger_id
        self.connection = connection
        self.unclaimed: sqlite3.Connection | None = None
        self.key = key
        self.bound = bound
        self.mergers = mergers or {}
        self.warnings: list[str] = []
        self.refusals: list[VvmigrateError] = []
        self._stack = ExitStack()

    @property
    def ledger(self) -> Ledger:
        """The ledger.

        Raises:
            StateError: the host has no database.
        """
        if self.connection is None:
            raise StateError("this host has no database yet", hint="vvmigrate upgrade head")
        return Ledger(self.connection, self.key)

    @property
    def tables(self) -> sqlite3.Connection | None:
        """The database with the orchestrator's tables, be it ours yet or not."""
        return self.connection or self.unclaimed

    @property
    def database_path(self) -> str:
        """Where the database is, or will be."""
        return self.host.path(DATABASE)

    def disconnect(self) -> None:
        """Close the database; once is enough."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def reconnect(self) -> None:
        """Open the database anew: after a failing COMMIT the old connection must not be used."""
        self.disconnect()
        self.connection = database.connect(
            self.host.place(DATABASE), timeout_s=self.opening.database_timeout_s, writing=True
        )

    def note_run(self, step: Mapping[str, Any] | None) -> None:
        """Write the run file: whoever comes after a kill finds what was being done."""
        (self.host.private / RUN).replace(json.dumps({"run": self.run, "step": dict(step) if step else None}).encode())

    def note_decision(self, **move: str) -> None:
        """Say what a person decided before it happens, so that whoever comes after a kill records what became of it.

        Args:
            move: `old` and `new` storage root, where it is another one from now on.
        """
        (self.host.private / DECISION).replace(json.dumps({"run": self.run, "move": move}).encode())

    def __enter__(self) -> Self:
        """Close with the block."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close database, descriptors and locks."""
        self.disconnect()
        self._stack.close()


DATABASE = Target(ROOT, database.NAME)


def open_writer(opening: Opening, run: dict[str, Any], mergers: Mapping[str, Merger]) -> Session:
    """Lock, bind and open a host for changing it; make what every host has before its first step.

    Raises:
        LockedError: another vvmigrate works here.
        RefusedError: the home or the storage root may not be used.
        StateError: what is there is not ours to judge.
    """
    prepare_to_write()
    with ExitStack() as stack:
        home = stack.enter_context(_open_home(opening.home))
        check_usable(home)
        home_state = state_tree(home, make=True)
        if home_state is None:
            raise StateError(f"{home.path}: no state directory")
        stack.callback(home_state.close)
        stack.enter_context(lock.acquire(home_state, _signature(run), opening.lock_timeout_s))
        known = bindings.read(home_state)
        bound, root = _chosen(opening, known)
        if bound is None:
            known = bound = bindings.first(home_state, root, opening.variant)
        if not bound.complete:
            roots.make_root(root, opening.directory_mode, opening.owner)
        host = stack.enter_context(_open_host(opening.home, root, bound))
        stack.enter_context(lock.acquire(host.private, _signature(run), opening.lock_timeout_s))
        for _, state in host.states():
            make_folders(state)
        vault.prepare(host.private, bound.ledger_id)
        session = Session(host, opening, run, bound.ledger_id, None, None, bound, mergers)
        stack.callback(session.disconnect)
        (opening.open_database or open_database)(session, bound)
        session.bound = bindings.settled(bound, opening.variant)
        if known is None or known.storage_root != bound.storage_root:
            session.note_decision(old=known.storage_root if known else "", new=bound.storage_root)
        if session.bound != known:
            bindings.write(home_state, session.bound)
        session._stack = stack.pop_all()  # noqa: SLF001 - handed over whole: nothing closes before the session does
        return session


def _signature(run: Mapping[str, Any]) -> dict[str, Any]:
    return {"pid": os.getpid(), **{name: run[name] for name in ("command", "user", "started_at")}}


def _open_home(path: Path) -> Tree:
    try:
        return Tree.open(path)
    except OSError as error:
        raise RefusedError(f"home {path}: cannot be opened: {error.strerror}", path=str(path)) from error


def _open_host(home: Path, root: Path, bound: bindings.Binding) -> Host:
    with Host.open(home, root, writing=False) as look:  # nothing is built on an empty mount point
        check_host(look, bound)
    return Host.open(home, root, writing=True)


def open_database(session: Session, bound: bindings.Binding) -> None:
    """Open the database, make it on the first day, and see that it is the one that this host had.

    Raises:
        StateError: it is not.
        RefusedError: it cannot be opened.
        IntegrityError: its history does not verify.
    """
    state, place = session.host.private, session.host.place(DATABASE)
    first = not bound.complete and vault.anchor(state) == Head()
    if database.is_missing(place, known=not first):
        make_database(session, bound)
    session.reconnect()
    ledger = session.ledger
    with database.translated(place):
        if warning := database.network_warning(ledger.connection, place):
            session.warnings.append(warning)
        if first and not ledger.installed():
            database.install_tables(ledger.connection, bound.ledger_id)
        check_identity(session, bound)
        database.check_tables(ledger.connection, place.path)
        session.key = vault.check_key(state, ledger)
        vault.check_anchor(state, session.ledger, place.path)
        if session.key is None:  # not before the anchor: a chain that was emptied is no first day
            session.key = vault.make_key(state)
        if session.ledger.head() == Head():
            vault.drop_anchor(state, Head())  # before the first row: from then on a missing one is a lost one
        session.ledger.check_chain()
        session.ledger.check_version()


def make_database(session: Session, bound: bindings.Binding) -> None:
    """Make a database that holds our tables, and nothing else."""
    opening, place = session.opening, session.host.place(DATABASE)
    folder = place.parent
    if folder.stat() is None:
        folder.make_directory(opening.directory_mode, opening.owner)
        folder.parent.fsync()
    with database.translated(place):
        database.create(session.host.private, place, bound.ledger_id, opening.owner)


def check_identity(session: Session, bound: bindings.Binding) -> None:
    """The database must be the one of this home and this storage root.

    Raises:
        StateError: it holds no ledger, or another one.
    """
    ledger, path, hint = session.ledger, session.database_path, "put the right database back; or: " + RECONCILE
    if not ledger.installed():
        raise StateError(f"{path}: holds no ledger, although this host has one", hint=hint, path=path)
    if (found := ledger.ledger_id()) != bound.ledger_id:
        text = f"{path}: expected ledger {bound.ledger_id}, found {found}: another host's database"
        raise StateError(text, hint=hint, path=path)


def open_reader(opening: Opening, run: dict[str, Any]) -> Session:
    """Open a host for looking: no lock, no recovery, nothing made.

    Raises:
        RefusedError: the home does not exist; or this user sees nothing of what was done here.
        StateError: the database is damaged.
    """
    with _open_home(opening.home) as home:
        bound = _bound(home)
    root = Path(bound.storage_root) if bound else (opening.requested_root or opening.default_root)
    session = _to_look(opening, run, bound, root)
    if refusal := bindings.disagreement(bound, opening.requested_root, opening.named_by):
        session.refusals.append(refusal)
    return session


def open_planner(opening: Opening, run: dict[str, Any]) -> Session:
    """Open a host as `open_reader` does, once it has been asked all that `open_writer` asks before it writes.

    Whoever may not work on the host only looks.

    Raises:
        VvmigrateError: see `open_writer`; its lock is not asked for.
    """
    with _open_home(opening.home) as home:
        if is_anothers(home):
            return open_reader(opening, run)
        check_usable(home)
        bound, root = _chosen(opening, _bound(home))
    with Host.open(opening.home, root, writing=False) as look:
        check_host(look, bound)
    return _to_look(opening, run, bound, root)


def _bound(home: Tree) -> bindings.Binding | None:
    with state_tree(home, make=False) or nullcontext() as state:
        return bindings.read(state)


def _chosen(opening: Opening, bound: bindings.Binding | None) -> tuple[bindings.Binding | None, Path]:
    wanted = opening.requested_root, opening.default_root
    return bindings.chosen(bound, *wanted, home=opening.home, named_by=opening.named_by, take_over=opening.take_over)


def _to_look(opening: Opening, run: dict[str, Any], bound: bindings.Binding | None, root: Path) -> Session:
    with ExitStack() as stack:
        host = stack.enter_context(Host.open(opening.home, root, writing=False))
        state = host.state(ROOT)
        session = Session(host, opening, run, bound.ledger_id if bound else "", None, vault.key(state), bound)
        known = bound is not None and bound.complete
        if bound is not None and known:
            check_known(host, bound)
        if host.tree(ROOT) is not None and not database.is_missing(place := host.place(DATABASE), known=known):
            session.connection = database.connect(place, timeout_s=opening.database_timeout_s, writing=False)
            stack.callback(session.connection.close)
            with database.translated(place):
                if not session.ledger.installed():
                    session.unclaimed, session.connection = session.connection, None
        home = host.tree(HOME)
        why = closed(home) if home is not None else None
        if why is not None and (session.connection is None or isinstance(why, StateError)):
            raise why  # nothing would be told of a host on which something may have been done; or a writer stops at it
        session._stack = stack.pop_all()  # noqa: SLF001 - as above
        return session
