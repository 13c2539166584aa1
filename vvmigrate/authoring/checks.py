"""All that is looked at in a release. A further check is one function, and one line in `CHECKS`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from vvmigrate.authoring import allowed, fixed, line, outside, rows, statements, way_back
from vvmigrate.authoring.findings import Finding
from vvmigrate.authoring.release import Release, read
from vvmigrate.authoring.trial import Trial, try_all
from vvmigrate.files import Place


@dataclass(frozen=True)
class Checked:
    """What came of looking at a release.

    Attributes:
        revisions: how many there are.
        findings: what is wrong, in the order of files and lines.
        allowed: what an author accepts, with the reason.
    """

    revisions: int
    findings: list[Finding]
    allowed: list[tuple[Finding, str]]


@dataclass(frozen=True)
class Subject:
    """What every check may look at.

    Attributes:
        release: the revisions as they are written.
        trials: what came of trying them, by the file's name.
    """

    release: Release
    trials: dict[str, Trial]


def check(home: Place) -> Checked:
    """Look at everything.

    Args:
        home: the release folder.
    """
    release = read(home)
    wrong = {finding.path for finding in (*release.unreadable, *line.findings(release))}
    subject = Subject(release, try_all(release, wrong))
    found = {finding for look in CHECKS for finding in look(subject)}
    rest, accepted = allowed.sort_out(release, _without_echoes(found))
    return Checked(len(release.drafts) + len(release.unreadable), rest, accepted)


def _without_echoes(found: set[Finding]) -> Iterator[Finding]:
    """What fails at a line that has a finding of its own needs not be said twice."""
    told = {(finding.path, finding.line) for finding in found if finding.kind not in ("fails", "unusable")}
    for finding in found:
        if finding.kind not in ("fails", "unusable") or (finding.path, finding.line) not in told:
            yield finding


def _as_written(subject: Subject) -> Iterator[Finding]:
    yield from subject.release.unreadable
    yield from line.findings(subject.release)
    yield from fixed.findings(subject.release)


def _revisions(subject: Subject) -> Iterator[Finding]:
    for draft in subject.release.drafts:
        trial = subject.trials.get(draft.name, Trial())
        written, down = statements.of(draft, "upgrade"), statements.of(draft, "downgrade")
        up = rows.with_tried(draft, written, trial)
        yield from trial.findings
        yield from outside.findings(draft, written + down)
        yield from way_back.findings(draft, up, down, trial)
        yield from rows.findings(draft, up, trial)


CHECKS: tuple[Callable[[Subject], Iterable[Finding]], ...] = (_as_written, _revisions)
