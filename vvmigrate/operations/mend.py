"""What was recorded at some paths stands there again: what a repair consists of. No revision can ask for it.

It comes from the records themselves, then from before-images, and only for the rest the revision's own operations are
asked: they have the store, the release and the network. What stands in the way is exchanged out, and so set aside.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

from vvmigrate.content import signature
from vvmigrate.content.store import STORE
from vvmigrate.engine import state as st
from vvmigrate.engine import vault
from vvmigrate.engine.chain import canonical
from vvmigrate.engine.effects import CONTENT, MENDED, TREE, Effect
from vvmigrate.engine.host import HOME, ROOT
from vvmigrate.engine.state import Change, Kept, Overlay, Proposal, Target
from vvmigrate.errors import ChecksumError, EnvFileError, IntegrityError, ManifestError, RevisionError
from vvmigrate.files import ABSENT, Entry, Place
from vvmigrate.operations.base import Operation, Situation, home
from vvmigrate.operations.env_file import MergeEnv
from vvmigrate.operations.generation import DIRECTORY_MODE, FILE_MODE, find_generation
from vvmigrate.operations.signature import WriteSignature

INNER_MODES = {"file": FILE_MODE, "dir": DIRECTORY_MODE}
ANEW = frozenset({"key", "release"})
"""Facts for which a file is not as it was recorded on purpose: it is made anew by the operation that makes it."""
MADE_ANEW = "the list that was recorded cannot be had: it is made anew of the files that are here, changed ones too"
Asked = tuple[tuple[Operation, ...], tuple[tuple[str, Operation], ...]]
"""Operations of one revision; and (revision, operation) of those that come after it."""
LACKING = "what was recorded here is neither in the store, nor in a before-image, nor in the release"


@dataclass(frozen=True)
class Mend(Operation):
    """Recorded paths as they were recorded.

    Attributes:
        damage: each path, parents first, with the facts that differ (see `drift.Drift.kind`).
        asked: tells what the revision that recorded them asks for, and those that come after it; raises a
            RevisionError where that cannot be told. Nobody is asked before it is needed.
    """

    damage: tuple[tuple[Target, frozenset[str]], ...]
    asked: Callable[[], Asked] = field(default=lambda: ((), ()), compare=False)

    def propose(self, situation: Situation) -> Proposal:
        """A change for each path that differs; what cannot be had is kept as it is, and said."""
        situation, recorded = replace(situation, mending=True), situation.recorded()
        asked: tuple[Proposal, str] | None = None
        total = Proposal()
        for target, facts in self.damage:
            effect = recorded[target][0]
            seen = situation.observer.entry(target)
            changes = _from_records(situation, effect, seen, facts)
            generation = Proposal() if changes else _generation(situation, target)
            if generation.changes:
                changes = [_as(effect, seen, change) for change in generation.changes if _is_it(change, effect)]
                total += Proposal(downloads=generation.downloads)
            if not changes:
                asked = asked or self._ask(situation)
                changes = [_as(effect, seen, change) for change in _found(asked[0], effect)]
                if changes and changes[0].action == st.PLACE_TREE:
                    total += Proposal(downloads=asked[0].downloads)
                if changes and target == home(signature.NAME) and not facts & ANEW:
                    total += Proposal(warnings=(f"{signature.NAME}: {MADE_ANEW}",))
            if not changes and asked is not None:
                of_model = asked[0].degraded if "variant" in effect.note else ""
                reason = generation.degraded or of_model or asked[1]
                total += Proposal(kept=(Kept(situation.host.path(target), reason),))
            total += Proposal(tuple(changes), affects=_affected(target) if changes else frozenset())
        return total

    def _ask(self, situation: Situation) -> tuple[Proposal, str]:
        """What the revision's operations would do if nothing stood there, and `.env` as it is; and why not more."""
        try:
            operations, later = self.asked()
        except RevisionError as error:
            return Proposal(), error.message
        overlay, recorded = Overlay(situation.observer), situation.recorded()
        for target, facts in self.damage:
            if "kind" in facts or not recorded[target][0].secret:
                overlay.predict(Change(st.REMOVE_FILE, target, situation.observer.entry(target), ABSENT))
        proposal = Proposal()
        for operation in operations:
            if isinstance(operation, MergeEnv | WriteSignature) and not self._names(operation, situation):
                continue
            try:
                one = operation.propose(replace(situation, observer=overlay, upcoming=later))
            except (ChecksumError, EnvFileError):
                continue  # other bytes than the revision pins, or no file to merge into: nothing recorded comes of them
            for change in one.changes:
                overlay.predict(change)
            proposal += one
        return proposal, LACKING

    def _names(self, operation: Operation, situation: Situation) -> bool:
        """Whether the file that such an operation writes is among the damaged ones: else it would ask, and sign."""
        if isinstance(operation, WriteSignature):
            return any(target == home(signature.NAME) for target, _ in self.damage)
        recorded = situation.recorded()
        return any(recorded[target][0].secret for target, _ in self.damage)


