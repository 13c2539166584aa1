"""A rehearsal is the real thing, on a shadow: it proves, or finds, and leaves the host as it was."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.commands.conftest import Mount
from tests.commands.models import NAME, install, received, release
from tests.commands.proof import NOBODY, Meeting, says
from tests.conftest import HostFolder
from tests.content.fault_server import FaultServer, good
from vvmigrate.report import Report

CHANGES = """
op.make_directories(["added"])
op.install_assets("fallback", "fallback", ["placeholder.png"])
op.merge_env()
op.execute("CREATE TABLE watched (id INTEGER PRIMARY KEY, name TEXT)")
""".strip()
BACK = 'op.drop_table("watched")\nop.revert()'
SECRET = "correct-horse-battery"


def facts(*tops: Path) -> dict[str, tuple[Any, ...]]:
    """Everything below some folders, state and database included: kind, mode, owner, size, inode, time of change."""
    found = {}
    for top in tops:
        for path in [top, *sorted(top.rglob("*"))]:
            info = path.lstat()
            content = path.read_bytes() if path.is_file() and not path.is_symlink() and info.st_size < 1 << 20 else b""
            found[str(path)] = (
                *(info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_ino, info.st_mtime_ns, info.st_nlink),
                content,
            )
    return found


def rehearsed(host: HostFolder, *arguments: str, code: int = 0, **options: Any) -> Report:
    """Rehearse, and see that nothing of the host has changed but the times of the folder that held the shadow."""
    before = facts(*filter(Path.exists, (host.home, host.root)))
    report = host.call("rehearse", *arguments, **options)
    after = facts(*filter(Path.exists, (host.home, host.root)))
    held = {str(host.home), str(host.home / ".vvmigrate")}
    differ = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert differ <= held, differ - held
    assert all(before[path][:5] == after[path][:5] for path in differ - {str(host.home)})
    assert report.exit_code == code, report.error
    return report


def said(report: Report) -> list[tuple[str, bool]]:
    """(revision, proved) of each step."""
    return [(step["revision"], step["proved"]) for step in report.body["steps"]]


@pytest.fixture
def lived(bare: HostFolder) -> HostFolder:
    """A host with a history, and with what an upgrade is going to meet: a user's picture, values, rows and videos."""
    bare.revision("0002", "op.merge_env()")
    bare.up(values={"DVR_IP": SECRET})
    (bare.root / "fallback/placeholder.png").write_bytes(b"the user's own")
    with (bare.root / "raw/video.mp4").open("wb") as file:
        file.truncate(1 << 43)  # as a copy it would find no room
    bare.sql("CREATE TABLE seen (sha256 TEXT NOT NULL PRIMARY KEY)")
    bare.sql("INSERT INTO seen VALUES ('a'), ('b')")
    bare.revision("0003", CHANGES, BACK)
    bare.revision(
        "0004", 'op.drop_table("seen")', 'op.create_table("seen", sa.Column("sha256", sa.Text, primary_key=True))'
    )
    return bare


# ---- it proves -------------------------------------------------------------------------------------------------------


def test_a_fresh_host_is_rehearsed_and_stays_fresh(host: HostFolder) -> None:
    """The whole baseline goes up, down and up again, one by one; not even a state directory is left."""
    report = rehearsed(host)
    assert said(report) == [(f"000{n}", True) for n in range(1, 7)]
    assert report.body["proved"] is True
    assert not host.root.exists()
    assert not (host.home / ".vvmigrate").exists()
    for step in report.body["steps"]:
        assert step["digest_before"] == step["digest_after_down"] != step["digest_after_up"]


def test_a_host_with_a_history_is_left_alone(lived: HostFolder) -> None:
    """Bytes, modes, owners, inodes and times of everything, database and state included, are what they were."""
    report = rehearsed(lived)
    assert said(report) == [("0003", True), ("0004", True)]
    changes = {Path(item["path"]).name: item for item in report.body["steps"][0]["changes"]}
    assert changes["placeholder.png"]["before"].startswith("file")
    assert "other content" in changes["placeholder.png"]["after"]
    assert changes["added"]["before"] == "nothing"
    assert changes["orchestrator_db.sqlite: table watched"]["after"] == "columns id, name; 0 rows"
    assert all(item["back"] for item in changes.values())


def test_paths_and_secrets(lived: HostFolder, tmp_path: Path) -> None:
    """What is told names the host's paths, never the shadow's; and no value of `.env`."""
    report = rehearsed(lived, told=(told := []), within=str(tmp_path), verbose=True)
    text = json.dumps([report.as_json(), told], default=str)
    assert str(lived.root / "added") in text
    assert "rehearsal" not in text.replace("for the rehearsal alone", "")
    assert SECRET not in text


