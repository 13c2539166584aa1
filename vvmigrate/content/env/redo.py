"""A merge that was taken back, taken up again, by key: in the file as it is now.

The keys that went come in again where they stood, with the lines that went with them; one that is there again stays as
it is. A name and a comment that the merge had made are made again, whatever the value is now; a value that it had set
is set again if it is still the one from before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vvmigrate.content.env.lines import BINDING, COMMENT
from vvmigrate.content.env.trace import Trace, trace, with_token_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vvmigrate.content.env.document import Document
    from vvmigrate.content.env.lines import Line


def redo(
    document: Document, *, reverted: Document, merged: Document, back: Mapping[str, str] | None
) -> Document | None:
    """Return the document with the merge in it again.

    Args:
        document: the file as it is now.
        reverted: the file after the merge was taken back.
        merged: the file before that.
        back: the names of the merge and those from before, by which the way back renamed.

    Returns:
        None where the two do not come from each other.
    """
    names = {old: new for new, old in (back or {}).items()}
    beside: tuple[str, ...] = ()
    steps = trace(reverted, merged, names)
    if steps == Trace():
        beside = tuple(_given_beside(reverted, merged, names))
        steps = trace(reverted.without(*beside), merged, names)
        if steps == Trace():
            return None
    untouched = [key for key in beside if document.values_of(key) == reverted.values_of(key)]
    document = _with_values(document.without(*untouched), reverted, merged, steps)
    document = document.renamed({old: new for new, (_, old) in steps.renamed.items() if new not in document.positions})
    document = document.commented(*(str(line.key) for line, _ in steps.commented))
    return _with_added(document, merged, steps)


def _given_beside(reverted: Document, merged: Document, names: Mapping[str, str]) -> Iterator[str]:
    """The old names that were given back beside new ones, which stayed."""
    for old, new in names.items():
        if old in reverted.positions and old not in merged.positions and new in reverted.positions:
            yield old


def _with_values(document: Document, reverted: Document, merged: Document, steps: Trace) -> Document:
    """Set again what the merge had set, each under the name that it has now."""
    lines = list(document.lines)
    for new, old in [*((key, key) for key in steps.replaced), *((new, old) for new, (_, old) in steps.renamed.items())]:
        if new in document.positions and new != old:
            continue
        if old in document.positions and document.values_of(old) == reverted.values_of(old):
            pairs = zip(merged.positions[new], reverted.positions[old], document.positions[old], strict=False)
            for was, became, now in pairs:
                lines[now] = with_token_of(merged.lines[was], reverted.lines[became], lines[now])
    return document.with_lines(lines)


def _with_added(document: Document, merged: Document, steps: Trace) -> Document:
    """Put in again what had come in, each key after what stood above it."""
    groups: dict[int, list[Line]] = {}
    for key, (above, below) in steps.added.items():
        if key not in document.positions:
            places = merged.positions[key]
            place = _place_below(document, merged.lines[: places[0] - len(above)])
            groups.setdefault(place, []).extend((*above, *(merged.lines[index] for index in places), *below))
    return document.inserted(groups)


def _place_below(document: Document, above: Sequence[Line]) -> int:
    """Return the index behind the nearest of these lines that is still there, with whatever value."""
    places: dict[str, list[int]] = {}
    for index, line in enumerate(document.lines):
        if line.kind in {BINDING, COMMENT}:
            places.setdefault(line.key or line.body, []).append(index)
    names = [line.key or line.body for line in above]
    for at in range(len(names), 0, -1):
        if found := places.get(names[at - 1]):
            which = names[:at].count(names[at - 1])  # where it is there more than once: the same one
            return found[min(which, len(found)) - 1] + 1
    return 0
