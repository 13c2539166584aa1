"""The artefact that is delivered: a GGUF-like file, seeded, as it is and as `.tar.gz` and `.tar.zst`.

Half of it are ternary weights of two bits each, half are f16 weights: like a real model it hardly compresses.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import random
import shutil
import statistics
import struct
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import IO, Any

MB = 1_000_000
NAME = "model.gguf"
FORMATS = ("file", "tar.gz", "tar.zst")
SEED = 805
_PIECE = 4 * MB
_SPREAD = 0.02  # standard deviation of a trained model's weights, about


@dataclass(frozen=True)
class Artefact:
    """One form of the model.

    Attributes:
        format: as the manifest calls it.
        path: the file that is served.
        size_bytes, sha256: of that file.
        plain_bytes, plain_sha256: of the model, unpacked.
    """

    format: str
    path: Path
    size_bytes: int
    sha256: str
    plain_bytes: int
    plain_sha256: str


def make(folder: Path, size_mb: int) -> dict[str, Artefact]:
    """Make the model in every format, unless a folder holds it from an earlier run.

    Args:
        folder: what it is cached in.
        size_mb: of the model, in millions of bytes.

    Returns:
        The artefacts by format.
    """
    here = folder / f"{size_mb}mb"
    if not (here / "complete").exists():
        shutil.rmtree(here, ignore_errors=True)
        here.mkdir(parents=True)
        _write_model(here / NAME, size_mb * MB)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda form: _pack(here, form), FORMATS[1:]))
        (here / "complete").touch()
    plain = here / NAME
    digest, size = sha256_of(plain), plain.stat().st_size
    paths = {"file": plain, **{form: here / f"model.{form}" for form in FORMATS[1:]}}
    return {
        form: Artefact(form, path, path.stat().st_size, sha256_of(path), size, digest) for form, path in paths.items()
    }


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pack(folder: Path, form: str) -> None:
    """Pack as a publisher would: gzip at its level 6, zstd at its level 3."""
    with (
        (folder / f"model.{form}").open("wb") as target,
        _packer(form, target) as tool,
        tarfile.open(fileobj=tool, mode="w|", bufsize=_PIECE) as archive,
    ):
        archive.add(folder / NAME, NAME, filter=_plain)


def _packer(form: str, target: IO[bytes]) -> Any:
    if form == "tar.gz":
        return gzip.GzipFile("", "wb", 6, target, mtime=0)
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return importlib.import_module(name).ZstdFile(target, "wb", level=3)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def _write_model(path: Path, size_bytes: int) -> None:
    chance, header = random.Random(SEED), _header()
    half = (size_bytes - len(header)) // 2
    with path.open("wb") as file:
        file.write(header)
        _fill(file, _ternary(chance), half)
        _fill(file, _f16(chance), size_bytes - len(header) - half)


def _fill(file: IO[bytes], pieces: Iterator[bytes], size_bytes: int) -> None:
    while size_bytes:
        size_bytes -= file.write(next(pieces)[:size_bytes])


def _header() -> bytes:
    """Magic, version, no tensors' names, and the one key that a reader asks for."""
    key, value = b"general.architecture", b"bitnet-b1.58"
    pair = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(value)) + value
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair


def _ternary(chance: random.Random) -> Iterator[bytes]:
    """Four weights a byte, each 0, 1 or 2."""
    bytes_of_four = [a | b << 2 | c << 4 | d << 6 for a, b, c, d in product(range(3), repeat=4)]
    table = bytes(bytes_of_four[number * len(bytes_of_four) // 256] for number in range(256))
    while True:
        yield chance.randbytes(_PIECE).translate(table)


def _f16(chance: random.Random) -> Iterator[bytes]:
    """Normally distributed f16: the upper byte by its quantile, the lower one by chance."""
    normal = statistics.NormalDist(0, _SPREAD)
    table = bytes(struct.pack("<e", normal.inv_cdf((number + 0.5) / 256))[1] for number in range(256))
    while True:
        piece = bytearray(_PIECE)
        piece[0::2] = chance.randbytes(_PIECE // 2)
        piece[1::2] = chance.randbytes(_PIECE // 2).translate(table)
        yield bytes(piece)
