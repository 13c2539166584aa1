"""What a person should know about a `.env` file: sentences in which no secret stands."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from vvmigrate.content.env.document import readers_differ
from vvmigrate.content.env.lines import COMMENT, INVALID, LINE_END
from vvmigrate.content.env.mask import describe, is_name
from vvmigrate.content.env.template import TEMPLATE, problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vvmigrate.content.env.document import Document
    from vvmigrate.content.env.template import Template


def unclear_lines(document: Document, template: Template) -> Iterator[str]:
    """Name keys that stand twice, lines that cannot be read, and lines that programs read differently."""
    name = document.name
    for key, lines in document.duplicates().items():
        shown = key if is_name(key, document.get(key), template) else "the same"
        yield f"{name}: {shown} stands on lines {' and '.join(map(str, lines))}; the last one counts"
    for number in unread_lines(document):
        yield f"{name}, line {number}: not KEY=value; python-dotenv skips it and Docker Compose refuses the file"
    for binding in document.bindings:
        if (why := readers_differ(binding)) is not None:
            shown = binding.key if is_name(binding.key, binding.value, template) else "what stands there"
            yield f"{name}, line {binding.line}: {shown} is {why}"
    number = 1
    for line in document.lines:
        if line.kind == COMMENT and line.body.endswith("\\"):
            yield f"{name}, line {number}: a comment that ends in a backslash; systemd before 254 skips the next line"
        number += len(LINE_END.findall(line.text))
    if any("\udc80" <= char <= "\udcff" for line in document.lines if not line.text.isascii() for char in line.text):
        yield f"{name}: holds bytes that are not UTF-8; python-dotenv and systemd refuse such a file"


def unread_lines(document: Document) -> Iterator[int]:
    """Number the lines that cannot be read, from 1."""
    number = 1
    for line in document.lines:
        if line.kind == INVALID:
            yield number
        number += len(LINE_END.findall(line.text))


def changed_defaults(
    document: Document, template: Template, previous: Template | None, added: frozenset[str]
) -> Iterator[str]:
    """Name the keys whose default is another than at the last merge, and that are in the file already."""
    for key in template.keys:
        known = () if previous is None else map(previous.get, (key.name, *key.was))
        before = next(filter(None, known), None)
        if before is None or before.default == key.default or key.name in added or key.name not in document.positions:
            continue
        sensitive = key.sensitive or before.sensitive
        yield (
            f"{key.name}: the release's default is now {describe(key.default, sensitive)}, "
            f"it was {describe(before.default, sensitive)}; yours stays: {describe(document.get(key.name), sensitive)}"
        )


def unknown_keys(keys: Iterable[str], template: Template) -> Iterator[str]:
    """Say of keys that a person gave and the template does not know which one may be meant."""
    for key in keys:
        if template.get(key) is None:
            close = get_close_matches(key, template.by_name, n=1)
            yield f"{key} is added, but {TEMPLATE} has no such key" + (f": is {close[0]} meant?" if close else "")


def wrong_values(document: Document, template: Template) -> Iterator[str]:
    """Say of each key whose value is not of the type that the template demands what it must be."""
    for _, wrong in wrong_keys(document, template):
        yield wrong


def wrong_keys(document: Document, template: Template) -> Iterator[tuple[str, str]]:
    """Name the keys whose value is not of the type that the template demands, each with what it must be."""
    for key in template.keys:
        value = document.get(key.name)
        if value and (wrong := problem(key, value)) is not None:
            yield key.name, wrong
