"""Bringing a `.env` file up to a release's template, three ways and by key.

    base        what the template said when we merged last
    theirs      the file on the host
    template    what the release says now

| the key | happens |
|---|---|
| in the file | its line stays as it is; another default of the template is reported |
| only in the template | comes in at its place, with its comments |
| deleted by the user | stays deleted, unless it is required |
| the template's `@was` | its line gets the new name and keeps the value |
| in base, gone from the template | its line becomes a comment |
| required and empty, and can be made | gets what was made |
| set explicitly | gets that value: the only way by which a value is replaced |
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from vvmigrate.content.env.document import Document
from vvmigrate.content.env.insert import insert_blocks, make_blocks
from vvmigrate.content.env.lines import read_lines
from vvmigrate.content.env.mask import describe
from vvmigrate.content.env.readers import NAME, quote
from vvmigrate.content.env.template import Template
from vvmigrate.content.env.warnings import changed_defaults, unclear_lines, unknown_keys, wrong_values
from vvmigrate.errors import EnvFileError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vvmigrate.content.env.template import Key


@dataclasses.dataclass(frozen=True)
class Merged:
    """What a merge makes of a file.

    Attributes:
        data: the file's bytes.
        added: keys that came in.
        replaced: keys that had a value and got the one that was set explicitly.
        filled: keys that stood there without a value and got the one that was made.
        renamed: (old, new) names.
        commented: keys that are comments now.
        left_out: keys that the user deleted, and that stay deleted.
        missing_required: required keys that have no value in `data`.
        warnings: sentences for people; no secret is in them.
    """

    data: bytes
    added: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    commented: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    missing_required: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def merge(
    theirs: bytes | None,
    template: Template,
    *,
    name: str = ".env",
    base: bytes | None = None,
    fill: Mapping[str, str] | None = None,
    made: Mapping[str, str] | None = None,
    explicit: Mapping[str, str] | None = None,
    once_recorded: frozenset[str] = frozenset(),
) -> Merged:
    """Merge a template into a file; a pure function, and merging its result again changes nothing.

    Args:
        theirs: the file's bytes, None when there is none: then it is made as a copy of the template.
        template: the release's.
        name: the file's name, for messages.
        base: the template's bytes at our last merge, None when there was none.
        fill: values for keys that are being added; never for keys that are there. One that
            cannot be written so that all programs read it alike is left out, with a warning.
        made: values that nobody has to choose, such as generated secrets: also for required keys that are there without
            a value.
        explicit: values that a person set; keys that are not in the template are added at the end.
        once_recorded: keys that we recorded in this file before.

    Raises:
        EnvFileError: the file cannot be read (a NUL byte, an open quote), or an explicit key or value cannot be written
            so that all programs read it alike.
    """
    given = {**(explicit or {})}
    _check_names(given, name)
    usable, warnings = _usable({**(made or {}), **(fill or {})}, given)
    values = {**usable, **given}
    if theirs is None:
        merged = _created(template, values, name)
    else:
        previous = None if base is None else Template.parse(base, name=f"{name} (template before)")
        merged = _updated(
            Document.parse(theirs, name=name),
            template,
            previous=previous,
            values=values,
            given=given,
            made={name: usable[name] for name in made or () if name in usable},
            once_recorded=once_recorded,
        )
    document = Document.parse(merged.data, name=name)
    return dataclasses.replace(
        merged,
        missing_required=tuple(key.name for key in template.keys if key.required and not document.get(key.name)),
        warnings=(
            *merged.warnings,
            *warnings,
            *unknown_keys((key for key in given if key in merged.added), template),
            *wrong_values(document, template),
        ),
    )


def _check_names(given: Mapping[str, str], name: str) -> None:
    for key in given:
        if NAME.fullmatch(key) is None:
            raise EnvFileError(f"{key!r} is no name for a setting: letters, digits and _", path=name)


def _usable(fill: Mapping[str, str], given: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    usable, warnings = {}, []
    for key, value in fill.items():
        if key in given:
            continue
        try:
            quote(value)
        except EnvFileError as error:
            usable[key] = ""
            warnings.append(f"{key} is left empty: {error.message}")
        else:
            usable[key] = value
    return usable, warnings


def _created(template: Template, values: Mapping[str, str], name: str) -> Merged:
    document = template.document.with_name(name)
    document = document.with_values({key: value for key, value in values.items() if key in document.positions})
    others = {key: value for key, value in values.items() if key not in document.positions}
    return Merged(data=_appended(document, others).to_bytes(), added=(*document.positions, *others))


def _updated(
    document: Document,
    template: Template,
    *,
    previous: Template | None,
    values: Mapping[str, str],
    given: Mapping[str, str],
    made: Mapping[str, str],
    once_recorded: frozenset[str],
) -> Merged:
    warnings = [*unclear_lines(document, template)]
    renamed = _renamed(document, template)
    document = document.renamed(dict(renamed))
    commented = _unused(document, template, previous, given)
    document = document.commented(*commented)
    replaced = tuple(key for key, value in given.items() if key in document.positions and document.get(key) != value)
    empty = [key.name for key in template.keys if key.required and key.name in document.positions]
    filled = tuple(key for key in empty if key in made and key not in given and not document.get(key))
    document = document.with_values({key: values[key] for key in (*replaced, *filled)})
    missing = [key for key in template.keys if key.name not in document.positions and key.name not in document.broken]
    left_out = [key.name for key in missing if _stays_out(key, template, given, once_recorded - {*dict(renamed)})]
    coming = [key for key in missing if key.name not in left_out]
    blocks = make_blocks(coming, values, newline=document.newline, name=document.name)
    others = {key: value for key, value in given.items() if key not in document.positions and key not in blocks}
    document = _appended(insert_blocks(document, template, blocks), others)
    added = (*blocks, *others)
    warnings += [f"{old} is now called {new}; its value is kept" for old, new in renamed]
    warnings += [f"{key} is not used any more; its line is a comment now" for key in commented]
    for key in blocks:
        warnings.append(f"{key} was missing and is added: {describe(document.get(key), template.is_sensitive(key))}")
    warnings += [f"{key} had no value and has one now" for key in filled]
    warnings += changed_defaults(document, template, previous, frozenset(added))
    return Merged(
        document.to_bytes(), added, replaced, filled, renamed, commented, tuple(left_out), (), tuple(warnings)
    )


def _stays_out(key: Key, template: Template, given: Mapping[str, str], once_recorded: frozenset[str]) -> bool:
    """Whether the user deleted the key, under this name or a former one: that one would have been renamed.

    A former name that the template still has was renamed to nothing.

    Args:
        once_recorded: without the names that are renamed now: of two keys with the same former name one takes it over.
    """
    former = {name for name in key.was if name not in template.by_name}
    deleted = not once_recorded.isdisjoint({key.name, *former})
    return deleted and key.name not in given and not key.required


def _renamed(document: Document, template: Template) -> tuple[tuple[str, str], ...]:
    """(old, new) names: of a key's former names the latest that is in the file."""
    found: dict[str, str] = {}
    for key in template.keys:
        if key.name in document.positions:
            continue
        for old in key.was:
            if old in document.positions and old not in template.by_name and old not in found:
                found[old] = key.name
                break
    return tuple(found.items())


def _unused(
    document: Document, template: Template, previous: Template | None, given: Mapping[str, str]
) -> tuple[str, ...]:
    before = () if previous is None else previous.keys
    return tuple(
        key.name
        for key in before
        if key.name in document.positions and key.name not in template.by_name and key.name not in given
    )


def _appended(document: Document, values: Mapping[str, str]) -> Document:
    text = "".join(f"{key}={quote(value)}{document.newline}" for key, value in values.items())
    if text and document.lines and document.lines[-1].body.endswith("\\"):  # for systemd such a line goes on
        text = document.newline + text
    return document.inserted({len(document.lines): tuple(read_lines(text, name=document.name))})