def test_nobody_beyond_is_told(lived: HostFolder, tmp_path: Path, syslog: socket.socket) -> None:
    """Not the release's own command, not the log, not the system's log."""
    ini = lived.home / "alembic.ini"
    ini.write_text(f"{ini.read_text()}after_change = touch {tmp_path}/told\n")
    rehearsed(lived)
    syslog.settimeout(0)
    with suppress(BlockingIOError):
        while line := syslog.recv(4096).decode():
            assert f"[{os.getpid()}]" not in line
    assert not (tmp_path / "told").exists()


def test_nothing_pending_and_the_way_back(lived: HostFolder) -> None:
    """Without anything pending nothing is tried; -1 tries to take the last one back, and to bring it again."""
    lived.up()
    assert rehearsed(lived).body["steps"] == []
    back = rehearsed(lived, "-1")
    assert said(back) == [("0004", True)]
    assert [item["path"].rpartition(" ")[2] for item in back.body["steps"][0]["changes"]] == ["seen"]
    assert said(rehearsed(lived, "0002")) == [("0004", True), ("0003", True)]
    assert lived.sql("SELECT count(*) FROM sqlite_master WHERE name = 'seen'") == [(0,)]


def test_up_to_a_revision(lived: HostFolder) -> None:
    """A revision ahead ends the line; one that nobody knows is a usage error."""
    assert said(rehearsed(lived, "0003")) == [("0003", True)]
    rehearsed(lived, "0009", code=2)


def test_what_was_taken_back_is_rehearsed_all_the_same(lived: HostFolder) -> None:
    """A hold keeps a revision from the host, not from being tried; it is named, and it stays."""
    lived.up()
    lived.down("-1")
    report = rehearsed(lived)
    assert said(report) == [("0004", True)]
    assert report.body["held"][0]["revision"] == "0004"
    assert lived.call("upgrade").exit_code == 3


# ---- it finds --------------------------------------------------------------------------------------------------------


def test_a_way_back_that_forgets(lived: HostFolder) -> None:
    """What stays behind is named, with exit code 1: a file that was replaced, and a table."""
    lived.revision("0003", CHANGES, "pass")
    report = rehearsed(lived, code=1)
    says(report, 1, "0003", "does not come back", hint="vvmigrate show 0003")
    left = {Path(item["path"]).name for item in report.body["steps"][-1]["differs"]}
    assert {"placeholder.png", "added", "orchestrator_db.sqlite: table watched"} <= left
    assert report.body["proved"] is False


def test_rows_that_do_not_come_back(lived: HostFolder) -> None:
    """The content of the orchestrator's tables is compared too."""
    lived.revision("0003", "op.execute(\"UPDATE seen SET sha256 = 'c' WHERE sha256 = 'a'\")", "pass")
    report = rehearsed(lived, "0003", code=1)
    assert report.body["steps"][-1]["differs"][0]["path"].endswith("table seen")


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_step_that_fails(lived: HostFolder, way: str) -> None:
    """Its error is the rehearsal's; the revisions after it are not tried."""
    bodies = {"up": "pass", "down": "pass", way: "raise ValueError('no such camera')"}
    lived.revision("0003", bodies["up"], bodies["down"])
    report = rehearsed(lived, code=1)
    says(report, 1, "no such camera")
    assert said(report) == [("0003", False)]
    assert report.body["steps"][0]["error"]["message"] == report.error.message if report.error else False


def test_a_step_that_does_something_else_the_second_time(lived: HostFolder, tmp_path: Path) -> None:
    """Up again must make the same state as up."""
    lived.revision("0003", f"import os\nop.make_directories([str(len(os.listdir({str(tmp_path)!r})))])")
    calls = tmp_path / "calls"
    calls.mkdir()

    class Meddling(list[Any]):
        def append(self, event: Any) -> None:
            if event[0] == "step_started" and event[1]["direction"] == "down":
                (tmp_path / "one-more").touch()

    says(rehearsed(lived, "0003", code=1, told=Meddling()), 1, "is not the same when it is done again")


# ---- models ----------------------------------------------------------------------------------------------------------


def test_a_model_is_brought_for_the_shadow_or_taken_from_what_was_fetched(
    bare: HostFolder, server: FaultServer
) -> None:
    """It is said that it will be downloaded; after `fetch` it is not asked for again, and stays received."""
    data = b"weights" * 1000
    bare.up()
    release(bare, "2.0.0", data, server.url("/model", good(data)))
    install(bare, "0002", "2.0.0")
    says(rehearsed(bare, code=6, offline=True), 6, "are not on this host")
    report = rehearsed(bare, told=(told := []))
    assert any("vvmigrate fetch" in facts.get("text", "") for event, facts in told if event == "warning")
    assert said(report) == [("0002", True)]
    assert received(bare) == {}
    bare.call("fetch")
    assert said(rehearsed(bare, offline=True)) == [("0002", True)]
    assert list(received(bare).values()) == [data]


