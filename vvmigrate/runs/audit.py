"""Whether the history tells the truth: its rows among themselves, and what lies where their owner may not write."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from vvmigrate.engine import vault
from vvmigrate.engine.effects import KEPT_TEXT
from vvmigrate.engine.host import HOME, ROOT
from vvmigrate.engine.rows import notes_of, plain
from vvmigrate.engine.session import Session, check_identity
from vvmigrate.engine.sources import read_source, revision_files
from vvmigrate.errors import IntegrityError, RevisionError, StateError
from vvmigrate.files import Tree

WHAT = {vault.SOURCE: "stored source", vault.WAY_BACK: "recorded way back", vault.TEXT: "kept template of .env"}
"""What ran, its way back, and the templates that `.env` was merged with, as they were stored then."""


PUT_BACK = "vvmigrate repair; if that does not mend it, install the release again, then: vvmigrate repair"
"""What helps where something beside the database does not hold."""


class Stored(NamedTuple):
    """A stored file that is not as it was.

    Attributes:
        kind: the ending of its name, a key of `WHAT`.
        digest: the SHA-256 that it should have, in hex.
        problem: what is wrong, for people.
    """

    revision: str
    kind: str
    digest: str
    problem: str


def audit(session: Session) -> tuple[list[str], list[str]]:
    """What does not hold, a sentence each; nothing of the release is run for it.

    Args:
        session: with a database.

    Returns:
        Of the rows, and of what lies beside the database.

    Raises:
        StateError: this user may not read the key, so that nothing can be told.
    """
    state = session.host.state(ROOT)
    found = list(_of_the_ledger(session))
    if state is None or session.key is not None:
        found += session.ledger.problems()
    else:
        found += _of_the_key(session, state)
    proved = not found
    if state is not None:
        found += _of_the_end(session, state)
    return found, beyond_rows(session, proved=proved)


def _of_the_ledger(session: Session) -> Iterator[str]:
    """Whose history it is."""
    try:
        if session.bound is not None and session.bound.complete:
            check_identity(session, session.bound)
    except StateError as error:
        yield error.message


def _of_the_key(session: Session, state: Tree) -> Iterator[str]:
    """Without it no row proves anything."""
    try:
        vault.require_key(state, session.ledger)
    except StateError as error:
        yield error.message


def beyond_rows(session: Session, *, proved: bool) -> list[str]:
    """The same of what lies beside the database: what was stored of the revisions that ran, and the release's.

    Args:
        proved: whether the rows are as they were written; of others no effect is read.
    """
    found = damaged(session, proved=proved)
    stored = [f"revision {one.revision}: its {WHAT[one.kind]} is gone or was changed: {one.problem}" for one in found]
    return [*stored, *_of_the_release(session)]


def _of_the_end(session: Session, state: Tree) -> Iterator[str]:
    """A tail that was cut off leaves a chain that holds: the anchor, and the version row, know better."""
    ledger = session.ledger
    try:
        vault.check_anchor(state, ledger, session.database_path)
    except StateError as error:
        yield error.message
    try:
        steps, version = ledger.committed(), ledger.version()
        last = steps[-1]["version_after"] if steps else ""
        if version != last:
            yield f"the version row says {version or 'base'}, the history says {last or 'base'}"
    except StateError as error:  # several version rows
        yield error.message


def damaged(session: Session, *, proved: bool) -> Iterator[Stored]:
    """Of what was stored of the revisions that ran, what is gone or was changed.

    Args:
        proved: see `beyond_rows`.
    """
    state = session.host.state(ROOT)
    seen = {("", kind) for kind in WHAT}
    for step, kind, digest in _stored(session, proved=proved) if state is not None else ():
        if state is None or (digest, kind) in seen:
            continue
        seen.add((digest, kind))
        try:
            vault.source(state, digest, kind)
        except IntegrityError as error:
            yield Stored(str(step["revision"]), kind, digest, error.message)


def _stored(session: Session, *, proved: bool) -> Iterator[tuple[Mapping[str, Any], str, str]]:
    """What every attempt of this epoch names, with its kind and SHA-256; nothing is done because of older ones."""
    ledger = session.ledger
    for step in ledger.rows("vv_step", "seq > ?", (ledger.epoch_seq(),)):
        yield step, vault.SOURCE, plain(step["script_sha256"])
        yield step, vault.WAY_BACK, str(notes_of(step).get("way_back", ""))
    for step, digest in ledger.noted(KEPT_TEXT) if proved else ():
        yield step, vault.TEXT, str(digest)


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
