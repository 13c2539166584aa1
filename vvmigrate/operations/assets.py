"""`op.install_assets`: files of the release stand in the storage root."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alembic.operations import Operations

from vvmigrate.engine import state as st
from vvmigrate.engine.effects import Effect
from vvmigrate.engine.state import Change, Kept, Proposal, Target
from vvmigrate.errors import ChecksumError, RefusedError
from vvmigrate.files import Entry, Place
from vvmigrate.operations.base import ASSET, Fact, Operation, Situation, root
from vvmigrate.operations.remove_assets import RemoveAssets

MODE = 0o644
ANY, ELSEWHERE = "", "elsewhere"


@Operations.register_operation("install_assets")
@dataclass(frozen=True)
class InstallAssets(Operation):
    """Files (not subfolders) of a folder of the release, in a folder of the storage root.

    Attributes:
        source: folder of the release.
        target: folder of the storage root.
        names: (file name, sha256 or empty) pairs; None for whatever the folder holds.
    """

    source: str
    target: str
    names: tuple[tuple[str, str], ...] | None = None

    @classmethod
    def install_assets(
        cls,
        operations: Operations,
        source: str,
        target: str,
        names: list[str] | tuple[str, ...] | Mapping[str, str] | None = None,
    ) -> None:
        """Let files of the release stand in the storage root, compared by content.

        Args:
            names: which files; a mapping pins each by its SHA-256; None takes all that the folder holds.
        """
        pairs = None if names is None else tuple((n, names[n] if isinstance(names, Mapping) else "") for n in names)
        operations.invoke(cls(source, target, pairs))

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """See Operation."""
        if self.names is None:
            return (self.source, self.target), {}
        pinned = all(pin for _, pin in self.names)
        return (self.source, self.target, dict(self.names) if pinned else [name for name, _ in self.names]), {}

    def facts(self) -> Mapping[Fact, str | None]:
        """The bytes of each asset that is pinned."""
        return {Fact(ASSET, f"{self.target}/{name}"): pin for name, pin in self.names or () if pin}

    def propose(self, situation: Situation) -> Proposal:
        """Install what is missing or differs; a missing source is a warning and a degraded step.

        The release holds an asset as its newest revision pins it: where a later operation of this run replaces an
        asset, its bytes are installed at once. The asset is then whole too where only that later step is taken back.
        """
        folder = situation.release() / self.source
        names = self.names
        if names is None:
            names = tuple((name, "") for name in folder.names() if (folder / name).identity()[0] == "file")
        recorded = situation.recorded()
        total = Proposal()
        for name, pin in names:
            total += self._one(folder / name, root(f"{self.target}/{name}"), pin, situation, recorded)
        return total

    def _one(
        self,
        source: Place,
        target: Target,
        pin: str,
        situation: Situation,
        recorded: Mapping[Target, tuple[Effect, dict[str, Any]]],
    ) -> Proposal:
        fresh = source.entry()
        later = self._later(target, situation)
        if later == ELSEWHERE or (fresh.kind != "file" and later is not None):
            return Proposal(skipped=(f"{situation.host.path(target)}: not installed, a later revision does without",))
        if fresh.kind != "file":
            reason = f"{source.name}: missing from the release"
            return Proposal(warnings=(f"{source.path}: missing, so it was not installed",), degraded=reason)
        situation.check_signed(source, fresh.digest)
        if pin and fresh.digest != pin and later not in (ANY, fresh.digest):
            raise ChecksumError(
                f"{source.path}: expected SHA-256 {pin}, found {fresh.digest}",
                hint="restore the release's own file; if a later revision brings this one: vvmigrate upgrade head",
                path=source.path,
            )
        seen = situation.observer.entry(target)
        wanted = Entry("file", 0, os.geteuid(), os.getegid(), fresh.size_bytes, fresh.digest)
        wanted = wanted.with_attributes(MODE, situation.owner)
        place = Change(
            st.PLACE_FILE,
            target,
            seen,
            wanted,
            fill=lambda slot: _install(source, slot, wanted),
            origin=source,
            size_bytes=fresh.size_bytes,
            note={"source": source.name},
        )
        affects = frozenset({"assets"})
        path = situation.host.path(target)
        if not seen.exists:
            return Proposal((place,), affects=affects)
        if seen.kind == "dir":
            raise RefusedError(f"{path}: expected a file, found a directory", hint="move it away", path=path)
        if seen.same_content(wanted):
            adopted = Change(st.ADOPT, target, seen, seen, detail="same content", note={"source": source.name})
            return Proposal((adopted,), skipped=(f"{path}: has the same content",))
        ours = target in recorded and seen.same_content(recorded[target][0].after)
        if situation.settings.skip_existing and not ours:
            return Proposal(kept=(Kept(path, "has other content, left as it is (--skip-existing)"),))
        return Proposal((place,), affects=affects)

    def _later(self, target: Target, situation: Situation) -> str | None:
        """What this run's later operations want of the same asset.

        Returns:
            The SHA-256 that the last of them pins; `ANY` if it takes what the release holds; `ELSEWHERE` if it removes
            the asset or takes it from another folder; None if there is none.
        """
        folder, _, name = target.name.rpartition("/")
        for _, operation in reversed(situation.upcoming):
            if isinstance(operation, RemoveAssets | InstallAssets) and operation.target == folder:
                pins = {name: ANY} if operation.names is None else dict(operation.names)
                if name in pins:
                    same = isinstance(operation, InstallAssets) and operation.source == self.source
                    return pins[name] if same else ELSEWHERE
        return None


def _install(source: Place, slot: Place, wanted: Entry) -> None:
    """Copy the release's bytes; they are compared again, since they may change under us."""
    owner = wanted.owner if os.geteuid() == 0 else None
    with source.reader() as file, slot.create(wanted.mode, owner) as copy:
        while chunk := file.read(1 << 20):
            copy.write(chunk)
    if (digest := slot.entry().digest) != wanted.digest:
        raise ChecksumError(f"{source.path}: changed while it was copied: {digest}", path=source.path)
