"""Two at once: two upgrades, a reader beside a writer, people and programs that write all the while."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dotenv import dotenv_values

from tests.commands.proof import READERS, as_nobody
from tests.conftest import HostFolder
from vvmigrate.errors import ConflictError

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@contextmanager
def upgrade_that_waits(host: HostFolder) -> Iterator[subprocess.Popen[str]]:
    """A process that upgrades and stands inside its second step until the block ends: pipes tell, nobody sleeps."""
    here, reached = os.pipe()
    gate, release = os.pipe()
    host.revision(
        "0002",
        'op.make_directories(["slow"])\n'
        'if op.get_bind().execute(sa.text("SELECT count(*) FROM vv_ledger")).scalar():  # not in the rehearsal\n'
        f"    os.write({reached}, b'here')\n"
        f"    os.read({gate}, 1)",
        imports="import os",
    )
    process = subprocess.Popen(
        host.command("upgrade", "head"),
        env=host.environment(),
        cwd=host.home,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(reached, gate),
    )
    os.close(reached)
    os.close(gate)
    try:
        if not os.read(here, 4):  # blocks until the revision's code is there, or the process is gone
            pytest.fail(process.communicate(timeout=60)[0])
        yield process
    finally:
        os.close(release)
        os.close(here)
        process.communicate(timeout=60)


def test_a_home_that_may_not_be_entered_is_none(bare: HostFolder, root_only: None) -> None:
    """Another user is told so in words, by any command, before anything else is looked at."""
    bare.up()
    bare.home.parent.chmod(0o700)
    for verb in ("status", "upgrade"):
        document = as_nobody(bare, verb)
        assert (document["exit_code"], document["error"]["type"]) == (6, "RefusedError")
        assert "expected a release folder with alembic.ini" in document["error"]["message"]


def test_of_two_upgrades_one_works_and_the_other_names_it(bare: HostFolder) -> None:
    """The second upgrade exits 5 at once and says which process of whom holds the lock, since when."""
    with upgrade_that_waits(bare) as first:
        second = bare.json("upgrade", "head")
        assert second["exit_code"] == 5
        assert second["error"]["type"] == "LockedError"
        for word in (f"process {first.pid}", "upgrade", "since 20"):
            assert word in second["error"]["message"]
        assert bare.run("downgrade", "base").returncode == 5
        assert bare.run("recover").returncode == 5
    assert first.returncode == 0
    assert bare.history() == [("0001", "up", "applied"), ("0002", "up", "applied")]


def test_a_lock_timeout_waits_for_the_first(bare: HostFolder) -> None:
    """With --lock-timeout the second upgrade waits, then finds nothing left to do."""
    with upgrade_that_waits(bare) as first:
        second = subprocess.Popen(
            bare.command("--json", "--lock-timeout", "60", "upgrade", "head"),
            env=bare.environment(),
            cwd=bare.home,
            text=True,
            stdout=subprocess.PIPE,
        )
    document = json.loads(second.communicate(timeout=60)[0])
    assert (first.returncode, document["exit_code"], document["steps"]) == (0, 0, [])


def test_readers_work_while_a_step_is_under_way(bare: HostFolder) -> None:
    """status, history, current and plan answer during an upgrade, with what is committed so far."""
    with upgrade_that_waits(bare):
        assert bare.json("status")["revision"] == "0001"
        assert [entry["revision"] for entry in bare.json("history")["entries"]] == ["0001"]
        assert bare.json("current")["revision"] == "0001"
        assert [step["revision"] for step in bare.json("plan")["steps"]] == ["0002"]


def test_readers_work_after_a_kill(bare: HostFolder) -> None:
    """After kill -9 in the middle of a step, status says what waits and history answers; nothing is changed by them."""
    with upgrade_that_waits(bare) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    state = sorted(path.name for path in (bare.root / ".vvmigrate").iterdir())
    status = bare.json("status")
    assert (status["exit_code"], status["revision"]) == (3, "0001")
    assert status["journal"] == str(bare.root / ".vvmigrate/journal")
    assert len(bare.json("history")["entries"]) == 1
    assert sorted(path.name for path in (bare.root / ".vvmigrate").iterdir()) == state
    assert bare.run("recover").returncode == 0
    assert bare.history()[-1] == ("0002", "up", "interrupted")


def test_readers_work_on_a_host_that_has_nothing_yet(host: HostFolder) -> None:
    """status on a fresh host lists what is pending, history is empty, and neither makes a file."""
    before = sorted(host.home.rglob("*"))
    status = host.json("status")
    assert (status["exit_code"], len(status["pending"]), status["revision"]) == (3, 6, "")
    assert host.json("history") == {**host.json("history"), "exit_code": 0, "entries": []}
    assert host.json("plan")["exit_code"] == 3
    assert host.json("current")["exit_code"] == 0
    assert sorted(path for path in host.home.rglob("*") if "__pycache__" not in path.parts) == before
    assert not host.root.exists()


@root_only
def test_readers_work_as_another_user(public: HostFolder) -> None:
    """A user without any right may see status and history, on a fresh host as on one that is up."""
    assert as_nobody(public, "history")["entries"] == []
    assert as_nobody(public, "status")["exit_code"] == 3
    public.up(values={"DVR_IP": "10.0.0.9"})
    assert as_nobody(public, "history")["entries"][0]["revision"] == "0006"
    status = as_nobody(public, "status")
    assert (status["error"], status["revision"], status["pending"]) == (None, "0006", [])
    public.revision("0007", "op.make_directories(['more'])")
    plan = as_nobody(public, "plan")  # .env is not theirs to read: whether it lacks a value cannot be told
    assert (plan["error"], [step["revision"] for step in plan["steps"]]) == (None, ["0007"])
    secret = dotenv_values(public.home / ".env")["HMAC_SECRET_KEY"]
    assert secret
    assert secret not in json.dumps(status)
    public.revision("0007", 'op.make_directories(["more"])')
    plan = as_nobody(public, "plan")
    assert (plan["exit_code"], [step["revision"] for step in plan["steps"]]) == (3, ["0007"])


@root_only
@pytest.mark.parametrize("verb", [*READERS, "verify", "doctor", "upgrade", "repair", "recover", "prune"])
def test_a_user_who_sees_nothing_is_not_told_that_nothing_was_done(public: HostFolder, verb: str) -> None:
    """Without the root's name only its owner finds this host again: 6 and sudo, and never a chown of root's folders."""
    public.up()
    public.environ["VIDEO_STORAGE_ROOT"] = ""
    document = as_nobody(public, verb)
    next_step = document["error"]["hint"] if document["error"] else document["findings"][0]["remedy"]
    assert document["exit_code"] == 6, document
    assert "sudo vvmigrate" in next_step
    assert "chown" not in json.dumps(document)


@root_only
def test_readers_work_as_another_user_during_a_step_and_after_a_kill(public: HostFolder) -> None:
    """A step under way, or one that was killed, does not keep an unprivileged monitor from answering."""
    for path in (public.home / "migrations/versions").glob("000[2-9]*"):
        path.unlink()
    with upgrade_that_waits(public) as process:
        assert as_nobody(public, "status")["revision"] == "0001"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(as_nobody(public, "history")["entries"]) == 1
    assert as_nobody(public, "status")["revision"] == "0001"


@root_only
def test_writing_as_another_user_is_refused(public: HostFolder) -> None:
    """A user who may not write here is told so with the contract's code, and nothing changes."""
    public.up()
    before = public.tree()
    for arguments in (("upgrade", "head"), ("downgrade", "-1"), ("recover",)):
        document = as_nobody(public, *arguments)
        assert document["exit_code"] in (4, 6), document
        assert document["error"]["message"]
    assert public.tree() == before


