"""Taking a merge back, by key: what we did goes, what the user did stays.

The merge is read off the file before and after it. In the file as it is now a key that we added goes, if its value is
still the one that we wrote; so does each comment line that came with it. A value that we replaced, a name, or a line
that we made a comment returns, if it is still as we left it.

A merge that was taken back is taken back in its turn (`redo`).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

from vvmigrate.content.env.document import Document
from vvmigrate.content.env.lines import BINDING, BLANK, COMMENT, INVALID
from vvmigrate.content.env.redo import redo
from vvmigrate.content.env.trace import Trace, trace, with_token_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vvmigrate.content.env.lines import Line

SUPPLIED = "a person supplied its value"
CHANGED = "its value was changed since"


@dataclasses.dataclass(frozen=True)
class Reverted:
    """What taking a merge back makes of a file.

    Attributes:
        data: the file's bytes; None when it should not exist.
        removed: keys that we had added and that are gone now.
        restored: keys whose line is as it was before.
        kept: (key, reason) of what would have gone or returned, but is the user's.
        told: whether it could be told what the merge had done; if not, nothing of the file was changed.
    """

    data: bytes | None
    removed: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    kept: tuple[tuple[str, str], ...] = ()
    told: bool = True


def revert(
    current: bytes | None,
    *,
    before: bytes | None,
    after: bytes,
    keep: frozenset[str] = frozenset(),
    renamed: Mapping[str, str] | None = None,
    name: str = ".env",
) -> Reverted:
    """Take a merge back; a pure function.

    Args:
        current: the file's bytes now, None when it is gone: then it stays gone.
        before: its bytes before our merge, None when we made it.
        after: its bytes after our merge.
        keep: keys whose value a person supplied: they stay.
        renamed: the old and new names that the merge told; None: read off the lines, which finds all but those that
            also got an explicit value.
        name: the file's name, for messages.

    Raises:
        EnvFileError: one of them cannot be read.
    """
    old = Document.parse(before or b"", name=name)
    new = Document.parse(after, name=name)
    steps = trace(old, new, renamed)
    if current is None:
        return Reverted(None)
    if current == after and not keep & steps.touched:
        return Reverted(before, tuple(steps.added), tuple(steps.replaced))
    document = Document.parse(current, name=name)
    told = True
    if steps == Trace() and before != after:
        again = redo(document, reverted=new, merged=old, back=renamed)
        document, told = again or document, again is not None
    work = _Undoing(document, new, steps, keep)
    work.undo()
    document = work.result(old)
    if before is None and not _of_the_user(document, new):
        return Reverted(None, tuple(work.removed), tuple(work.restored), tuple(work.kept))
    return Reverted(document.to_bytes(), tuple(work.removed), tuple(work.restored), tuple(work.kept), told)


def _of_the_user(document: Document, new: Document) -> bool:
    ours = {line.body for line in new.lines if line.kind == COMMENT}
    return any(
        line.kind in {BINDING, INVALID} or (line.kind == COMMENT and line.body not in ours) for line in document.lines
    )


class _Undoing:
    """The work on one file: lines are replaced in place, None for one that goes."""

    def __init__(self, document: Document, new: Document, steps: Trace, keep: frozenset[str]) -> None:
        self.document, self.new, self.steps, self.keep = document, new, steps, keep
        self.lines: list[tuple[Line, ...]] = [(line,) for line in document.lines]
        self.removed: list[str] = []
        self.restored: list[str] = []
        self.kept: list[tuple[str, str]] = []

    def undo(self) -> None:
        for key in self.steps.added:
            if self._is_ours(key):
                self._remove(key)
        for key, pairs in self.steps.replaced.items():
            if self._is_ours(key):
                for index, (was, became) in zip(self.document.positions[key], pairs, strict=False):
                    self.lines[index] = (with_token_of(was, became, self.document.lines[index]),)
                self.restored.append(key)
        for key, (lines, old_key) in self.steps.renamed.items():
            self._rename_back(key, lines, old_key)
        self._uncomment()

    def _is_ours(self, key: str) -> bool:
        """Tell whether a key is there as we left it; note it as kept when it is there otherwise."""
        if key not in self.document.positions:
            return False
        if key in self.keep:
            self.kept.append((key, SUPPLIED))
            return False
        if self.document.values_of(key) != self.new.values_of(key):
            self.kept.append((key, CHANGED))
            return False
        return True

    def _remove(self, key: str) -> None:
        above, below = self.steps.added[key]
        for index in self.document.positions[key]:
            self.lines[index] = ()
            self._sweep(index, -1, Counter(line.body for line in above))
            self._sweep(index, 1, Counter(line.body for line in below))
        self.removed.append(key)

    def _sweep(self, index: int, step: int, ours: Counter[str]) -> None:
        # Only as far as the next assignment: a comment of the same words elsewhere is another one.
        index += step
        while 0 <= index < len(self.lines) and self.document.lines[index].kind in {COMMENT, BLANK}:
            body = self.document.lines[index].body
            if ours[body] > 0 and self.lines[index]:
                ours[body] -= 1
                self.lines[index] = ()
            index += step

    def _rename_back(self, key: str, was: tuple[Line, ...], old_key: str) -> None:
        if old_key in self.document.positions or key not in self.document.positions:
            return
        places = self.document.positions[key]
        if key in self.keep:
            # The older release needs its own name: give it back beside the one that a person wrote.
            self.kept.append((key, SUPPLIED))
            self.lines[places[0]] = (was[-1].with_newline(self.document.newline), *self.lines[places[0]])
        else:
            changed = self.document.values_of(key) != self.new.values_of(key)
            lines = [self.document.lines[index] for index in places]
            if not changed:
                lines = [with_token_of(old, new, line) for old, new, line in self._pairs(key, was, lines)]
            for index, line in zip(places, lines, strict=True):
                self.lines[index] = (line.renamed(old_key),)
            if changed:
                self.kept.append((old_key, CHANGED))
        self.restored.append(old_key)

    def _pairs(self, key: str, was: tuple[Line, ...], lines: list[Line]) -> list[tuple[Line, Line, Line]]:
        became = [self.new.lines[index] for index in self.new.positions[key]]
        return list(zip((line.renamed(key) for line in was), became, lines, strict=False))

    def _uncomment(self) -> None:
        places: dict[str, list[int]] = {}
        for index, line in enumerate(self.document.lines):
            places.setdefault(line.body, []).append(index)
        for line, equal_above in self.steps.commented:
            bodies = [comment.body for comment in line.commented()]
            found = places.get(bodies[0], [])[equal_above : equal_above + 1]
            for index in found:
                here = [comment.body for comment in self.document.lines[index : index + len(bodies)]]
                if here == bodies and line.key not in self.document.positions:
                    self.lines[index : index + len(bodies)] = [(line,), *[()] * (len(bodies) - 1)]
                    self.restored.append(str(line.key))

    def result(self, old: Document) -> Document:
        """Return the document, without the line end that we had to add at the end of the last line before."""
        lines = [line for group in self.lines for line in group]
        ended = not old.lines or old.lines[-1].text != old.lines[-1].body
        if lines and not ended and lines[-1].body == old.lines[-1].body:
            lines[-1] = old.lines[-1]
        else:
            lines[:-1] = [
                line if line.text != line.body else dataclasses.replace(line, text=line.text + self.document.newline)
                for line in lines[:-1]
            ]
        return self.document.with_lines(lines)
