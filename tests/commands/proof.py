"""Proofs that the tests of bad inputs share: what an error says, and that nothing at all was changed."""

from __future__ import annotations

import hashlib
import json
import os
import select
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HostFolder
from vvmigrate.report import Report

NOBODY = 65534
READERS = ("status", "history", "plan", "current")
Facts = tuple[str, int, int, str]


def two_by_default(cases: Mapping[str, object]) -> list[Any]:
    """Cases by their names; with --full all of them, else the first two."""
    return [
        pytest.param(case, id=name, marks=() if n < 2 else pytest.mark.full)
        for n, (name, case) in enumerate(cases.items())
    ]


def everything(*tops: Path) -> dict[str, Facts]:
    """Every path below some folders, state directories and databases included: kind, mode, owner, content.

    Only what a lock file says of its last holder, and the log, which tells of refusals too, are left out.
    """
    found: dict[str, Facts] = {}
    for top in tops:
        for path in [top, *sorted(top.rglob("*"))] if os.path.lexists(top) else []:
            if top / "logs" in (path, *path.parents):
                continue
            info = path.lstat()
            content = ""
            if stat.S_ISLNK(info.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(info.st_mode) and path.name != "lock":
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path)] = (stat.filemode(info.st_mode)[0], info.st_mode & 0o7777, info.st_uid, content)
    return found


@contextmanager
def nothing_changes(host: HostFolder, *more: Path) -> Iterator[None]:
    """Whatever the block does, home and storage root are the same afterwards, byte for byte, nothing added."""
    before = everything(host.home, host.root, *more)
    yield
    after = everything(host.home, host.root, *more)
    differ = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert not differ, {path: (before.get(path), after.get(path)) for path in sorted(differ)}


@contextmanager
def nothing_of_the_users_changes(host: HostFolder) -> Iterator[None]:
    """The same for a host on its first day: only our state, and the database's folder, may come to be."""
    before = host.tree()
    yield
    after = host.tree()
    assert {path: facts for path, facts in after.items() if path in before} == before
    assert after.keys() - before.keys() <= {f"{host.root.name}/orchestrator_data"}


def says(result: Report | dict[str, Any], code: int, *words: str, hint: str = "") -> None:
    """A report or a document of `--json` ends with this code, and its error has these words and this next step."""
    document = result.as_json() if isinstance(result, Report) else result
    error = document["error"]
    assert error is not None, document
    assert document["exit_code"] == code, error
    for word in words:
        assert word in error["message"], error
    assert "Traceback" not in error["message"]
    assert "unforeseen" not in error["message"]
    assert hint in (error["hint"] or ""), error


def as_nobody(host: HostFolder, verb: str, *arguments: str) -> dict[str, Any]:
    """Run a verb as a user who owns nothing here, in a fork: the interpreter may lie where nobody else may go.

    Returns:
        Its document, and as `warned` what it warned of.
    """
    host.call(verb if verb in READERS else "status")  # whatever is imported late is imported now
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            told: list[tuple[str, dict[str, Any]]] = []
            document = host.call(verb, *arguments, told=told).as_json()
            document["warned"] = [facts["text"] for event, facts in told if event == "warning"]
            os.write(there, json.dumps(document).encode())
        os._exit(0)
    os.close(there)
    with open(here, "rb") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    answered: dict[str, Any] = json.loads(said)
    return answered


class Meeting:
    """A place where a revision that runs in another process says that it has come, before it waits for ever.

    `line` is what the revision says: nothing has to be guessed with a pause.
    """

    def __init__(self, folder: Path) -> None:
        """Make the FIFO and listen."""
        path = folder / "meeting"
        os.mkfifo(path)
        self.line = f"with open({str(path)!r}, 'w') as meeting: meeting.write('here')"
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def wait(self) -> None:
        """Return when the revision has come."""
        ready, _, _ = select.select([self._descriptor], [], [], 60)
        assert ready, "nobody came"
        assert os.read(self._descriptor, 4) == b"here"
