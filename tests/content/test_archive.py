"""extract(): what is understood, what is refused, and that nothing is repaired or written elsewhere."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import random
import tarfile
import tracemalloc
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from tests.content import archive_corpus as corpus
from tests.content import zip_corpus
from tests.content.archive_corpus import END, Case, tar_entry
from vvmigrate.content.delivery import decompress
from vvmigrate.content.delivery.archive import extract
from vvmigrate.content.delivery.decompress import ByteStream, gunzip, unzstd
from vvmigrate.content.delivery.received import Progress
from vvmigrate.content.manifest import Artefact, InstalledFile, Limits
from vvmigrate.errors import ArchiveError, ChecksumError, DeliveryError, IntegrityError
from vvmigrate.files import Place, Tree

SOURCE = random.Random(0)
FILES = {"model.gguf": SOURCE.randbytes(350_000), "sub/deep/licence.txt": b"MIT", "empty": b""}


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """An empty directory."""
    (tmp_path / "staging").mkdir()
    with Tree.open(tmp_path / "staging") as opened:
        yield opened


def artefact(data: bytes, form: Any, **more: Any) -> Artefact:
    """What the manifest says of these bytes."""
    return Artefact(("a",), form, "model.bin", len(data), hashlib.sha256(data).hexdigest(), **more)


def unpack(tree: Tree, data: bytes, form: str, **more: Any) -> dict[str, bytes]:
    """Extract, and return the files that then stand there, with what they hold."""
    (tree / "source").write(data)
    extract(artefact(data, form, **more), tree / "source", tree / "target")
    return found(tree.path / "target")


def found(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def good_archives() -> Iterator[Any]:
    """Yield every form that must be understood, with the same files in it."""
    for name, form in (("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)):
        plain = corpus.library_tar(FILES, form, folders=("sub", "sub/deep"))
        yield pytest.param("tar.gz", gzip.compress(plain), id=f"{name} gz")
        yield pytest.param("tar.zst", zstd.compress(plain), id=f"{name} zst")
    plain = corpus.library_tar({f"./{name}": data for name, data in FILES.items()}, tarfile.GNU_FORMAT, folders=(".",))
    yield pytest.param("tar.gz", gzip.compress(plain), id="tar -C folder .")
    commented = corpus.pax("comment", b"a commit", corpus.GLOBAL) + corpus.pax("SCHILY.xattr.user.x", b"\xff\0") + plain
    yield pytest.param("tar.gz", gzip.compress(commented), id="pax attributes")
    parts = [plain[at : at + 100_000] for at in range(0, len(plain), 100_000)]
    yield pytest.param("tar.gz", b"".join(gzip.compress(part) for part in [b"", *parts, b""]), id="members gz")
    yield pytest.param("tar.zst", b"".join(zstd.compress(part) for part in [b"", *parts, b""]), id="frames zst")
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
    yield pytest.param("tar.zst", skippable + zstd.compress(plain) + skippable, id="skippable frames zst")
    yield pytest.param("zip", zip_corpus.library_zip(FILES), id="zip")
    yield pytest.param("zip", zip_corpus.library_zip(FILES, streamed=True), id="zip descriptors")
    yield pytest.param("zip", zip_corpus.library_zip(FILES, zip64=True), id="zip64")
    entries = [zip_corpus.ZipEntry(name.encode(), data, method=0) for name, data in FILES.items()]
    yield pytest.param("zip", zip_corpus.zip_of(zip_corpus.ZipEntry(b"sub/", b"", 0o040755), *entries), id="zip stored")
    yield pytest.param("zip", zip_corpus.zip_of(*entries, comment=b"a commit PK\x05"), id="zip comment")


@pytest.mark.parametrize(("form", "data"), list(good_archives()))
def test_every_ordinary_form_is_understood(tree: Tree, form: str, data: bytes) -> None:
    """What tools write gives exactly its files, with our modes, whatever the archive says and the umask is."""
    before = os.umask(0o077)
    try:
        assert unpack(tree, data, form) == FILES
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o7777 for path in (tree.path / "target").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o644}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o755}


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_understood(tree: Tree, form: int) -> None:
    """GNU and pax write names over 100 bytes in headers of their own, also those that are not ASCII."""
    files = {"/".join(["ordner-\u00e9-" + "x" * 90] * 4): b"1", "n" * 255: b"2"}
    assert unpack(tree, gzip.compress(corpus.library_tar(files, form)), "tar.gz") == files


def test_large_sizes_are_understood(tree: Tree) -> None:
    """Sizes of 8 GiB and more are in base 256 or in pax; small ones may be written like that too."""
    data = tar_entry(b"a", b"x" * 700, size=b"\x80" + (700).to_bytes(11, "big"))
    data += corpus.pax("size", b"3") + tar_entry(b"b", b"abc", size=corpus.number(0, 12)) + END
    assert unpack(tree, gzip.compress(data), "tar.gz") == {"a": b"x" * 700, "b": b"abc"}


HOSTILE = [*corpus.hostile_tars(), *zip_corpus.hostile_zips()]


@pytest.mark.parametrize("case", HOSTILE, ids=[f"{case.format}: {case.name}" for case in HOSTILE])
def test_hostile_archives_are_refused(tree: Tree, case: Case) -> None:
    """Each is refused with its reason and exit code 7, and nothing stands outside the target, or under another name."""
    outside = set(tree.path.parent.rglob("*"))
    with pytest.raises(IntegrityError) as caught:
        unpack(tree, case.data, case.format, limits=replace(Limits(), **case.limits))
    assert case.says in caught.value.message
    assert caught.value.exit_code == 7
    written = set(tree.path.parent.rglob("*")) - outside - {tree.path / "source", tree.path / "target"}
    assert all(path.is_relative_to(tree.path / "target") for path in written)
    assert not any(path.is_symlink() or path.name in ("evil", "passwd") for path in written)


def test_the_corpus_is_large_enough() -> None:
    """At least sixty different ideas, not counting that most of them are tried in two compressions."""
    assert len({case.name for case in HOSTILE}) >= 60


@pytest.mark.parametrize("form", ["tar.gz", "tar.zst", "zip"])
def test_a_bomb_needs_neither_memory_nor_disk(tree: Tree, form: str) -> None:
    """A kilobyte that becomes a gigabyte stops at the limit, in a few megabytes of memory."""
    zeros = bytes(64 << 20)
    if form == "zip":
        data = zip_corpus.library_zip({"zeros": zeros})
    else:
        data = (gzip.compress if form == "tar.gz" else zstd.compress)(tar_entry(b"zeros", zeros) + END)
    del zeros
    (tree / "source").write(data)
    tracemalloc.start()
    with pytest.raises(ArchiveError, match="grows over"):
        extract(artefact(data, form, limits=Limits(max_bytes=32 << 20)), tree / "source", tree / "target")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20
    assert sum(len(data) for data in found(tree.path / "target").values()) <= 32 << 20


# ---- what the manifest says of the files -------------------------------------------------------------------------


def listed(files: dict[str, bytes]) -> tuple[InstalledFile, ...]:
    """The manifest's list of these files."""
    return tuple(InstalledFile(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items())


@pytest.mark.parametrize("form", ["tar.gz", "zip"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, ""),
        ({"empty": None}, "'empty' is missing"),
        ({"extra": b"x"}, "not in the manifest"),
        ({"empty": b"x"}, "has not 0 bytes"),
        ({"sub/deep/licence.txt": b"GPL"}, "SHA-256 is"),
    ],
    ids=["same", "missing", "unexpected", "other size", "other content"],
)
def test_files_are_compared_with_the_manifest(
    tree: Tree, form: str, change: dict[str, bytes | None], says: str
) -> None:
    """Where the manifest lists the files, the archive must hold exactly those."""
    files = {name: data for name, data in {**FILES, **change}.items() if data is not None}
    pack = {"zip": zip_corpus.library_zip, "tar.gz": lambda f: gzip.compress(corpus.library_tar(f, tarfile.PAX_FORMAT))}
    data = pack[form](files)
    if not says:
        assert unpack(tree, data, form, files=listed(FILES)) == FILES
        return
    with pytest.raises(ChecksumError, match=says):
        unpack(tree, data, form, files=listed(FILES))


