"""The zip format, read strictly: stored and deflated members that lie side by side and say the same thing twice.

APPNOTE.TXT 6.3.10. A zip file describes each member in its central directory and again before its data; readers that
believe one or the other can be shown different files. Python's reader also rewrites names and looks for the directory
behind whatever comes before it.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from vvmigrate.content.delivery.decompress import OUTPUT_BYTES, inflater
from vvmigrate.content.strict_json import shown
from vvmigrate.errors import ArchiveError

_READ_BYTES = 256 << 10
_END = struct.Struct("<4s4H2LH")  # 4.3.16
_END64 = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
_LOCATOR64 = struct.Struct("<4sLQL")  # 4.3.15
_CENTRAL = struct.Struct("<4s6H3L5H2L")  # 4.3.12
_LOCAL = struct.Struct("<4s5H3L2H")  # 4.3.7
_RECORD_LIMIT_BYTES = 4096
_DESCRIPTOR_LIMIT_BYTES = 24  # 4.3.9, with signature and sizes of 8 bytes
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED, _DESCRIPTOR, _PATCH, _STRONG, _UTF8, _MASKED = 1, 1 << 3, 1 << 5, 1 << 6, 1 << 11, 1 << 13
_STORED, _DEFLATED = 0, 8
_UNIX, _DIRECTORY, _FILE = 3, 0o040000, 0o100000
_KINDS = {
    _DIRECTORY: "a directory",
    _FILE: "a file",
    0o120000: "a symbolic link",
    0o010000: "a FIFO",
    0o020000: "a character device",
    0o060000: "a block device",
    0o140000: "a socket",
}
_EMPTY_BLOCK_BYTES = 2  # nothing, deflated


@dataclass(frozen=True)
class Member:
    """A file or directory, as the central directory has it.

    Attributes:
        start: where its local header begins; from `members()`, where its data begins.
        end: where its data ends.
    """

    name: str
    raw_name: bytes
    is_directory: bool
    unix_mode: int
    flags: int
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int
    start: int
    end: int = 0

    @property
    def mode(self) -> int:
        """Permission bits, the special ones included."""
        return self.unix_mode & 0o7777


def members(file: BinaryIO, max_files: int) -> Iterator[Member]:
    """Read the central directory, and give its members in the order in which they lie.

    Raises:
        ArchiveError: damaged, ambiguous, with something before, between or behind, or a member that is refused.
    """
    count, start, size = _end(file)
    if count > max_files:
        raise ArchiveError(f"more than {max_files} files and folders")
    if not count:
        raise ArchiveError("the archive is empty")
    if size > count * _RECORD_LIMIT_BYTES:
        raise ArchiveError("the central directory is larger than its members can be")
    found = sorted(_central(_at(file, start, size), count), key=lambda member: member.start)
    ends = [*(member.start for member in found[1:]), start]
    position = 0
    for member, next_start in zip(found, ends, strict=True):
        if member.start != position:
            raise ArchiveError(f"{shown(member.name)} does not begin where the member before it ends")
        data = _data_start(file, member)
        gap = next_start - data - member.packed_bytes
        if gap < 0 or gap > (_DESCRIPTOR_LIMIT_BYTES if member.flags & _DESCRIPTOR else 0):
            raise ArchiveError(f"{shown(member.name)} and the next member overlap, or something lies between them")
        position = next_start
        yield replace(member, start=data, end=data + member.packed_bytes)


def content(file: BinaryIO, member: Member) -> Generator[bytes]:
    """Unpack one member.

    Raises:
        ArchiveError: its size or CRC is not what the archive says.
    """
    crc, done = 0, 0
    for piece in _inflate(file, member) if member.method == _DEFLATED else _raw(file, member):
        crc, done = zlib.crc32(piece, crc), done + len(piece)
        if done > member.size_bytes:
            raise ArchiveError(f"{shown(member.name)} is larger than the {member.size_bytes} bytes that it claims")
        yield piece
    if (done, crc) != (member.size_bytes, member.crc):
        raise ArchiveError(f"{shown(member.name)} is damaged: its size or CRC is not what the archive says")


def _raw(file: BinaryIO, member: Member) -> Generator[bytes]:
    file.seek(member.start)
    left = member.packed_bytes
    while left:
        chunk = file.read(min(left, _READ_BYTES))
        if not chunk:
            raise ArchiveError("the archive is cut off")
        left -= len(chunk)
        yield chunk


def _inflate(file: BinaryIO, member: Member) -> Generator[bytes]:
    engine = inflater()
    stream = engine.decompressobj(wbits=-15)
    try:
        for chunk in _raw(file, member):
            data = chunk
            while True:
                before = len(data)
                out = stream.decompress(data, OUTPUT_BYTES)
                if out:
                    yield out
                data = stream.unconsumed_tail
                if stream.eof or (len(out) < OUTPUT_BYTES and (not data or len(data) == before)):
                    break
            if stream.eof and stream.unused_data:
                break
    except engine.error as error:
        raise ArchiveError(f"{shown(member.name)} is damaged: {error}") from None
    if not stream.eof or stream.unused_data or file.tell() != member.start + member.packed_bytes:
        raise ArchiveError(f"{shown(member.name)} is cut off, or followed by something")


def _end(file: BinaryIO) -> tuple[int, int, int]:
    """Find the end record; return how many members the central directory has, its offset and its size."""
    total = file.seek(0, io.SEEK_END)
    tail_bytes = min(total, _END.size + _FULL16)
    tail = _at(file, total - tail_bytes, tail_bytes)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + _END.size > len(tail):
        raise ArchiveError("the archive is cut off, or no zip file" if total else "the archive is empty")
    _, disk, start_disk, here, count, size, start, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise ArchiveError("something follows the archive's end")
    end = total - tail_bytes + at
    if _FULL16 in (here, count) or _FULL32 in (size, start):
        here, count, size, start, end = _end64(file, end)
    if disk or start_disk or here != count:
        raise ArchiveError("an archive in several volumes is refused")
    if start + size != end:
        raise ArchiveError("the central directory does not lie just before its end")
    return count, start, size


def _end64(file: BinaryIO, end: int) -> tuple[int, int, int, int, int]:
    at = end - _LOCATOR64.size
    if at < _END64.size:
        raise ArchiveError("the zip64 end is missing")
    magic, _, end64, disks = _LOCATOR64.unpack(_at(file, at, _LOCATOR64.size))
    if magic != b"PK\6\7" or disks > 1 or end64 + _END64.size != at:
        raise ArchiveError("the zip64 end is damaged")
    magic, record, _, _, disk, start_disk, here, count, size, start = _END64.unpack(_at(file, end64, _END64.size))
    if magic != b"PK\6\6" or record != _END64.size - 12 or disk or start_disk:
        raise ArchiveError("the zip64 end is damaged")
    return here, count, size, start, end64


def _central(data: bytes, count: int) -> Iterator[Member]:
    at = 0
    for _ in range(count):
        if at + _CENTRAL.size > len(data):
            raise ArchiveError("the central directory is cut off")
        magic, by, _, flags, method, _, _, crc, packed, size, name_size, extra, comment, disk, _, attributes, start = (
            _CENTRAL.unpack_from(data, at)
        )
        after = at + _CENTRAL.size
        raw_name, extras = data[after : after + name_size], data[after + name_size : after + name_size + extra]
        at = after + name_size + extra + comment
        if magic != b"PK\1\2" or at > len(data) or disk not in (0, _FULL16):
            raise ArchiveError("the central directory is damaged")
        size, packed, start = _wide(extras, (size, packed, start))
        name, unix_mode = _name(raw_name, flags), attributes >> 16 if by >> 8 == _UNIX else 0
        is_directory = name.endswith("/")
        yield _check(Member(name, raw_name, is_directory, unix_mode, flags, method, crc, packed, size, start))
    if at != len(data):
        raise ArchiveError("the central directory holds more than its members")


def _name(raw: bytes, flags: int) -> str:
    try:
        return raw.decode("utf-8" if flags & _UTF8 else "ascii")
    except UnicodeDecodeError:
        raise ArchiveError(f"a name is neither ASCII nor marked as UTF-8: {raw[:80]!r}") from None


def _check(member: Member) -> Member:
    """Refuse what is neither a plain file nor a plain directory."""
    name, flags, method = shown(member.name), member.flags, member.method
    if flags & (_ENCRYPTED | _STRONG | _MASKED | _PATCH):
        raise ArchiveError(f"{name} is encrypted or a patch, which is refused")
    if method not in (_STORED, _DEFLATED):
        raise ArchiveError(f"{name} is compressed by method {method}; stored and deflated are understood")
    kind = member.unix_mode & 0o170000
    if kind and kind != (_DIRECTORY if member.is_directory else _FILE):
        raise ArchiveError(f"{name} is {_KINDS.get(kind, 'of an unknown kind')}, which is refused")
    if member.is_directory and (member.size_bytes or member.packed_bytes > _EMPTY_BLOCK_BYTES):
        raise ArchiveError(f"{name} is a directory with content, which is refused")
    if method == _STORED and member.packed_bytes != member.size_bytes:
        raise ArchiveError(f"{name} is stored, and yet has two sizes")
    return member


def _wide(extras: bytes, values: tuple[int, int, int]) -> tuple[int, int, int]:
    """Take those values that do not fit in 32 bits from the zip64 field (4.5.3), in its order."""
    wide, at = b"", 0
    while at + 4 <= len(extras):
        tag, size = struct.unpack_from("<2H", extras, at)
        if tag == 1:
            wide = extras[at + 4 : at + 4 + size]
        at += 4 + size
    found = []
    for value in values:
        if value == _FULL32:
            if len(wide) < 8:
                raise ArchiveError("a zip64 field is missing or damaged")
            value, wide = int.from_bytes(wide[:8], "little"), wide[8:]  # noqa: PLW2901
        found.append(value)
    return found[0], found[1], found[2]


def _data_start(file: BinaryIO, member: Member) -> int:
    """Compare what stands before a member's data with the central directory; return where its data begins."""
    magic, _, flags, method, _, _, crc, packed, size, name, extra = _LOCAL.unpack(_at(file, member.start, _LOCAL.size))
    raw_name = _at(file, member.start + _LOCAL.size, name)
    extras = _at(file, member.start + _LOCAL.size + name, extra)
    same = (magic, raw_name, flags, method) == (b"PK\3\4", member.raw_name, member.flags, member.method)
    if not flags & _DESCRIPTOR:
        size, packed, _ = _wide(extras, (size, packed, 0))
        same = same and (crc, packed, size) == (member.crc, member.packed_bytes, member.size_bytes)
    if not same:
        raise ArchiveError(f"{shown(member.name)} is described in two different ways")
    return member.start + _LOCAL.size + int(name) + int(extra)


def _at(file: BinaryIO, offset: int, size_bytes: int) -> bytes:
    file.seek(offset)
    data = file.read(size_bytes)
    if len(data) != size_bytes:
        raise ArchiveError("the archive is cut off")
    return data
