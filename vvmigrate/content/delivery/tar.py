"""The tar format, read strictly: ustar, GNU long names and pax; regular files and directories.

POSIX.1-2017, pax: "ustar Interchange Format" and "pax Header Block". Python's own reader repairs what it finds (a
trailing slash, a missing end, an unreadable header after the first member), and its filters were escaped on 3.11.7.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vvmigrate.content.strict_json import shown
from vvmigrate.errors import ArchiveError

if TYPE_CHECKING:
    from vvmigrate.content.delivery.decompress import ByteStream

BLOCK_BYTES = 512
_METADATA_LIMIT_BYTES = 64 << 10
_ZERO = bytes(BLOCK_BYTES)
_FILE, _OLD_FILE, _DIRECTORY = b"0", b"\0", b"5"
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"7": "a contiguous file",
    b"S": "a sparse file",
    b"M": "a part of a file of another volume",
    b"V": "a volume label",
    b"D": "a directory dump",
}
_UTF8 = "ISO-IR 10646 2000 UTF-8"


@dataclass(frozen=True)
class Member:
    """A file or directory.

    Attributes:
        name: as it stands in the archive.
        is_directory: else it is a regular file.
        mode: permission bits, the special ones included.
        size_bytes: of the content.
        data: the content; what is not read is skipped.
    """

    name: str
    is_directory: bool
    mode: int
    size_bytes: int
    data: Iterator[memoryview]


def members(stream: ByteStream) -> Iterator[Member]:
    """Read one member after the other; the content of each must be read before the next one.

    Raises:
        ArchiveError: damaged, cut off, or a member of a kind that is refused.
    """
    long_name, pax = None, dict[str, str]()
    while (block := stream.read(BLOCK_BYTES)) != _ZERO:
        _check_sum(block)
        kind, size = block[156:157], _number(block[124:136], "size")
        if kind in (_LONG_NAME, _LONG_LINK):
            text = _text(_metadata(stream, size).removesuffix(b"\0"), "a long name")
            long_name = text if kind == _LONG_NAME else long_name
        elif kind == _PAX:
            pax = _pax(_metadata(stream, size))
        elif kind == _PAX_GLOBAL:
            _refuse_global(_pax(_metadata(stream, size)))
        else:
            member = _member(stream, block, pax, long_name)
            yield member
            for _ in member.data:
                pass
            stream.read(-member.size_bytes % BLOCK_BYTES)
            long_name, pax = None, {}
    if long_name is not None or pax:
        raise ArchiveError("the archive ends after a header that announces another member")
    _check_end(stream)


def _member(stream: ByteStream, block: bytes, pax: dict[str, str], long_name: str | None) -> Member:
    name = pax.get("path") or long_name or _own_name(block)
    kind = block[156:157]
    if kind not in (_FILE, _OLD_FILE, _DIRECTORY):
        raise ArchiveError(f"{shown(name)} is {_REFUSED.get(kind, f'of the unknown kind {kind!r}')}, which is refused")
    sparse = [key for key in pax if key.startswith("GNU.sparse.")]
    if sparse:
        raise ArchiveError(f"{shown(name)} is a sparse file, which is refused")
    size = _number(block[124:136], "size")
    if "size" in pax:
        size = _decimal(pax["size"])
    if kind == _DIRECTORY and size:
        raise ArchiveError(f"{shown(name)} is a directory with content, which is refused")
    return Member(name, kind == _DIRECTORY, _number(block[100:108], "mode"), size, stream.take(size))


def _own_name(block: bytes) -> str:
    name = _field(block[0:100])
    # GNU tar keeps other things where ustar has the prefix, and its magic ends in spaces.
    prefix = _field(block[345:500]) if block[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _field(raw: bytes) -> str:
    text, _, hidden = raw.partition(b"\0")
    if hidden.strip(b"\0"):
        raise ArchiveError(f"the name {text!r} goes on after a NUL, which is refused")
    return _text(text, "a name")


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ArchiveError(f"{what} is not UTF-8: {raw[:80]!r}") from None


def _number(raw: bytes, what: str) -> int:
    if raw[0] & 0x80:  # GNU: base 256, for sizes of 8 GiB and more; the next bit is the sign
        if raw[0] != 0x80:
            raise ArchiveError(f"a header's {what} is negative or too large")
        return int.from_bytes(raw[1:], "big")
    digits = raw.split(b"\0", 1)[0].strip(b" ")
    if not all(0x30 <= digit <= 0x37 for digit in digits):
        raise ArchiveError(f"a header's {what} is {raw!r}")
    return int(digits or b"0", 8)


def _check_sum(block: bytes) -> None:
    counted = sum(block) - sum(block[148:156]) + 8 * 0x20  # the field itself counts as spaces
    if _number(block[148:156], "checksum") != counted:
        raise ArchiveError("a header's checksum is wrong: damaged, or not a tar archive")


def _metadata(stream: ByteStream, size_bytes: int) -> bytes:
    if size_bytes > _METADATA_LIMIT_BYTES:
        raise ArchiveError(f"an extended header of {size_bytes} bytes is refused")
    data = stream.read(size_bytes)
    stream.read(-size_bytes % BLOCK_BYTES)
    return data


def _pax(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    while data:
        length, space, _ = data.partition(b" ")
        end = int(length) if space and length.isdigit() and len(length) <= len(str(_METADATA_LIMIT_BYTES)) else 0
        record, data = data[len(length) + 1 : end], data[end:]
        key, equals, value = record.partition(b"=")
        if not key or not equals or not value.endswith(b"\n") or len(length) + 1 + len(record) != end:
            raise ArchiveError("an extended header cannot be read")
        # Attributes may hold any bytes; they are not used, so they need not be text.
        used = key in (b"path", b"size", b"hdrcharset") or key.startswith(b"GNU.sparse.")
        found[_text(key, "a key")] = _text(value[:-1], "a value") if used else ""
    if found.get("hdrcharset", _UTF8) != _UTF8:
        raise ArchiveError("an extended header is not in UTF-8")
    if found.get("path") == "":
        raise ArchiveError("an extended header gives an empty name")
    return found


def _refuse_global(pax: dict[str, str]) -> None:
    for key in pax:
        if key in ("path", "size", "linkpath") or key.startswith("GNU.sparse."):
            raise ArchiveError(f"a global header sets {key!r} for all members, which is refused")


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ArchiveError(f"an extended header's size is {text[:80]!r}")
    return int(text)


def _check_end(stream: ByteStream) -> None:
    if stream.read(BLOCK_BYTES) != _ZERO:
        raise ArchiveError("the archive's end is damaged")
    for piece in stream.rest():
        if any(piece):
            raise ArchiveError("something follows the archive's end")
