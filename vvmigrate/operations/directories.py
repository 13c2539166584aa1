"""`op.make_directories`: directories below the storage root exist, with owner and mode."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alembic.operations import Operations

from vvmigrate.engine import state as st
from vvmigrate.engine.state import Change, Proposal
from vvmigrate.errors import RefusedError, RevisionError
from vvmigrate.files import ABSENT, Entry
from vvmigrate.operations.base import DIRECTORY, Fact, Operation, Situation, root


def is_below_root(name: str) -> bool:
    """Whether a name is one of something below the storage root."""
    return bool(name) and not name.startswith("/") and all(part not in ("", ".", "..") for part in name.split("/"))


@Operations.register_operation("make_directories")
@dataclass(frozen=True)
class MakeDirectories(Operation):
    """Directories below the storage root.

    Attributes:
        names: relative names, parents before what they hold.
        mode: permission bits; None for the configured ones (`VV_DIR_MODE`).
    """

    names: tuple[str, ...]
    mode: int | None = None

    @classmethod
    def make_directories(
        cls, operations: Operations, names: list[str] | tuple[str, ...], mode: int | None = None
    ) -> None:
        """Let directories exist below the storage root, with the configured owner.

        Raises:
            RevisionError: a name leads out of the storage root.
        """
        for name in names:
            if not is_below_root(name):
                raise RevisionError(f"op.make_directories: {name!r} is not a name below the storage root")
        operations.invoke(cls(tuple(names), mode))

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """See Operation."""
        return (list(self.names),), {} if self.mode is None else {"mode": self.mode}

    def facts(self) -> Mapping[Fact, str | None]:
        """Which directories exist; modes and owners are the host's."""
        return {Fact(DIRECTORY, name): "" for name in self.names}

    def propose(self, situation: Situation) -> Proposal:
        """Make what is missing; adopt what is there, and mend its mode and owner unless told to skip."""
        total = Proposal()
        for name in self.names:
            total += self._one(name, situation)
        return total

    def _one(self, name: str, situation: Situation) -> Proposal:
        target = root(name)
        seen = situation.observer.entry(target)
        path = situation.host.path(target)
        mode = self.mode if self.mode is not None else situation.settings.directory_mode
        owner = situation.owner
        affects = frozenset({"directories"})
        if not seen.exists:
            fresh = Entry("dir", uid=os.geteuid(), gid=os.getegid()).with_attributes(mode, owner)
            return Proposal(
                (Change(st.MAKE_DIRECTORY, target, ABSENT, fresh, detail=f"mode {mode:04o}"),), affects=affects
            )
        if seen.kind != "dir":
            raise RefusedError(
                f"{path}: expected a directory, found a {seen.kind}",
                hint="move it away; vvmigrate does not follow links below the storage root: use a bind mount",
                path=path,
            )
        # What an applied revision has is gone with that one's way back, or this one's earlier step's.
        nobodys = target not in situation.recorded()
        made = nobodys and situation.ledger is not None and situation.ledger.made(target)
        adopted = Change(st.ADOPT, target, seen, seen, detail="was there", note={"made": made})
        wanted = seen.with_attributes(mode, owner)
        if seen == wanted:
            return Proposal((adopted,), skipped=(f"{path}: exists",))
        differs = f"mode {seen.mode:04o}, user {seen.uid}; expected {wanted.mode:04o}, user {wanted.uid}"
        if situation.settings.skip_existing:
            return Proposal((adopted,), warnings=(f"{path}: left as it is: {differs}",), skipped=(f"{path}: exists",))
        return Proposal((Change(st.ATTRIBUTES, target, seen, wanted, detail=f"was {differs}"),), affects=affects)
