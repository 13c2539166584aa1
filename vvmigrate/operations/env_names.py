"""What a revision says of the template's keys: a pin for each, and the names that they had before."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable

from vvmigrate.content.env.document import Document
from vvmigrate.content.env.template import Key, Template

DIGITS = 8


def pin(key: Key) -> str:
    """What a template says of a key, as `DEFAULT-DEMANDS`: a short hash of each.

    Words for people are left out: a better description asks nothing of any host. The default is hashed although a
    template is public: whoever puts a secret into one should not find it in a revision too.
    """
    options = sorted(key.type.options.items())
    generated = key.generate.bytes if key.generate else None
    demands = [key.required, key.sensitive, key.type.name, list(key.type.arguments), options, generated]
    return f"{_short(key.default)}-{_short(json.dumps(demands))}"


def default_of(key_pin: str) -> str:
    """The part of a pin that stands for the default."""
    return key_pin.partition("-")[0]


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:DIGITS]


def with_former_names(template: Template, theirs: bytes | None, renames: Iterable[tuple[str, str]]) -> Template:
    """The template, each key with the former name by which a file knows it.

    Args:
        theirs: the file; None where there is none.
        renames: (old, new) names, in the order in which they happened; several may lead to the same key.

    Raises:
        EnvFileError: the file cannot be read as such.
    """
    before = list(renames)
    if theirs is None or not before:
        return template
    known = Document.parse(theirs, name=".env").positions
    keys = []
    for key in template.keys:
        former = next((name for name in _former(key, before) if name in known), key.was)
        keys.append(dataclasses.replace(key, was=former))
    return dataclasses.replace(template, keys=tuple(keys))


def _former(key: Key, renames: list[tuple[str, str]]) -> list[str]:
    """The names that a key had, the last one first."""
    names = [key.name, *filter(None, [key.was])]
    for old, new in reversed(renames):
        if new in names:
            names.append(old)
    return names[1:]
