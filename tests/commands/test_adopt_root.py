"""`adopt --storage-root`: the root was moved on purpose, and home and root find each other again by the ledger id."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.commands.proof import nothing_changes, says
from tests.conftest import HostFolder, copy_release
from tests.crash import dying
from vvmigrate.engine import binding, recovery
from vvmigrate.runs import work


@pytest.fixture
def moved(bare: HostFolder, tmp_path: Path) -> HostFolder:
    """A host whose storage root was moved to another disk; nothing names it yet."""
    bare.up()
    bare.environ["VIDEO_STORAGE_ROOT"] = ""
    bare.root = bare.root.rename(tmp_path / "disk")
    return bare


def bound_root(host: HostFolder) -> str:
    return str(json.loads((host.home / ".vvmigrate/root").read_bytes())["storage_root"])


def decisions(host: HostFolder) -> list[str]:
    """What the history says of the host as a whole."""
    entries = host.call("history").body["entries"]
    return [entry["title"] for entry in reversed(entries) if entry["direction"] == "adopt"]


def test_a_moved_root_is_found_again_and_the_history_tells_it(host: HostFolder, tmp_path: Path) -> None:
    """The whole drill: refused with the command as the hint, that command, `.env` by the command that it names."""
    host.up(values={"DVR_IP": "192.168.1.20"})
    old = host.root
    host.root = old.rename(tmp_path / "disk")
    host.environ["VIDEO_STORAGE_ROOT"] = ""
    for verb in ("upgrade", "status", "doctor"):
        report = host.call(verb)
        said = report.error.hint if report.error else report.body["findings"][0]["remedy"]
        assert (report.exit_code, "adopt --storage-root" in str(said)) == (6, True), verb
    report = host.call("adopt", storage_root=str(host.root))
    assert (report.exit_code, report.error) == (0, None)
    assert bound_root(host) == str(host.root)
    assert decisions(host) == [f"storage root moved from {old} to {host.root}"]
    assert host.call("history", verify=True).exit_code == 0
    assert host.sql("SELECT command, exit_code FROM vv_run")[-1] == ("adopt", 0)
    warning = report.body["warnings"][0]
    assert "upgrade head" in warning, warning
    says(host.call("upgrade"), 6, repr(str(old)))  # .env still names it
    host.up(storage_root=str(host.root), values={"VIDEO_STORAGE_ROOT": str(host.root)})
    host.up()
    assert host.call("verify").exit_code == 0
    assert not old.exists()


def test_doing_it_again_changes_nothing(moved: HostFolder) -> None:
    """It is bound already: no second row."""
    moved.call("adopt", storage_root=str(moved.root))
    rows = moved.sql("SELECT count(*) FROM vv_step")
    assert moved.call("adopt", storage_root=str(moved.root)).exit_code == 0
    assert moved.sql("SELECT count(*) FROM vv_step") == rows


def _empty(_host: HostFolder, tmp: Path) -> Path:
    (tmp / "empty").mkdir()
    return tmp / "empty"


def _of_another(_host: HostFolder, tmp: Path) -> Path:
    (tmp / "other").mkdir()
    other = copy_release(tmp / "other", "000[23456]*")
    other.up()
    return other.root


def _without_database(host: HostFolder, tmp: Path) -> Path:
    shutil.copytree(host.root, tmp / "copy", symlinks=True)
    shutil.rmtree(tmp / "copy/orchestrator_data")
    return tmp / "copy"


REFUSED = [
    pytest.param(_empty, 6, "none: is its disk not mounted?", id="empty"),
    pytest.param(_of_another, 6, "that of another home", id="another-ledger"),
    pytest.param(lambda host, tmp: tmp / "nowhere", 6, "", id="missing"),
    pytest.param(lambda host, tmp: Path("/"), 6, "root of the file system", id="slash"),
    pytest.param(lambda host, tmp: host.home, 6, "is the home", id="home"),
    pytest.param(_without_database, 4, "the database is missing", id="no-database"),
]


@pytest.mark.parametrize(("where", "code", "words"), REFUSED)
def test_what_is_not_this_hosts_root_is_refused(
    moved: HostFolder, tmp_path: Path, where: Any, code: int, words: str
) -> None:
    """Nothing is made there, and the binding stays."""
    before, root = bound_root(moved), where(moved, tmp_path)
    with nothing_changes(moved, *([root] if str(root) != "/" else [])):
        says(moved.call("adopt", storage_root=str(root)), code, words)
    assert bound_root(moved) == before


def test_an_older_copy_is_not_taken_for_the_root(bare: HostFolder, tmp_path: Path) -> None:
    """The disk was copied, and the original went on: what was done since would be lost."""
    bare.up()
    shutil.copytree(bare.root, tmp_path / "copy", symlinks=True)
    bare.revision("0002", "op.make_directories(['new'])")
    bare.up()
    bare.environ["VIDEO_STORAGE_ROOT"] = ""
    with nothing_changes(bare, tmp_path / "copy"):
        says(bare.call("adopt", storage_root=str(tmp_path / "copy")), 6, "older copy")


def test_another_homes_root_is_taken_over_only_by_a_person(bare: HostFolder) -> None:
    """The release folder was put there anew, without its state: the root knows a ledger that this home does not."""
    bare.up()
    shutil.rmtree(bare.home / ".vvmigrate")
    says(bare.call("upgrade"), 6, "another home", hint="adopt --storage-root")
    says(bare.call("adopt", storage_root=str(bare.root)), 4, "a person has to decide", hint="--yes")
    asked: list[str] = []
    no = bare.call("adopt", storage_root=str(bare.root), confirm=lambda question: bool(asked.append(question)))
    says(no, 4, "not confirmed")
    assert "belongs to another home" in asked[0]
    assert not (bare.home / ".vvmigrate/root").exists()
    assert bare.call("adopt", storage_root=str(bare.root), yes=True).exit_code == 0
    assert bare.up().exit_code == 0
    assert decisions(bare) == [f"storage root moved from another home to {bare.root}"]


MOMENTS = [
    pytest.param(dying.Moment(binding, "write", after=False), False, id="before-the-binding"),
    pytest.param(dying.Moment(binding, "write"), True, id="bound"),
    pytest.param(dying.Moment(recovery, "record", after=False), True, id="before-the-row"),
    pytest.param(dying.Moment(recovery, "record"), True, id="after-the-row"),
    pytest.param(dying.Moment(work.Run, "end", after=False), True, id="before-the-end"),
]


@pytest.mark.parametrize(("moment", "is_bound"), MOMENTS)
def test_a_kill_leaves_the_old_binding_or_the_new_one(moved: HostFolder, moment: dying.Moment, is_bound: bool) -> None:
    """And the history tells the move exactly if it happened, once, whoever comes next."""
    old = bound_root(moved)
    dying.crash(moved, moment, "adopt", storage_root=str(moved.root))
    assert bound_root(moved) == (str(moved.root) if is_bound else old)
    if is_bound:
        assert moved.call("recover").exit_code == 0
        assert moved.sql("SELECT count(*) FROM vv_run WHERE command = 'adopt'") == [(1,)]
    else:
        says(moved.call("upgrade"), 6, hint="adopt --storage-root")
        assert moved.call("adopt", storage_root=str(moved.root)).exit_code == 0
    assert decisions(moved) == [f"storage root moved from {old} to {moved.root}"]
    assert moved.call("history", verify=True).exit_code == 0
    assert not (moved.root / ".vvmigrate/decision").exists()


@pytest.mark.full
def test_a_kill_at_every_access_leaves_one_of_the_two(moved: HostFolder, tmp_path: Path) -> None:
    """Not only at the moments that somebody thought of: at every fourth access to the file system."""
    old = bound_root(moved)
    for number in range(1, 400, 4):
        went_on = dying.crash_at_call(moved, number, "adopt", storage_root=str(moved.root))
        assert bound_root(moved) in (old, str(moved.root))
        binding_file = moved.home / ".vvmigrate/root"
        if bound_root(moved) != old:
            assert moved.call("recover").exit_code == 0
            assert decisions(moved)[-1] == f"storage root moved from {old} to {moved.root}"
            data = json.loads(binding_file.read_bytes()) | {"storage_root": old}
            binding_file.write_text(json.dumps(data))
        if not went_on:
            return
    pytest.fail("it never came to its end")