def _from_records(situation: Situation, effect: Effect, seen: Entry, facts: frozenset[str]) -> list[Change]:
    """The changes that records and before-images suffice for; empty where they do not."""
    wanted = effect.after
    change = Change("", effect.target, seen, wanted, lasting=effect.lasting, secret=effect.secret, note=_note(effect))
    if facts <= {"mode", "owner"} and wanted.kind != "link":  # a link's owner is set when it is made
        after = seen.with_attributes(wanted.mode, wanted.owner)
        return [change._replace(action=st.ATTRIBUTES, after=after, detail=f"was {_attributes(seen)}")]
    if wanted.kind == "link":
        return [change._replace(action=st.SWITCH_LINK, detail=f"to {wanted.target} again")]
    if wanted.kind == "dir":
        return _directory(situation, effect, change)
    return _file(situation, effect, change) if not facts & ANEW else []


def _directory(situation: Situation, effect: Effect, change: Change) -> list[Change]:
    tree = _tree_of(situation, effect)
    if not tree:
        return [change._replace(action=st.MAKE_DIRECTORY, detail="made again")]
    place = situation.host.place(effect.target)
    if change.before.kind == "dir" and place.entry(tree=True, modes=INNER_MODES).digest == tree:
        return list(_inner(place, effect.target))
    return []


def _file(situation: Situation, effect: Effect, change: Change) -> list[Change]:
    text = effect.note.get(CONTENT)
    if isinstance(text, str) and hashlib.sha256(text.encode()).hexdigest() == effect.after.digest:
        content = text.encode()
        return [change._replace(action=st.PLACE_FILE, content=content, size_bytes=len(content), detail="as recorded")]
    if (kept := _kept_text(situation, effect)) is not None:
        return [change._replace(action=st.PLACE_FILE, content=kept, size_bytes=len(kept), detail="as recorded")]
    image = _image(situation, effect)
    if image is None:
        return []
    change = change._replace(action=st.PLACE_FILE, detail="as recorded")
    if effect.secret:
        content = image.read()
        return [change._replace(content=content, size_bytes=len(content))]
    return [change._replace(fill=image.copy_to, origin=image, size_bytes=effect.after.size_bytes)]


def _kept_text(situation: Situation, effect: Effect) -> bytes | None:
    state = situation.host.state(ROOT)
    if state is None or effect.secret:
        return None
    with suppress(IntegrityError):
        return vault.source(state, effect.after.digest, vault.TEXT)
    return None


def _generation(situation: Situation, target: Target) -> Proposal:
    """A model's generation as the manifest has it, whichever revision wants it, or a way back has left it; or nothing.

    Where the network would be needed, and may not be asked, it only says so.
    """
    folder, name = os.path.split(target.name)
    if folder == STORE:
        with suppress(ManifestError):
            if (found := find_generation(situation, name)) is not None:
                reason = found.lacking()
                return Proposal(degraded=reason) if reason else found.delivery()
    return Proposal()


