"""What the bytes that came so far are worth: the running SHA-256 of the whole, and of the part that is under way."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from vvmigrate.content.manifest import Artefact


class BadPartError(Exception):
    """A part of the artefact has another SHA-256 than the manifest says."""


@dataclass(frozen=True)
class Mark:
    """A point to go back to: the size there, and the state of both hashes."""

    size_bytes: int
    whole: hashlib._Hash
    part: hashlib._Hash

    @classmethod
    def zero(cls) -> Self:
        """The beginning."""
        return cls(0, hashlib.sha256(), hashlib.sha256())


class Tally:
    """The hashes of an artefact's bytes, in their order.

    Attributes:
        size_bytes: how many were hashed.
        good: the end of the last part up to which every part is right.
        bad_parts: numbers, from 0, of parts that are not; only where a survey was asked for.
        survey: note a bad part and go on, instead of raising.
    """

    def __init__(self, artefact: Artefact) -> None:
        """Begin at zero."""
        self._artefact = artefact
        self._whole, self._part = hashlib.sha256(), hashlib.sha256()
        self.size_bytes = 0
        self.good = Mark.zero()
        self.bad_parts: list[int] = []
        self.survey = False

    @property
    def full(self) -> bool:
        """Whether as many bytes came as the manifest promises."""
        return self.size_bytes == self._artefact.size_bytes

    @property
    def digest(self) -> str:
        """SHA-256 in hex of all that came."""
        return self._whole.hexdigest()

    def add(self, block: bytes) -> None:
        """Hash what comes next, stopping at the end of each part whose own SHA-256 the manifest knows.

        Raises:
            BadPartError: a part that ends here is not what the manifest says.
        """
        parts, step = self._artefact.chunk_sha256, self._artefact.chunk_bytes
        if not parts or not step:
            self._whole.update(block)
            self.size_bytes += len(block)
            return
        view = memoryview(block)
        while view:
            piece = view[: step - self.size_bytes % step]
            self._whole.update(piece)
            self._part.update(piece)
            self.size_bytes += len(piece)
            if self.size_bytes % step == 0 or self.full:
                self._end_part((self.size_bytes - 1) // step)
            view = view[len(piece) :]

    def _end_part(self, number: int) -> None:
        parts = self._artefact.chunk_sha256
        found, self._part = self._part.hexdigest(), hashlib.sha256()
        bad = number >= len(parts) or found != parts[number]
        if bad and not self.survey:
            raise BadPartError(f"part {number + 1} of {len(parts)} has another SHA-256")
        if bad:
            self.bad_parts.append(number)
        elif not self.bad_parts:
            self.good = self.mark()

    def mark(self) -> Mark:
        """This point, to go back to."""
        return Mark(self.size_bytes, self._whole.copy(), self._part.copy())

    def go_back(self, mark: Mark) -> None:
        """Forget what came after a point."""
        self.size_bytes, self._whole, self._part = mark.size_bytes, mark.whole.copy(), mark.part.copy()
        if self.good.size_bytes > mark.size_bytes:
            self.good = Mark.zero()
