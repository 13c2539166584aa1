"""The way back: from what a revision recorded on this host to the changes that take it back.

Reads only records and before-images, never today's settings, manifest or release. What somebody changed since is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vvmigrate.engine import state as st
from vvmigrate.engine.effects import MENDED, Effect, Merger
from vvmigrate.engine.host import Host
from vvmigrate.engine.ledger import Ledger
from vvmigrate.engine.state import Change, Kept, Observer, Overlay, Proposal
from vvmigrate.files import ABSENT, Entry, Place


@dataclass(frozen=True)
class Reverser:
    """Proposes the inverse of recorded effects, newest first."""

    host: Host
    ledger: Ledger
    mergers: Mapping[str, Merger]
    observer: Observer

    def propose(self, effects: Iterable[Effect]) -> Proposal:
        """The changes that take these effects back, and what stays."""
        overlay = Overlay(self.observer)
        total = Proposal()
        for effect in effects:
            if effect.note.get(MENDED):
                continue  # what it set aside stays aside
            proposal = self._one(effect, overlay)
            for change in proposal.changes:
                overlay.predict(change)
            total += proposal
        return total

    def _one(self, effect: Effect, overlay: Overlay) -> Proposal:
        path = self.host.path(effect.target)
        seen = overlay.entry(effect.target)
        if effect.action == st.ADOPT and not effect.note.get("made"):
            return _noted_again(effect, seen) + Proposal(skipped=(f"{path}: was there before, stays",))
        if effect.lasting:
            return Proposal(skipped=(f"{path}: stays in the store until it is pruned",))
        if effect.action == st.ATTRIBUTES:
            return self._attributes(effect, seen, path)
        if effect.merge:
            return self._merged(effect, seen, overlay, path)
        if not effect.before.exists or effect.action == st.ADOPT:  # taken over: an earlier way back had to leave it
            return self._creation(effect, seen, overlay, path)
        return self._replacement(effect, seen, path)

    def _same(self, effect: Effect, seen: Entry) -> bool:
        """Whether it is still what we left there; a secret file's digest is recorded keyed.

        Another step of ours may have left what stands there: where a model could not be had, its link does not go back.
        """
        if effect.secret and seen.digest:
            seen = seen._replace(digest=self.ledger.mac(seen.digest.encode()))
        if seen.kind == "dir" and effect.after.kind == "dir":
            return True
        return seen.same_content(effect.after) or any(map(seen.same_content, self.ledger.left(effect.target)))

    def _attributes(self, effect: Effect, seen: Entry, path: str) -> Proposal:
        if not seen.exists:
            return Proposal()
        if (seen.mode, seen.owner) != (effect.after.mode, effect.after.owner):
            return _kept(path, "mode or owner was changed since")
        after = seen.with_attributes(effect.before.mode, effect.before.owner)
        detail, note = f"mode {after.mode:04o} again", effect.earlier
        return Proposal((Change(st.ATTRIBUTES, effect.target, seen, after, detail=detail, note=note),))

    def _creation(self, effect: Effect, seen: Entry, overlay: Overlay, path: str) -> Proposal:
        if not seen.exists:
            return Proposal(skipped=(f"{path}: is gone already",))
        if not self._same(effect, seen):
            return _kept(path, "was changed since it was made")
        if seen.kind != "dir":
            return Proposal((Change(st.REMOVE_FILE, effect.target, seen, ABSENT, detail="made by this revision"),))
        if names := overlay.names(effect.target):
            return _kept(path, f"holds what this revision did not make: {_few(names)}")
        return Proposal((Change(st.REMOVE_DIRECTORY, effect.target, seen, ABSENT, detail="made by this revision"),))

    def _replacement(self, effect: Effect, seen: Entry, path: str) -> Proposal:
        if seen.exists and not self._same(effect, seen):
            return _kept(path, "was changed since it was put there")
        image = self._image(effect)
        if image is None or image.stat() is None:
            return _kept(path, "what stood there before was pruned", lost=True)
        before = image.entry()
        action = st.SWITCH_LINK if before.kind == "link" else st.PLACE_TREE if before.kind == "dir" else st.PLACE_FILE
        detail, note = "as it was before", effect.earlier
        change = Change(action, effect.target, seen, before, detail=detail, note=note, size_bytes=before.size_bytes)
        if before.kind not in ("file", "link"):  # cannot be copied, or is too large to be: it moves back itself
            return Proposal((change._replace(source=effect.slot),))
        return Proposal((change._replace(fill=image.copy_to, origin=None if effect.secret else image),))

    def _merged(self, effect: Effect, seen: Entry, overlay: Overlay, path: str) -> Proposal:
        """A file of keys goes back key by key, from whatever it is now."""
        if seen.kind != "file":
            return Proposal() if not seen.exists else _kept(path, f"is a {seen.kind} now")
        image = self._image(effect)
        if image is None or Place(image.tree, image.name + ".after").stat() is None:
            return _kept(path, "what it was before was pruned", lost=True)
        before = image.read() if effect.before.exists else None
        after = Place(image.tree, image.name + ".after").read()
        current = overlay.read(effect.target)
        back = self.mergers[effect.merge](current, before, after, effect.note)
        wanted, note = back.content, {**effect.earlier, **back.note}
        kept = tuple(Kept(f"{path}: {key}", reason) for key, reason in back.kept)
        if wanted == current:
            return _noted_again(effect, seen) + Proposal(kept=kept)
        change = Change(
            st.PLACE_FILE,
            effect.target,
            seen,
            seen,
            content=wanted,
            merge=effect.merge,
            secret=effect.secret,
            note=note,
        )
        if wanted is None:
            change = change._replace(action=st.REMOVE_FILE, after=ABSENT)
        else:  # with its digest: an older effect of this revision's on the same file starts from there
            like = effect.before if wanted == before and current == after else seen
            digest = hashlib.sha256(wanted).hexdigest()
            change = change._replace(after=like._replace(digest=digest, size_bytes=len(wanted)))
        return Proposal((change._replace(detail="back to what it was, key by key"),), kept, affects=frozenset({"env"}))

    def _image(self, effect: Effect) -> Place | None:
        state = self.host.state(effect.store)
        return state / effect.slot if state is not None else None


def _noted_again(effect: Effect, seen: Entry) -> Proposal:
    """The path stays as it is, and what had been noted of it before counts again."""
    if not effect.earlier or not seen.exists:
        return Proposal()
    return Proposal((Change(st.ADOPT, effect.target, seen, seen, secret=effect.secret, note=effect.earlier),))


def _kept(path: str, reason: str, *, lost: bool = False) -> Proposal:
    return Proposal(kept=(Kept(path, reason, lost),))


def _few(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
