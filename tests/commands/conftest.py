"""What only root, or only a second process, can do to a host."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.commands import models
from tests.commands.proof import NOBODY
from tests.commands.revisions import VIDEOS, put
from tests.conftest import HostFolder, copy_release
from tests.content.fault_server import FaultServer, good, serving

Mount = Callable[..., None]


@pytest.fixture
def root_only() -> None:
    """Skip, visibly, where the tests do not run as root."""
    if os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture
def mount(root_only: None) -> Iterator[Mount]:
    """`mount(folder, size="8m")` puts an empty file system there; `bind=other` another folder."""
    mounted: list[Path] = []

    def tool(*words: str) -> None:
        done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"may not mount here: {done.stderr.strip()}")

    def put(folder: Path, *, size: str = "64m", bind: Path | None = None, options: str = "") -> None:
        if bind is None:
            tool("-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(folder))
        else:
            tool("--bind", str(bind), str(folder))
        mounted.append(folder)
        if options:
            tool("-o", f"remount,bind,{options}", str(folder))

    yield put
    for folder in reversed(mounted):
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


@pytest.fixture
def immutable(root_only: None) -> Iterator[Callable[[Path], None]]:
    """`immutable(path)`: not even root writes there until the test has ended."""
    done: list[Path] = []

    def freeze(path: Path) -> None:
        if subprocess.run(["chattr", "+i", str(path)], capture_output=True, check=False).returncode:
            pytest.skip("this file system has no immutable files")
        done.append(path)

    yield freeze
    for path in done:
        subprocess.run(["chattr", "-i", str(path)], capture_output=True, check=False)


@pytest.fixture
def nobodys(host: HostFolder, root_only: None) -> Iterator[HostFolder]:
    """A host that belongs, with all above it that matters, to an unprivileged user."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        shutil.copytree(host.home, top / "home", symlinks=True)
        for path in [top, *top.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        yield HostFolder(top / "home", top / "storage", {"HOME": str(top / "nowhere")})


@pytest.fixture
def two(bare: HostFolder) -> HostFolder:
    """A host at 0001, whose release has two more revisions that make a directory each."""
    bare.up()
    bare.revision("0002", 'op.make_directories(["second"])')
    bare.revision("0003", 'op.make_directories(["third"])')
    return bare


@contextmanager
def as_nobody() -> Iterator[None]:
    """In this block the process is an unprivileged user, as far as the kernel is concerned."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.fixture
def unprivileged() -> Callable[[], object]:
    """A context in which this process has lost its privileges."""
    return as_nobody


@pytest.fixture
def locked() -> Callable[[Path], object]:
    """A context in which a second process holds a database's exclusive lock."""

    @contextmanager
    def hold(database: Path) -> Iterator[None]:
        code = (
            "import sqlite3, sys\n"
            "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
            "c.execute('BEGIN EXCLUSIVE')\n"
            "print('held', flush=True)\n"
            "sys.stdin.read()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield

    return hold


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A server on loopback that plays what it is told."""
    with serving() as running:
        yield running


@pytest.fixture
def old(bare: HostFolder, server: FaultServer) -> HostFolder:
    """A host that came up in three runs, each with a newer model."""
    for revision, (version, data) in zip(("0002", "0003", "0004"), models.MODELS.items(), strict=True):
        models.release(bare, version, data, server.url(f"/{version}", good(data)))
        models.install(bare, revision, version)
        bare.up()
    server.requests.clear()
    return bare


@pytest.fixture
def release(bare: HostFolder) -> HostFolder:
    """A release with directories (0001) and a table with an index (0002); its inputs ask for nothing more."""
    for name in (".env.example", "model_manifest.json", "fallback/placeholder.png", "fallback/loop_silencioso.mp4"):
        (bare.home / name).unlink()
    put(bare, VIDEOS, "0002_videos.py")
    return bare


@pytest.fixture
def syslog() -> Iterator[socket.socket]:
    """A system log that listens; skipped where there is one already, or where we may not make it.

    A machine has one: whoever tests beside us waits, and its commands' lines come here too.
    """
    path = "/dev/log"
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if os.path.lexists(path) or os.geteuid() != 0:
            pytest.skip(f"{path} exists, or may not be made by this user")
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
            listener.bind(path)
            listener.settimeout(10)
            yield listener
        os.unlink(path)
    finally:
        os.close(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> HostFolder:
    """A host at its last revision."""
    host = copy_release(tmp_path_factory.mktemp("whole"))
    host.up(values={"DVR_IP": "192.168.1.20"})
    return host


@pytest.fixture
def worked(host: HostFolder, whole: HostFolder) -> HostFolder:
    """A copy of a host at its last revision, bound to its own folders; the orchestrator has worked there."""
    for mine, theirs in ((host.home, whole.home), (host.root, whole.root)):
        shutil.copytree(theirs, mine, symlinks=True, dirs_exist_ok=True)
    bound = json.loads((host.home / ".vvmigrate/root").read_bytes()) | {"storage_root": str(host.root)}
    (host.home / ".vvmigrate/root").write_text(json.dumps(bound))
    env = host.home / ".env"
    env.write_text(env.read_text().replace(str(whole.root), str(host.root)))
    host.sql("INSERT INTO processed_videos VALUES ('x', 'a.mp4', 1, 'processed', 'then', NULL, NULL)")
    return host


@pytest.fixture
def public() -> Iterator[HostFolder]:
    """A host in a folder that other users may enter, unlike pytest's own; in memory, where there is such a place."""
    memory = "/dev/shm"
    folder = Path(tempfile.mkdtemp(prefix="vv-", dir=memory if os.access(memory, os.W_OK) else None))
    folder.chmod(0o755)
    repository = Path(__file__).resolve().parents[2]
    home = folder / "home"
    home.mkdir(mode=0o755)
    for name in ("migrations", "fallback"):
        shutil.copytree(repository / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("alembic.ini", "model_manifest.json", ".env.example"):
        shutil.copy2(repository / name, home / name)
    yield HostFolder(home, folder / "storage")
    shutil.rmtree(folder)