def test_a_generation_is_not_copied(bare: HostFolder) -> None:
    """A model in the store gets a second name in the shadow, for as long as it lasts."""
    install(bare, "0002", "1.0.0")
    bare.up()
    bare.down("-1", no_hold=True)
    model = next((bare.root / "models/.store").glob(f"{NAME}*/*.gguf"))
    names: set[int] = set()

    class Counting(list[Any]):
        def append(self, event: Any) -> None:
            names.add(model.stat().st_nlink)

    assert said(rehearsed(bare, told=Counting())) == [("0002", True)]
    assert names == {2}
    assert model.stat().st_nlink == 1


# ---- where, and who else ---------------------------------------------------------------------------------------------


def test_a_disk_without_room(lived: HostFolder, tmp_path: Path, mount: Mount) -> None:
    """Refused with the figures, before anything is copied."""
    small = tmp_path / "small"
    small.mkdir()
    mount(small, size="1m")
    says(rehearsed(lived, within=str(small), code=6), 6, "the disk has no room", "bytes needed")
    assert list(small.iterdir()) == []


def test_a_host_that_is_being_changed(lived: HostFolder) -> None:
    """A run under way, or one that was killed: no shadow is made of half a step."""
    state = lived.root / ".vvmigrate"
    (state / "run").write_text("{}")
    says(rehearsed(lived, code=5), 5, "another vvmigrate works here", hint="vvmigrate recover")
    (state / "run").rename(state / "journal")
    says(rehearsed(lived, code=6), 6, "a step was interrupted", hint="vvmigrate recover")


def test_a_locked_database(lived: HostFolder, locked: Callable[[Path], AbstractContextManager[None]]) -> None:
    """It is waited for as long as any command waits, and no longer."""
    lived.environ["VV_DATABASE_TIMEOUT"] = "0.1"
    before = facts(lived.home)
    with locked(lived.database):
        says(lived.call("rehearse"), 6, "stayed locked")
    assert facts(lived.home) == before


def test_a_database_of_the_applications(lived: HostFolder, root_only: None) -> None:
    """As root, of a host whose storage belongs to somebody else, in WAL mode with rows that are not in the file yet."""
    for path in (lived.database, lived.database.parent, lived.root):
        os.chown(path, NOBODY, NOBODY)
    with sqlite3.connect(lived.database, isolation_level=None) as orchestrator:
        orchestrator.execute("PRAGMA journal_mode=WAL")
        orchestrator.execute("INSERT INTO seen VALUES ('c')")
        lived.revision("0003", "op.execute('DELETE FROM seen')", "pass")
        report = lived.call("rehearse", "0003")
        assert report.body["steps"][-1]["differs"][0]["before"] == "columns sha256; 3 rows"
        assert orchestrator.execute("SELECT count(*) FROM seen").fetchone() == (3,)
    orchestrator.close()


def test_a_killed_rehearsal_holds_up_nobody_and_is_swept(lived: HostFolder, tmp_path: Path) -> None:
    """While it works another is refused and an upgrade is not; after kill -9 the next command removes what it left."""
    shadow = lived.home / ".vvmigrate/rehearsal"
    meeting = Meeting(tmp_path)
    lived.revision("0004", f"import os, signal\nif os.path.exists({str(shadow / 'home/.env')!r}):\n"
                           f"    {meeting.line}\n    signal.pause()")  # fmt: skip
    with subprocess.Popen(
        lived.command("rehearse"), cwd=lived.home, env=lived.environment(), stdout=subprocess.DEVNULL
    ) as process:
        try:
            meeting.wait()
            assert (shadow.stat().st_mode & 0o777, (shadow / "home/.env").stat().st_mode & 0o777) == (0o700, 0o600)
            says(lived.call("rehearse", "0003"), 5, "another rehearsal works there", hint="--in DIR")
            lived.up("0003")
            assert shadow.exists()
        finally:
            process.kill()
    assert (shadow / "home/.env").exists()
    lived.call("recover")
    assert not shadow.exists()


@pytest.mark.full
def test_ended_by_a_signal(lived: HostFolder, tmp_path: Path) -> None:
    """SIGTERM ends it with 143, and nothing is left."""
    meeting = Meeting(tmp_path)
    shadow = lived.home / ".vvmigrate/rehearsal"
    lived.revision("0003", f"import os, signal\nif os.path.exists({str(shadow / 'home/.env')!r}):\n"
                           f"    {meeting.line}\n    signal.pause()")  # fmt: skip
    before = facts(lived.home, lived.root)
    with subprocess.Popen(
        lived.command("rehearse"), cwd=lived.home, env=lived.environment(), stderr=subprocess.DEVNULL
    ) as process:
        meeting.wait()
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    after = facts(lived.home, lived.root)
    assert {path for path in before if before[path] != after.get(path)} <= {str(lived.home / ".vvmigrate")}
    assert after.keys() == before.keys()


def test_the_screen(lived: HostFolder) -> None:
    """People read what each revision changed, what came back, and the verdict."""
    done = lived.run("rehearse")
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    assert "0003 Test revision 0003: comes back" in text
    assert f"+ {lived.root}/added (directory" in text
    assert "proved: 2 revisions; nothing on this host was changed" in text
