"""What a revision says of the template's keys: a pin for each, and the names that they had before."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable

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


def with_former_names(template: Template, renames: Iterable[tuple[str, str]]) -> Template:
    """The template, its keys with the former names that revisions know beside those that it declares itself.

    Args:
        renames: (old, new) names, in the order in which they happened; several may lead to the same key.
    """
    before = list(renames)
    keys = (dataclasses.replace(key, was=_former(key, before)) for key in template.keys)
    return dataclasses.replace(template, keys=tuple(keys)) if before else template


def _former(key: Key, renames: list[tuple[str, str]]) -> tuple[str, ...]:
    """The names that a key had, the latest first."""
    names = [key.name, *key.was]
    for old, new in reversed(renames):
        if new in names and old not in names:
            names.append(old)
    return tuple(names[1:])
