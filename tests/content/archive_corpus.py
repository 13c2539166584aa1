"""Archives, made by script: good ones in every form that must be understood, and hostile ones that must be refused.

Headers are put together here byte by byte, because no library writes what an attacker would.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from backports import zstd

END = bytes(1024)
FILE, LINK, SYMLINK, DIRECTORY, LONG_NAME, PAX, GLOBAL = b"0", b"1", b"2", b"5", b"L", b"x", b"g"
NFD, NFC = "e\u0301.bin", "\u00e9.bin"


@dataclass(frozen=True)
class Case:
    """An archive that must be refused.

    Attributes:
        name: what is wrong with it.
        format: as in the manifest.
        data: its bytes.
        says: what the message must contain.
        limits: other limits than the default ones.
    """

    name: str
    format: str
    data: bytes
    says: str
    limits: dict[str, int] = field(default_factory=dict)


# ---- tar ---------------------------------------------------------------------------------------------------------


def number(value: int, width: int) -> bytes:
    """Write a number as tar does."""
    return f"{value:0{width - 1}o}".encode() + b"\0"


def tar_entry(
    name: bytes,
    data: bytes = b"",
    kind: bytes = FILE,
    *,
    mode: int = 0o644,
    size: bytes | None = None,
    target: bytes = b"",
    prefix: bytes = b"",
    magic: bytes = b"ustar\00000",
    checksum: bytes | None = None,
) -> bytes:
    """Put a header and its padded content together."""
    head = b"".join([
        name.ljust(100, b"\0"), number(mode, 8), number(0, 8), number(0, 8), size or number(len(data), 12),
        number(0, 12), b" " * 8, kind, target.ljust(100, b"\0"), magic, bytes(64), number(0, 8), number(0, 8),
        prefix.ljust(155, b"\0"), bytes(12),
    ])  # fmt: skip
    total = checksum or number(sum(head), 7) + b" "
    return head[:148] + total + head[156:] + data + bytes(-len(data) % 512)


def pax(key: str, value: bytes, kind: bytes = PAX) -> bytes:
    """Put one extended header together."""
    rest = b" " + key.encode() + b"=" + value + b"\n"
    length = len(rest)
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return tar_entry(b"pax", str(length).encode() + rest, kind)


def long_name(name: bytes) -> bytes:
    """Put a GNU long name together."""
    return tar_entry(b"././@LongLink", name + b"\0", LONG_NAME)


def library_tar(names: dict[str, bytes], tar_format: int, *, folders: tuple[str, ...] = ()) -> bytes:
    """Let Python write an ordinary archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tar_format) as archive:
        for name in folders:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o750
            archive.addfile(folder)
        for name, data in names.items():
            file = tarfile.TarInfo(name)
            file.size, file.mtime = len(data), 1.5
            archive.addfile(file, io.BytesIO(data))
    return stream.getvalue()


BAD_NAMES: dict[str, tuple[bytes, str]] = {
    "absolute": (b"/etc/passwd", "absolute"),
    "up": (b"../evil", "'..'"),
    "up in the middle": (b"a/../../evil", "'..'"),
    "up at the end": (b"a/..", "'..'"),
    "up behind a dot": (b"./../evil", "'..'"),
    "absolute behind a dot": (b".//etc/passwd", "absolute"),
    "dot inside": (b"a/./b", "'.'"),
    "double slash": (b"a//b", "part ''"),
    "slash at a file's end": (b"a/", "part ''"),
    "drive": (b"C:/evil", "absolute"),
    "drive without slash": (b"c:evil", "absolute"),
    "backslash": (b"..\\evil", "backslash"),
    "newline": (b"a\nb", "control"),
    "escape": (b"a\x1b[2Jb", "control"),
    "not UTF-8": (b"caf\xe9", "not UTF-8"),
    "hidden behind NUL": (b"good\0/../evil", "NUL"),
    "nothing": (b"", "found nothing"),
    "private": (b"a/.vvmigrate/key", "belong to vvmigrate"),
    "private in capitals": (b".Current_Model_Info.json", "belong to vvmigrate"),
}


