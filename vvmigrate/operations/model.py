"""`op.install_model`: a version of the manifest's model is the current one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from alembic.operations import Operations

from vvmigrate.content.manifest import Artefact
from vvmigrate.engine.runtime import HostOperation
from vvmigrate.engine.state import Proposal, Superseded
from vvmigrate.errors import ManifestError
from vvmigrate.operations.base import MODEL, Fact, Operation, Situation
from vvmigrate.operations.generation import MANIFEST, Installation, read_manifest
from vvmigrate.operations.takeover import TakeOver


def version_pin(version: str, sha256: Mapping[str, str]) -> str:
    """One version of a model in one text: its name, and what each variant's bytes are."""
    return " ".join([version, *(f"{variant}={sha256[variant]}" for variant in sorted(sha256))])


@Operations.register_operation("install_model")
@dataclass(frozen=True)
class InstallModel(Operation):
    """A version of a model is current.

    Attributes:
        name: the model's name in the manifest.
        version: the version.
        sha256: (variant, digest) pairs that the manifest must agree with; empty for no pin.
    """

    name: str
    version: str
    sha256: tuple[tuple[str, str], ...] = ()

    @classmethod
    def install_model(
        cls, operations: Operations, name: str, version: str, sha256: dict[str, str] | None = None
    ) -> None:
        """Let this version of the manifest's model be the current one, in the host's variant.

        Args:
            sha256: the artefact's SHA-256 by variant: pins what the manifest says.
        """
        operations.invoke(cls(name, version, tuple(sorted((sha256 or {}).items()))))

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """See Operation."""
        return (self.name, self.version), {"sha256": dict(self.sha256)} if self.sha256 else {}

    def facts(self) -> Mapping[Fact, str | None]:
        """Which version is current, and its bytes; a version without pins means whatever the manifest says."""
        return {Fact(MODEL, self.name): version_pin(self.version, dict(self.sha256))} if self.sha256 else {}

    def propose(self, situation: Situation) -> Proposal:
        """Fetch what the store lacks, switch the link, say so in the information file.

        What a later operation replaces in the same run need not be in the manifest any more.
        """
        later = [(revision, op) for revision, op in situation.upcoming if self._is_replaced_by(op)]
        if later:
            what = f"{self.name} {self.version}"
            text = f"{what}: not fetched, {later[-1][1].version} follows"
            return Proposal(skipped=(text,), superseded=(Superseded(what, tuple(name for name, _ in later)),))
        read_manifest(situation)  # one that cannot be read is always an error
        try:
            artefact = self.artefact(situation)
        except ManifestError as error:
            if not situation.retry:
                raise
            return Proposal(degraded=error.message)  # the host has done without it, and it holds nothing else up
        kind = TakeOver if situation.adopting else Installation
        return kind(self.name, self.version, situation.variant, artefact, situation).propose()

    def _is_replaced_by(self, other: HostOperation) -> TypeGuard[InstallModel]:
        return isinstance(other, InstallModel) and other.name == self.name

    def artefact(self, situation: Situation) -> Artefact:
        """What the manifest has for this version, in the host's variant.

        Raises:
            ManifestError: nothing, or something else than the revision pins.
        """
        found = read_manifest(situation).artefact(self.name, self.version, situation.variant)
        pin = dict(self.sha256).get(situation.variant)
        if pin is not None and pin != found.sha256:
            raise ManifestError(
                f"{MANIFEST}: {self.name} {self.version} ({situation.variant}): the revision pins SHA-256 {pin}, "
                f"the manifest says {found.sha256}",
                path=(situation.release() / MANIFEST).path,
            )
        return found
