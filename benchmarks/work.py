"""One piece of work in a process of its own.

    python work.py NAME '{"url": ..., "out": ..., ...}'

It prints a line of JSON: `seconds` from the start of the work to its end (without the interpreter's start and imports,
so that nobody is charged for them) and what else it measured. Nothing is imported that the work does not need: peers
run in an environment that has no vvmigrate.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CHUNK_BYTES = 256 << 10
Job = dict[str, Any]
Said = dict[str, float]


def _chunks(path: str) -> Iterator[bytes]:
    with Path(path).open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _busy(work: Callable[[bytes], object], path: str) -> Said:
    """Seconds within `work` alone: what reading the file takes is not counted."""
    total = 0.0
    for chunk in _chunks(path):
        begin = time.perf_counter()
        work(chunk)
        total += time.perf_counter() - begin
    return {"seconds": total}


def _timed(work: Callable[[], object]) -> Said:
    begin = time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - begin}


# ---- ours ------------------------------------------------------------------------------------------------------------


def ours(job: Job) -> Said:
    """deliver(); also by how much the process grew at its largest, with all that it loads for that."""
    from vvmigrate.content.delivery.pipeline import deliver
    from vvmigrate.content.manifest import Artefact
    from vvmigrate.files import Tree

    what = Artefact((job["url"],), job["format"], "model.gguf", job["size_bytes"], job["sha256"])
    with Tree.open(Path(job["out"])) as tree:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): VmHWM begins anew
        before = _status("VmRSS")
        said = _timed(lambda: deliver(what, tree / "part", tree / "installed", release=tree, keep=job["keep"]))
    return {**said, "added_bytes": _status("VmHWM") - before}


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name + ":"))


def rehash(job: Job) -> Said:
    """What `verify` does with an installed file."""
    from vvmigrate.files import Tree

    path = Path(job["file"])
    with Tree.open(path.parent) as tree:
        return _timed((tree / path.name).entry)


# ---- stages alone ----------------------------------------------------------------------------------------------------


def hashing(job: Job) -> Said:
    """SHA-256 alone."""
    return _busy(hashlib.sha256().update, job["file"])


def bare_hashlib(job: Job) -> Said:
    """What the standard library offers for hashing a file."""

    def work() -> None:
        with Path(job["file"]).open("rb") as file:
            hashlib.file_digest(file, "sha256")

    return _timed(work)


def gunzip(job: Job) -> Said:
    """Isal alone."""
    return _busy(importlib.import_module("isal.isal_zlib").decompressobj(wbits=31).decompress, job["file"])


def unzstd(job: Job) -> Said:
    """Zstd alone."""
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return _busy(importlib.import_module(name).ZstdDecompressor().decompress, job["file"])


def network(job: Job) -> Said:
    """Reading alone, with the library that we use."""
    import requests

    def work() -> None:
        with requests.get(job["url"], stream=True, headers={"Accept-Encoding": "identity"}, timeout=60) as response:
            while response.raw.read(CHUNK_BYTES, decode_content=False):
                pass

    return _timed(work)


def writing(job: Job) -> Said:
    """Writing and fsync alone, in pieces of a MiB, as much as the model has."""
    piece, left = os.urandom(1 << 20), job["plain_bytes"]

    def work() -> None:
        with (Path(job["out"]) / "written").open("wb", buffering=0) as file:
            for _ in range(left >> 20):
                file.write(piece)
            os.fsync(file.fileno())

    return _timed(work)


# ---- peers -----------------------------------------------------------------------------------------------------------


def plain(job: Job) -> Said:
    """What one writes in ten minutes: requests, hashlib, tarfile."""
    import tarfile

    import requests

    folder = Path(job["out"]) / "installed"
    folder.mkdir()
    received = folder / "model.gguf" if job["format"] == "file" else Path(job["out"]) / "received"

    def work() -> None:
        digest = hashlib.sha256()
        with requests.get(job["url"], stream=True, timeout=60) as response, received.open("wb") as file:
            response.raise_for_status()
            for chunk in response.iter_content(chunk_size=8192):
                file.write(chunk)
                digest.update(chunk)
        assert digest.hexdigest() == job["sha256"]
        if job["format"] != "file":
            with tarfile.open(received) as archive:
                archive.extractall(folder, filter="data")

    return _timed(work)


def pooch(job: Job) -> Said:
    """pooch.retrieve, with its own processor for archives."""
    library = importlib.import_module("pooch")
    library.get_logger().setLevel("ERROR")
    processor = None if job["format"] == "file" else library.Untar(extract_dir="installed")
    name = "model.gguf" if job["format"] == "file" else "received"
    known = f"sha256:{job['sha256']}"
    return _timed(
        lambda: library.retrieve(job["url"], known_hash=known, fname=name, path=job["out"], processor=processor)
    )


def hub(job: Job) -> Said:
    """huggingface_hub's hf_hub_download, against an endpoint that answers as its own does."""
    os.environ.update(HF_ENDPOINT=job["endpoint"], HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1")
    os.environ.update(HF_HOME=job["out"], HF_HUB_DISABLE_PROGRESS_BARS="1")
    download = importlib.import_module("huggingface_hub").hf_hub_download
    folder = str(Path(job["out"]) / "installed")
    return _timed(lambda: download(job["repository"], "model.gguf", revision=job["revision"], local_dir=folder))


WORKS: dict[str, Callable[[Job], Said]] = {
    work.__name__: work
    for work in (ours, rehash, hashing, bare_hashlib, gunzip, unzstd, network, writing, plain, pooch, hub)
}

if __name__ == "__main__":
    print(json.dumps(WORKS[sys.argv[1]](json.loads(sys.argv[2]))))
