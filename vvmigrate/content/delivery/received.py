"""The bytes that came so far: a partial file, its running SHA-256, and where they came from.

The state of a hash cannot be saved, so the file is replayed through it when a download goes on. Beside the file stands
`<partial>.meta`: a small JSON document with the artefact's SHA-256, the source, and its strong ETag. It is a help,
never a proof: what counts in the end is the SHA-256 of all bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Self

from vvmigrate.content.delivery.answers import AttemptError
from vvmigrate.content.delivery.disk import naming_full_disk
from vvmigrate.files import Place

if TYPE_CHECKING:
    from vvmigrate.content.manifest import Artefact

BLOCK_BYTES = 256 << 10  # measured: as fast as larger ones, and four of them fit a second-level cache
META_SUFFIX = ".meta"
_META_LIMIT_BYTES = 64 << 10
_ON_DISK = "what an earlier run received"


@dataclass(frozen=True)
class Progress:
    """How far a phase is.

    Attributes:
        phase: `verify` (what is there already), `download`, or `extract`.
        done_bytes: of `total_bytes`, those of earlier runs included.
        total_bytes: what the phase ends with.
    """

    phase: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class _Mark:
    """A point to go back to: the size there, and the state of both hashes."""

    size_bytes: int
    digest: hashlib._Hash
    part: hashlib._Hash

    @classmethod
    def zero(cls) -> Self:
        """The beginning."""
        return cls(0, hashlib.sha256(), hashlib.sha256())


class Received:
    """The partial file while a download runs."""

    def __init__(self, artefact: Artefact, place: Place, file: BinaryIO, report: Callable[[Progress], None]) -> None:
        """Take over a file that is open for appending."""
        self._artefact = artefact
        self._place = place
        self._file = file
        self._report = report
        self._sources: set[str] = set()
        self._meta = _read_meta(place)
        self.size_bytes = 0
        self._digest, self._part = hashlib.sha256(), hashlib.sha256()
        self._good = self._begun = _Mark.zero()

    @classmethod
    @contextmanager
    def open(cls, artefact: Artefact, place: Place, report: Callable[[Progress], None]) -> Iterator[Self]:
        """Open or make the partial file and replay what it holds; it is durable when the block ends.

        Raises:
            DeliveryError: the disk is full.
        """
        info = place.stat()
        if info and info.st_nlink > 1 and place.entry().digest != artefact.sha256:
            # A raw file is installed as a second name of these bytes: they are not ours alone to begin again with.
            place.remove_file()
            info = None
        with naming_full_disk(place, lambda: _needed(artefact, place)), place.append() as file:
            if info is None:
                place.parent.fsync()
            received = cls(artefact, place, file, report)
            received._replay()
            yield received

    @property
    def complete(self) -> bool:
        """Whether all bytes are there and are the promised ones."""
        return self._full and self._digest.hexdigest() == self._artefact.sha256

    @property
    def source(self) -> str:
        """Where the last bytes came from, as it may be shown; empty if nobody knows."""
        return self._meta.get("source", "")

    def etag_of(self, source: str) -> str:
        """The strong ETag under which this very source gave the bytes that are here."""
        return self._meta.get("etag", "") if self.source == source else ""

    def begin(self, start: int, source: str, etag: str) -> None:
        """Get ready for an answer that begins at `start`: where we stand, or 0."""
        if start == 0:
            self._truncate(_Mark.zero())
            self._sources = set()
        self._begun = self._mark()
        self._sources.add(source)
        meta = {"sha256": self._artefact.sha256, "source": source, "etag": etag}
        if meta != self._meta:
            meta_of(self._place).replace(json.dumps(meta).encode())
            self._meta = meta

    def store(self, block: bytes) -> None:
        """Append what came, then hash it.

        Raises:
            AttemptError: a part of the artefact is not what the manifest says; the file now ends before that part.
            DeliveryError: the disk is full.
        """
        view = memoryview(block)
        while view:  # write(2) may take less than it was given, on a disk that is nearly full
            view = view[self._file.write(view) :]
        self._hash(block)
        self._report(Progress("download", self.size_bytes, self._artefact.size_bytes))

    def drop_answer(self) -> None:
        """Forget what the current answer brought."""
        self._truncate(self._begun)

    def finish(self, hint: str) -> None:
        """Compare the whole with the manifest; `hint` ends the message.

        Raises:
            AttemptError: other bytes; the file is empty again. Final only if this source alone sent them.
        """
        if self.complete:
            return
        found, alone = self._digest.hexdigest(), len(self._sources) == 1
        self._truncate(_Mark.zero())
        message = f"SHA-256 is {found} instead of {self._artefact.sha256}{hint}"
        raise AttemptError(message, final=alone, wrong_bytes=alone)

    @property
    def _full(self) -> bool:
        return self.size_bytes == self._artefact.size_bytes

    def _replay(self) -> None:
        if self._meta.get("sha256", self._artefact.sha256) != self._artefact.sha256:
            self._file.truncate(0)
        self._file.seek(0)
        try:
            while block := self._file.read(BLOCK_BYTES):
                self._hash(block)
                self._report(Progress("verify", self.size_bytes, self._artefact.size_bytes))
        except AttemptError:
            pass  # ends before the first bad part, and goes on from there
        self._sources = {_ON_DISK} if self.size_bytes else set()
        too_long = self.size_bytes > self._artefact.size_bytes
        if too_long or (self._full and not self.complete):
            self._truncate(_Mark.zero())
            self._sources = set()

    def _hash(self, block: bytes) -> None:
        """Count and hash, stopping at the end of each part whose own SHA-256 the manifest knows."""
        parts, step = self._artefact.chunk_sha256, self._artefact.chunk_bytes
        if not parts or not step:
            self._digest.update(block)
            self.size_bytes += len(block)
            return
        view = memoryview(block)
        while view:
            piece = view[: step - self.size_bytes % step]
            self._digest.update(piece)
            self._part.update(piece)
            self.size_bytes += len(piece)
            if self.size_bytes % step == 0 or self._full:
                self._end_part((self.size_bytes - 1) // step, parts)
            view = view[len(piece) :]

    def _end_part(self, number: int, parts: Sequence[str]) -> None:
        found, self._part = self._part.hexdigest(), hashlib.sha256()
        if number >= len(parts) or found != parts[number]:
            self._truncate(self._good)
            raise AttemptError(f"part {number + 1} of {len(parts)} has another SHA-256", wrong_bytes=True)
        self._good = self._mark()

    def _mark(self) -> _Mark:
        return _Mark(self.size_bytes, self._digest.copy(), self._part.copy())

    def _truncate(self, mark: _Mark) -> None:
        if self._file.seek(0, io.SEEK_END) != mark.size_bytes:
            self._file.truncate(mark.size_bytes)
            self._file.seek(mark.size_bytes)
        self.size_bytes, self._digest, self._part = mark.size_bytes, mark.digest.copy(), mark.part.copy()
        if self._good.size_bytes > mark.size_bytes:
            self._good = _Mark.zero()


def meta_of(partial: Place) -> Place:
    """Where the validators of a partial file are kept."""
    return Place(partial.tree, partial.name + META_SUFFIX)


def _read_meta(place: Place) -> dict[str, str]:
    """What is known about the bytes; whatever cannot be read as that is not known."""
    try:
        data = json.loads(meta_of(place).read(_META_LIMIT_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        return {}
    return data


def _needed(artefact: Artefact, place: Place) -> str:
    info = place.stat()
    have = info.st_size if info else 0
    return f"{have} of {artefact.size_bytes} bytes are there, {artefact.size_bytes - have} more are needed"
