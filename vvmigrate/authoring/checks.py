"""All that is looked at in a release. A further check is one function, and one line in `CHECKS`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from vvmigrate.authoring import allowed, fixed, inputs, line, outside, reversible, rows, statements
from vvmigrate.authoring.checkout import Checkout
from vvmigrate.authoring.findings import Finding
from vvmigrate.authoring.release import Release, read
from vvmigrate.authoring.round_trip import RoundTrip, try_all
from vvmigrate.engine.sources import Check, unchecked
from vvmigrate.errors import RefusedError
from vvmigrate.files import Place


@dataclass(frozen=True)
class Checked:
    """What came of looking at a release.

    Attributes:
        revisions: how many there are.
        not_tried: numbers of those that could not be, or were not dared to be, run on an empty database.
        findings: what is wrong, in the order of files and lines.
        allowed: what an author accepts, with the reason.
    """

    revisions: int
    not_tried: list[str]
    findings: list[Finding]
    allowed: list[tuple[Finding, str]]


@dataclass(frozen=True)
class Subject:
    """What every check may look at.

    Attributes:
        release: the revisions as they are written.
        trips: what came of trying them, by the file's name.
    """

    release: Release
    trips: dict[str, RoundTrip]


def check(home: Place, may_run: Check = unchecked) -> Checked:
    """Look at everything. A revision that goes round its operations is read, but not run.

    Args:
        home: the release folder.
        may_run: sees a revision's bytes before they are used.
    """
    release = read(home, may_run)
    unsound = {finding.path for finding in (*release.unreadable, *line.findings(release))}
    risky = {finding.path for finding in allowed.sort_out(release, _outside(release))[0] if finding.kind in RISKY}
    subject = Subject(release, try_all(release, unsound, risky))
    found = {finding for look in CHECKS for finding in look(subject)}
    rest, accepted = allowed.sort_out(release, _without_echoes(found))
    tried = {name for name, trip in subject.trips.items() if trip.up is not None}
    not_tried = [draft.revision for draft in release.drafts if draft.name not in tried]
    return Checked(len(release.drafts) + len(release.unreadable), not_tried, rest, accepted)


RISKY = frozenset({"outside", "import"})
"""Who has such a finding may write to this machine when it is run."""


REFUSED = frozenset({"drop", "transaction", "ledger"})
"""What the engine's guard refuses when it runs."""


def _without_echoes(found: set[Finding]) -> Iterator[Finding]:
    """What fails at a line that has a finding of its own needs not be said twice."""
    told = {(finding.path, finding.line) for finding in found if finding.kind in REFUSED}
    for finding in found:
        if finding.kind != "fails" or (finding.path, finding.line) not in told:
            yield finding


def _as_written(subject: Subject) -> Iterator[Finding]:
    yield from subject.release.unreadable
    yield from line.findings(subject.release)
    yield from fixed.findings(subject.release)
    yield from _outside(subject.release)


def _outside(release: Release) -> Iterator[Finding]:
    for draft in release.drafts:
        yield from outside.findings(draft, statements.of(draft, "upgrade") + statements.of(draft, "downgrade"))


def _as_tried(subject: Subject) -> Iterator[Finding]:
    for draft in subject.release.drafts:
        trip = subject.trips.get(draft.name, RoundTrip())
        up, down = rows.statements(draft, "upgrade", trip.up), rows.statements(draft, "downgrade", trip.down)
        yield from trip.findings
        yield from reversible.findings(draft, up, down, trip)
        yield from rows.findings(draft, up, trip)


def _inputs(subject: Subject) -> Iterator[Finding]:
    """Inputs that no revision covers. To compare them every revision has to run: where one cannot, it says so."""
    release = subject.release
    if any(draft.name not in subject.trips or subject.trips[draft.name].up is None for draft in release.drafts):
        return
    try:
        with Checkout.open(release.home.tree.path, release.may_run) as checkout:
            for difference in inputs.uncovered(checkout):
                path, line, what = difference.input, difference.line, difference.what
                yield Finding(path, line, "uncovered", what, difference.remedy)
    except RefusedError as error:
        path = (error.path or "alembic.ini").removeprefix(f"{release.home.tree.path}/")
        yield Finding(path, 1, "unusable", error.message, error.hint or "mend it")


CHECKS: tuple[Callable[[Subject], Iterable[Finding]], ...] = (_as_written, _as_tried, _inputs)
