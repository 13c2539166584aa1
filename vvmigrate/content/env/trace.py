"""What a merge did, read off the file before and after it.

A merge keeps the lines of the file and their order. It adds lines, and of the lines that were there it changes only a
value's token, a key's name, or makes them comments: so one walk along both finds everything.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

from vvmigrate.content.env.lines import BINDING, COMMENT, INVALID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vvmigrate.content.env.document import Document
    from vvmigrate.content.env.lines import Line

Lines = tuple["Line", ...]


@dataclasses.dataclass
class Trace:
    """What was done, by key.

    Attributes:
        added: keys that came in, with the lines that came in above and below each.
        replaced: keys that have another value, with each of their lines before and after.
        renamed: new names, with the lines under the old one, and the old name.
        commented: the lines that became comments, each with the number of equal comments above it after the merge.
    """

    added: dict[str, tuple[Lines, Lines]] = dataclasses.field(default_factory=dict)
    replaced: dict[str, list[tuple[Line, Line]]] = dataclasses.field(default_factory=dict)
    renamed: dict[str, tuple[Lines, str]] = dataclasses.field(default_factory=dict)
    commented: list[tuple[Line, int]] = dataclasses.field(default_factory=list)

    @property
    def touched(self) -> frozenset[str]:
        """The keys that are not in the file after the merge as they were before."""
        return frozenset({*self.added, *self.replaced, *self.renamed})


def trace(before: Document, after: Document, renamed: Mapping[str, str] | None = None) -> Trace:
    """Return what turned one document into the other.

    Args:
        before: the file before the merge.
        after: the file after it.
        renamed: the old and new names of the keys that the merge renamed; None: those whose lines are otherwise equal.
    """
    names = _renames(before, after) if renamed is None else renamed
    found = Trace()
    pairs: dict[str, list[tuple[Line, Line]]] = {}
    above: list[Line] = []
    newest: str | None = None
    equal_above = _equal_above(after)
    at = 0
    position = 0
    while position < len(after.lines):
        line = after.lines[position]
        old = before.lines[at] if at < len(before.lines) else None
        span = 1 if old is None else _matches(old, after, position, names)
        if old is not None and span:
            if line.kind == BINDING and line.key is not None:
                _note(found, pairs, old, line)
            elif old.kind == BINDING:
                found.commented.append((old, equal_above[position]))
            if line.kind in {BINDING, INVALID}:
                _leave_below(found, newest, above)
                newest, above = None, []
            at, position = at + 1, position + span
            continue
        if line.kind == BINDING and line.key is not None and line.key not in before.positions:
            _leave_below(found, newest, [])
            found.added[line.key] = (tuple(above), ())
            newest, above = line.key, []
        else:
            above.append(line)
        position += 1
    _leave_below(found, newest, above)
    if at < len(before.lines):
        # The second does not come from the first: then nothing in it is ours to take away.
        return Trace()
    found.replaced = {key: lines for key, lines in pairs.items() if any(old.body != new.body for old, new in lines)}
    return found


def _leave_below(found: Trace, newest: str | None, lines: list[Line]) -> None:
    if newest is not None and lines:
        found.added[newest] = (found.added[newest][0], tuple(lines))


def _note(found: Trace, pairs: dict[str, list[tuple[Line, Line]]], old: Line, line: Line) -> None:
    if old.key == line.key:
        pairs.setdefault(str(line.key), []).append((old, line))
    else:
        was, _ = found.renamed.get(str(line.key), ((), ""))
        found.renamed[str(line.key)] = ((*was, old), str(old.key))


def _comments(document: Document) -> Counter[str]:
    return Counter(line.body for line in document.lines if line.kind == COMMENT)


def _equal_above(document: Document) -> list[int]:
    """Return for each line how many lines above it have the same text."""
    seen: Counter[str] = Counter()
    numbers = []
    for line in document.lines:
        numbers.append(seen[line.body])
        seen[line.body] += 1
    return numbers


def _renames(before: Document, after: Document) -> dict[str, str]:
    """Guess which vanished key became which new one: one whose lines differ in nothing but the name."""
    commented = _comments(after) - _comments(before)
    found: dict[str, str] = {}
    new: dict[tuple[str, ...], list[str]] = {}
    for key in after.positions:
        if key not in before.positions:
            new.setdefault(_nameless(after, key), []).append(key)
    for key, places in before.positions.items():
        gone = key not in after.positions and commented[before.lines[places[0]].commented()[0].body] == 0
        if gone and (candidates := new.get(_nameless(before, key))):
            found[key] = candidates.pop(0)
    return found


def _nameless(document: Document, key: str) -> tuple[str, ...]:
    return tuple(document.lines[index].renamed("").body for index in document.positions[key])


def _matches(old: Line, after: Document, position: int, names: Mapping[str, str]) -> int:
    """Return how many lines of `after`, from `position`, are what became of the line `old`: 0 when they are not."""
    line = after.lines[position]
    if old.text in {line.text, line.body}:  # the last line may have got its end from us
        return 1
    if old.kind != BINDING:
        return 0
    if line.kind == BINDING:
        return int(line.key in {old.key, names.get(str(old.key), old.key)})
    comments = [comment.body for comment in old.commented()]
    return (
        len(comments) if comments == [found.body for found in after.lines[position : position + len(comments)]] else 0
    )


def with_token_of(was: Line, became: Line, line: Line) -> Line:
    """Return a line with the value that it had before, byte for byte; what the user did to the rest of it stays.

    Args:
        was: the line before.
        became: what we had made of it.
        line: what stands there now, with the value that we gave it.
    """
    if line.body == became.body:
        ending = line.text[len(line.body) :]
        return dataclasses.replace(was, text=was.body + ending)
    token = was.text[slice(*was.token)]
    text = line.text[: line.token[0]] + token + line.text[line.token[1] :]
    end = line.token[0] + len(token)
    return dataclasses.replace(line, text=text, value=was.value, token=(line.token[0], end))
