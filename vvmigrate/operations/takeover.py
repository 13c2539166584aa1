"""A model's folder that `bootstrap.py` left, and that verifies, becomes a generation; nothing is copied."""

from __future__ import annotations

import os
from collections.abc import Mapping

from vvmigrate.content.store import MODELS, STORE
from vvmigrate.engine import state as st
from vvmigrate.engine.effects import TAKEN_OVER
from vvmigrate.engine.state import Change, Proposal
from vvmigrate.errors import ConflictError, RefusedError
from vvmigrate.files import Entry, Owner, Place
from vvmigrate.operations.base import root
from vvmigrate.operations.generation import Installation


class TakeOver(Installation):
    """The same installation, on a host whose model is there already."""

    def _adopt_folder(self, seen: Entry) -> Proposal:
        """The folder's files get a second name in the store, and the link takes the folder's place in one rename.

        The folder itself is the before-image: a downgrade puts it back. A rename into the store would leave a moment
        without any model.
        """
        self.source = "found on this host"
        stored = self._stored() or self._placed()
        return _taken(stored + self._link(seen))

    def _information(self) -> Proposal:
        """What says which model is current, in its old shape or missing, comes with a folder that is taken over."""
        said = super()._information()
        return _taken(said) if self.source else said

    def _placed(self) -> Proposal:
        target = root(f"{STORE}/{self.generation}")
        change = Change(
            st.PLACE_TREE,
            target,
            self.situation.observer.entry(target),
            self._entry("dir"),
            fill=self._name_again,
            lasting=True,
            detail=f"{self.name} {self.version} ({self.variant}), by a second name",
        )
        return self._store() + Proposal((change, self._entry_file()))

    def _name_again(self, slot: Place) -> Mapping[str, str]:
        """Give everything in the folder a second name in the slot; the digests of what the manifest promises."""
        _name_tree_again(self.situation.host.place(root(f"{MODELS}/{self.name}")), slot)
        for file, sha256 in self.digests.items():
            if (slot / file).entry().digest != sha256:
                raise ConflictError(
                    f"{(slot / file).path}: changed while it was taken over", hint="run the command again"
                )
        return self.digests


def _name_tree_again(folder: Place, slot: Place) -> None:
    seen = folder.glance()
    slot.make_directory(seen.mode, _given(seen))
    for name in folder.names():
        inner = (folder / name).glance()
        if inner.kind == "dir":
            _name_tree_again(folder / name, slot / name)
        elif inner.kind in ("file", "link"):
            (folder / name).make_hard_link(slot / name)
        else:
            path = (folder / name).path
            raise RefusedError(f"{path}: expected files of a model, found something else", path=path)
    slot.fsync()


def _given(entry: Entry) -> Owner | None:
    return entry.owner if os.geteuid() == 0 else None


def _taken(proposal: Proposal) -> Proposal:
    """Marked, so that it counts as taken over; what the link replaces is the same model, and nothing that is kept."""
    marked = tuple(change._replace(note={**change.note, TAKEN_OVER: True}) for change in proposal.changes)
    return proposal._replace(changes=marked, kept=())
