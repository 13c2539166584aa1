"""The bytes that came so far: a partial file, its running SHA-256, and where they came from.

The state of a hash cannot be saved, so the file is replayed through it when a download goes on. Beside the file stands
`<partial>.meta`: a small JSON document with the artefact's SHA-256, the source, and its strong ETag. It is a help,
never a proof: what counts in the end is the SHA-256 of all bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol, Self

from vvmigrate.content.delivery.answers import AttemptError
from vvmigrate.content.delivery.disk import naming_full_disk
from vvmigrate.content.delivery.lanes import Lane
from vvmigrate.content.delivery.tally import BadPartError, Mark, Tally
from vvmigrate.files import Place, WriteBehind

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


def silent(_: Progress) -> None:
    """Report nothing."""


class Tap(Protocol):
    """Whoever uses the bytes while they come."""

    def begin(self) -> None:
        """What follows is the artefact from its first byte on; what came before is void."""

    def put(self, block: bytes) -> None:
        """The next bytes."""

    def void(self) -> None:
        """What came is not what stands in the file: use nothing of it."""


class Received:
    """The partial file while a download runs.

    Writing and hashing follow behind in lanes of their own where the artefact is worth it; whatever needs to know how
    they went settles them first.
    """

    def __init__(
        self,
        artefact: Artefact,
        place: Place,
        file: BinaryIO | None,
        report: Callable[[Progress], None],
        tap: Tap | None,
        *,
        threaded: bool,
    ) -> None:
        """Take over a file that is open for appending; without one, nothing is kept."""
        self._artefact = artefact
        self._place = place
        self._file = file
        self._report = report
        self._tap = tap
        self._tally = Tally(artefact)
        self._writer, self._hasher = Lane(self._write, threaded=threaded), Lane(self._tally.add, threaded=threaded)
        self._sources: set[str] = set()
        self._meta = _read_meta(place) if file else {}
        self.size_bytes = 0  # handed out to be written and hashed
        # Only a raw file becomes the installed one, and has to be durable.
        self._behind = WriteBehind(file) if file and artefact.format == "file" else None
        self._begun = Mark.zero()

    @classmethod
    @contextmanager
    def open(
        cls,
        artefact: Artefact,
        place: Place,
        report: Callable[[Progress], None],
        *,
        keep: bool = True,
        threaded: bool = False,
        tap: Tap | None = None,
    ) -> Iterator[Self]:
        """Open or make the partial file and replay what it holds.

        A raw file, which becomes the installed one, is durable when the block ends. What is received of an archive is
        only worth a download: the kernel writes it when it likes to, and after a power cut the SHA-256 judges it.

        Args:
            artefact: what is received.
            place: the partial file.
            report: called for each block.
            keep: whether there is a partial file at all.
            threaded: whether to write and hash in threads.
            tap: gets every block.

        Raises:
            DeliveryError: the disk is full.
        """
        info = place.stat()
        if info and info.st_nlink > 1 and place.entry().digest != artefact.sha256:
            # A raw file is installed as a second name of these bytes: they are not ours alone to begin again with.
            place.remove_file()
            info = None
        with ExitStack() as stack:
            stack.enter_context(naming_full_disk(place, lambda: _needed(artefact, place)))
            file = stack.enter_context(place.append(durable=artefact.format == "file")) if keep else None
            if keep and info is None:
                place.parent.fsync()
            received = cls(artefact, place, file, report, tap, threaded=threaded)
            stack.enter_context(received._writer)
            stack.enter_context(received._hasher)
            received.replay(survey=True)
            yield received
            received.settle()

    @property
    def complete(self) -> bool:
        """Whether all bytes are there and are the promised ones."""
        self.settle()
        return self._tally.full and self._tally.digest == self._artefact.sha256

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
            self._truncate(Mark.zero())
            self._sources = set()
        self._begun = self._mark()
        self._sources.add(source)
        meta = {"sha256": self._artefact.sha256, "source": source, "etag": etag}
        if meta != self._meta:
            if self._file:
                meta_of(self._place).replace(json.dumps(meta).encode())
            self._meta = meta

    def store(self, block: bytes) -> None:
        """Append what came, and hash it; a block or two later, where that is done in threads.

        Raises:
            AttemptError: a part of the artefact is not what the manifest says; the file now ends before that part.
            DeliveryError: the disk is full.
        """
        self.size_bytes += len(block)
        with self._refusing_bad_parts():
            self._writer.put(block)
            self._hasher.put(block)
        if self._tap:
            self._tap.put(block)
        self._report(Progress("download", self.size_bytes, self._artefact.size_bytes))

    def settle(self) -> None:
        """Wait until everything that came is written and hashed.

        Raises:
            AttemptError, OSError: as `store`.
        """
        with self._refusing_bad_parts():
            self._writer.settle()
            self._hasher.settle()

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
        found, alone = self._tally.digest, len(self._sources) == 1
        self._truncate(Mark.zero())
        message = f"SHA-256 is {found} instead of {self._artefact.sha256}{hint}"
        raise AttemptError(message, final=alone, wrong_bytes=alone, mixed=not alone)

    @property
    def bad_parts(self) -> list[int]:
        """Numbers, from 0, of the parts of the file that are not what the manifest says."""
        return list(self._tally.bad_parts)

    # ---- what an earlier run received ----------------------------------------------------------------------------

    def replay(self, *, survey: bool) -> None:
        """Read what the file holds from its beginning.

        Args:
            survey: note the bad parts in `bad_parts` and read on; else the file ends before the first one.
        """
        self._count_from(Mark.zero())
        self._tally.bad_parts, self._tally.survey = [], survey
        if self._tap:
            self._tap.begin()
        if self._file is None:
            return
        if self._meta.get("sha256", self._artefact.sha256) != self._artefact.sha256:
            self._file.truncate(0)
        self._file.seek(0)
        with suppress(AttemptError):  # ends before the first bad part, and goes on from there
            self._read_on(self._file)
        self._tally.survey = False
        self._sources = {_ON_DISK} if self.size_bytes else set()
        too_long = self.size_bytes > self._artefact.size_bytes
        if too_long or (self._tally.full and not self.complete and not self.bad_parts):
            self._truncate(Mark.zero())
            self._sources = set()
            self._tally.bad_parts = []

    def _read_on(self, file: BinaryIO) -> None:
        while block := file.read(BLOCK_BYTES):
            self.size_bytes += len(block)
            with self._refusing_bad_parts():
                self._hasher.put(block)
            if self._tap:
                self._tap.put(block)
            self._report(Progress("verify", self.size_bytes, self._artefact.size_bytes))
        self.settle()

    def mend(self, number: int, blocks: Iterable[bytes]) -> None:
        """Put other bytes in the place of a bad part; `replay` then judges the whole.

        Args:
            number: of the part, from 0.
            blocks: its bytes.

        Raises:
            AttemptError: these are not the promised ones either.
        """
        digest = hashlib.sha256()
        with self._place.update(number * (self._artefact.chunk_bytes or 0)) as file:
            for block in blocks:
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != self._artefact.chunk_sha256[number]:
            raise AttemptError(f"part {number + 1} has another SHA-256", final=True, wrong_bytes=True)

    # ---- in the lanes --------------------------------------------------------------------------------------------

    def _write(self, block: bytes) -> None:
        if self._file is None:
            return
        view = memoryview(block)
        while view:  # write(2) may take less than it was given, on a disk that is nearly full
            view = view[self._file.write(view) :]
        if self._behind:
            self._behind.wrote(len(block))

    # ---- going back ----------------------------------------------------------------------------------------------

    @contextmanager
    def _refusing_bad_parts(self) -> Iterator[None]:
        """Let the file end before a part that turned out to be bad."""
        try:
            yield
        except BadPartError as bad:
            self._truncate(self._tally.good)
            raise AttemptError(str(bad), wrong_bytes=True) from None

    def _mark(self) -> Mark:
        self.settle()
        return self._tally.mark()

    def _truncate(self, mark: Mark) -> None:
        if not self._file:
            mark = Mark.zero()  # nothing is there that the bytes before could be read from again
        with suppress(BadPartError):
            self._hasher.settle()
        self._writer.settle()
        if self._file and self._file.seek(0, io.SEEK_END) != mark.size_bytes:
            self._file.truncate(mark.size_bytes)
            self._file.seek(mark.size_bytes)
        if self._tap and self.size_bytes != mark.size_bytes:
            (self._tap.void if mark.size_bytes else self._tap.begin)()
        self._count_from(mark)

    def _count_from(self, mark: Mark) -> None:
        self.size_bytes = mark.size_bytes
        self._tally.go_back(mark)


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
