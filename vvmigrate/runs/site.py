"""A site: an open host, and the line of its revisions as values. All that a look needs; nothing is run for it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vvmigrate.content.env.template import TEMPLATE, Template
from vvmigrate.engine import vault
from vvmigrate.engine.acts import Act, from_bytes
from vvmigrate.engine.host import HOME, ROOT
from vvmigrate.engine.ledger import Ledger
from vvmigrate.engine.lineage import Lineage
from vvmigrate.engine.roots import check_trust, what_runs
from vvmigrate.engine.session import Session
from vvmigrate.engine.sources import Recorded, Source, read_package, said_by
from vvmigrate.errors import IntegrityError, RefusedError, RevisionError, StateError
from vvmigrate.files import Tree
from vvmigrate.runs.opening import Call
from vvmigrate.runs.trust import check_signed, with_signed_files
from vvmigrate.settings import Settings

if TYPE_CHECKING:
    from vvmigrate.engine.scripts import Scripts


@dataclass
class Site:
    """An open host, its settings, and the line of its revisions.

    Attributes:
        unseen: what this user may not look at, and why; filled while they look.
    """

    call: Call
    settings: Settings
    session: Session
    line: Lineage
    sources: Sources = field(kw_only=True)
    unseen: dict[str, str] = field(default_factory=dict, kw_only=True)

    @contextmanager
    def unseeing(self) -> Iterator[None]:
        """Around a look at one path: who may not look there goes on without it, and it is noted.

        Raises:
            PermissionError: the host is open for writing; nothing is written by what is not seen.
        """
        try:
            yield
        except PermissionError as error:
            self.cannot_see(error)

    def cannot_see(self, error: PermissionError) -> None:
        """The same, where each of very many paths is looked at."""
        if self.session.host.writing:
            raise error
        path = str(error.filename)
        while not os.access(above := os.path.dirname(path), os.R_OK | os.X_OK) and above != path:
            path = above  # it is said once, and not of each path below
        self.unseen.setdefault(path, os.strerror(error.errno or 0))

    def run_revisions(self) -> Scripts:
        """What the revisions say by themselves: their code is run for it.

        Raises:
            RevisionError: they cannot be used.
        """
        return self.sources.scripts()

    @property
    def ledger(self) -> Ledger | None:
        """The ledger, or None on a host that has no database yet."""
        return self.session.ledger if self.session.connection is not None else None

    @property
    def version(self) -> str:
        """The revision that the host is at; empty at base."""
        return self.ledger.version() if self.ledger is not None else ""

    def check_version(self) -> None:
        """The revision that the host is at must be one of the line.

        Raises:
            StateError: nobody knows it.
        """
        if (version := self.version) and version not in self.line.sources:
            raise StateError(
                f"this host is at revision {version}, which neither the release nor the host knows",
                hint="install the release that it belongs to",
            )

    def template(self) -> Template:
        """The release's template of `.env`.

        Raises:
            EnvFileError: it is missing, or no such file.
            IntegrityError: it is not the one that was signed.
        """
        place = _home(self.settings, self.session) / TEMPLATE
        return Template.read(place, lambda place, data: check_signed(self.settings, place, data))


@dataclass(frozen=True)
class Sources:
    """The revisions that count on this host, checked, and not run yet.

    Attributes:
        settings: with what was signed.
        package: the installed release's, by revision.
        recorded: those of what the host has applied, by revision; they take the package's place.
    """

    settings: Settings
    package: Mapping[str, Source]
    recorded: Mapping[str, Source]

    def scripts(self) -> Scripts:
        """Run them all: their functions are there afterwards.

        Raises:
            RevisionError: they cannot be used.
        """
        # Not at the top: who only looks need not wait for Alembic. What revisions ask of the host is known to Alembic
        # once the operations are imported, and a revision may ask while it is imported.
        from vvmigrate import operations  # noqa: F401
        from vvmigrate.engine.scripts import Scripts

        scripts = Scripts(str(self.settings.home / "migrations"), self.package.values(), self.recorded)
        scripts.check_line()
        return scripts


def open_site(call: Call, settings: Settings, session: Session) -> Site:
    """Read the revisions' line from their text; only where one of them is unusual are they run.

    Raises:
        VvmigrateError: see `read_sources` and `check_version`.
    """
    sources = read_sources(call, settings, session)
    line = Lineage.read(sources.package, sources.recorded) or sources.scripts().line
    site = Site(call, sources.settings, session, line, sources=sources)
    site.check_version()
    return site


def read_sources(call: Call, settings: Settings, session: Session) -> Sources:
    """Read the revisions: the release's, and the recorded sources of what the host has applied.

    For a look, too, root takes them only from where nobody else could have written: an unusual one is run.

    Raises:
        IntegrityError: they are not as a trusted author has signed them.
        RefusedError: others than root may have written them, and the caller is root.
        RevisionError: the release's revisions cannot be used.
    """
    home = _home(settings, session)
    check_trust(settings.home, what_runs(settings.home))
    settings = with_signed_files(settings)
    package = read_package(home / "", lambda place, data: check_signed(settings, place, data))
    known = {source.revision: source for source in package}
    return Sources(settings, known, _recorded(call, session, known))


def _home(settings: Settings, session: Session) -> Tree:
    tree = session.host.tree(HOME)
    if tree is None:
        raise RefusedError(f"{settings.home}: does not exist")
    return tree


def _recorded(call: Call, session: Session, known: Mapping[str, Source]) -> dict[str, Source]:
    recorded: dict[str, Source] = {}
    state = session.host.state(ROOT)
    for step in session.ledger.applied() if session.connection is not None else []:
        if state is None:
            break  # a reader who may not see the recorded sources takes the release's
        try:
            data = vault.source(state, step["script_sha256"])
        except IntegrityError as error:
            if step["revision"] not in known:
                raise
            call.listener("warning", text=f"{error.message}; the release's file is used")
            continue
        recorded[step["revision"]] = _as_applied(state, step["first"], data)
        mine = known.get(step["revision"])
        if mine is not None and mine.sha256 != step["script_sha256"]:
            call.listener("warning", text=f"{mine.path}: was edited after it was applied on this host")
    return recorded


def _as_applied(state: Tree, row: Mapping[str, Any], data: bytes) -> Recorded:
    """An applied revision, from the row of the step that applied it."""
    revision, notes = row["revision"], json.loads(row["notes"])

    def way_back() -> list[Act]:
        if not (digest := notes.get("way_back")):
            raise RevisionError(
                "its way back was not recorded when it was applied",
                hint="install the release that it belongs to, then: vvmigrate downgrade "
                + (row["version_before"] or "base"),
            )
        return from_bytes(vault.source(state, digest, vault.WAY_BACK))

    path, release = f"recorded source of {revision}", notes.get("release", "")
    said = said_by(data, path, revision)
    return Recorded(revision, path, data, row["title"], row["version_before"], release, way_back, said=said)