def _tar_names() -> Iterator[tuple[str, bytes, str]]:
    for what, (name, says) in BAD_NAMES.items():
        yield f"name: {what}", tar_entry(name, b"x"), says
    yield "name: too long", pax("path", b"a" * 256) + tar_entry(b"short", b"x"), "longer than"
    yield "name: too long in all", pax("path", (b"a" * 250 + b"/") * 5 + b"c") + tar_entry(b"s", b"x"), "longer than"
    yield "name: up, as a long name", long_name(b"../evil") + tar_entry(b"good", b"x"), "'..'"
    yield "name: up, as pax", pax("path", b"../evil") + tar_entry(b"good", b"x"), "'..'"
    yield "name: NUL, as pax", pax("path", b"a\0b") + tar_entry(b"good", b"x"), "control"
    yield "name: nothing, as pax", pax("path", b"") + tar_entry(b"good", b"x"), "empty name"
    yield "name: not UTF-8, as pax", pax("path", b"\xff") + tar_entry(b"good", b"x"), "not UTF-8"
    yield "name: up, as prefix", tar_entry(b"evil", b"x", prefix=b"../.."), "'..'"
    yield "folder: up", tar_entry(b"../evil/", kind=DIRECTORY), "'..'"
    yield "folder: absolute", tar_entry(b"/evil", kind=DIRECTORY), "absolute"


def _tar_kinds() -> Iterator[tuple[str, bytes, str]]:
    yield "symbolic link out", tar_entry(b"a", kind=SYMLINK, target=b"/etc"), "a symbolic link"
    yield "symbolic link in", tar_entry(b"a", b"x") + tar_entry(b"b", kind=SYMLINK, target=b"a"), "a symbolic link"
    yield "through a link", tar_entry(b"a", kind=SYMLINK, target=b"..") + tar_entry(b"a/b", b"x"), "a symbolic link"
    yield "hard link out", tar_entry(b"a", kind=LINK, target=b"/etc/passwd"), "a hard link"
    yield "hard link in", tar_entry(b"a", b"x") + tar_entry(b"b", kind=LINK, target=b"a"), "a hard link"
    yield "character device", tar_entry(b"null", kind=b"3"), "a character device"
    yield "block device", tar_entry(b"sda", kind=b"4"), "a block device"
    yield "FIFO", tar_entry(b"pipe", kind=b"6"), "a FIFO"
    yield "contiguous", tar_entry(b"a", b"x", b"7"), "a contiguous file"
    yield "sparse", tar_entry(b"a", b"x", b"S"), "a sparse file"
    yield "sparse, as pax", pax("GNU.sparse.major", b"1") + tar_entry(b"a", b"x"), "a sparse file"
    yield "volume label", tar_entry(b"label", kind=b"V"), "a volume label"
    yield "unknown kind", tar_entry(b"a", b"x", b"Z"), "unknown kind"
    yield "set-user-id", tar_entry(b"a", b"x", mode=0o4755), "set-user-id"
    yield "set-group-id folder", tar_entry(b"a/", kind=DIRECTORY, mode=0o2755), "set-group-id"
    yield "folder with content", tar_entry(b"a/", b"x", DIRECTORY), "directory with content"


def _tar_clashes() -> Iterator[tuple[str, bytes, str]]:
    def two(first: str, second: str) -> bytes:
        return tar_entry(first.encode(), b"x") + tar_entry(second.encode(), b"y")

    folder = tar_entry(b"a/", kind=DIRECTORY)
    yield "twice", two("a", "a"), "there twice"
    yield "twice with a dot", two("a", "./a"), "there twice"
    yield "folder twice", folder + folder + tar_entry(b"a/b", b"x"), "there twice"
    yield "letter case", two("Model", "model"), "letter case"
    yield "letter case of a folder", two("A/x", "a/y"), "letter case"
    yield "accents", two(NFD, NFC), "letter case or form of accents"
    yield "sharp s", two("stra\u00dfe", "STRASSE"), "letter case"
    yield "a file as a folder", two("a", "a/b"), "is a file and cannot be a folder"
    yield "a folder as a file", two("a/b", "a"), "there twice"
    yield "a file, then its folder", tar_entry(b"a", b"x") + folder, "is a file and cannot be a folder"
    yield "a folder, then its file", folder + tar_entry(b"a", b"x"), "there twice"


