"""Fetching an artefact: from whichever source has it, going on where an earlier run stopped, hashed as it comes.

Bytes are judged by size and SHA-256 alone: a resume may change from one source to another, and no header is believed
further than it takes to avoid a useless transfer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from vvmigrate.content.delivery.answers import AttemptError, suspicion
from vvmigrate.content.delivery.http import HttpSettings, Web
from vvmigrate.content.delivery.origins import Origin, Stream, find_origins
from vvmigrate.content.delivery.pace import Pace, Rate
from vvmigrate.content.delivery.received import BLOCK_BYTES, Progress, Received, Tap, meta_of, silent
from vvmigrate.errors import ChecksumError, DeliveryError

if TYPE_CHECKING:
    from vvmigrate.content.manifest import Artefact
    from vvmigrate.files import Place, Tree

__all__ = ["HttpSettings", "Pace", "Progress", "discard", "fetch"]

NOTHING = HttpSettings()
PATIENT = Pace()
_MENDED_PARTS = 64  # beyond that the rest is fetched in one piece, from the first bad part on
_RESTARTS = 3  # as often the count of what is "further" begins again at zero; more would be a server's game


def fetch(
    artefact: Artefact,
    partial: Place,
    *,
    release: Tree,
    mirror: str | None = None,
    settings: HttpSettings = NOTHING,
    pace: Pace = PATIENT,
    progress: Callable[[Progress], None] = silent,
    keep: bool = True,
    threaded: bool = False,
    tap: Tap | None = None,
) -> str:
    """Bring an artefact's bytes, whole and verified, into the partial file.

    Whatever ends it early (an error, a signal, a power cut), the next call goes on with what is there.

    Args:
        artefact: what is wanted.
        partial: the file that receives it; its directory exists and is ours alone. Validators are kept beside it.
        release: the release's home, which relative URLs belong to.
        mirror: prefix of a source that is asked first.
        settings: proxies, certificates, tokens.
        pace: patience, clock, and the deadline.
        progress: called for each block.
        keep: whether there is a partial file at all; without one the bytes go to the tap alone.
        threaded: whether to write and to hash in threads of their own.
        tap: gets the bytes while they come.

    Returns:
        The source as it may be stored, without query or user part; empty if the bytes were there and nobody knows.

    Raises:
        ChecksumError: no source is left, and at least one has other bytes.
        DeliveryError: no source is left, the time is over, or the disk is full.
        RefusedError: a URL or the certificate bundle cannot be used.
    """
    origins = find_origins(artefact, release, mirror, Web(settings, pace))
    with Received.open(artefact, partial, progress, keep=keep, threaded=threaded, tap=tap) as received:
        if received.bad_parts:
            _mend(artefact, received, origins, pace)
        if not received.complete:
            _Delivery(artefact, received, origins, pace).run()
        return received.source


def _mend(artefact: Artefact, received: Received, origins: list[Origin], pace: Pace) -> None:
    """Fetch only those parts again whose SHA-256 is wrong; what cannot be had so comes with the rest."""
    step, bad = artefact.chunk_bytes or 0, list(received.bad_parts)
    for origin in origins if len(bad) <= _MENDED_PARTS else []:
        try:
            while bad:
                first = bad[0] * step
                last = min(first + step, artefact.size_bytes) - 1
                with origin.part(first, last, artefact.size_bytes) as stream:
                    received.mend(bad[0], _blocks(stream, last + 1, Rate(pace)))
                del bad[0]
        except AttemptError:
            continue  # why is said by the attempt that follows
    received.replay(survey=False)


def discard(partial: Place) -> None:
    """Remove a partial file and its validators, once its content is installed or no longer wanted."""
    partial.remove_file(missing_ok=True)
    meta_of(partial).remove_file(missing_ok=True)


class _Delivery:
    """One artefact on its way: which source to ask next, and what each of them answered."""

    def __init__(self, artefact: Artefact, received: Received, origins: list[Origin], pace: Pace) -> None:
        self._artefact = artefact
        self._received = received
        self._alive = origins
        self._pace = pace
        self._failures: dict[str, AttemptError] = {}
        self._whole: set[str] = set()  # sources that cannot be asked for a part
        self._furthest = received.size_bytes
        self._restarts = _RESTARTS
        self._moved = self._wrong = False

    def run(self) -> None:
        """Ask all sources in turn until one completes the file; those that cannot do better are not asked again.

        Raises:
            ChecksumError: no source is left, and one has other bytes.
            DeliveryError: no source is left, the time is over, or the disk is full.
        """
        fruitless = 0
        try:
            while self._alive and fruitless < self._pace.rounds:
                if fruitless:
                    self._pace.pause(fruitless, max(self._failures[origin.label].wait_s for origin in self._alive))
                self._moved = False
                if any(self._ask(origin) for origin in list(self._alive)):
                    return
                fruitless = 1 if self._moved else fruitless + 1
        except DeliveryError as error:
            raise self._summary(error) from error
        raise self._summary(None)

    def _ask(self, origin: Origin) -> bool:
        """Ask one source, again and again while it brings us further; True when the file is complete."""
        while True:
            failure = self._attempt(origin)
            if failure is None:
                return True
            self._failures[origin.label] = failure
            self._wrong |= failure.wrong_bytes
            if failure.mixed:  # from now on each for itself, or one with a wrong beginning spoils all others
                self._whole.update(origin.label for origin in self._alive)
                return False
            if failure.from_start and origin.label not in self._whole:
                self._whole.add(origin.label)
                continue
            if failure.final or failure.from_start:
                self._alive.remove(origin)
                return False
            # By whole blocks, against the furthest point ever: whoever sends one byte, or the same ones, ends as well.
            if self._received.size_bytes < self._furthest + BLOCK_BYTES:
                return False
            self._furthest = self._received.size_bytes
            self._moved = True
            self._pace.pause(1, failure.wait_s)

    def _attempt(self, origin: Origin) -> AttemptError | None:
        offset = 0 if origin.label in self._whole else self._received.size_bytes
        try:
            with origin.open(offset, self._received.etag_of(origin.label), self._artefact.size_bytes) as stream:
                if stream.start == 0 and self._furthest and self._restarts:
                    self._restarts -= 1
                    self._furthest = 0
                self._received.begin(stream.start, origin.label, stream.etag)
                for block in _blocks(stream, self._artefact.size_bytes, Rate(self._pace)):
                    self._received.store(block)
                self._end(stream)
        except AttemptError as failure:
            return failure
        return None

    def _end(self, stream: Stream) -> None:
        """The body ended by itself: judge the whole."""
        have, size = self._received.size_bytes, self._artefact.size_bytes
        hint = suspicion(stream.media_type)
        if have == size:
            self._received.finish(hint)
            return
        if stream.delimited or hint:
            # Whole, and yet too short: this is not the start of the artefact, so no other source could go on from it.
            self._received.drop_answer()
            raise AttemptError(f"ended after {have} of {size} bytes{hint}", final=True, wrong_bytes=not hint)
        raise AttemptError(f"broke off after {have} of {size} bytes")

    def _summary(self, stop: DeliveryError | None) -> DeliveryError | ChecksumError:
        name = self._artefact.filename or "the artefact"
        reasons = [f"{label}: {failure.message}" for label, failure in self._failures.items()]
        if stop is not None and stop.path:  # the disk: no source can help
            return stop
        message = "; ".join([f"{name} could not be had", *([stop.message] if stop else []), *reasons])
        if stop is None and self._wrong:
            return ChecksumError(message, hint="the sources do not have what the manifest promises")
        have, size = self._received.size_bytes, self._artefact.size_bytes
        return DeliveryError(message, hint=f"run the same command again: it goes on at {have} of {size} bytes")


def _blocks(stream: Stream, size_bytes: int, rate: Rate) -> Iterator[bytes]:
    """Cut a body into blocks that end at multiples of their size, so that the number of writes is always the same.

    Never reads beyond the artefact's end: whether a longer body begins with the right bytes is the hash's to say.
    What came before an error is given out first.
    """
    at = stream.start
    while at < size_bytes:
        room = min(BLOCK_BYTES - at % BLOCK_BYTES, size_bytes - at)
        pieces: list[bytes] = []
        failure: AttemptError | None = None
        while room:
            try:
                piece = stream.read(room)
                rate.count(len(piece))
            except AttemptError as error:
                failure = error
                break
            if not piece:
                break
            pieces.append(piece)
            room -= len(piece)
        block = b"".join(pieces)
        at += len(block)
        if block:
            yield block
        if failure:
            raise failure
        if room:
            return
