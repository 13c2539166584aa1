"""Root works in a tree of somebody who swaps its directories and files for links, and puts odd things in the way."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sqlite3
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HostFolder

from . import dying
from .people import EVERYTHING, GENERATION, MANAGED, place_of
from .power import new_folder
from .trees import Snapshots

NOBODY = 65534
SECRET = b"root's own, and nobody else's"
#: What is swapped for a link of the same name into the canary tree: directories, and files in them.
VICTIMS = ("fallback", "models", "input", "raw", "fallback/placeholder.png", "models/.current_model_info.json")
CONTROL = "fallback/control.txt"
TRIES = 200_000
AT_FDCWD, EXCHANGE = -100, 2

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it is root who must not be led astray")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory: what is tried here is no power loss."""
    folder = new_folder("swapper")
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def seconds(pytestconfig: pytest.Config) -> float:
    """How long a race lasts."""
    return 5.0 if pytestconfig.getoption("--full") else 1.0


@pytest.fixture
def theirs(bare: HostFolder) -> HostFolder:
    """A host at its first revision whose storage root belongs to an unprivileged user."""
    bare.environ |= {"VV_APP_USER": "nobody", "VV_APP_GROUP": _group()}
    bare.up()
    bare.revision("0002", EVERYTHING)
    (bare.root / CONTROL).write_bytes(b"")
    for path in (bare.root, bare.root / CONTROL):
        os.chown(path, NOBODY, NOBODY)
    return bare


def _group() -> str:
    import grp

    return grp.getgrgid(NOBODY).gr_name


@pytest.fixture
def canary(bare: HostFolder, tmp_path: Path) -> Path:
    """A tree of root's, with everything that a link may lead to."""
    top = tmp_path / "canary"
    for name in (*VICTIMS, "fallback/loop_silencioso.mp4", CONTROL, GENERATION + "/README.txt"):
        if name in ("fallback", "models", "input", "raw"):
            (top / name).mkdir(parents=True)
            continue
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(SECRET)
        (top / name).chmod(0o640)
    return top


# ---- the race --------------------------------------------------------------------------------------------------------


def _swap(root: Path, canary: Path, victims: Sequence[str]) -> None:
    """Exchange each victim with a link to its canary, and back, as fast as it goes, as an unprivileged user."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    pairs = []
    for name in victims:
        link = root / ("swap." + name.replace("/", "."))
        link.symlink_to(canary / name)
        pairs.append((os.fsencode(root / name), os.fsencode(link)))
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    while not stopping:
        for one, other in pairs:
            if renameat2(AT_FDCWD, one, AT_FDCWD, other, EXCHANGE) == 0:
                renameat2(AT_FDCWD, one, AT_FDCWD, other, EXCHANGE)
    for one, other in pairs:  # whatever is left where the link was is somebody's file: it goes home
        if not os.path.islink(other) and os.path.islink(one):
            renameat2(AT_FDCWD, one, AT_FDCWD, other, EXCHANGE)


@contextmanager
def swapper(root: Path, canary: Path, victims: Sequence[str] = VICTIMS) -> Iterator[None]:
    """In this block somebody swaps; whoever goes by path must be seen to escape, or nothing was proved."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            _swap(root, canary, victims)
        os._exit(0)
    try:
        naive_control_escapes(root, canary)
        yield
    finally:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)


def naive_control_escapes(root: Path, canary: Path) -> None:
    """Plain open and chown by path, in the same race, hit the canary; then it is as it was again."""
    bait = canary / CONTROL
    for number in range(TRIES):
        with suppress(OSError):
            (root / CONTROL).write_bytes(b"escaped")
            os.chown(root / CONTROL, NOBODY, NOBODY)
        if bait.read_bytes() != SECRET and bait.stat().st_uid == NOBODY:
            print(f"the naive control escaped after {number + 1} tries")
            bait.write_bytes(SECRET)
            os.chown(bait, 0, 0)
            return
    pytest.fail(f"void: not even a naive program escaped in {TRIES} tries")


def ended(host: HostFolder, verb: str, *arguments: str, **options: Any) -> int:
    """Run a command; its exit code, 1 where the kernel refused and nothing but the command line had words for it."""
    try:
        return host.call(verb, *arguments, **options).exit_code
    except (OSError, sqlite3.Error):
        return 1


def until(seconds: float, work: Callable[[], int]) -> Counter[int]:
    """Do some work again and again for a while, five times at least; how often it ended with which exit code."""
    codes: Counter[int] = Counter()
    end = time.monotonic() + seconds
    while sum(codes.values()) < 5 or time.monotonic() < end:
        codes[work()] += 1
    return codes


@pytest.mark.parametrize("what", ["upgrade", "downgrade", "recovery"])
def test_root_is_not_led_out_of_the_tree(theirs: HostFolder, canary: Path, what: str, seconds: float) -> None:
    """Whatever the command comes to, the canary keeps content, mode and owner; with the race over all comes right."""
    host, deaths = theirs, []
    before = Snapshots().take(canary)

    def work() -> int:
        if what == "recovery":
            deaths.append(dying.in_a_fork(lambda: _die_in(host)))
            return ended(host, "recover")
        codes = ended(host, "upgrade", release_hold=True), ended(host, "downgrade", "0001")
        return codes[what == "downgrade"]

    with swapper(host.root, canary):
        codes = until(seconds, work)
    print(f"{what}: {dict(codes)}, deaths: {Counter(deaths)}")
    assert codes[0], "the command never came through: nothing was raced for"
    assert what != "recovery" or -signal.SIGKILL in deaths, "nothing was ever left to recover"
    assert Snapshots().take(canary) == before
    assert set(codes) <= {0, 1, 4, 6}
    for left in host.root.glob("swap.*"):
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    for name in VICTIMS:
        if (host.root / name).is_symlink():
            (host.root / name).unlink()
    dying.settled(host)
    host.up(release_hold=True)
    assert Snapshots().take(canary) == before


