"""From options to an open host: what every command does first."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vvmigrate import settings as settled
from vvmigrate.engine import adoption
from vvmigrate.engine import binding as bindings
from vvmigrate.engine import session as sessions
from vvmigrate.engine.actor import who_runs
from vvmigrate.engine.host import HOME, ROOT, state_tree
from vvmigrate.engine.roots import check_root, check_trust, what_runs
from vvmigrate.engine.session import Session
from vvmigrate.engine.state import Target
from vvmigrate.errors import RefusedError
from vvmigrate.files import Tree
from vvmigrate.runs.settled import clock_warnings, opening_of
from vvmigrate.runs.trust import with_signed_files
from vvmigrate.settings import DEFAULT_VARIANT, Settings

Listener = Callable[..., None]
"""Told what happens while it happens: `listener(event, **facts)`."""

FROM_ENV_FILE = ("VIDEO_STORAGE_ROOT", "VV_MODEL_VARIANT")
OF_THE_LEDGER = {"VIDEO_STORAGE_ROOT": "storage_root", "VV_DATABASE_TIMEOUT": "database_timeout"}
"""Settings that say where the ledger is, and how it is read: in the environment, and in alembic.ini."""


def silent(_event: str, **_facts: Any) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Call:
    """One call of a command.

    Attributes:
        command: the verb.
        options: of the command line, by name; missing where not given.
        arguments: the command line as it is recorded, secrets masked.
        environ: the process's environment.
        folder: the working directory.
        listener: told what happens.
        ask: asks a person, where one is there.
        opens: what of `session.Opening` is the verb's own.
    """

    command: str
    options: Mapping[str, Any] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    folder: Path = field(default_factory=Path.cwd)
    listener: Listener = silent
    ask: Any = None
    opens: Mapping[str, Any] = field(default_factory=dict)

    def asking_nobody(self) -> Call:
        """The same call without a person to ask."""
        return replace(self, ask=None, options={**self.options, "confirm": None})

    def settings(self) -> Settings:
        """Settle this call's settings.

        Raises:
            RefusedError, UsageError: they cannot be.
        """
        home = settled.find_home(self.options.get("home"), self.environ, self.folder)
        bound, env_file = _look_at_home(home)
        result = settled.resolve(home, self.options, self.environ, env_file)
        result = result._replace(root_named_by=_who_names_the_root(self.options, self.environ, env_file))
        if bound is None and not result.requested_root and result.default_root == Path(settled.DEFAULT_ROOT):
            warning = f"VIDEO_STORAGE_ROOT is not set: taking {settled.DEFAULT_ROOT}"
            self.listener("warning", text=warning)
        return result

    def read(self) -> tuple[Settings, Session]:
        """Open the host for looking."""
        settings = self.settings()
        return settings, sessions.open_reader(opening_of(settings), who_runs(self.command, self.arguments))

    def plan(self) -> tuple[Settings, Session]:
        """Open the host for saying what a command that writes would do: it is refused, and warned of, the same.

        Raises:
            VvmigrateError: see `write`; a lock that another one holds is not asked for.
        """
        settings = self._trusted()
        with _opened(settings), ExitStack() as stack:
            run = who_runs(self.command, self.arguments)
            session = stack.enter_context(sessions.open_planner(opening_of(settings), run))
            if found := adoption.doubts(session):
                raise max(found, key=lambda error: error.exit_code)
            session.warnings = _warnings(settings, session)
            stack.pop_all()
        return settings, session

    def read_ledger(self) -> Session:
        """Open the host for what is recorded alone: no release is needed, and no setting that is of no use for that.

        Raises:
            RefusedError, UsageError: it cannot be told where the ledger is.
        """
        home = settled.find_home(self.options.get("home"), self.environ, self.folder)
        try:
            ini, _ = settled.read_ini(home)
        except RefusedError as error:
            self.listener("warning", text=f"{error.message}; it is done without")
            ini = {}
        ini = {name: ini[name] for name in OF_THE_LEDGER.values() if name in ini}
        environ = {name: self.environ[name] for name in OF_THE_LEDGER if name in self.environ}
        env_file = {} if _bound(home) else _look_at_home(home)[1]
        settings = settled.resolve(home, self.options, environ, env_file, ini)
        return sessions.open_reader(opening_of(settings), who_runs(self.command, self.arguments))

    def has_begun(self) -> bool:
        """Whether anything was ever made for this host: its home is bound, or the root that would be is somebody's.

        Nothing is made for the answer; the release and the root are as much in doubt as for whoever writes.

        Raises:
            VvmigrateError: the release may not be run, or the root may not be one.
        """
        settings = self.settings()
        check_trust(settings.home, what_runs(settings.home))
        with_signed_files(settings)
        bound = _bound(settings.home)
        root = settings.requested_root or settings.default_root
        if settings.apart or (bound is not None and bindings.was_begun(bound)):
            return True  # a shadow is made to be worked on, whatever comes first
        check_root(root, settings.home)
        return bindings.may_be_somebodys(settings.home, root)

    def write(self, mergers: Mapping[str, Any]) -> tuple[Settings, Session]:
        """Open the host for changing it.

        Raises:
            VvmigrateError: see `session.open_writer`, `roots.check_trust`, `trust.with_signed_files`.
        """
        settings = self._trusted()
        run = who_runs(self.command, self.arguments)
        with _opened(settings):
            session = sessions.open_writer(opening_of(settings)._replace(**self.opens), run, mergers)
        for text in _warnings(settings, session):
            self.listener("warning", text=text)
        return settings, session

    def _trusted(self) -> Settings:
        settings = self.settings()
        check_trust(settings.home, what_runs(settings.home))
        return with_signed_files(settings)


@contextmanager
def _opened(settings: Settings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = os.fsdecode(error.filename or settings.home)
        raise RefusedError(f"{where}: the host cannot be opened: {error.strerror}", path=where) from error


def _warnings(settings: Settings, session: Session) -> list[str]:
    return [*settings.warnings, *session.warnings, *clock_warnings(session)]


def variant_of(settings: Settings, session: Session) -> str:
    """The model variant in force."""
    return settings.variant or (session.bound.variant if session.bound else "") or DEFAULT_VARIANT


def root_of(session: Session) -> str:
    """The storage root's absolute path."""
    return session.host.path(Target(ROOT, "")).rstrip("/")


