"""Whether the history tells the truth: its rows among themselves, and what lies where their owner may not write."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from vvmigrate.engine import vault
from vvmigrate.engine.host import HOME, ROOT
from vvmigrate.engine.session import Session
from vvmigrate.engine.sources import read_source, revision_files
from vvmigrate.errors import IntegrityError, RevisionError, StateError
from vvmigrate.files import Tree


def audit(session: Session) -> list[str]:
    """What does not hold, a sentence each; nothing of the release is run for it.

    Args:
        session: with a database.

    Raises:
        StateError: this user may not read the key, so that nothing can be told.
    """
    found = session.ledger.problems()
    state = session.host.state(ROOT)
    if state is not None:
        found += _of_the_end(session, state)
    return found + beyond_rows(session)


def beyond_rows(session: Session) -> list[str]:
    """The same of what lies beside the database: the sources that ran, and the release's revisions."""
    state = session.host.state(ROOT)
    stored = _of_sources(session, state) if state is not None else ()
    return [*stored, *_of_the_release(session)]


def _of_the_end(session: Session, state: Tree) -> Iterator[str]:
    """A tail that was cut off leaves a chain that holds: the anchor, and the version row, know better."""
    at, ledger = vault.anchor(state), session.ledger
    if not ledger.reaches(at):
        yield (
            f"expected a history of at least {at.seq} rows, found {ledger.head().seq}: rows at its end were removed, "
            "or the database is an older copy"
        )
    with suppress(StateError):  # several version rows: whoever opens the host for writing says so
        steps, version = ledger.committed(), ledger.version()
        last = steps[-1]["version_after"] if steps else ""
        if version != last:
            yield f"the version row says {version or 'base'}, the history says {last or 'base'}"


def _of_sources(session: Session, state: Tree) -> Iterator[str]:
    """What ran, as it was stored then: every attempt's, since the history names it for ever."""
    seen: set[str] = set()
    for step in session.ledger.rows("vv_step"):
        digest = str(step["script_sha256"])
        if digest in seen or not digest:
            continue
        seen.add(digest)
        try:
            vault.source(state, digest)
        except IntegrityError as error:
            yield f"revision {step['revision']}: its stored source is gone or was changed: {error.message}"


def _of_the_release(session: Session) -> Iterator[str]:
    """A revision's file, compared with what ran; what the release does not have any more is no finding."""
    home = session.host.tree(HOME)
    ran = {step["revision"]: step["script_sha256"] for step in session.ledger.applied()}
    if home is None:
        return
    for place in revision_files(home / ""):
        name = os.path.basename(place.name)
        try:
            source = read_source(place)
        except RevisionError as error:
            yield from (
                f"revision {revision}: was changed since it ran here: {error}"
                for revision in ran
                if name.startswith(f"{revision}_")
            )
            continue
        if source.revision in ran and source.sha256 != ran[source.revision]:
            yield (
                f"revision {source.revision}: {place.path} was changed since it ran here: "
                f"expected SHA-256 {ran[source.revision]}, found {source.sha256}"
            )
