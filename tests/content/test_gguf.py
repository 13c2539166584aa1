"""check_header(): a GGUF file is one, is whole, and says for which architecture."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from vvmigrate.content.gguf import Header, check_header
from vvmigrate.errors import ArchiveError
from vvmigrate.files import Tree


def text(value: bytes) -> bytes:
    """A string of the format."""
    return struct.pack("<Q", len(value)) + value


ARCHITECTURE = text(b"general.architecture") + struct.pack("<I", 8) + text(b"bitnet-b1.58")
NESTED = text(b"nested") + struct.pack("<IIQIQ", 9, 9, 1, 8, 2) + text(b"one") + text(b"two")
OTHERS = (
    text(b"general.name") + struct.pack("<I", 8) + text(b"a model"),
    text(b"tokens") + struct.pack("<IIQ", 9, 8, 3) + text(b"a") + text(b"") + text(b"ccc"),
    text(b"scores") + struct.pack("<IIQ", 9, 6, 2) + bytes(8),
    NESTED,
    *(text(b"k%d" % kind) + struct.pack("<I", kind) + bytes(size) for kind, size in ((0, 1), (3, 2), (7, 1), (12, 8))),
)


def gguf(*pairs: bytes, magic: bytes = b"GGUF", version: int = 3, tensors: int = 0, keys: int | None = None) -> bytes:
    """A header."""
    return magic + struct.pack("<IQQ", version, tensors, len(pairs) if keys is None else keys) + b"".join(pairs)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """An empty directory."""
    with Tree.open(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("pairs", [(ARCHITECTURE,), (ARCHITECTURE, *OTHERS), (*OTHERS, ARCHITECTURE)])
def test_a_good_header_is_read(tree: Tree, version: int, pairs: tuple[bytes, ...]) -> None:
    """Both versions, every kind of value, the architecture first or last, tensors behind it."""
    (tree / "m").write(gguf(*pairs, version=version, tensors=332) + bytes(5000))
    assert check_header(tree / "m") == Header(version, 332, "bitnet-b1.58")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "begins with b''"),
        (b"GG", "begins with"),
        (gguf(ARCHITECTURE, magic=b"GGML"), "begins with b'GGML'"),
        (b"<html>a login page</html>", "begins with b'<htm'"),
        (gguf(ARCHITECTURE, version=1), "version 1 is not known"),
        (gguf(ARCHITECTURE, version=4), "version 4 is not known"),
        (gguf(ARCHITECTURE, version=0x03000000), "big-endian"),
        (gguf(ARCHITECTURE, tensors=1 << 40), "claims"),
        (gguf(ARCHITECTURE, keys=1 << 40), "claims"),
        (gguf(), "general.architecture is missing"),
        (gguf(*OTHERS), "general.architecture is missing"),
        (gguf(ARCHITECTURE, keys=2), "ends within its header"),
        (gguf(ARCHITECTURE)[:-1], "ends within its header"),
        (gguf(text(b"general.architecture") + struct.pack("<II", 4, 1)), "is not a name"),
        (gguf(text(b"general.architecture") + struct.pack("<I", 8) + text(b"")), "is not a name"),
        (gguf(text(b"general.architecture") + struct.pack("<I", 8) + text(b"a\x1bb")), "is not a name"),
        (gguf(text(b"general.architecture") + struct.pack("<I", 8) + text(b"\xff")), "is not a name"),
        (gguf(text(b"") + struct.pack("<IB", 0, 0), ARCHITECTURE), "a key has 0 bytes"),
        (gguf(struct.pack("<Q", 1 << 60)), "a key has"),
        (gguf(text(b"k") + struct.pack("<IQ", 8, 1 << 63), ARCHITECTURE), "ends within its header"),
        (gguf(text(b"k") + struct.pack("<IIQ", 9, 8, 1 << 63), ARCHITECTURE), "an array claims"),
        (gguf(text(b"k") + struct.pack("<IIQ", 9, 12, 1 << 63), ARCHITECTURE), "ends within its header"),
        (gguf(text(b"k") + struct.pack("<I", 13), ARCHITECTURE), "unknown kind"),
        (gguf(text(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 9, ARCHITECTURE), "nested too deep"),
    ],
)
def test_a_bad_header_is_refused(tree: Tree, data: bytes, says: str) -> None:
    """Each is refused with its reason, without reading further than the file goes."""
    (tree / "m").write(data)
    with pytest.raises(ArchiveError) as caught:
        check_header(tree / "m")
    assert says in caught.value.message
    assert str(tree.path) in caught.value.message
