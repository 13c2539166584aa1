"""Trying every revision on an empty database in memory: up, and on a copy down again; the schema must be as before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from alembic.runtime.migration import RevisionStep

from vvmigrate.authoring.findings import Finding
from vvmigrate.authoring.release import Draft, Release, line_of, of_error
from vvmigrate.engine.existing import Described, Schema
from vvmigrate.engine.rehearsal import Rehearsal, Rehearsed
from vvmigrate.engine.scripts import Scripts, load
from vvmigrate.errors import RevisionError


@dataclass(frozen=True)
class RoundTrip:
    """What came of trying one revision.

    Attributes:
        up, down: what its functions asked for; None where they were not called, or failed.
    """

    up: Rehearsed | None = None
    down: Rehearsed | None = None
    findings: tuple[Finding, ...] = ()


def try_all(release: Release, unsound: set[str], risky: set[str]) -> dict[str, RoundTrip]:
    """Try the revisions in order, up to the first one that cannot be.

    Args:
        unsound: names of files that are no part of a line.
        risky: names of files that are not run at all, since they may do more than ask.

    Returns:
        By the file's name; those that were not tried have no `up`.
    """
    drafts = [draft for draft in release.drafts if draft.name not in risky]
    trips = {draft.name: RoundTrip(findings=tuple(_imported(draft))) for draft in drafts}
    spoiled = unsound | risky | {name for name, trip in trips.items() if trip.findings}
    sound = list(takewhile(lambda draft: draft.name not in spoiled, release.drafts))
    scripts = Scripts(f"{release.home.path}migrations", [draft.source for draft in sound], {})
    with Rehearsal() as rehearsal:
        for draft in sound:
            trip = _tried(draft, scripts, rehearsal)
            trips[draft.name] = trip
            if trip.up is None:
                break
    return trips


def _imported(draft: Draft) -> Iterator[Finding]:
    try:
        load(draft.source)
    except RevisionError as error:
        yield of_error(error, draft.name, draft.source.path)


def _tried(draft: Draft, scripts: Scripts, rehearsal: Rehearsal) -> RoundTrip:
    follows = str(draft.follows or "")
    before = rehearsal.schema()
    up = _run(draft, "upgrade", rehearsal, scripts.upgrades(draft.revision, follows)[0])
    if isinstance(up, Finding):
        return RoundTrip(findings=(up,))
    if draft.irreversible:
        return RoundTrip(up)
    with rehearsal.copy() as copy:
        down = _run(draft, "downgrade", copy, scripts.downgrades(follows or "base", draft.revision)[0])
        if isinstance(down, Finding):
            return RoundTrip(up, findings=(down,))
        return RoundTrip(up, down, tuple(_not_as_before(draft, before, copy.schema())))


def _run(draft: Draft, function: str, rehearsal: Rehearsal, step: RevisionStep) -> Rehearsed | Finding:
    """Call one function of a revision; it may do anything, and fail in any way."""
    try:
        return rehearsal.run(step)
    except Exception as error:  # noqa: BLE001 - a revision may raise anything
        line = max(line_of(error, draft.source.path), draft.line(function))
        first = (str(error).strip() or "no message").splitlines()[0]
        remedy = "mend it; an empty database is what a fresh host has"
        if function == "downgrade":
            remedy = 'mend it; if there is no way back: irreversible = "why"'
        return draft.finding(line, "fails", f"{function}() fails on an empty database: {first}", remedy)


def _not_as_before(draft: Draft, before: Schema, after: Schema) -> Iterator[Finding]:
    for what in sorted(before.keys() | after.keys()):
        was, found = before.get(what), after.get(what)
        if was == found:
            continue
        yield draft.finding(
            draft.line("downgrade"),
            "way-back",
            f"after upgrade() and downgrade() {' '.join(what)} is not as before: "
            f"expected {_words(was)}, found {_words(found)}",
            'let downgrade() undo what upgrade() does; if it cannot be undone: irreversible = "why"',
        )


def _words(described: Described | None) -> str:
    return described.sql if described is not None else "nothing"
