"""Whoever brings a model, and each stage of it alone: as commands that run in a process of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from artefact import NAME, Artefact, sha256_of
from web import REPOSITORY, REVISION, Server

HERE = Path(__file__).resolve().parent
PEERS = ("pooch==1.9.0", "huggingface_hub==2.4.0", "requests==2.34.2")
OURS, NO_RESUME = "vvmigrate", "vvmigrate --no-resume"
IGZIP_PIPE, OPENSSL_PIPE, SHA256SUM_PIPE = (
    "curl|tee|openssl|igzip|tar",
    "curl|tee|openssl|zstd|tar",
    "curl|tee|sha256sum|tar",
)
ARIA2, POOCH, HUB, PLAIN = "aria2c -x8, tar", "pooch", "huggingface_hub", "requests+hashlib+tarfile"
SHA256, GUNZIP, UNZSTD, NETWORK, WRITE = "SHA-256", "isal gunzip", "zstd", "network read", "write+fsync"
REHASH, BARE = "re-hash (Look.entry)", "hashlib.file_digest"

_DIGEST = {"openssl": "openssl dgst -sha256 -r", "sha256sum": "sha256sum"}
_UNPACK = {"igzip": "igzip -dc", "gzip": "gzip -dc", "zstd": "zstd -dc"}
_PIPE = """set -euo pipefail
mkdir installed; mkfifo copy
{digest} < copy | cut -d' ' -f1 > digest &
curl -fsS "$URL" | tee copy | {sink}
wait
test "$(cat digest)" = "$SHA"
"""
_ARIA2 = """set -euo pipefail
mkdir installed
aria2c -q --no-conf -x8 -s8 --checksum=sha-256=$SHA -d {folder} -o {name} "$URL"
{then}
"""


Command: TypeAlias = Callable[[Server, Path], list[str]]


@dataclass(frozen=True)
class Surroundings:
    """What every contender needs to know.

    Attributes:
        scratch: where all of it happens.
        peers: Python of the environment with the libraries that compete; None without, with the reason.
        why_no_peers: that reason.
    """

    scratch: Path
    peers: Path | None
    why_no_peers: str = ""


@dataclass(frozen=True)
class Contender:
    """One row and column of the table.

    Attributes:
        name: who.
        artefact: what is brought.
        command: makes the command line, for a server and an empty folder.
        installs: whether a model stands in that folder afterwards, to be checked and (unless it did) to be fsynced.
        durable: whether it has done that itself.
        missing: why it cannot run here; empty if it can.
    """

    name: str
    artefact: Artefact
    command: Command
    installs: bool = True
    durable: bool = False
    missing: str = ""


@dataclass
class Run:
    """What one run measured.

    Attributes:
        seconds: of the work, with `fsync_s`.
        fsync_s: what making the result durable took after a contender that does not do so.
        process_s: of the whole process, with the interpreter's start.
        cpu_s: of all its processes.
        peak_bytes: resident memory of its largest process, but never less than 10 MB (launch.py).
        said: what else it told.
    """

    seconds: float
    fsync_s: float
    process_s: float
    cpu_s: float
    peak_bytes: int
    said: dict[str, float] = field(default_factory=dict)


class FailedError(Exception):
    """A contender failed, or brought the wrong bytes."""


def run(contender: Contender, server: Server, scratch: Path, *, check: bool) -> Run:
    """Run a contender in an empty folder, on disks that have nothing left to write.

    Args:
        check: also hash what it installed.

    Raises:
        FailedError: it failed, or the result is wrong.
    """
    out = scratch / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    os.sync()
    told = scratch / "launched"
    launcher = [sys.executable, "-I", "-S", str(HERE / "launch.py"), str(told)]
    environ = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    command = [*server.prefix, *launcher, *contender.command(server, out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=out, env=environ, check=False)
    if done.returncode:
        raise FailedError(f"{contender.name}: exit {done.returncode}: {done.stderr[-300:].strip()}")
    process_s, cpu_s, peak_bytes = map(float, told.read_text().split())
    said: dict[str, float] = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    fsync_s = _settle(contender, out, check=check)
    seconds = said.pop("seconds", process_s) + fsync_s
    return Run(seconds, fsync_s, process_s + fsync_s, cpu_s, int(peak_bytes), said)


def _settle(contender: Contender, out: Path, *, check: bool) -> float:
    """Make the installed model durable where that was not done, and look whether it is the right one."""
    if not contender.installs:
        return 0.0
    found = [path for path in out.rglob(NAME) if path.is_file()]
    if not found or found[0].stat().st_size != contender.artefact.plain_bytes:
        raise FailedError(f"{contender.name}: no model of {contender.artefact.plain_bytes} bytes is there")
    begin = time.perf_counter()
    if not contender.durable:
        with found[0].open("rb") as file:
            os.fsync(file.fileno())
    fsync_s = time.perf_counter() - begin
    if check and sha256_of(found[0]) != contender.artefact.plain_sha256:
        raise FailedError(f"{contender.name}: the model has other bytes")
    return fsync_s


# ---- who there is ----------------------------------------------------------------------------------------------------


def everyone(artefacts: Mapping[str, Artefact], around: Surroundings) -> list[Contender]:
    """All that can be compared, in the order of the tables; what is missing here says so."""
    raw, gz, zst = (artefacts[form] for form in ("file", "tar.gz", "tar.zst"))
    found = [*ours(artefacts)]
    found += [_pipe(IGZIP_PIPE, gz, "openssl", "igzip"), _pipe(OPENSSL_PIPE, zst, "openssl", "zstd")]
    found += [_pipe("curl|tee|openssl", raw, "openssl", "")]
    found += [_pipe(SHA256SUM_PIPE, gz, "sha256sum", "gzip"), _pipe(SHA256SUM_PIPE, zst, "sha256sum", "zstd")]
    found += [_pipe(SHA256SUM_PIPE, raw, "sha256sum", "")]
    found += [_aria2(gz), _aria2(raw)]
    found += [_python(POOCH, "pooch", one, around) for one in (gz, raw)]
    found += [_python(HUB, "hub", raw, around)]
    found += [_python(PLAIN, "plain", one, around) for one in (gz, raw)]
    return found


def ours(artefacts: Mapping[str, Artefact]) -> list[Contender]:
    """Ours, with what was received kept and not kept."""
    return [
        Contender(name, artefacts[form], _work("ours", artefacts[form], keep=name == OURS), durable=True)
        for name in (OURS, NO_RESUME)
        for form in ("tar.gz", "tar.zst", "file")
    ]


def stages(artefacts: Mapping[str, Artefact]) -> list[Contender]:
    """Each physical stage alone."""
    raw, gz, zst = (artefacts[form] for form in ("file", "tar.gz", "tar.zst"))
    works = [(SHA256, "hashing", one) for one in (gz, zst, raw)]
    works += [(GUNZIP, "gunzip", gz), (UNZSTD, "unzstd", zst)]
    works += [(NETWORK, "network", one) for one in (gz, zst, raw)]
    works += [(WRITE, "writing", raw), (REHASH, "rehash", raw), (BARE, "bare_hashlib", raw)]
    return [Contender(name, one, _work(work, one), installs=False) for name, work, one in works]


def _work(work: str, one: Artefact, python: str = sys.executable, **more: Any) -> Command:
    def command(server: Server, out: Path) -> list[str]:
        job = {
            "url": server.url(one.path), "out": str(out), "file": str(one.path), "format": one.format,
            "size_bytes": one.size_bytes, "sha256": one.sha256, "plain_bytes": one.plain_bytes,
            "endpoint": server.base, "repository": REPOSITORY, "revision": REVISION, **more,
        }  # fmt: skip
        return [python, str(HERE / "work.py"), work, json.dumps(job)]

    return command


def _python(name: str, work: str, one: Artefact, around: Surroundings) -> Contender:
    """A contender of the peers' environment."""
    if around.peers is None:
        return Contender(name, one, _nothing, missing=around.why_no_peers)
    return Contender(name, one, _work(work, one, str(around.peers)))


