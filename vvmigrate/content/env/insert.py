"""Where a template's keys come into a file that lacks them, and as which lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vvmigrate.content.env.lines import BLANK, COMMENT, Line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vvmigrate.content.env.document import Document
    from vvmigrate.content.env.template import Key, Template

Blocks = dict[str, tuple[Line, ...]]


def make_blocks(keys: Sequence[Key], values: Mapping[str, str], *, newline: str, name: str) -> Blocks:
    """Return for each key its comments and its own line, with the file's line end and the value that is given.

    Raises:
        EnvFileError: a value cannot be written so that all programs read it alike.
    """
    blocks: Blocks = {}
    for key in keys:
        *comments, line = (line.with_newline(newline) for line in key.lines)
        value = values.get(key.name)
        blocks[key.name] = (*comments, line if value is None else line.with_value(value, name=name))
    return blocks


def insert_blocks(document: Document, template: Template, blocks: Blocks) -> Document:
    """Return the document with blocks in it: each after the template key before it that is there.

    A block before which there is none stands above the first template key that is there, with that key's comments; in a
    file without any it stands at the end.
    """
    groups: dict[int, list[Line]] = {}
    place = _top(document, template)
    for key in template.keys:
        if key.name in document.positions:
            place = document.positions[key.name][-1] + 1
        elif key.name in blocks:
            group = groups.setdefault(place, [])
            above = group[-1] if group else (document.lines[place - 1] if place else None)
            if above is not None and _apart(above, key):
                group.append(Line(document.newline, BLANK))
            group.extend(blocks[key.name])
    for place, group in groups.items():
        below = document.lines[place] if place < len(document.lines) else None
        spaced = place == 0 or group[0].kind == BLANK
        if below is not None and below.kind != BLANK and spaced:
            group.append(Line(document.newline, BLANK))
    return document.inserted(groups)


def _apart(above: Line, key: Key) -> bool:
    # For systemd a line that ends in a backslash takes the next one with it: let that be a blank one.
    return above.kind != BLANK and (key.spaced or above.body.endswith("\\"))


def _top(document: Document, template: Template) -> int:
    first = next((document.positions[key.name][0] for key in template.keys if key.name in document.positions), None)
    if first is None:
        return len(document.lines)
    while first > 0 and document.lines[first - 1].kind == COMMENT:
        first -= 1
    return first
