"""Zip files, made by script: good ones in every form that must be understood, and hostile ones that must be refused."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.content.archive_corpus import BAD_NAMES, Case

DEFLATED = 8


@dataclass
class ZipEntry:
    """One member of a zip file, each of whose fields can lie."""

    name: bytes
    data: bytes = b"x"
    mode: int = 0o100644
    method: int = DEFLATED
    flags: int = 0
    local_name: bytes | None = None
    crc: int | None = None
    size: int | None = None
    local_size: int | None = None
    before: bytes = b""
    offset: int | None = None
    extra: bytes = b""
    system: int = 3

    def packed(self) -> bytes:
        """The data as it lies in the file."""
        if self.method != DEFLATED:
            return self.data
        stream = zlib.compressobj(wbits=-15)
        return stream.compress(self.data) + stream.flush()


def zip_of(*entries: ZipEntry, comment: bytes = b"", count: int | None = None, skew: int = 0) -> bytes:
    """Put a zip file together."""
    out, central = b"", b""
    for entry in entries:
        out += entry.before
        packed = entry.packed()
        crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
        size = len(entry.data) if entry.size is None else entry.size
        local = entry.name if entry.local_name is None else entry.local_name
        local_size = size if entry.local_size is None else entry.local_size
        offset = len(out) if entry.offset is None else entry.offset
        out += struct.pack("<4s5H3L2H", b"PK\3\4", 20, entry.flags, entry.method, 0, 33, crc, len(packed), local_size,
                           len(local), len(entry.extra)) + local + entry.extra + packed  # fmt: skip
        central += struct.pack("<4s6H3L5H2L", b"PK\1\2", entry.system << 8 | 20, 20, entry.flags, entry.method, 0, 33,
                               crc, len(packed), size, len(entry.name), len(entry.extra), 0, 0, 0, entry.mode << 16,
                               offset) + entry.name + entry.extra  # fmt: skip
    total = len(entries) if count is None else count
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, total, total, len(central), len(out) + skew, len(comment))
    return out + central + end + comment


def library_zip(names: dict[str, bytes], *, streamed: bool = False, zip64: bool = False) -> bytes:
    """Let Python write an ordinary zip file; `streamed` ones have data descriptors."""
    stream = io.BytesIO()
    sink: Any = _Unseekable(stream) if streamed else stream
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in names.items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=zip64) as file:
                file.write(data)
    return stream.getvalue()


class _Unseekable:
    def __init__(self, stream: io.BytesIO) -> None:
        self.write = stream.write
        self.flush = stream.flush


def _members() -> Iterator[tuple[str, ZipEntry, str]]:
    for what, (name, says) in BAD_NAMES.items():
        if what not in ("hidden behind NUL", "slash at a file's end"):
            yield f"name: {what}", ZipEntry(name), "ASCII" if what == "not UTF-8" else says
    yield "name: NUL", ZipEntry(b"good\0/../evil"), "control"
    yield "name: marked as UTF-8, and is not", ZipEntry(b"caf\xe9", flags=1 << 11), "UTF-8"
    yield "folder: up", ZipEntry(b"../evil/", b"", 0o040755), "'..'"
    yield "symbolic link", ZipEntry(b"a", b"/etc", 0o120777), "a symbolic link"
    yield "FIFO", ZipEntry(b"a", b"", 0o010644), "a FIFO"
    yield "device", ZipEntry(b"a", b"", 0o020644), "a character device"
    yield "a file that is marked as folder", ZipEntry(b"a", b"", 0o040755), "is a directory"
    yield "set-user-id", ZipEntry(b"a", mode=0o104755), "set-user-id"
    yield "folder with content", ZipEntry(b"a/", b"xyz", 0o040755), "directory with content"
    yield "encrypted", ZipEntry(b"a", flags=1), "encrypted"
    yield "strongly encrypted", ZipEntry(b"a", flags=1 | 1 << 6), "encrypted"
    yield "unknown method", ZipEntry(b"a", method=12), "method 12"
    yield "wrong CRC", ZipEntry(b"a", b"x" * 100, crc=1), "damaged"
    yield "a smaller size than true", ZipEntry(b"a", b"x" * 100, size=50), "larger than the 50"
    yield "a larger size than true", ZipEntry(b"a", b"x" * 100, size=150), "damaged"
    yield "stored with two sizes", ZipEntry(b"a", b"x" * 100, method=0, size=50), "two sizes"
    yield "two names", ZipEntry(b"a", local_name=b"../b"), "two different ways"
    yield "two sizes", ZipEntry(b"a", b"x" * 100, local_size=99), "two different ways"
    yield "something before it", ZipEntry(b"a", before=b"#!/bin/sh"), "does not begin where"
    yield "an offset beyond the end", ZipEntry(b"a", offset=1 << 30), "does not begin where"
    yield "zip64 that is not there", ZipEntry(b"a", size=0xFFFFFFFF), "zip64 field"
    lie = struct.pack("<2HQ", 1, 8, 1 << 63)
    yield "zip64 that lies", ZipEntry(b"a", size=0xFFFFFFFF, extra=lie), "grows over"


def _whole_files() -> Iterator[Case]:
    one, two = ZipEntry(b"a", b"x" * 2000), ZipEntry(b"b", b"y" * 2000)
    whole = zip_of(one, two)
    yield Case("nothing", "zip", b"", "empty")
    yield Case("no member", "zip", zip_of(), "empty")
    yield Case("only a folder", "zip", zip_of(ZipEntry(b"a/", b"", 0o040755)), "no file")
    yield Case("twice", "zip", zip_of(one, ZipEntry(b"a", b"y")), "there twice")
    yield Case("letter case", "zip", zip_of(one, ZipEntry(b"A")), "letter case")
    yield Case("the same data for two", "zip", zip_of(one, ZipEntry(b"b", offset=0)), "overlap")
    yield Case("between two", "zip", zip_of(one, ZipEntry(b"b", before=b"junk")), "something lies between")
    yield Case("trailing data", "zip", whole + b"garbage", "follows the archive's end")
    yield Case("something in front", "zip", b"#!/bin/sh\n" + whole, "does not lie just before")
    yield Case("moved directory", "zip", zip_of(one, skew=-1), "does not lie just before")
    yield Case("cut in half", "zip", whole[: len(whole) // 2], "cut off")
    yield Case("without its last byte", "zip", whole[:-1], "cut off")
    yield Case("fewer members than it says", "zip", zip_of(one, count=2), "cut off")
    yield Case("more members than it says", "zip", zip_of(one, two, count=1), "holds more")
    yield Case("zip64 without its end", "zip", zip_of(one, count=0xFFFF), "zip64 end")
    yield Case("too many", "zip", zip_of(one, two), "more than 1 files", {"max_files": 1})
    yield Case("too deep", "zip", zip_of(ZipEntry(b"a/b/c/d")), "deeper than 3", {"max_depth": 3})
    yield Case("too large", "zip", zip_of(one), "grows over", {"max_bytes": 1999})
    yield Case("a bomb", "zip", zip_of(ZipEntry(b"a", bytes(8 << 20))), "grows over", {"max_ratio": 20})
    hidden = ZipEntry(b"a", bytes(8 << 20), size=10)
    yield Case("a bomb that claims ten bytes", "zip", zip_of(hidden), "larger than the 10")


def hostile_zips() -> list[Case]:
    """Every zip file that must be refused."""
    return [*(Case(name, "zip", zip_of(entry), says) for name, entry, says in _members()), *_whole_files()]
