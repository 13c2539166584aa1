"""What the tests of runs that take themselves back have in common."""

from __future__ import annotations

import ctypes
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HostFolder
from tests.crash.dying import FAILED, MISSED, in_a_fork

CLONE_NEWTIME, CLONE_NEWNS = 0x80, 0x20000  # linux/sched.h
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def set_in_ini(host: HostFolder, *lines: str) -> None:
    """Add lines to the section of alembic.ini."""
    ini = host.home / "alembic.ini"
    ini.write_text(f"{ini.read_text()}\n" + "".join(f"{line}\n" for line in lines))


def promise(host: HostFolder) -> Path:
    """Where what a run promised lies."""
    return host.home / ".vvmigrate/intention"


def holds(host: HostFolder) -> list[tuple[str, str]]:
    """Revision and reason of every hold, oldest first."""
    return [
        (str(a), str(b)) for a, b in host.sql("SELECT revision, reason FROM vv_hold WHERE state='held' ORDER BY seq")
    ]


def is_taken_back(host: HostFolder, before: object, reason: str, *, held: bool = True) -> None:
    """The host is as it was, and its history says what happened, and why."""
    assert host.tree() == before
    assert host.version() == "0001"
    assert not promise(host).exists()
    back = [entry for entry in host.call("history").body["entries"] if reason in str(entry["error"])]
    assert [(entry["revision"], entry["result"]) for entry in back] == [("0002", "reverted"), ("0003", "reverted")]
    assert [revision for revision, why in holds(host) if reason in why] == (["0003", "0002"] if held else [])
    assert host.call("history", verify=True).exit_code == 0


def another_time(host: HostFolder, verb: str, *words: str, later_s: int = 0, rebooted: bool = False) -> dict[str, Any]:
    """Run a verb in a fork to which the kernel tells another time; its document.

    Args:
        later_s: so many more seconds have passed since the machine was started (time_namespaces(7)).
        rebooted: the machine was started again: it has another boot id.
    """
    answer = host.home.parent / "answer.json"
    answer.unlink(missing_ok=True)

    def work() -> None:
        if rebooted:
            other = host.home.parent / "boot_id"
            other.write_text("11111111-2222-3333-4444-555555555555\n")
            _unshare(CLONE_NEWNS)
            for mount in (["--make-rprivate", "/"], ["--bind", str(other), BOOT_ID]):
                subprocess.run(["mount", *mount], check=True)
        _unshare(CLONE_NEWTIME)  # for children
        Path("/proc/self/timens_offsets").write_text(f"boottime {later_s} 0\n")
        in_a_fork(lambda: answer.write_text(json.dumps(host.call(verb, *words).as_json())))

    assert in_a_fork(work) in (MISSED, FAILED)
    if not answer.exists():
        pytest.skip("this user, or this kernel, may not be told another time")
    document: dict[str, Any] = json.loads(answer.read_text())
    return document


def _unshare(what: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(what):
        raise OSError(ctypes.get_errno(), "unshare")