SAVER = """
import os, select, sys
path, number, stale = sys.argv[1], 0, 0
while not select.select([sys.stdin], [], [], 0.005 if number % 20 else 0.3)[0]:  # the end of input means stop
    try:
        lines = open(path).read().splitlines()
    except FileNotFoundError:
        lines = []
    mine = [line for line in lines if line.startswith("SAVED=")]
    if number and mine != [f"SAVED={number}"]:  # an exchange that is being given back shows for a moment
        stale += 1
        if stale > 100:
            print("lost", number, "found", mine); sys.exit(1)
        continue
    number, stale = number + 1, 0
    fresh = [line for line in lines if line not in mine] + [f"SAVED={number}"]
    with open(path + ".tmp", "w") as file:
        file.write("\\n".join(fresh) + "\\n")
    os.rename(path + ".tmp", path)
print(number)
"""

COUNTER = """
import select, sqlite3, sys
path, number = sys.argv[1], 0
while not select.select([sys.stdin], [], [], 0.01)[0]:
    connection = sqlite3.connect(path, timeout=5)
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        (seen,) = connection.execute("SELECT value FROM counter").fetchone()
        if seen != number:
            print("lost", number, "found", seen); sys.exit(1)
        connection.execute("UPDATE counter SET value = value + 1")
    connection.close()
    number += 1
print(number)
"""


@contextmanager
def busy(script: str, path: Path) -> Iterator[list[str]]:
    """A process that works on a file until the block ends; what it said is in the list afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    said: list[str] = []
    try:
        yield said
    finally:
        out, err = process.communicate(timeout=60)
        said += [out.strip(), err.strip(), str(process.returncode)]


@pytest.mark.parametrize("rounds", [40, pytest.param(400, marks=pytest.mark.full)])
def test_no_save_and_no_update_is_lost_meanwhile(public: HostFolder, rounds: int) -> None:
    """In many upgrades and downgrades somebody saves .env, an orchestrator counts: neither loses one or waits.

    The orchestrator's busy timeout is 5 s: a longer wait would end it with an error.
    """
    for path in (public.home / "migrations/versions").glob("000[56]*"):
        path.unlink()
    public.up("0003")
    public.sql("CREATE TABLE counter (value INTEGER)")
    public.sql("INSERT INTO counter VALUES (0)")
    public.environ["VV_DATABASE_TIMEOUT"] = "60"
    results: Counter[str] = Counter()
    with busy(SAVER, public.home / ".env") as saver, busy(COUNTER, public.database) as counter:
        for _ in range(rounds):
            verb = ("downgrade", "0003") if public.version() == "0004" else ("upgrade", "0004")
            report = public.call(*verb, no_hold=True)
            assert report.error is None or type(report.error) is ConflictError, report.error
            results.update(step["result"] for step in report.body["steps"])
    assert (saver[1], saver[2]) == ("", "0"), saver
    assert (counter[1], counter[2]) == ("", "0"), counter
    assert dotenv_values(public.home / ".env")["SAVED"] == saver[0]
    assert public.sql("SELECT value FROM counter") == [(int(counter[0]),)]
    assert int(counter[0]) > 0
    assert results.total() == rounds
    assert results["applied"] - results["reverted"] in (0, 1)
    assert results["applied"] > 0
    assert public.call("history", verify=True).body["problems"] == []
