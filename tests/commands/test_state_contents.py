"""What stands in a state directory in the way of something of ours: told before anything is written, by its path."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.proof import nothing_changes, says
from tests.conftest import HostFolder
from vvmigrate.engine import recovery
from vvmigrate.engine.session import Session


def _file(path: Path) -> None:
    path.write_text("somebody's")


def _link(path: Path) -> None:
    path.symlink_to("/etc")


IN_THE_WAY: dict[str, tuple[str, Callable[[Path], None]]] = {
    "home's lock, a directory": ("home/lock", Path.mkdir),
    "root's lock, a fifo": ("storage/lock", os.mkfifo),
    "staging, a file": ("storage/staging", _file),
    "home's staging, a link": ("home/staging", _link),
    "rehearsal, a file": ("home/rehearsal", _file),
    "undo, a file": ("storage/undo", _file),
    "undo, a link": ("storage/undo", _link),
    "sources, a file": ("storage/sources", _file),
    "downloads, a link": ("storage/downloads", _link),
    "reserve, a directory": ("storage/reserve", Path.mkdir),
    "run, a directory": ("storage/run", Path.mkdir),
    "decision, a link": ("storage/decision", _link),
}


@pytest.fixture
def worn(host: HostFolder) -> HostFolder:
    """A host with something to repair: its step would need everything that its state directories hold."""
    host.up(values={"DVR_IP": "192.168.1.20"})
    (host.root / "fallback/placeholder.png").write_bytes(b"damaged")
    return host


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_what_stands_in_the_way_is_told_before_the_first_write(worn: HostFolder, case: str) -> None:
    """No step is half done because of it; doctor names it too, and the command that both name really mends it."""
    where, put = IN_THE_WAY[case]
    path = worn.home.parent / where.replace("/", "/.vvmigrate/")
    away = path.with_name(f"{path.name}.orig")
    if was_there := path.exists():
        path.rename(away)
    put(path)
    with nothing_changes(worn):
        for verb, arguments in (
            ("repair", []),
            ("upgrade", []),
            ("recover", []),
            ("downgrade", ["0002"]),
            ("plan", []),
        ):
            says(worn.call(verb, *arguments), 4, f"{path}: expected a ", hint=f"mv {path} {path}.damaged.1")
        found = worn.call("doctor").body["findings"]
    mends = [item["remedy"] for item in found if str(item["what"]).startswith(f"{path}: expected a ")]
    assert len(mends) == 1, found
    command = mends[0].rpartition("lost: ")[2].partition(" && ")
    assert command[2] == "vvmigrate doctor"
    subprocess.run(shlex.split(command[0]), check=True)
    assert os.path.lexists(f"{path}.damaged.1")
    if was_there and away.is_dir():
        away.rename(path)  # what was there is put back: else before-images are lost, and said to be
    assert worn.call("repair").exit_code == 0
    assert worn.call("doctor").exit_code == 0


NOTES = {
    "empty": "",
    "garbage": "\0garbage",
    "another object": "{}",
    "a run without its facts": '{"run": {"run_id": "x"}, "step": null}',
    "another kind": '{"run": [], "step": 1}',
}


@pytest.mark.parametrize("name", ["run", "decision"])
@pytest.mark.parametrize("text", NOTES.values(), ids=NOTES)
def test_what_the_last_command_left_and_nobody_understands_is_for_a_person(
    worn: HostFolder, name: str, text: str
) -> None:
    """Not unforeseen, and not refused without a word of help: every command names the file, and what ends it."""
    path = worn.root / ".vvmigrate" / name
    path.write_text(text)
    with nothing_changes(worn):
        for verb in ("repair", "upgrade", "recover", "plan", "status"):
            says(worn.call(verb), 4, f"{path}: expected what", hint=f"mv {path} {path}.damaged.1 && vvmigrate recover")
        says(worn.call("adopt", reconcile=True, yes=True), 4, str(path))
        (found,) = [item for item in worn.call("doctor").body["findings"] if item["path"] == str(path)]
    command, _, then = found["remedy"].rpartition("tell of that: ")[2].partition(" && ")
    subprocess.run(shlex.split(command), check=True)
    assert worn.run(*shlex.split(then)[1:]).returncode == 0
    assert worn.call("repair").exit_code == worn.call("doctor").exit_code == 0


@pytest.mark.parametrize("way", ["repair", "upgrade"])
def test_a_step_that_is_committed_is_not_said_to_have_failed(
    worn: HostFolder, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the way only after the last look: the text says what the history says, and recover ends it."""
    undo, finish = worn.root / ".vvmigrate/undo", recovery.finish

    def too_late(session: Session, step_id: str) -> None:
        if undo.is_dir():
            undo.rename(undo.with_name("undo.orig"))
            undo.write_text("somebody's")
        finish(session, step_id)

    monkeypatch.setattr(recovery, "finish", too_late)
    worn.revision("0007", "op.make_directories(['new'])")
    report = worn.call(way)
    says(report, 4, "is done and in the history", str(undo), hint="vvmigrate recover")
    assert report.error is not None
    assert "failed" not in report.error.message
    monkeypatch.undo()
    undo.unlink()
    undo.with_name("undo.orig").rename(undo)
    assert ": an interrupted step was finished" in worn.call("recover").body["settled"][0]
    last = worn.history()[-1]
    assert last == (("0003", "repair", "repaired") if way == "repair" else ("0007", "up", "applied"))


def test_an_upgrade_that_has_nothing_to_do_tells_it_too(host: HostFolder) -> None:
    """The look that spares a boot its work sees what the next step would stumble over."""
    host.up(values={"DVR_IP": "192.168.1.20"})
    host.up()
    (host.root / ".vvmigrate/undo").rename(host.root / ".vvmigrate/undo.orig")
    _link(host.root / ".vvmigrate/undo")
    (host.root / ".vvmigrate/undo.orig").rename(host.root.parent / "undo")
    says(host.json("upgrade"), 4, "undo: expected a directory, found lrwxrwxrwx")