def test_root_writes_to_no_other_database(theirs: HostFolder, canary: Path, seconds: float) -> None:
    """The folder of the database is swapped for one of root's with a copy in it: neither is it opened nor added to."""
    host, other = theirs, canary / "orchestrator_data"
    shutil.copytree(host.root / "orchestrator_data", other)
    host.environ["VV_DATABASE_TIMEOUT"] = "1"  # a database that went away in the middle is waited for
    before = Snapshots(raw=True).take(canary)

    def work() -> int:
        return max(ended(host, "upgrade", release_hold=True), ended(host, "downgrade", "0001"))

    with swapper(host.root, canary, ("fallback", "orchestrator_data")):
        until(seconds, work)
    assert Snapshots(raw=True).take(canary) == before


@pytest.mark.parametrize("instant", ["before SQLite looks", "after SQLite looked"])
def test_sqlites_journal_is_made_in_no_other_folder(theirs: HostFolder, canary: Path, instant: str) -> None:
    """The folder is swapped when the right database is open already: nothing comes to be where the link leads."""
    host, folder, away = theirs, theirs.root / "orchestrator_data", theirs.root / "away"
    (canary / "orchestrator_data").mkdir()
    if instant == "after SQLite looked":  # it finds the same file under the same path, as if it had looked a moment ago
        os.link(host.database, canary / "orchestrator_data" / host.database.name)
    before = Snapshots(raw=True).take(canary)

    def swap() -> None:
        folder.rename(away)
        folder.symlink_to(canary / "orchestrator_data")

    def work() -> None:
        with dying.at(dying.SEALED, swap):
            os._exit(host.call("upgrade").exit_code)

    code = dying.in_a_fork(work)
    assert code == 4, "the swap was not noticed"
    assert folder.is_symlink()
    assert sorted(os.listdir(canary / "orchestrator_data")) == sorted(
        Path(name).name for name in before if name.startswith("orchestrator_data/")
    )
    folder.unlink()
    away.rename(folder)
    dying.settled(host)
    if instant == "before SQLite looks":
        assert Snapshots(raw=True).take(canary) == before


def _die_in(host: HostFolder) -> None:
    with dying.at(dying.WRITTEN, dying.die):
        host.call("upgrade", release_hold=True)


# ---- odd things in the way -------------------------------------------------------------------------------------------


def _hard_link(path: Path, canary: Path) -> None:
    os.link(canary, path)


def _fifo(path: Path, _canary: Path) -> None:
    os.mkfifo(path)
    os.chown(path, NOBODY, NOBODY)


def _device(path: Path, _canary: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 7))


def _foreign(path: Path, _canary: Path) -> None:
    path.write_bytes(b"{}")
    os.chown(path, 4242, 4242)
    path.chmod(0o600)


ODD = {"hard link": _hard_link, "fifo": _fifo, "device": _device, "foreign owner": _foreign}
IN_THE_WAY = [name for name in MANAGED if name not in (GENERATION, GENERATION + ".json")]


def facts(path: Path) -> tuple[int, int, int, int]:
    """Kind and mode, owner, and which file it is."""
    info = path.lstat()
    return info.st_mode, info.st_uid, info.st_gid, info.st_ino


def in_time(host: HostFolder, *command: str) -> int:
    """Run a command in a fork that an alarm ends if it hangs; its exit code."""

    def work() -> None:
        signal.alarm(30)
        os._exit(host.call(*command).exit_code)

    code = dying.in_a_fork(work)
    assert code not in (-signal.SIGALRM, dying.MISSED)
    return code


def combinations() -> list[Any]:
    """All of them with --full, else every second one."""
    found = []
    for number, case in enumerate(product(ODD, IN_THE_WAY, ("before", "crash"))):
        marks = [] if number // 2 % 2 == number % 2 else [pytest.mark.full]
        found.append(pytest.param(*case, id="-".join(case).replace(" ", "-"), marks=marks))
    return found


@pytest.mark.parametrize(("odd", "name", "when"), combinations())
def test_odd_things_in_the_way_are_refused_or_kept(
    theirs: HostFolder, tmp_path: Path, odd: str, name: str, when: str
) -> None:
    """Refused, or set aside and back after the downgrade; never written through, never waited for."""
    host, path, secret = theirs, place_of(theirs, name), tmp_path / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o640)
    before = facts(secret)
    if when == "crash":
        dying.crash(host, dying.WRITTEN, "upgrade")
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    ODD[odd](path, secret)
    mine = facts(path)
    if when == "crash":
        assert in_time(host, "recover") == 0
        assert facts(path) == mine
    code = in_time(host, "upgrade")
    assert code in (0, 1, 6)
    if code:
        assert facts(path) == mine
    else:
        assert in_time(host, "downgrade", "0001") == 0
        assert facts(path)[:3] == mine[:3]
    assert facts(secret) == before
    assert secret.read_bytes() == SECRET
    dying.settled(host)