def _attributes(entry: Entry) -> str:
    return f"mode {entry.mode:04o}, owner {entry.uid}:{entry.gid}"


def _tree_of(situation: Situation, effect: Effect) -> str:
    """The digest that a directory had when we placed or adopted it as a whole; empty for one that was only made."""
    if TREE in effect.note or situation.ledger is None:
        return str(effect.note.get(TREE, ""))
    return next((str(e.note[TREE]) for _, e in situation.ledger.life(effect.target) if TREE in e.note), "")


def _inner(place: Place, target: Target) -> Iterator[Change]:
    """Contents are right, and only modes below differ: they are set, and nothing is copied or downloaded."""
    for name in place.names():
        seen, inner = (place / name).entry(), target / name
        wanted = INNER_MODES.get(seen.kind, seen.mode)
        if seen.mode != wanted:
            after, note = seen.with_attributes(wanted, None), {MENDED: True}
            detail = f"was {_attributes(seen)}"
            yield Change(st.ATTRIBUTES, inner, seen, after, lasting=True, note=note, detail=detail)
        if seen.kind == "dir":
            yield from _inner(place / name, inner)


def _image(situation: Situation, effect: Effect) -> Place | None:
    """Where the recorded content still lies: in what a merge wrote, or in what a later step replaced."""
    ledger, host = situation.ledger, situation.host
    if ledger is None:
        return None
    text = canonical(effect.target.name).decode() if effect.secret else effect.after.digest
    for _, other in [*ledger.mentioning(text)][::-1]:
        if not other.slot or host.state(other.store) is None:
            continue
        if other.target == effect.target and other.merge and other.after.exists:
            place = other.merge_places(host)[1]
        elif other.before.digest == effect.after.digest and other.before.kind == "file" and not effect.secret:
            place = other.slot_place(host)
        else:
            continue
        seen = place.entry()
        if seen.kind == "file" and (effect.secret or seen.digest == effect.after.digest):
            return place
    return None


def _found(asked: Proposal, effect: Effect) -> list[Change]:
    """Of what a revision asks for, what brings a recorded path.

    A model that was adopted as a plain folder is asked for as a link to a generation. One that is not in the store
    comes to where the folder was: the link alone would lead nowhere.
    """
    found = [change for change in asked.changes if _is_it(change, effect)]
    if effect.after.kind == "dir" and any(change.after.kind == "link" for change in found):
        ends = {_end(change) for change in found}
        placed = [change for change in asked.changes if change.action == st.PLACE_TREE and change.target in ends]
        return [change._replace(target=effect.target) for change in placed] or found
    return found


def _end(link: Change) -> Target:
    """Where a link will lead."""
    return link.target._replace(name=os.path.normpath(f"{link.target.above.name}/{link.after.target}"))


def _is_it(change: Change, effect: Effect) -> bool:
    """Whether a change brings what is recorded; an output that is made anew may differ from the one before."""
    same = not change.after.digest or effect.secret or change.after.digest == effect.after.digest
    return change.target == effect.target and change.action != st.ADOPT and same


def _as(effect: Effect, seen: Entry, change: Change) -> Change:
    """What an operation proposed, with what really stands there, and the records that belong to it."""
    before = change.before if change.merge and change.before.exists else seen
    merge = change.merge if before.kind in ("file", "absent") else ""
    note = {**_note(effect), **change.note}
    return change._replace(before=before, merge=merge, note=note, lasting=effect.lasting)


def _note(effect: Effect) -> dict[str, object]:
    return {**effect.note, MENDED: True}


def _affected(target: Target) -> frozenset[str]:
    folder = target.name.split("/")[0]
    if target.area == HOME:
        return frozenset({"env"} if folder == ".env" else ())
    return frozenset({{"fallback": "assets", "models": "model"}.get(folder, "directories")})
