"""`op.merge_env`: the keys of the template are in `.env`; no value of the user's is ever touched."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from alembic.operations import Operations

from vvmigrate.content import release, signature
from vvmigrate.content.env.document import Document
from vvmigrate.content.env.merge import Merged, merge
from vvmigrate.content.env.revert import revert
from vvmigrate.content.env.template import FILE, TEMPLATE, Template
from vvmigrate.engine import roots, vault
from vvmigrate.engine import state as st
from vvmigrate.engine.effects import EARLIER, KEPT_TEXT, MENDED, ONCE, Merger, TakenBack
from vvmigrate.engine.host import ROOT, STATE
from vvmigrate.engine.state import Change, Proposal, Target
from vvmigrate.errors import EnvFileError, IntegrityError, RefusedError
from vvmigrate.files import ABSENT, Entry, Place
from vvmigrate.operations.base import KEY, Fact, Operation, Situation, home
from vvmigrate.operations.env_names import with_former_names
from vvmigrate.operations.env_values import asked, check_given, generated, in_force, last_merged, offered

MODE = 0o600
MERGE = "env"
LASTING = ("keys", "supplied", KEPT_TEXT)
TAKEN = frozenset(
    {STATE, *roots.RELEASE, "vvmigrate", "alembic.ini", "model_manifest.json", TEMPLATE}
    | {signature.NAME, release.NAME, release.SIGNATURE}
)
"""Names in a home that have another use: what merges keys into them breaks the host, or gives secrets to a release."""


def take_back(current: bytes, before: bytes | None, after: bytes, note: Mapping[str, Any]) -> TakenBack:
    """Undo in `.env`, as it is now, what we did to it, be it a merge or its way back; see `effects.Merger`."""
    once = note.get(ONCE) or {"given": note.get("supplied", ()), "renamed": note.get("renamed", {})}  # as once noted
    given, renamed = frozenset(once["given"]), once["renamed"]
    try:
        done = revert(current, before=before, after=after, keep=given, renamed=renamed, name=FILE)
    except EnvFileError as error:
        return TakenBack(current, ((FILE, f"left as it is: {error.message}"),), told=False)
    back = {"renamed": {new: old for old, new in renamed.items()}, "given": []}
    return TakenBack(done.data, done.kept, done.told, {ONCE: back})


MERGERS: dict[str, Merger] = {MERGE: take_back}


def read_template(situation: Situation) -> Template:
    """The release's template.

    Raises:
        EnvFileError: missing or not such a file.
    """
    return Template.read(situation.release() / TEMPLATE, situation.check_bytes)


def find_file(situation: Situation) -> Target:
    """Where `.env` really is: a link is resolved once, and may not lead out of the home, nor to what has another use.

    Raises:
        EnvFileError: such a link, or something that is no file; or a link was there, and is gone.
    """
    target = home(FILE)
    seen = situation.observer.entry(target)
    if not seen.exists:
        for elsewhere in _recorded_files(situation) - {target}:
            path, file = situation.host.path(target), elsewhere.name
            raise EnvFileError(f"{path}: was a link to {file}, and is gone", hint=f"ln -s {file} {path}", path=path)
    if seen.kind == "link":
        name = os.path.normpath(seen.target)
        why = "out of the home" if name.startswith(("/", "..")) else "to what has another use"
        if name.startswith(("/", "..")) or name.split("/")[0] in TAKEN:
            hint = "let it lead to a file of its own in the home, or put that file in its place"
            raise EnvFileError(f"{FILE}: is a link {why}: {seen.target!r}", hint=hint, path=FILE)
        target = home(name)
        seen = situation.observer.entry(target)
    if seen.kind not in ("file", "absent"):
        raise EnvFileError(
            f"{target.name}: expected a file, found a {seen.kind}", hint="move it away", path=target.name
        )
    return target


def settings_files(situation: Situation) -> set[Target]:
    """Where `.env` really is, and where it is recorded: a link may lead there."""
    found = _recorded_files(situation)
    with suppress(EnvFileError):
        found.add(find_file(situation))
    return found


def _recorded_files(situation: Situation) -> set[Target]:
    return {target for target, (effect, _) in situation.recorded().items() if "keys" in effect.note}


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
        later = (op.renamed for _, op in situation.upcoming if isinstance(op, MergeEnv))
        return [pair for renamed in (self.renamed, *later) for pair in renamed]

    def propose(self, situation: Situation) -> Proposal:
        """Merge; ask for required values where somebody can be asked; report those that stay missing."""
        template, target = read_template(situation), find_file(situation)
        check_given(situation, template)
        lost = _lost(situation, target)
        seen = lost.after if lost else situation.observer.entry(target)
        theirs = lost.content if lost else situation.observer.read(target) if seen.exists else None
        template = with_former_names(template, self._renames(situation))
        noted, base, warnings = _last_merge(situation, target)
        offer = offered(situation, template)
        made = generated(situation, template) | in_force(template, last_merged(situation, target) or b"")
        answers: dict[str, str] = situation.memory.setdefault("answers", {})
        work = _Merging(situation, template, theirs, base, frozenset(noted.get("keys", ())), offer.values, made)
        merged = work.merge(answers)
        if merged.missing_required:
            answers.update({name: offer.values[name] for name in merged.missing_required if name in offer.values})
            merged = work.merge(answers)
        if merged.missing_required and (found := asked(situation, template, merged.missing_required)):
            answers.update(found)
            merged = work.merge(answers)
        if merged.missing_required and situation.settings.strict:
            raise RefusedError(
                f"{FILE}: no value for {', '.join(merged.missing_required)} (--strict)",
                hint=set_hint(merged.missing_required),
            )
        warnings += (*merged.warnings, *offer.warnings, *((f"{FILE} was gone: {lost.detail}",) if lost else ()))
        given = {*answers, *situation.settings.values, *offer.values.keys() & {*merged.added}}
        note, text = _note(noted, merged, template, given), template.document.to_bytes()
        proposal = self._change(situation, target, seen, theirs, merged, template)
        noting = tuple(change._replace(secret=True, note=note, text=text) for change in proposal.changes)
        said = Proposal((lost,) if lost else (), warnings=warnings, required_missing=merged.missing_required)
        return said + proposal._replace(changes=noting)

    def _change(
        self,
        situation: Situation,
        target: Target,
        seen: Entry,
        theirs: bytes | None,
        merged: Merged,
        template: Template,
    ) -> Proposal:
        wanted = _as_ours(situation)
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
                size_bytes=len(merged.data),
            )
            return Proposal((change,), affects=frozenset({"env"}))
        adopted = Change(st.ADOPT, target, seen, seen, detail="has every key")
        skipped = (f"{FILE}: has every key of the template",)
        if seen.mode == MODE and (situation.owner is None or seen.owner == situation.owner):
            return Proposal((adopted,), skipped=skipped)
        if situation.settings.skip_existing:
            warning = f"{FILE}: mode {seen.mode:04o}, user {seen.uid}: expected {MODE:04o}, user {wanted.uid}"
            return Proposal((adopted,), skipped=skipped, warnings=(warning,))
        mended = seen.with_attributes(MODE, situation.owner)
        change = Change(st.ATTRIBUTES, target, seen, mended, detail=f"was {seen.mode:04o}")
        return Proposal((change,), affects=frozenset({"env"}))


@dataclass(frozen=True)
class _Merging:
    """Everything that a merge is made from but the answers, which may still come."""

    situation: Situation
    template: Template
    theirs: bytes | None
    base: bytes | None
    known: frozenset[str]
    offer: Mapping[str, str]
    made: Mapping[str, str]

    def merge(self, answers: Mapping[str, str]) -> Merged:
        """Merge with these answers; what was set explicitly outranks them."""
        situation, template = self.situation, self.template
        ours = {"VIDEO_STORAGE_ROOT": situation.storage_root, "VV_MODEL_VARIANT": situation.variant}
        ours = {name: value for name, value in ours.items() if template.get(name) is not None}
        return merge(
            self.theirs,
            template,
            name=FILE,
            base=self.base,
            fill={**self.offer, **ours},
            made={name: value for name, value in self.made.items() if name not in self.offer},
            explicit={**answers, **situation.settings.values},
            once_recorded=self.known,
        )


def _as_ours(situation: Situation) -> Entry:
    return Entry("file", 0, os.geteuid(), os.getegid()).with_attributes(MODE, situation.owner)


def _lost(situation: Situation, target: Target) -> Change | None:
    """A file that is recorded, and gone, comes back first, as it was merged last: what stood in it was given to it.

    It is a repair of its own within the step: the way back of this merge goes back to it.

    Raises:
        EnvFileError: it is not kept any more.
    """
    recorded = situation.recorded().get(target)
    if recorded is None or "keys" not in recorded[0].note or situation.observer.entry(target).exists:
        return None
    data = last_merged(situation, target)
    if data is None:
        path = situation.host.path(target)
        raise EnvFileError(
            f"{path} is gone, and what the last merge had left there is not kept any more",
            hint=f"put it back from a copy; or, to begin with an empty one: touch {shlex.quote(path)}",
            path=path,
        )
    after = _as_ours(situation)._replace(size_bytes=len(data), digest=hashlib.sha256(data).hexdigest())
    note, detail = {**recorded[0].note, MENDED: True}, "it comes back as it was merged last"
    change = Change(st.PLACE_FILE, target, ABSENT, after, content=data, size_bytes=len(data), detail=detail, note=note)
    return change._replace(secret=True)


def _last_merge(situation: Situation, target: Target) -> tuple[Mapping[str, Any], bytes | None, tuple[str, ...]]:
    """What the last merge has noted, the template's text then, and what is wrong with that; planned ones count."""
    if planned := situation.planned.get(target):
        return planned.note, planned.text or None, ()
    recorded = situation.recorded().get(target)
    noted = recorded[0].note if recorded else {}
    return noted, *_base(situation, noted)


