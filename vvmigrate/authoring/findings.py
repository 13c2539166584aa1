"""What a check of a release found, as a plain value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that an author has to look at.

    Attributes:
        path: the file, relative to the release.
        line: where in it, from 1.
        kind: a word that stays the same, see docs/cli.md; an author who accepts the finding names it.
        reason: what is wrong, and what comes of it.
        remedy: what to do.
    """

    path: str
    line: int
    kind: str
    reason: str
    remedy: str
