"""From a source to the directory that is installed: received, verified, unpacked, durable."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from vvmigrate.content.delivery import archive, download
from vvmigrate.content.delivery.disk import naming_full_disk
from vvmigrate.content.delivery.download import NOTHING, PATIENT
from vvmigrate.content.delivery.http import HttpSettings
from vvmigrate.content.delivery.lanes import Channel
from vvmigrate.content.delivery.pace import Pace
from vvmigrate.content.delivery.received import Progress, silent

if TYPE_CHECKING:
    from vvmigrate.content.manifest import Artefact
    from vvmigrate.files import Owner, Place, Tree

SERIAL_BELOW_BYTES = 8 << 20  # what threads could save of so little is less than what they cost
_STREAMED = ("tar.gz", "tar.zst")  # a zip is read from its end, a raw file is what was received


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
    settings: HttpSettings = NOTHING,
    pace: Pace = PATIENT,
    keep: bool = True,
    progress: Callable[[Progress], None] = silent,
    serial_below_bytes: int = SERIAL_BELOW_BYTES,
) -> Delivered:
    """Bring an artefact from whichever source has it into a directory.

    A large one is received, written, hashed, decompressed and unpacked at the same time, each in a thread of its own.
    What is unpacked before the last byte has come lies where nobody sees it, and counts only once the SHA-256 is right.

    Args:
        artefact: what is wanted.
        partial: the file that keeps what was received; see `download.fetch`.
        target: where nothing stands yet, in a directory that only we may write. When this raises, whoever owns the
            directory sweeps it.
        release, mirror, settings, pace: see `download.fetch`.
        owner: of everything below `target`; None leaves it the caller's.
        keep: whether what was received is kept, so that a later run can go on with it.
        progress: called for each block.
        serial_below_bytes: smaller artefacts are handled without threads.

    Raises:
        ArchiveError: the archive holds something that is refused, or is damaged.
        ChecksumError: other bytes than promised, and no source is left.
        DeliveryError: no source is left, the time is over, or the disk is full.
        RefusedError: a URL or the certificate bundle cannot be used.
    """
    threaded = artefact.size_bytes >= serial_below_bytes
    archived = artefact.format in _STREAMED
    with Unpacking(artefact, target, owner) as unpacking:
        source = download.fetch(
            artefact,
            partial,
            release=release,
            mirror=mirror,
            settings=settings,
            pace=pace,
            progress=progress,
            keep=keep or not archived,
            threaded=threaded,
            tap=unpacking if archived and (threaded or not keep) else None,
        )
        with naming_full_disk(target, lambda: f"while {artefact.filename} was unpacked"):
            digests = unpacking.result()
    if digests is None:
        digests = archive.extract(artefact, partial, target, owner, progress, threaded=threaded)
    return Delivered(source, digests)


class Unpacking:
    """An archive that is unpacked while it comes, in a thread of its own; the tap of a download."""

    def __init__(self, artefact: Artefact, target: Place, owner: Owner | None) -> None:
        """Begin when the first byte comes."""
        self._artefact = artefact
        self._target = target
        self._owner = owner
        self._feed: Channel[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._digests: Mapping[str, str] = {}
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        """Give up with the block, unless there was a result."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Let nothing be written any more."""
        self._stop()

    def begin(self) -> None:
        """Unpack what follows into an empty place."""
        self.void()
        self._error, self._feed = None, Channel()
        self._thread = threading.Thread(target=self._run, args=(self._feed,), daemon=True)
        self._thread.start()

    def put(self, block: bytes) -> None:
        """Hand on the next bytes; whoever has failed takes none, and that is told when all have come."""
        if self._feed is not None:
            self._feed.put(block)

    def void(self) -> None:
        """Stop, and remove what was unpacked."""
        if self._thread is not None:
            self._stop()
            self._target.remove_tree()

    def result(self) -> Mapping[str, str] | None:
        """What was unpacked; None where nothing was.

        Raises:
            ArchiveError, ChecksumError, OSError: what the archive, or the disk, refused.
        """
        if self._thread is None or self._feed is None:
            return None
        self._feed.end()
        self._thread.join()
        self._thread = self._feed = None
        if self._error is not None:
            raise self._error
        return self._digests

    def _stop(self) -> None:
        if self._thread is not None and self._feed is not None:
            self._feed.end(_GivenUpError())
            self._thread.join()
        self._thread = self._feed = None

    def _run(self, feed: Channel[bytes]) -> None:
        try:
            self._digests = archive.unpack_tar(self._artefact, feed, self._target, self._owner, threaded=True)
        except BaseException as error:  # noqa: BLE001 - raised again by `result`
            self._error = error
        finally:
            feed.leave()


class _GivenUpError(Exception):
    """The bytes that came are void."""