def _base(situation: Situation, noted: Mapping[str, Any]) -> tuple[bytes | None, tuple[str, ...]]:
    """The template's text at the last merge on this host, as far as it was kept, and what is wrong with it."""
    state, digest = situation.host.state(ROOT), str(noted.get(KEPT_TEXT, ""))
    if state is None or not digest:
        return None, ()
    try:
        data = vault.source(state, digest, vault.TEXT)
        Template.parse(data, name=f"{TEMPLATE} of the last merge")
    except (IntegrityError, EnvFileError) as error:
        return None, (f"{error.message}: what the release dropped or changed since cannot be told",)
    return data, ()


def _note(noted: Mapping[str, Any], merged: Merged, template: Template, given: set[str]) -> dict[str, Any]:
    """What the next merge, and the way back, must know of this one.

    `keys` were in the file, and not taken out by us; `supplied` are a person's, `given` those of this merge; `template`
    is the base of the next merge; `renamed` what this one renamed, old to new.
    """
    document = Document.parse(merged.data, name=FILE)
    names = dict(merged.renamed)
    present = {key.name for key in template.keys if document.get(key.name) is not None}
    supplied = {names.get(name, name) for name in noted.get("supplied", ())} - {*merged.commented}
    earlier = {name: noted[name] for name in LASTING if name in noted}
    lasting = {
        "keys": sorted({*noted.get("keys", ())} - {*names, *merged.commented} | present),
        "supplied": sorted(supplied | given),
        KEPT_TEXT: hashlib.sha256(text).hexdigest() if (text := template.document.to_bytes()) else "",
    }
    return {**lasting, ONCE: {"given": sorted(given), "renamed": names, EARLIER: earlier}}


@dataclass(frozen=True)
class _Fill:
    """Writes the merged file; the secrets in it are remembered before it, so that they are never made twice."""

    situation: Situation
    template: Template
    data: bytes
    wanted: Entry

    def __call__(self, slot: Place) -> None:
        vault.keep_secrets(self.situation.host.private, in_force(self.template, self.data))
        slot.write(self.data, MODE, self.wanted.owner if os.geteuid() == 0 else None)


def set_hint(names: Iterable[str]) -> str:
    """The command that gives required keys their values."""
    return "vvmigrate upgrade head " + " ".join(f"--set {name}=VALUE" for name in names)


def _summary(merged: Merged, *, created: bool) -> str:
    if created:
        return "from .env.example"
    parts = [
        f"{word} {', '.join(names)}"
        for word, names in (("adds", merged.added), ("sets", merged.replaced + merged.filled))
        if names
    ]
    return "; ".join(parts) or "brought up to the template"
