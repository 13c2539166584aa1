"""From a source to the directory that is installed: received, verified, unpacked, durable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vvmigrate.content.delivery import archive, download
from vvmigrate.content.delivery.http import HttpSettings
from vvmigrate.content.delivery.pace import Pace
from vvmigrate.content.delivery.received import Progress

if TYPE_CHECKING:
    from vvmigrate.content.manifest import Artefact
    from vvmigrate.files import Owner, Place, Tree

_NOTHING = HttpSettings()
_PATIENT = Pace()


def _silent(_: Progress) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Delivered:
    """What became of an artefact.

    Attributes:
        source: where the bytes came from, as it may be stored; empty if they were there and nobody knows.
        digests: SHA-256 in hex of each installed file, by its name relative to the directory.
    """

    source: str
    digests: Mapping[str, str] = field(default_factory=dict)


def deliver(
    artefact: Artefact,
    partial: Place,
    target: Place,
    *,
    release: Tree,
    owner: Owner | None = None,
    mirror: str | None = None,
    settings: HttpSettings = _NOTHING,
    pace: Pace = _PATIENT,
    keep: bool = True,
    progress: Callable[[Progress], None] = _silent,
) -> Delivered:
    """Bring an artefact from whichever source has it into a directory.

    Args:
        artefact: what is wanted.
        partial: the file that keeps what was received; see `download.fetch`.
        target: where nothing stands yet, in a directory that only we may write. When this raises, whoever owns the
            directory sweeps it.
        release, mirror, settings, pace: see `download.fetch`.
        owner: of everything below `target`; None leaves it the caller's.
        keep: whether what was received is kept, so that a later run can go on with it.
        progress: called for each block.

    Raises:
        ArchiveError: the archive holds something that is refused, or is damaged.
        ChecksumError: other bytes than promised, and no source is left.
        DeliveryError: no source is left, the time is over, or the disk is full.
        RefusedError: a URL or the certificate bundle cannot be used.
    """
    source = download.fetch(
        artefact, partial, release=release, mirror=mirror, settings=settings, pace=pace, progress=progress
    )
    archive.extract(artefact, partial, target, owner, progress)
    return Delivered(source)
