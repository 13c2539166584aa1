"""`op.merge_env`: the keys of the template are in `.env`; no value of the user's is ever touched."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alembic.operations import Operations

from vvmigrate.content.env.document import Document
from vvmigrate.content.env.mask import masked_diff
from vvmigrate.content.env.merge import Merged, merge
from vvmigrate.content.env.revert import revert
from vvmigrate.content.env.template import Template, problem
from vvmigrate.engine import state as st
from vvmigrate.engine import vault
from vvmigrate.engine.effects import Merger
from vvmigrate.engine.host import ROOT
from vvmigrate.engine.state import Change, Proposal, Target
from vvmigrate.errors import EnvFileError, RefusedError
from vvmigrate.files import Entry, Place
from vvmigrate.operations.base import KEY, Fact, Operation, Situation, home
from vvmigrate.operations.env_names import with_former_names

TEMPLATE, NAME, MODE = ".env.example", ".env", 0o600
MERGE = "env"


def take_back(
    current: bytes, before: bytes | None, after: bytes, note: Mapping[str, Any]
) -> tuple[bytes | None, tuple[tuple[str, str], ...]]:
    """Undo in `.env`, as it is now, what we did to it, be it a merge or its way back; see `effects.Merger`."""
    try:
        done = revert(
            current,
            before=before,
            after=after,
            keep=frozenset(note.get("supplied", ())),
            renamed=note.get("renamed", {}),
            name=NAME,
        )
    except EnvFileError as error:
        return current, ((NAME, f"left as it is: {error.message}"),)
    return done.data, done.kept


MERGERS: dict[str, Merger] = {MERGE: take_back}


def read_template(situation: Situation) -> Template:
    """The release's template.

    Raises:
        EnvFileError: missing or not such a file.
    """
    place = situation.release() / TEMPLATE
    if place.identity()[0] != "file":
        raise EnvFileError(f"{place.path}: expected the template of .env, found {place.identity()[0]}", path=place.path)
    return Template.parse(situation.read_release(place), name=TEMPLATE)


def find_file(situation: Situation) -> Target:
    """Where `.env` really is: a link is resolved once, and may not lead out of the home.

    Raises:
        EnvFileError: a link out of the home, or something that is no file.
    """
    target = home(NAME)
    seen = situation.observer.entry(target)
    if seen.kind == "link":
        name = os.path.normpath(seen.target)
        if name.startswith(("/", "..")):
            raise EnvFileError(
                f"{NAME}: is a link out of the home, to {seen.target!r}", hint="move the file here", path=NAME
            )
        target = home(name)
        seen = situation.observer.entry(target)
    if seen.kind not in ("file", "absent"):
        raise EnvFileError(
            f"{target.name}: expected a file, found a {seen.kind}", hint="move it away", path=target.name
        )
    return target


def missing_required(situation: Situation) -> tuple[str, ...]:
    """Required keys of the template that have no value in `.env`; all of them where there is no `.env`.

    Raises:
        EnvFileError: one of the files cannot be read as such.
    """
    target = find_file(situation)
    template = read_template(situation)
    if not situation.observer.entry(target).exists:
        return tuple(key.name for key in template.keys if key.required and not key.default and key.generate is None)
    document = Document.parse(situation.observer.read(target), name=NAME)
    return tuple(key.name for key in template.keys if key.required and not document.get(key.name))


@Operations.register_operation("merge_env")
@dataclass(frozen=True)
class MergeEnv(Operation):
    """The template's keys in `.env`: missing ones come in at their place, with their comments.

    Attributes:
        keys: (name, pin) of the keys that this revision brings or changes, see `env_names.pin`. The template merged is
            always the release's, so an older pin is satisfied by a newer template: pins say what is covered.
        removed: keys that the template has no more.
        renamed: (old, new) names.
    """

    keys: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()

    @classmethod
    def merge_env(
        cls,
        operations: Operations,
        keys: Mapping[str, str] | None = None,
        *,
        removed: Sequence[str] = (),
        renamed: Mapping[str, str] | None = None,
    ) -> None:
        """Make `.env` from `.env.example`, or add to it what it lacks; 0600, and the application's.

        Args:
            keys: pins of new and changed keys, as `vvmigrate revision --autogenerate` writes them.
            removed: keys that the template has no more.
            renamed: new names by old ones: a value is carried over. The template's `@was` does the same.
        """
        operations.invoke(cls(tuple((keys or {}).items()), tuple(removed), tuple((renamed or {}).items())))

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """See Operation."""
        named = {"removed": list(self.removed), "renamed": dict(self.renamed)}
        return (dict(self.keys),) if self.keys else (), {name: value for name, value in named.items() if value}

    def facts(self) -> Mapping[Fact, str | None]:
        """What the template said of each pinned key, and which keys are gone."""
        gone = (*self.removed, *(old for old, _ in self.renamed))
        return {**{Fact(KEY, name): None for name in gone}, **{Fact(KEY, name): pin for name, pin in self.keys}}

    def _renames(self, situation: Situation) -> list[tuple[str, str]]:
        """Old and new names, in order: also those of later revisions of this run, whose template this is already."""
        later = (op.renamed for op in situation.upcoming if isinstance(op, MergeEnv))
        return [pair for renamed in (self.renamed, *later) for pair in renamed]

    def propose(self, situation: Situation) -> Proposal:
        """Merge; ask for required values where somebody can be asked; report those that stay missing."""
        template, target = read_template(situation), find_file(situation)
        seen = situation.observer.entry(target)
        theirs = situation.observer.read(target) if seen.exists else None
        template = with_former_names(template, theirs, self._renames(situation))
        recorded = situation.recorded().get(target)
        note_before = recorded[0].note if recorded else {}
        known = frozenset(note_before.get("keys", ()))
        answers: dict[str, str] = situation.memory.setdefault("answers", {})
        merged = self._merge(theirs, template, situation, answers, known)
        if merged.missing_required and situation.ask is not None and not situation.memory.get("asked"):
            situation.memory["asked"] = True
            answers.update(_ask(situation, template, merged.missing_required))
            merged = self._merge(theirs, template, situation, answers, known)
        if merged.missing_required and situation.settings.strict:
            raise RefusedError(
                f"{NAME}: no value for {', '.join(merged.missing_required)} (--strict)",
                hint=set_hint(merged.missing_required),
            )
        document = Document.parse(merged.data, name=NAME)
        note = {
            "keys": sorted(known | {key.name for key in template.keys if document.get(key.name) is not None}),
            "supplied": sorted({*note_before.get("supplied", ()), *situation.settings.values, *answers}),
            "renamed": dict(merged.renamed),
        }
        base = Proposal(warnings=merged.warnings, required_missing=merged.missing_required)
        return base + self._change(situation, target, seen, theirs, merged, template, note)

    def _merge(
        self,
        theirs: bytes | None,
        template: Template,
        situation: Situation,
        answers: Mapping[str, str],
        known: frozenset[str],
    ) -> Merged:
        fill = {"VIDEO_STORAGE_ROOT": situation.storage_root, "VV_MODEL_VARIANT": situation.variant}
        fill = {name: value for name, value in fill.items() if template.get(name) is not None}
        explicit = {**answers, **situation.settings.values}
        return merge(
            theirs,
            template,
            name=NAME,
            fill=fill | _generated(situation, template),
            explicit=explicit,
            once_recorded=known,
        )

    def _change(
        self,
        situation: Situation,
        target: Target,
        seen: Entry,
        theirs: bytes | None,
        merged: Merged,
        template: Template,
        note: dict[str, Any],
    ) -> Proposal:
        wanted = Entry("file", 0, os.geteuid(), os.getegid()).with_attributes(MODE, situation.owner)
        if merged.data != theirs:
            change = Change(
                st.PLACE_FILE,
                target,
                seen,
                wanted,
                content=merged.data,
                fill=_Fill(situation, template, merged.data, wanted),
                detail=_summary(merged, created=theirs is None),
                merge=MERGE,
                secret=True,
                note=note,
                diff=masked_diff(theirs, merged.data, template),
                size_bytes=len(merged.data),
            )
            return Proposal((change,), affects=frozenset({"env"}))
        adopted = Change(st.ADOPT, target, seen, seen, detail="has every key", secret=True, note=note)
        skipped = (f"{NAME}: has every key of the template",)
        if seen.mode == MODE and (situation.owner is None or seen.owner == situation.owner):
            return Proposal((adopted,), skipped=skipped)
        if situation.settings.skip_existing:
            warning = f"{NAME}: mode {seen.mode:04o}, user {seen.uid}: expected {MODE:04o}, user {wanted.uid}"
            return Proposal((adopted,), skipped=skipped, warnings=(warning,))
        mended = seen.with_attributes(MODE, situation.owner)
        change = Change(st.ATTRIBUTES, target, seen, mended, detail=f"was {seen.mode:04o}", secret=True, note=note)
        return Proposal((change,), affects=frozenset({"env"}))


@dataclass(frozen=True)
class _Fill:
    """Writes the merged file; generated secrets are remembered before it, so that they are never made twice."""

    situation: Situation
    template: Template
    data: bytes
    wanted: Entry

    def __call__(self, slot: Place) -> None:
        vault.keep_secrets(self.situation.host.private, _generated(self.situation, self.template))
        slot.write(self.data, MODE, self.wanted.owner if os.geteuid() == 0 else None)


def _generated(situation: Situation, template: Template) -> dict[str, str]:
    """Values for keys that are made once: those of this host's first day, or new ones."""
    known: dict[str, str] = situation.memory.setdefault("secrets", {})
    known.update(vault.secrets_of(situation.host.state(ROOT)))
    wanted = {key.name: key.generate for key in template.keys if key.generate is not None}
    for name, generate in wanted.items():
        if generate is not None and name not in known:
            known[name] = secrets.token_hex(generate.bytes)
    return {name: known[name] for name in wanted}


def _ask(situation: Situation, template: Template, names: tuple[str, ...]) -> dict[str, str]:
    answers = {}
    for name in names:
        key = template.get(name)
        if key is None or situation.ask is None:
            continue
        answer = situation.ask(name, key.description, key.sensitive, lambda value, key=key: problem(key, value))  # type: ignore[misc]
        if answer:
            answers[name] = answer
    return answers


def set_hint(names: tuple[str, ...]) -> str:
    """The command that gives required keys their values."""
    return "vvmigrate upgrade head " + " ".join(f"--set {name}=VALUE" for name in names)


def _summary(merged: Merged, *, created: bool) -> str:
    if created:
        return "from .env.example"
    parts = [
        f"{word} {', '.join(names)}" for word, names in (("adds", merged.added), ("sets", merged.replaced)) if names
    ]
    return "; ".join(parts) or "brought up to the template"
