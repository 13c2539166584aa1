"""Showing `.env` values to people: a value is shown only where the template declares it harmless."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from vvmigrate.content.env.document import Document
from vvmigrate.content.env.lines import BINDING, BLANK, INVALID, LINE_END
from vvmigrate.content.env.readers import NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vvmigrate.content.env.lines import Line
    from vvmigrate.content.env.template import Template

_COMMENTED_OUT = re.compile(r"\s*#[\s#]*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*[=:](.*)", re.DOTALL)


def describe(value: str | None, sensitive: bool) -> str:  # noqa: FBT001 - reads as a sentence: describe(value, key.sensitive)
    """Return a value as it may be shown: itself, or only how long it is."""
    if value is None:
        return "not set"
    if not value:
        return "empty"
    if not sensitive and LINE_END.search(value) is None:  # one that spans lines may have taken in those below it
        return value
    return f"set, {len(value)} character{'' if len(value) == 1 else 's'}"


def is_name(key: str, value: str | None, template: Template) -> bool:
    """Tell whether a name may be shown: a line of a key that was pasted without quotes is read as a name, too.

    Such a line has no value but the padding of base64.
    """
    return template.get(key) is not None or (NAME.fullmatch(key) is not None and bool((value or "").strip("=")))


def masked_diff(before: bytes | None, after: bytes | None, template: Template, *, name: str = ".env") -> str:
    """Return the unified diff of two versions of a `.env` file, in which no secret stands.

    Shown are the names of settings, the values that the template declares harmless, and comments that stand in the
    template. Of any other comment, value or line only its length is shown: a comment may hold an old secret.

    Args:
        before: the file's bytes, None when there is none.
        after: the same, later.
        template: says which values are harmless.
        name: the file's name in the diff's head.

    Raises:
        EnvFileError: one of them is no `.env` file.
    """
    old = Document.parse(before or b"", name=name)
    new = Document.parse(after or b"", name=name)
    # Two secrets of the same length look the same when masked; that one took the other's place must show.
    changed = {key for key in new.positions if key in old.positions and old.values_of(key) != new.values_of(key)}
    known = {line.body for line in template.document.lines}
    diff = difflib.unified_diff(
        list(_masked(old, template, known, frozenset())),
        list(_masked(new, template, known, changed)),
        fromfile="/dev/null" if before is None else name,
        tofile="/dev/null" if after is None else name,
        lineterm="",
    )
    return "".join(f"{line}\n" for line in diff)


def _masked(
    document: Document, template: Template, known: set[str], changed: set[str] | frozenset[str]
) -> Iterator[str]:
    for line in document.lines:
        yield _printable(_masked_line(line, template, known, changed))


def _masked_line(line: Line, template: Template, known: set[str], changed: set[str] | frozenset[str]) -> str:
    if line.kind == BLANK:
        return ""
    if line.kind == INVALID or (line.key is not None and not is_name(line.key, line.value, template)):
        return f"({_length(line)} that {'cannot be read' if line.kind == INVALID else 'are no setting'})"
    if line.kind == BINDING and line.key is not None:
        if not template.is_sensitive(line.key) and LINE_END.search(line.body) is None:
            shown, tail = line.body[: line.token[1]], line.body[line.token[1] :]
            return f"{shown} # ({len(tail)} characters)" if "#" in tail else line.body
        note = ", another one than before" if line.key in changed else ""
        return f"{line.text[: line.key_span[1]]}=({describe(line.value, sensitive=True)}{note})"
    if line.body in known:
        return line.body
    commented = _COMMENTED_OUT.match(line.text)
    named = commented is not None and is_name(commented[1], commented[2].strip(), template)
    return f"# {commented[1]}=({_length(line)})" if commented and named else f"# ({_length(line)})"


def _length(line: Line) -> str:
    return f"{len(line.body)} characters"


def _printable(text: str) -> str:
    # Bytes that are no text, and control characters that a terminal would obey, are shown as escapes.
    return "".join(
        char if char.isprintable() else char.encode("unicode-escape", "surrogatepass").decode() for char in text
    )