def _pipe(name: str, one: Artefact, digest: str, unpack: str) -> Contender:
    sink = f"{_UNPACK[unpack]} | tar -x -C installed" if unpack else f"cat > installed/{NAME}"
    script = _PIPE.format(digest=_DIGEST[digest], sink=sink)
    return _shell(name, one, script, "curl", "tee", digest, *filter(None, [unpack]))


def _aria2(one: Artefact) -> Contender:
    if one.format == "file":
        return _shell(ARIA2, one, _ARIA2.format(folder="installed", name=NAME, then=""), "aria2c")
    then = "tar -xf received -C installed"
    return _shell(ARIA2, one, _ARIA2.format(folder=".", name="received", then=then), "aria2c", "tar")


_PACKAGES = {"igzip": "isal", "aria2c": "aria2", "sha256sum": "coreutils", "tee": "coreutils"}


def _shell(name: str, one: Artefact, script: str, *tools: str) -> Contender:
    lacking = [tool for tool in tools if not shutil.which(tool)]
    missing = ", ".join(f"{tool}: apt-get install {_PACKAGES.get(tool, tool)}" for tool in lacking)

    def command(server: Server, _: Path) -> list[str]:
        return ["env", f"URL={server.url(one.path)}", f"SHA={one.sha256}", "bash", "-c", script]

    return Contender(name, one, command, missing=missing)


def _nothing(_: Server, __: Path) -> list[str]:
    return []


def install_peers(scratch: Path) -> tuple[Path | None, str]:
    """Make the environment in which the peers run, unless an earlier run did.

    Returns:
        Its Python, or None with the reason.
    """
    folder = scratch / "peers"
    python, done = folder / "bin/python", folder / "complete"
    if done.exists() and done.read_text() == "\n".join(PEERS):
        return python, ""
    shutil.rmtree(folder, ignore_errors=True)
    for command in ([sys.executable, "-m", "venv", str(folder)], [str(python), "-m", "pip", "install", "-q", *PEERS]):
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            return None, (made.stderr.strip().splitlines() or ["pip failed"])[-1][:200]
    done.write_text("\n".join(PEERS))
    return python, ""
