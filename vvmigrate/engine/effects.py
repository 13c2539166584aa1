"""A visible change of the file system, with its exact inverse.

Every effect but a change of mode has a *slot*: a private place on the same mount. Before the effect the slot holds
AFTER and the path BEFORE; after it, the other way round. Applying and undoing are one rename each, so that neither
needs space, and whatever was replaced keeps its inode, mode, owner and attributes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Self

from vvmigrate.engine.host import Host
from vvmigrate.engine.state import Target
from vvmigrate.errors import StateError
from vvmigrate.files import Entry, Place

TREE = "tree"
"""Key of an effect's note: digest of everything below a directory that we placed."""

SHAPE = "shape"
"""Key of an effect's note: the same without contents, for a look that reads none."""

CONTENT = "content"
"""Key of an effect's note: the text of a small file that we placed, so that it can be had again, byte for byte."""
CONTENT_BYTES = 16 << 10

MENDED = "mended"
"""Key of an effect's note: it published again what an earlier effect had. The way back of that one is its way back."""

KEPT_TEXT = "template"
"""Key of an effect's note: SHA-256 of a text of the release that is kept in the state directory (`Change.text`)."""

TAKEN_OVER = "taken over"
"""Key of an effect's note: what was there already only got the place that we would have given it."""

LACKS = "lacks"
"""Key of an effect's note: why what stands there was left by a way back, and is not what was there before."""

ONCE = "once"
"""Key of an effect's note: what concerns this one effect. Where nothing else in a note is new, it tells nothing."""
EARLIER = "earlier"
"""Key in there: what had been noted of the path before. The way back notes it again."""


class TakenBack(NamedTuple):
    """What became of a file of keys when what we had done to it was taken out.

    Attributes:
        content: None where nothing is left of it.
        kept: (key, reason) of what stays.
        told: whether it could be told what was ours; if not, the content is as it was.
        note: what taking this back in its turn needs to know.
    """

    content: bytes | None
    kept: tuple[tuple[str, str], ...] = ()
    told: bool = True
    note: Mapping[str, Any] = {}


def noted_of_tree(place: Place, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """What is noted of a directory that is ours as a whole.

    Args:
        known: see `Look.entry`.
    """
    return {TREE: place.entry(tree=True, known=known).digest, SHAPE: place.shape()}


Merger = Callable[[bytes, bytes | None, bytes, Mapping[str, Any]], TakenBack]
"""Takes what we did out of a file that somebody changed since: (current, before, after, note)."""


class Effect(NamedTuple):
    """One change, staged. See `state.Change` for the attributes of the same name.

    Attributes:
        store: key of the state directory that holds the slot.
        slot: the slot's name there: below `staging/` until the step is committed, below `undo/` from then on.
    """

    action: str
    target: Target
    before: Entry
    after: Entry
    store: str = ""
    slot: str = ""
    merge: str = ""
    secret: bool = False
    lasting: bool = False
    detail: str = ""
    note: Mapping[str, Any] = {}

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return self._asdict() | {
            "target": self.target._asdict(),
            "before": self.before.as_json(),
            "after": self.after.as_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `as_json` wrote.

        Raises:
            TypeError, KeyError: it is something else.
        """
        values = dict(data)
        values["target"] = Target(**values["target"])
        values["before"], values["after"] = Entry.from_json(values["before"]), Entry.from_json(values["after"])
        return cls(**values)

    @property
    def earlier(self) -> Mapping[str, Any]:
        """What had been noted of the path before this effect."""
        found: Mapping[str, Any] = self.note.get(ONCE, {}).get(EARLIER, {})
        return found

    @property
    def end(self) -> Target:
        """Where its link leads to; any other path itself."""
        name = os.path.join(os.path.dirname(self.target.name), self.after.target) if self.after.target else ""
        return self.target._replace(name=os.path.normpath(name)) if name else self.target

    def settled(self) -> Self:
        """The effect as it is once its step is committed and its before-image has moved to `undo/`."""
        return self._replace(slot=self.slot.replace("staging/", "undo/", 1))

    def slot_place(self, host: Host) -> Place:
        """Where the slot is.

        Raises:
            StateError: its state directory is gone.
        """
        state = host.state(self.store)
        if state is None:
            raise StateError(f"the state directory of {self.store} is not there")
        return state / self.slot

    def merge_places(self, host: Host) -> tuple[Place, Place]:
        """Where copies of BEFORE and AFTER are kept for taking a merged file back by key."""
        slot = self.slot_place(host)
        return aside(slot, ".before"), aside(slot, ".after")

    def is_after(self, place: Place) -> bool:
        """Whether AFTER stands at a place, as we made it: also with nothing added to a directory, nothing changed."""
        if not is_same(place.entry(), self.after):
            return False
        return TREE not in self.note or place.entry(tree=True).digest == self.note[TREE]


def led_to(effects: Iterable[Effect]) -> Callable[[Target], bool]:
    """Whether a path belongs to what links lead to.

    It is that itself, lies in it, holds it, or is its entry beside it.
    """
    links = (effect for effect in effects if effect.after.kind == "link")
    ends = {effect.end for effect in links}

    def belongs(target: Target) -> bool:
        beside = target._replace(name=target.name.removesuffix(".json"))
        return beside in ends or any(target.holds(end) or end.holds(target) for end in ends)

    return belongs


def aside(slot: Place, suffix: str) -> Place:
    """A private place beside a slot."""
    return Place(slot.tree, slot.name + suffix)


def is_same(seen: Entry, wanted: Entry) -> bool:
    """Whether it is the same thing: kind and content, as far as both are known."""
    if seen.kind != wanted.kind:
        return False
    if seen.kind == "dir":
        return True
    return seen.same_content(wanted)