def paths_of(session: Session) -> dict[str, str]:
    """Absolute path of each area, and of the database."""
    host = session.host
    return {
        HOME: host.path(Target(HOME, "")).rstrip("/"),
        ROOT: root_of(session),
        "database": host.path(sessions.DATABASE),
    }


def _who_names_the_root(options: Mapping[str, Any], environ: Mapping[str, str], env_file: Mapping[str, str]) -> str:
    """Who names the storage root that counts, in words; empty where nobody does."""
    name = "VIDEO_STORAGE_ROOT"
    ways = {
        bindings.OPTION: options.get("storage_root"),
        bindings.ENVIRONMENT: environ.get(name),
        bindings.ENV_FILE: env_file.get(name),
    }
    return next((who for who, root in ways.items() if root), "")


def _bound(home: Path) -> bindings.Binding | None:
    with Tree.open(home) as tree, state_tree(tree, make=False) or nullcontext() as state:
        return bindings.read(state)


def _look_at_home(home: Path) -> tuple[bindings.Binding | None, dict[str, str]]:
    """The binding, and the values of `.env` that may be used.

    Raises:
        RefusedError: `.env` names a storage root, but root cannot trust it and nothing is bound.
    """
    bound = _bound(home)
    with Tree.open(home) as tree:
        place = tree / ".env"
        info = place.stat()
        if info is None or not stat.S_ISREG(info.st_mode):
            return bound, {}
        values: dict[str, str] = {}
        from vvmigrate.content.env.document import Document  # not at the top: a host without .env need not pay for it

        with suppress(OSError):  # another user's .env cannot be read, and need not be
            document = Document.parse(place.read(), name=place.path)
            values = {name: document.get(name) or "" for name in FROM_ENV_FILE}
    named = values.get("VIDEO_STORAGE_ROOT")
    theirs = info.st_uid not in (0, os.geteuid()) or info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if named and bound is None and theirs and os.geteuid() == 0:
        raise RefusedError(
            f"{place.path} names storage root {named!r}, but belongs to user {info.st_uid} and nothing is bound yet: "
            "root takes no folder from there",
            hint=f"if it is right: --storage-root {named}",
            path=place.path,
        )
    return bound, values


__all__ = ["HOME", "ROOT", "Call", "Listener", "paths_of", "root_of", "silent", "variant_of"]
