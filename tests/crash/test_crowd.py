"""Twenty at once, the one that works is killed, and an orchestrator writes all the while."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HostFolder

from . import dying
from .power import new_folder

FORK = multiprocessing.get_context("fork")
CROWD = 20
REVISIONS = ("0002", "0003", "0004")
BUSY_S = 5.0
ROWS_A_SECOND = 100
PATIENT = 60.0
FEWEST_DEATHS = 5


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory: what is tried here is no power loss."""
    folder = new_folder("crowd")
    yield folder
    shutil.rmtree(folder)


def release(host: HostFolder, journal_mode: str) -> HostFolder:
    """A host with an orchestrator's database, and a release whose steps leave a trace each time that they run."""
    host.up()
    host.sql(f"PRAGMA journal_mode={journal_mode}")
    host.sql("CREATE TABLE theirs (id INTEGER PRIMARY KEY, word TEXT)")
    host.sql("CREATE TABLE traces (revision TEXT)")
    for revision in REVISIONS:
        up = f"op.make_directories(['made_{revision}'])\nop.execute(\"INSERT INTO traces VALUES ('{revision}')\")"
        host.revision(revision, up, f"op.revert()\nop.execute(\"DELETE FROM traces WHERE revision = '{revision}'\")")
    return host


# ---- the orchestrator ------------------------------------------------------------------------------------------------


@dataclass
class Diary:
    """What an orchestrator has to say when it ends."""

    rows: int = 0
    longest_wait_s: float = 0.0
    error: str = ""


def orchestrate(database: str, stop: Any, diary: Any) -> None:
    """Write a row a transaction, a hundred a second, until told to stop."""
    said = Diary()
    with closing(sqlite3.connect(database, timeout=BUSY_S, isolation_level=None)) as connection:
        while not stop.is_set():
            began = time.monotonic()
            try:
                connection.execute("INSERT INTO theirs VALUES (?, ?)", (said.rows + 1, f"row {said.rows + 1}"))
            except sqlite3.Error as error:
                said.error = str(error)
                break
            said.rows += 1
            said.longest_wait_s = max(said.longest_wait_s, time.monotonic() - began)
            stop.wait(1 / ROWS_A_SECOND)
    diary.put(said)


@contextmanager
def orchestrator(host: HostFolder) -> Iterator[None]:
    """All the while an orchestrator writes; afterwards it never waited too long, and all its rows are there."""
    stop, diary = FORK.Event(), FORK.Queue()
    process = FORK.Process(target=orchestrate, args=(str(host.database), stop, diary), daemon=True)
    process.start()
    try:
        yield
    finally:
        stop.set()
        said = diary.get(timeout=PATIENT)
        process.join()
    print(f"{said.rows} rows, longest wait {said.longest_wait_s * 1000:.0f} ms")
    assert said.error == ""
    assert said.longest_wait_s < BUSY_S
    assert said.rows > 0
    written = host.sql("SELECT id, word FROM theirs ORDER BY id")
    assert written == [(number, f"row {number}") for number in range(1, said.rows + 1)]


# ---- the crowd -------------------------------------------------------------------------------------------------------


class Crowd:
    """Processes that all run the same command; every second one is willing to wait for the lock."""

    def __init__(self, host: HostFolder, stop_first: bool) -> None:
        """Start them.

        Args:
            stop_first: the first one to come to the end of a step's transaction says who it is, and waits to be killed.
        """
        self._reader, self._writer = os.pipe()
        self._marker = host.home.parent / "first"
        self.pids = [self._start(host, number, stop_first) for number in range(CROWD)]

    def _start(self, host: HostFolder, number: int, stop_first: bool) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = dying.MISSED
        with suppress(BaseException):
            options: dict[str, Any] = {"lock_timeout": PATIENT} if number % 2 else {}
            code = self._run_stopping(host, options) if stop_first else host.call("upgrade", **options).exit_code
        os._exit(code)

    def _run_stopping(self, host: HostFolder, options: dict[str, Any]) -> int:
        moment = dying.WRITTEN
        original = moment.where.append_step

        def watched(*arguments: Any) -> Any:
            result = original(*arguments)
            with suppress(FileExistsError):
                os.close(os.open(self._marker, os.O_CREAT | os.O_EXCL))
                os.write(self._writer, b"%d\n" % os.getpid())
                signal.pause()
            return result

        moment.where.append_step = watched
        return host.call("upgrade", **options).exit_code

    def first(self) -> int:
        """Wait for the one that works, and has everything published."""
        pid = int(os.read(self._reader, 100))
        assert pid in self.pids
        return pid

    def ended(self) -> dict[int, int]:
        """Wait for all of them: exit status by process, negative for a signal."""
        found = {pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in self.pids}
        os.close(self._reader)
        os.close(self._writer)
        return found


