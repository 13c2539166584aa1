"""The keys of `.env.example`: new, changed, gone, or under another name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from vvmigrate.authoring.declared import Declared
from vvmigrate.authoring.difference import Difference, Section
from vvmigrate.authoring.storage import Produced
from vvmigrate.content.env.template import TEMPLATE, Key
from vvmigrate.errors import UsageError
from vvmigrate.operations import Fact, MergeEnv
from vvmigrate.operations.base import KEY
from vvmigrate.operations.env_names import default_of, pin


@dataclass(frozen=True)
class Answers:
    """What only a person knows about keys that are gone.

    Attributes:
        renamed: new names by old ones.
        removed: keys that have no new name.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    removed: Collection[str] = ()


@dataclass(frozen=True)
class Keys:
    """The template's keys against those that revisions have merged.

    Attributes:
        new: keys that no revision brings, in the template's order.
        changed: keys whose default or demands are others, in the template's order.
        gone: keys that the template has no more.
        renamed: new names by old ones, as the template's `@was` and a person say.
    """

    new: tuple[Key, ...]
    changed: tuple[Key, ...]
    gone: tuple[str, ...]
    renamed: Mapping[str, str]

    @classmethod
    def compare(cls, declared: Declared, produced: Produced, answers: Answers) -> Keys:
        """Compare, and check the answers.

        Raises:
            UsageError: an answer is about a key that is not gone, or names one that is not new.
        """
        known = declared.template.keys if declared.template else ()
        before = {fact.name: pin for fact, pin in produced.items() if fact.kind == KEY}
        new = tuple(key for key in known if key.name not in before)
        changed = tuple(k for k in known if k.name in before and declared.facts[Fact(KEY, k.name)] != before[k.name])
        gone = tuple(sorted(before.keys() - {key.name for key in known}))
        said = {old: key.name for key in new for old in key.was if old in gone}
        _check(answers, gone, [key.name for key in new])
        return cls(new, changed, gone, {**said, **answers.renamed})

    def undecided(self, answers: Answers) -> tuple[list[str], list[str]]:
        """Keys that are gone, and new keys: each of these could be the new name of one of those.

        Returns:
            Two empty lists where nothing is left to be said.
        """
        gone = [name for name in self.gone if name not in self.renamed and name not in answers.removed]
        new = [key.name for key in self.new if key.name not in self.renamed.values()]
        return (gone, new) if gone and new else ([], [])


def _check(answers: Answers, gone: Collection[str], new: Collection[str]) -> None:
    for old in (*answers.renamed, *answers.removed):
        if old not in gone:
            raise UsageError(f"{old} is no key that is gone from {TEMPLATE}; those are: {', '.join(gone) or 'none'}")
    for old, name in answers.renamed.items():
        if name not in new:
            raise UsageError(f"{old}={name}: {name} is not new in {TEMPLATE}; what is: {', '.join(new) or 'none'}")
    if len(set(answers.renamed.values())) < len(answers.renamed):
        raise UsageError("two keys cannot both have become the same one")


def section(declared: Declared, produced: Produced, answers: Answers) -> Section:
    """One merge that brings what is new, with the values of what was renamed.

    Raises:
        UsageError: see `Keys.compare`.
    """
    keys = Keys.compare(declared, produced, answers)
    if declared.template is None:
        remedy = "put it back: revisions merge it, and no host could come up without"
        missing = Difference(TEMPLATE, TEMPLATE, "is missing", remedy)
        return Section((missing,) if keys.gone else ())
    removed = tuple(name for name in keys.gone if name not in keys.renamed)
    news = {key.name: _new(key, keys.renamed) for key in keys.new}
    news |= {key.name: _changed(key, produced[Fact(KEY, key.name)]) for key in keys.changed}
    news |= dict.fromkeys(removed, "gone; it becomes a comment on hosts")
    lines = {binding.key: binding.line for binding in declared.template.document.bindings}
    found = [Difference(TEMPLATE, name, f"{name}: {what}", line=lines.get(name, 1)) for name, what in news.items()]
    if not found:
        return Section()
    pins = tuple((key.name, declared.facts[Fact(KEY, key.name)]) for key in (*keys.new, *keys.changed))
    return Section(tuple(found), (MergeEnv(pins, removed, tuple(sorted(keys.renamed.items()))),))


def _new(key: Key, renamed: Mapping[str, str]) -> str:
    old = [old for old, new in renamed.items() if new == key.name]
    return f"new name of {', '.join(old)}" if old else f"new key ({_described(key)})"


def _changed(key: Key, before: str) -> str:
    what = "default" if default_of(before) != default_of(pin(key)) else "demands (@required, @type and the like)"
    return f"other {what}; now {_described(key)}"


def _described(key: Key) -> str:
    words = ["required"] if key.required else []
    if key.generate is not None:
        words.append("generated on each host")
    elif key.default:
        words.append("with a default" if key.sensitive else f"default {key.default!r}")
    return ", ".join(words) or "empty"
