"""Whether the revisions form one line, numbered without gaps: otherwise `head` has no meaning, or two."""

from __future__ import annotations

from collections.abc import Iterator

from vvmigrate.authoring.findings import Finding
from vvmigrate.authoring.release import Draft, Release, by_number


def findings(release: Release) -> Iterator[Finding]:
    """Numbers that are used twice or skipped, and revisions that do not follow the one before them."""
    first: dict[str, Draft] = {}
    for draft in release.drafts:
        if (other := first.setdefault(draft.revision, draft)) is not draft:
            yield draft.finding(
                draft.line("revision"),
                "number",
                f"number {draft.revision} is taken by {other.file_name}",
                "give the newer of the two the next free number, and let it follow the other",
            )
    line = sorted(first.values(), key=by_number)
    for draft in line:
        yield from _of_number(draft)
    for before, draft in zip([None, *line], line, strict=False):
        yield from _skipped(before, draft)
        yield from _order(before, draft, first, line)


def _of_number(draft: Draft) -> Iterator[Finding]:
    if not draft.revision.isdecimal():
        yield draft.finding(
            draft.line("revision"),
            "number",
            f"expected a number, found {draft.revision!r}",
            "give it the next free number",
        )
    elif not draft.file_name.startswith(draft.revision):
        yield draft.finding(
            draft.line("revision"),
            "number",
            f"the file's name does not begin with its number {draft.revision}",
            f"rename it: git mv {draft.name} {draft.name.rpartition('/')[0]}/{draft.revision}_TITLE.py",
        )


def _skipped(before: Draft | None, draft: Draft) -> Iterator[Finding]:
    last = before.revision if before else "0"
    if last.isdecimal() and draft.revision.isdecimal() and int(draft.revision) > int(last) + 1:
        missing = f"{int(last) + 1:0{len(draft.revision)}d}"
        yield draft.finding(
            draft.line("revision"),
            "number",
            f"number {missing} is skipped: {draft.revision} comes after {last if before else 'nothing'}",
            f"number it {missing}, or add the revision that is missing",
        )


def _order(before: Draft | None, draft: Draft, known: dict[str, Draft], line: list[Draft]) -> Iterator[Finding]:
    """What a revision follows must be the one before it: then there is one line, and one head."""
    wanted, follows = before.revision if before else None, draft.follows
    if follows == wanted:
        return
    rivals = [other.revision for other in line if other is not draft and other.follows == follows]
    if isinstance(follows, str) and follows not in known:
        reason = f"follows {follows!r}, which is not here"
    elif rivals:
        reason = f"two heads: {', '.join(sorted((*rivals, draft.revision)))} all follow {follows or 'nothing'}"
    else:
        reason = f"follows {follows or 'nothing'}, expected {wanted or 'nothing'}: numbers and order disagree"
    yield draft.finding(draft.line("down_revision"), "line", reason, f"down_revision = {wanted!r}")