def each_once(host: HostFolder, rounds: int = 1) -> None:
    """Every revision happened exactly once in each round, and history, rows and files say so."""
    assert host.version() == REVISIONS[-1]
    done = Counter(revision for revision, _, result in host.history() if result == "applied")
    assert done == Counter(("0001", *REVISIONS * rounds))
    assert host.sql("SELECT revision FROM traces ORDER BY revision") == [(revision,) for revision in REVISIONS]
    assert all((host.root / f"made_{revision}").is_dir() for revision in REVISIONS)
    dying.settled(host)


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_twenty_at_once_apply_each_step_once(bare: HostFolder, journal_mode: str) -> None:
    """Those who wait find nothing to do, those who do not are told so; the orchestrator hardly notices."""
    host = release(bare, journal_mode)
    with orchestrator(host):
        codes = Crowd(host, stop_first=False).ended().values()
    print(Counter(codes))
    assert set(codes) <= {0, 5}
    assert Counter(codes)[0] >= CROWD // 2
    each_once(host)


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_the_holder_is_killed_and_the_next_one_takes_over(bare: HostFolder, journal_mode: str) -> None:
    """kill -9 of the holder right before COMMIT: one of those who wait settles it and does the work, once."""
    host = release(bare, journal_mode)
    with orchestrator(host):
        crowd = Crowd(host, stop_first=True)
        first = crowd.first()
        holder = json.loads((host.root / ".vvmigrate/lock").read_bytes())
        os.kill(first, signal.SIGKILL)
        codes = crowd.ended()
    assert holder["pid"] == first
    assert codes.pop(first) == -signal.SIGKILL
    assert set(codes.values()) <= {0, 5}
    assert 0 in codes.values()
    assert [entry for entry in host.history() if entry[2] == "interrupted"] == [("0002", "up", "interrupted")]
    each_once(host)


@pytest.mark.full
@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_whoever_holds_the_lock_is_killed_again_and_again(bare: HostFolder, journal_mode: str) -> None:
    """Ten times the holder of the moment is killed wherever it is; in the end each step happened once."""
    host, deaths = release(bare, journal_mode), 0
    with orchestrator(host):
        for number in range(1, 11):
            crowd = Crowd(host, stop_first=False)
            with suppress(OSError, ValueError):  # the file is empty while its holder writes its name
                holder = json.loads((host.root / ".vvmigrate/lock").read_bytes())["pid"]
                if holder in crowd.pids:
                    os.kill(holder, signal.SIGKILL)
            codes = crowd.ended().values()
            assert set(codes) <= {0, 5, -signal.SIGKILL}
            deaths += -signal.SIGKILL in codes
            host.up()
            each_once(host, number)
            host.down("0001", no_hold=True)
            assert host.sql("SELECT * FROM traces") == []
    print(f"{deaths} of 10 holders killed")
    assert deaths >= FEWEST_DEATHS


@pytest.mark.full
def test_twenty_command_lines_at_once(bare: HostFolder) -> None:
    """The same with real processes, as a boot that starts several units does."""
    host = release(bare, "wal")
    with orchestrator(host):
        started = [
            subprocess.Popen(
                host.command("upgrade", "head", *(["--lock-timeout", str(PATIENT)] if number % 2 else [])),
                cwd=host.home, env=host.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for number in range(CROWD)
        ]  # fmt: skip
        codes = Counter(process.wait(2 * PATIENT) for process in started)
    assert set(codes) <= {0, 5}
    assert codes[0] >= CROWD // 2
    each_once(host)