# ---- raw files ---------------------------------------------------------------------------------------------------


def test_a_raw_file_is_a_second_name(tree: Tree) -> None:
    """A raw file costs neither time nor space: it is the received file itself, with the installed mode."""
    assert unpack(tree, b"weights", "file") == {"model.bin": b"weights"}
    linked = (tree.path / "target" / "model.bin").stat()
    assert linked.st_ino == (tree.path / "source").stat().st_ino
    assert linked.st_mode & 0o7777 == 0o644


def test_a_raw_file_can_be_placed_twice(tree: Tree) -> None:
    """A second attempt, after the first one was swept or not, does not fail on the first one's link."""
    unpack(tree, b"weights", "file")
    extract(artefact(b"weights", "file"), tree / "source", tree / "again")
    assert found(tree.path / "again") == {"model.bin": b"weights"}


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_a_raw_file_is_copied_where_links_are_impossible(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """On another file system, or one without hard links, the file is copied."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Place, "make_hard_link", refuse)
    assert unpack(tree, b"weights" * 100_000, "file") == {"model.bin": b"weights" * 100_000}
    assert (tree.path / "target" / "model.bin").stat().st_nlink == 1


def test_a_full_disk_is_called_so(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC while unpacking is an error of delivery (exit code 1), not of integrity."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Place, "make_hard_link", full)
    with pytest.raises(DeliveryError, match=r"disk full: while model.bin was unpacked; \d+ bytes"):
        unpack(tree, b"weights", "file")


# ---- streams -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [zlib, decompress.inflater()], ids=["zlib", "fastest"])
@pytest.mark.parametrize("step", [1, 7, 1000, 1 << 20])
def test_gunzip_gives_the_same_whatever_the_cut(engine: Any, step: int) -> None:
    """Chunks may be cut anywhere: in headers, in trailers, between members."""
    plain = [SOURCE.randbytes(3000), bytes(5 << 20), b"", b"x"]
    packed = b"".join(gzip.compress(part) for part in plain)
    chunks = [packed[at : at + step] for at in range(0, len(packed), step)]
    assert b"".join(gunzip(chunks, engine)) == b"".join(plain)
    for cut in (1, 4, 8, 9, 17):
        with pytest.raises(ArchiveError):
            list(gunzip([packed[:-cut][at : at + step] for at in range(0, len(packed), step)], engine))


@pytest.mark.parametrize("step", [1, 7, 1000, 1 << 20])
def test_unzstd_gives_the_same_whatever_the_cut(step: int) -> None:
    """Frames may be cut anywhere too."""
    plain = [SOURCE.randbytes(3000), bytes(5 << 20), b"", b"x"]
    packed = b"".join(zstd.compress(part) for part in plain)
    assert b"".join(unzstd(packed[at : at + step] for at in range(0, len(packed), step))) == b"".join(plain)


def test_no_piece_is_larger_than_allowed() -> None:
    """256 KiB of gzip could become 257 MiB in one call; each call gives a megabyte at most."""
    packed = gzip.compress(bytes(50 << 20))
    assert max(len(piece) for piece in gunzip([packed])) <= decompress.OUTPUT_BYTES


def test_progress_counts_the_source(tree: Tree) -> None:
    """Progress is told in bytes of the download, since the unpacked size is not known before the end."""
    data = gzip.compress(corpus.library_tar({"a": SOURCE.randbytes(700_000)}, tarfile.PAX_FORMAT))
    (tree / "source").write(data)
    seen: list[Progress] = []
    extract(artefact(data, "tar.gz"), tree / "source", tree / "target", progress=seen.append)
    assert [one.done_bytes for one in seen] == sorted(one.done_bytes for one in seen)
    assert seen[-1] == Progress("extract", len(data), len(data))


def test_a_byte_stream_reads_exactly() -> None:
    """Pieces add up to what was asked, across chunks, and the end is an error, not a short piece."""
    stream = ByteStream([b"abc", b"", b"defg"], 100)
    assert [stream.read(2), stream.read(0), stream.read(4)] == [b"ab", b"", b"cdef"]
    with pytest.raises(ArchiveError, match="cut off"):
        stream.read(2)
