"""Where a value for `.env` comes from when nobody wrote it there: made once, the environment, a person who is asked."""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from vvmigrate.content.env.document import Document
from vvmigrate.content.env.mask import describe
from vvmigrate.content.env.readers import quote
from vvmigrate.content.env.template import FILE, Key, Template, problem
from vvmigrate.engine import vault
from vvmigrate.engine.chain import canonical
from vvmigrate.engine.host import ROOT
from vvmigrate.engine.state import Target
from vvmigrate.errors import EnvFileError, RefusedError
from vvmigrate.operations.base import Situation

SETTLED = frozenset({"VIDEO_STORAGE_ROOT", "VV_MODEL_VARIANT"})
"""Keys whose value is this host's binding, whatever the environment says by now."""


@dataclass(frozen=True)
class Offered:
    """What the process's environment has for keys of the template.

    Attributes:
        values: they may fill keys that have none.
        warnings: which were not taken, and why; no value is in them.
    """

    values: dict[str, str]
    warnings: tuple[str, ...] = ()


def offered(situation: Situation, template: Template) -> Offered:
    """The environment's values; a secret that was made on this host once outranks them."""
    known = SETTLED | vault.secrets_of(situation.host.state(ROOT)).keys()
    values, warnings = {}, []
    for key in template.keys:
        value = situation.settings.environment.get(key.name)
        if not value or not known.isdisjoint({key.name, *key.was}):
            continue
        wrong = _wrong(key, value)
        if wrong is None:
            values[key.name] = value
        else:
            warnings.append(f"{wrong}; the one in the environment is not taken")
    return Offered(values, tuple(warnings))


def _wrong(key: Key, value: str) -> str | None:
    """Say why a value cannot be a key's: it is not of its type, or cannot be written so that all read it alike."""
    try:
        quote(value)
    except EnvFileError as error:
        return f"{key.name}: {error.message}"
    return problem(key, value)


def check_given(situation: Situation, template: Template) -> None:
    """Refuse what a person sets explicitly and the template does not allow: the wrong value would outrank all others.

    An empty value passes: it takes a value away, and a key that needs one is reported by the merge.

    Raises:
        RefusedError: names every such key, and what it must be; or the storage root is another than this host's.
    """
    root = situation.settings.values.get("VIDEO_STORAGE_ROOT")
    if root and os.path.realpath(root) != situation.storage_root:
        raise RefusedError(
            f"{FILE}: this home is bound to storage root {situation.storage_root!r}, but --set names {root!r}",
            hint=f"if the root was moved: vvmigrate adopt --storage-root {shlex.quote(root)}",
        )
    given = ((template.get(name), value) for name, value in situation.settings.values.items())
    wrong = [text for key, value in given if key is not None and value and (text := problem(key, value))]
    if wrong:
        hint = f"give another value; what the system really needs can still be written into {FILE} by hand"
        raise RefusedError(f"{FILE}: {'; '.join(wrong)} (--set, --answers)", hint=hint)


def generated(situation: Situation, template: Template) -> dict[str, str]:
    """Values for keys that are made once: those of this host's first day, under whatever name, or new ones."""
    known: dict[str, str] = situation.memory.setdefault("secrets", {})
    known.update(vault.secrets_of(situation.host.state(ROOT)))
    heirs = {old: key.name for key in reversed(template.keys) for old in key.was if old not in template.by_name}
    wanted = [key for key in template.keys if key.generate is not None]
    for key in wanted:
        if key.generate is not None and key.name not in known:
            former = (known[old] for old in key.was if old in known and heirs.get(old) == key.name)
            known[key.name] = next(former, "") or secrets.token_hex(key.generate.bytes)
    return {key.name: known[key.name] for key in wanted}


def in_force(template: Template, data: bytes) -> dict[str, str]:
    """The values that a file has for keys that are made once: ours, or those that were carried over or supplied."""
    document = Document.parse(data, name=FILE)
    found = {key.name: document.get(key.name) for key in template.keys if key.generate is not None}
    return {name: value for name, value in found.items() if value}


def last_merged(situation: Situation, target: Target) -> bytes | None:
    """The file as the last merge on this host left it; None where there was none, or where it is not kept any more."""
    ledger, host = situation.ledger, situation.host
    if ledger is None or target not in situation.recorded():
        return None
    for _, effect in [*ledger.mentioning(canonical(target.name).decode())][::-1]:
        if effect.target == target and effect.merge and effect.slot and host.state(effect.store) is not None:
            image = effect.merge_places(host)[1]
            return image.read() if image.identity()[0] == "file" else None
    return None


def asked(situation: Situation, template: Template, names: Iterable[str]) -> dict[str, str]:
    """Ask a person for values, one after the other, until there is no answer any more.

    An empty answer takes the template's default, where there is one; else it leaves the key as it is.
    """
    answers: dict[str, str] = {}
    if situation.ask is None or situation.memory.get("asked"):
        return answers
    situation.memory["asked"] = True
    for key in filter(None, map(template.get, names)):
        answer = situation.ask(key.name, _question(key), key.sensitive, partial(_wrong, key))
        if answer is None:
            break
        if answer or key.default:
            answers[key.name] = answer or key.default
    return answers


def _question(key: Key) -> str:
    """What a person has to know to answer: what it is, what it must be, what it is otherwise."""
    lines = [key.description]
    if (demand := key.type.wanted()) is not None:
        lines.append(f"It must be {demand}.")
    if key.default:
        lines.append(f"Just Enter for the default: {describe(key.default, key.sensitive)}.")
    return "\n".join(filter(None, lines))
