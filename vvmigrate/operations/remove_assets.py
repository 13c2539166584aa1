"""`op.remove_assets`: files that an earlier release installed go again, if they are still ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alembic.operations import Operations

from vvmigrate.engine import state as st
from vvmigrate.engine.state import Change, Kept, Proposal
from vvmigrate.files import ABSENT
from vvmigrate.operations.base import ASSET, Fact, Operation, Situation, root


@Operations.register_operation("remove_assets")
@dataclass(frozen=True)
class RemoveAssets(Operation):
    """Files of a folder of the storage root are gone.

    Attributes:
        target: folder of the storage root.
        names: (file name, sha256) pairs: what was installed there last.
    """

    target: str
    names: tuple[tuple[str, str], ...]

    @classmethod
    def remove_assets(cls, operations: Operations, target: str, names: Mapping[str, str]) -> None:
        """Remove files that an earlier revision installed; one that has other content is kept.

        Args:
            names: the SHA-256 of each file, as it was installed last.
        """
        operations.invoke(cls(target, tuple(names.items())))

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """See Operation."""
        return (self.target, dict(self.names)), {}

    def facts(self) -> Mapping[Fact, str | None]:
        """What holds no more."""
        return {Fact(ASSET, f"{self.target}/{name}"): None for name, _ in self.names}

    def propose(self, situation: Situation) -> Proposal:
        """Remove what is as it was installed; a before-image brings it back."""
        return sum((self._one(name, pin, situation) for name, pin in self.names), Proposal())

    def _one(self, name: str, pin: str, situation: Situation) -> Proposal:
        target = root(f"{self.target}/{name}")
        seen, path = situation.observer.entry(target), situation.host.path(target)
        if not seen.exists:
            return Proposal(skipped=(f"{path}: is not there",))
        ours = situation.recorded().get(target)
        if seen.kind != "file" or (seen.digest != pin and not (ours and seen.same_content(ours[0].after))):
            return Proposal(kept=(Kept(path, "is not what was installed"),))
        gone = Change(st.REMOVE_FILE, target, seen, ABSENT, detail="not part of the release any more")
        return Proposal((gone,), affects=frozenset({"assets"}))
