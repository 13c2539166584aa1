"""What an author has looked at and accepts: `# vvmigrate: allow KIND: reason`, at the line or alone above it."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vvmigrate.authoring.findings import Finding
from vvmigrate.authoring.release import Draft, Release

ALLOWABLE = frozenset({"inverse", "outside", "import", "slow", "reads-rows"})
"""Kinds that may be right in a single case; the others are never."""

_COMMENT = re.compile(r"#\s*vvmigrate:\s*allow\s+([\w-]+)\s*:\s*(\S.*)")
_LIKE_ONE = re.compile(r"#\s*vvmigrate\s*:")


@dataclass(frozen=True)
class Allowance:
    """One such comment.

    Attributes:
        comment_line: where it stands.
        line: the line that it is about.
    """

    comment_line: int
    line: int
    kind: str
    reason: str


def sort_out(release: Release, found: Iterable[Finding]) -> tuple[list[Finding], list[tuple[Finding, str]]]:
    """Tell what is wrong from what an author accepts.

    Returns:
        The findings that remain, those about comments that allow nothing among them; and those that are
        allowed, each with the reason.
    """
    rest = set(found)
    allowed: list[tuple[Finding, str]] = []
    for draft in release.drafts:
        for comment in _allowances(draft):
            mine = {one for one in rest if (one.path, one.line, one.kind) == (draft.name, comment.line, comment.kind)}
            if comment.kind in ALLOWABLE and mine:
                allowed += [(one, comment.reason) for one in sorted(mine)]
                rest -= mine
            else:
                rest.add(_of_no_use(draft, comment))
    return sorted(rest), allowed


def _of_no_use(draft: Draft, comment: Allowance) -> Finding:
    kinds = ", ".join(sorted(ALLOWABLE))
    reason = f"allows {comment.kind!r}, of which there is nothing here"
    if not comment.reason:
        reason = "expected: # vvmigrate: allow KIND: reason"
    elif comment.kind not in ALLOWABLE:
        reason = f"allows {comment.kind!r}, which cannot be allowed; only {kinds} can"
    return draft.finding(comment.comment_line, "allow", reason, "mend or remove the comment")


def _allowances(draft: Draft) -> Iterator[Allowance]:
    text = draft.source.data.decode(tokenize.detect_encoding(io.BytesIO(draft.source.data).readline)[0])
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or not _LIKE_ONE.match(token.string):
            continue
        line = token.start[0]
        match = _COMMENT.fullmatch(token.string.rstrip())
        alone = not token.line[: token.start[1]].strip()
        yield Allowance(line, line + 1 if alone else line, match[1] if match else "", match[2] if match else "")
