"""gzip and zstd as streams: bounded memory whatever the input, and an end that is really the end."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Generator, Iterable, Iterator
from typing import Any

from vvmigrate.errors import ArchiveError

# 256 KiB of gzip can become 257 MiB in one call; so each call may give so much and no more.
# Measured: from 256 KiB on each piece is memory that the kernel has to give and clear anew, a sixth of gunzip's time.
OUTPUT_BYTES = 128 << 10
_GZIP_WBITS = 31  # zlib's manual, inflateInit2: a gzip header and trailer, and nothing else
# RFC 8878, 3.1.1.1.2: 8 MiB is what every decoder should support. More (zstd --long, --ultra) would be our memory.
_WINDOW_LOG_MAX = 23


def inflater() -> Any:
    """Return the fastest module with zlib's interface: isal is 1.9 times as fast as zlib on the machine measured."""
    try:
        return importlib.import_module("isal.isal_zlib")
    except ImportError:
        return zlib


def _zstd() -> Any:
    try:
        return importlib.import_module("compression.zstd")  # in the standard library from Python 3.14 on
    except ImportError:
        return importlib.import_module("backports.zstd")


def gunzip(chunks: Iterable[bytes], engine: Any = None) -> Generator[bytes]:
    """Unpack all members of a gzip file.

    Args:
        chunks: the file's bytes.
        engine: a module with zlib's interface, the fastest one if None.

    Raises:
        ArchiveError: empty, cut off, wrong checksum, or followed by something else.
    """
    engine = engine or inflater()
    members, member = 0, None
    try:
        for chunk in chunks:
            data = chunk
            while data or member:
                member = member or engine.decompressobj(wbits=_GZIP_WBITS)
                before = len(data)
                out = member.decompress(data, OUTPUT_BYTES)
                if out:
                    yield out
                if member.eof:
                    members, data, member = members + 1, member.unused_data, None
                    continue
                data = member.unconsumed_tail
                if len(out) < OUTPUT_BYTES and (not data or len(data) == before):
                    break
    except (engine.error, zlib.error) as error:
        what = "is followed by something that is not gzip, or" if members else "is"
        raise ArchiveError(f"the gzip data {what} damaged: {error}") from None
    if member or not members:
        raise ArchiveError("the gzip data is cut off" if member else "the archive is empty")


def unzstd(chunks: Iterable[bytes]) -> Generator[bytes]:
    """Unpack all frames of a zstd file.

    Raises:
        ArchiveError: empty, cut off, wrong checksum, too wide a window, or followed by something else.
    """
    zstd = _zstd()
    options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX}
    frames, frame = 0, None
    try:
        for chunk in chunks:
            data = chunk
            while data or (frame and not frame.needs_input):
                frame = frame or zstd.ZstdDecompressor(options=options)
                out = frame.decompress(data, OUTPUT_BYTES)
                if out:
                    yield out
                data = frame.unused_data if frame.eof else b""
                if frame.eof:
                    frames, frame = frames + 1, None
    except zstd.ZstdError as error:
        what = "is followed by something that is not zstd, or" if frames else "is"
        raise ArchiveError(f"the zstd data {what} damaged, or needs a window over 8 MiB: {error}") from None
    if frame or not frames:
        raise ArchiveError("the zstd data is cut off" if frame else "the archive is empty")


class ByteStream:
    """Exact reading from chunks of any size, with a limit on the whole."""

    def __init__(self, chunks: Iterable[bytes], limit_bytes: int) -> None:
        """Begin to read `chunks`, of which at most `limit_bytes` may come."""
        self._chunks = iter(chunks)
        self._left = limit_bytes
        self._limit = limit_bytes
        self._here = memoryview(b"")

    def take(self, size_bytes: int) -> Iterator[memoryview]:
        """Give out exactly so many bytes, in pieces.

        Raises:
            ArchiveError: the archive ends before that.
        """
        while size_bytes:
            if not self._here and not self._advance():
                raise ArchiveError("the archive is cut off")
            piece, self._here = self._here[:size_bytes], self._here[size_bytes:]
            size_bytes -= len(piece)
            yield piece

    def read(self, size_bytes: int) -> bytes:
        """Read exactly so many bytes."""
        return b"".join(self.take(size_bytes))

    def rest(self) -> Iterator[memoryview]:
        """Give out everything up to the end."""
        while self._here or self._advance():
            piece, self._here = self._here, memoryview(b"")
            yield piece

    def _advance(self) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        self._left -= len(chunk)
        if self._left < 0:
            raise ArchiveError(f"the archive unpacks to more than {self._limit} bytes")
        self._here = memoryview(chunk)
        return True
