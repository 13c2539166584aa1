"""What a delivery adds to the memory of its process: little, and no more for gigabytes than for a megabyte.

The larger artefacts are made while they are served: one block again and again, in an archive as a gzip member or a zstd
frame of its own.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from tests.content.archive_corpus import END, number, tar_entry
from tests.content.fault_server import Act, FaultServer, Reply, Request
from vvmigrate.content.manifest import Artefact

MB = 1 << 20
ALLOWED_BYTES = 48 * MB
SAME_BYTES = 16 * MB  # all queues full, or empty: what waits in them differs by chance
BLOCK = random.Random(0).randbytes(MB)
LARGE = [pytest.param(size, marks=pytest.mark.full, id=f"{size} MB") for size in (100, 4096)]


@dataclass(frozen=True)
class Endless:
    """An artefact of any size that nobody holds: a beginning, one block many times, an end."""

    format: Any
    first: bytes
    block: bytes
    times: int
    last: bytes

    def pieces(self) -> Iterator[bytes]:
        """Everything in its order."""
        yield self.first
        for _ in range(self.times):
            yield self.block
        yield self.last

    def artefact(self, url: str) -> Artefact:
        """What the manifest promises; hashes all of it."""
        digest, size = hashlib.sha256(), 0
        for piece in self.pieces():
            digest.update(piece)
            size += len(piece)
        return Artefact((url,), self.format, "model.gguf", size, digest.hexdigest())

    def act(self) -> Act:
        """Serve it whole."""

        def play(reply: Reply, _: Request) -> None:
            size = len(self.first) + len(self.block) * self.times + len(self.last)
            reply.head("200 OK", {"Content-Length": size})
            for piece in self.pieces():
                reply.send(piece)

        return play


def endless(form: str, megabytes: int) -> Endless:
    """A model of so many megabytes."""
    if form == "file":
        return Endless(form, b"", BLOCK, megabytes, b"")
    pack: Callable[[bytes], bytes] = partial(gzip.compress, mtime=0) if form == "tar.gz" else zstd.compress
    head = tar_entry(b"model.gguf", b"", size=number(megabytes * MB, 12))
    return Endless(form, pack(head), pack(BLOCK), megabytes, pack(END))


def added_bytes(server: FaultServer, folder: Path, what: Endless, **options: Any) -> int:
    """Deliver in a process of its own; by how much it grew."""
    if shutil.disk_usage(folder.parent).free < 2 * what.times * MB + (1 << 30):
        pytest.skip(f"{folder.parent}: no room for {what.times} MB as they come and as they are installed")
    folder.mkdir()
    artefact = what.artefact(server.url("/model", what.act()))
    told = {name: value for name, value in vars(artefact).items() if name not in ("limits", "files", "chunk_sha256")}
    command = [sys.executable, "-m", "tests.content.delivery_child", str(folder), json.dumps(told), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert (folder / "slot/model.gguf").stat().st_size == what.times * MB
    shutil.rmtree(folder)
    return int(done.stdout)


@pytest.mark.parametrize("size", [32, *LARGE])
@pytest.mark.parametrize("form", ["file", "tar.gz", "tar.zst"])
def test_memory_does_not_grow_with_the_artefact(server: FaultServer, tmp_path: Path, form: str, size: int) -> None:
    """An edge device with little memory can be given a model of any size: 48 MB are enough, and the same for each."""
    small, large = (
        added_bytes(server, tmp_path / "host", endless(form, times), serial_below_bytes=0) for times in (1, size)
    )
    print(f"{form}: {small / MB:.1f} MB for 1 MB, {large / MB:.1f} MB for {size} MB")
    assert max(small, large) <= ALLOWED_BYTES
    assert large - small <= SAME_BYTES


@pytest.mark.parametrize("options", [{"keep": False}, {"serial_below_bytes": 1 << 60}], ids=["not kept", "serial"])
@pytest.mark.parametrize("form", ["file", "tar.gz", "tar.zst"])
def test_no_way_needs_more(server: FaultServer, tmp_path: Path, form: str, options: dict[str, Any]) -> None:
    """Neither without keeping what is received nor without threads does a delivery need more."""
    assert added_bytes(server, tmp_path / "host", endless(form, 32), **options) <= ALLOWED_BYTES
