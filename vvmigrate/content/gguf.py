"""The header of a GGUF file: enough to say that it is one, that it is whole, and for which architecture.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. A file with the right SHA-256 can still be the wrong file in
the manifest; this finds it before the summariser does.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from vvmigrate.content.strict_json import shown
from vvmigrate.errors import ArchiveError

if TYPE_CHECKING:
    from vvmigrate.files import Place

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)  # 1 counted in 32 bits
_MAX_TENSORS, _MAX_KEYS, _MAX_KEY_BYTES, _MAX_DEPTH = 1 << 20, 1 << 16, 65535, 4
_STRING, _ARRAY = 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_ARCHITECTURE = b"general.architecture"
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class Header:
    """What the header says."""

    version: int
    tensors: int
    architecture: str


def check_header(place: Place) -> Header:
    """Read the header of a GGUF file, up to the end of its metadata.

    Raises:
        ArchiveError: it is not a GGUF file, of a version that is not known, cut off, or without an architecture.
    """
    with place.reader() as raw:
        size = raw.seek(0, io.SEEK_END)
        raw.seek(0)
        with io.BufferedReader(cast("io.RawIOBase", raw), _BUFFER_BYTES) as file:
            try:
                return _Reader(file, size).header()
            except ArchiveError as error:
                message = f"{place.path} is not a usable GGUF file: {error.message}"
                raise ArchiveError(message, path=place.path) from None


class _Reader:
    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._size = size_bytes

    def header(self) -> Header:
        magic = self._file.read(len(_MAGIC))
        if magic != _MAGIC:
            raise ArchiveError(f"it begins with {magic!r} instead of {_MAGIC!r}")
        version = self._number("<I")
        if version not in _VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS
            raise ArchiveError("it is big-endian" if swapped else f"version {version} is not known (2 and 3 are)")
        tensors, keys = self._number("<Q"), self._number("<Q")
        if tensors > _MAX_TENSORS or keys > _MAX_KEYS:
            raise ArchiveError(f"it claims {tensors} tensors and {keys} keys")
        architecture = ""
        for _ in range(keys):
            architecture = self._pair() or architecture
        if not architecture:
            raise ArchiveError("general.architecture is missing")
        return Header(version, tensors, architecture)

    def _pair(self) -> str:
        """Pass one key and its value; return the value if it is the architecture's name."""
        length = self._number("<Q")
        if not 0 < length <= _MAX_KEY_BYTES:
            raise ArchiveError(f"a key has {length} bytes")
        key, kind = self._read(length), self._number("<I")
        if key != _ARCHITECTURE:
            self._pass(kind, _MAX_DEPTH)
            return ""
        length = self._number("<Q") if kind == _STRING else 0
        name = self._read(length) if 0 < length <= _MAX_KEY_BYTES else b""
        if not name.isascii() or not name.decode("ascii").isprintable() or not name:
            raise ArchiveError("general.architecture is not a name")
        return name.decode("ascii")

    def _pass(self, kind: int, depth: int) -> None:
        if kind in _SIZES:
            self._skip(_SIZES[kind])
        elif kind == _STRING:
            self._skip(self._number("<Q"))
        elif kind == _ARRAY and depth:
            inner, count = self._number("<I"), self._number("<Q")
            if inner in _SIZES:
                self._skip(count * _SIZES[inner])
                return
            if count > self._size:  # each takes eight bytes and more
                raise ArchiveError(f"an array claims {count} values")
            for _ in range(count):
                self._pass(inner, depth - 1)
        else:
            raise ArchiveError(f"a value is of the unknown kind {shown(kind)}, or nested too deep")

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._read(struct.calcsize(form)))[0])

    def _read(self, size_bytes: int) -> bytes:
        data = self._file.read(size_bytes)
        if len(data) != size_bytes:
            raise ArchiveError("it ends within its header")
        return data

    def _skip(self, size_bytes: int) -> None:
        if size_bytes > self._size - self._file.tell():
            raise ArchiveError("it ends within its header")
        self._file.seek(size_bytes, io.SEEK_CUR)