def _tar_damage() -> Iterator[tuple[str, bytes, str]]:
    good = tar_entry(b"a", b"x" * 600)
    yield "wrong checksum", tar_entry(b"a", b"x", checksum=b"0000000\0"), "checksum"
    yield "damaged later header", good + tar_entry(b"b", b"x", checksum=b"0000000\0"), "checksum"
    yield "not a tar", b"hello, world" * 100, "header"
    yield "size in letters", tar_entry(b"a", b"x", size=b"eleventeen\0\0"), "size is"
    yield "negative size", tar_entry(b"a", b"x", size=b"\xff" * 12), "negative"
    yield "a size beyond everything", tar_entry(b"a", b"x", size=b"\x80" + b"\xff" * 11), "grows over"
    yield "pax: a size beyond everything", pax("size", b"9" * 19) + tar_entry(b"a", b"x"), "grows over"
    yield "pax: a size in letters", pax("size", b"-1") + tar_entry(b"a", b"x"), "size is"
    yield "pax: a huge header", tar_entry(b"p", b"", PAX, size=number(1 << 30, 12)), "extended header of"
    yield "pax: a bad record", tar_entry(b"p", b"99 path=x\n", PAX) + good, "cannot be read"
    yield "pax: a length of zero", tar_entry(b"p", b"0 path=x\n", PAX) + good, "cannot be read"
    yield "pax: another charset", pax("hdrcharset", b"BINARY") + good, "not in UTF-8"
    yield "pax: a global name", pax("path", b"b", GLOBAL) + good, "global header"
    yield "a long name for nobody", good + long_name(b"b"), "announces another member"


def _of_tar(kind: str, compress: Any) -> Iterator[Case]:
    for make in (_tar_names, _tar_kinds, _tar_clashes, _tar_damage):
        for name, data, says in make():
            yield Case(name, kind, compress(data + END), says)
    good = tar_entry(b"a", b"x" * 2000)
    whole = compress(good + END)
    yield Case("nothing", kind, b"", "empty")
    yield Case("no member", kind, compress(END), "no file")
    yield Case("only a folder", kind, compress(tar_entry(b"a/", kind=DIRECTORY) + END), "no file")
    yield Case("no end", kind, compress(good), "cut off")
    yield Case("half an end", kind, compress(good + END[:512]), "cut off")
    yield Case("ends in the content", kind, compress(good[:1000]), "cut off")
    yield Case("ends in a header", kind, compress(good + good[:300]), "cut off")
    yield Case("trailing data inside", kind, compress(good + END + b"evil"), "follows the archive's end")
    yield Case("another archive behind", kind, compress(good + END + good + END), "follows the archive's end")
    yield Case("trailing garbage outside", kind, whole + b"garbage garbage garbage", "followed by something")
    yield Case("cut in half", kind, whole[: len(whole) // 2], "cut off")
    yield Case("without its last byte", kind, whole[:-1], "cut off")
    yield Case("not compressed", kind, good + END, "damaged")
    many = b"".join(tar_entry(b"%d" % n, b"x") for n in range(6)) + END
    yield Case("too many", kind, compress(many), "more than 5 files", {"max_files": 5})
    yield Case("too deep", kind, compress(tar_entry(b"a/b/c/d", b"x") + END), "deeper than 3", {"max_depth": 3})
    yield Case("too large", kind, whole, "grows over 1999", {"max_bytes": 1999})
    bomb = compress(tar_entry(b"zeros", bytes(8 << 20)) + END)
    yield Case("a bomb", kind, bomb, "grows over", {"max_ratio": 20})
    padding = compress(good + bytes(8 << 20))
    yield Case("a bomb behind the end", kind, padding, "unpacks to more", {"max_files": 1, "max_bytes": 2000})


def _gzip_only() -> Iterator[Case]:
    whole = gzip.compress(tar_entry(b"a", b"x" * 2000) + END)
    for name, at in (("wrong CRC", -8), ("wrong length", -1), ("damaged data", 20)):
        spoiled = bytearray(whole)
        spoiled[at] ^= 1
        yield Case(name, "tar.gz", bytes(spoiled), "damaged")
    two = gzip.compress(tar_entry(b"a", b"x")) + gzip.compress(END)
    yield Case("second member cut off", "tar.gz", two[:-3], "cut off")


def _zstd_only() -> Iterator[Case]:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27}
    stream = zstd.ZstdCompressor(options=options)
    wide = stream.compress(tar_entry(b"a", b"x" * 2000)) + stream.compress(END, stream.FLUSH_FRAME)
    yield Case("a window of 128 MiB", "tar.zst", wide, "window over 8 MiB")


def hostile_tars() -> list[Case]:
    """Every compressed tar archive that must be refused."""
    both = [*_of_tar("tar.gz", gzip.compress), *_of_tar("tar.zst", zstd.compress)]
    return [*both, *_gzip_only(), *_zstd_only()]
