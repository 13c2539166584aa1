"""What stands in place of the history's key is none: after a power loss, a bad copy, an editor. It counts as lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.proof import nothing_changes, says
from tests.conftest import HostFolder
from tests.crash import dying
from vvmigrate.engine import recovery, vault

full = pytest.mark.full


def _directory(key: Path) -> None:
    key.unlink()
    key.mkdir()


def _link(key: Path) -> None:
    shutil.copy2(key, key.with_name("elsewhere"))
    key.unlink()
    key.symlink_to("elsewhere")


DAMAGED: dict[str, Callable[[Path], object]] = {
    "zeros": lambda key: key.write_bytes(bytes(65)),
    "empty": lambda key: key.write_bytes(b""),
    "directory": _directory,
    "no-hex": lambda key: key.write_bytes(b"zz"),
    "no-text": lambda key: key.write_bytes(b"\xff"),
    "cut-short": lambda key: key.write_bytes(key.read_bytes()[:32]),
    "too-long": lambda key: key.write_bytes(key.read_bytes().strip() * 2),
    "huge": lambda key: key.write_bytes(bytes(1 << 20)),
    "link": _link,
}


@pytest.fixture(params=[pytest.param(name, marks=() if n < 3 else full) for n, name in enumerate(DAMAGED)])
def damaged(worked: HostFolder, request: pytest.FixtureRequest) -> HostFolder:
    """A host whose key is damaged, in one of the ways."""
    DAMAGED[request.param](worked.root / ".vvmigrate/key")
    return worked


def test_it_is_refused_and_the_history_is_told(damaged: HostFolder) -> None:
    """Whatever stands there: the code of a lost key, the way out, and not one byte is written; history always works."""
    arguments = {"downgrade": ["base"], "rehearse": ["base"], "why": [str(damaged.home / ".env")]}
    with nothing_changes(damaged):
        for verb, options in (
            *((verb, {}) for verb in ("upgrade", "repair", "recover", "adopt", "prune", "plan", "status", "verify")),
            ("upgrade", {"update_env": True}),
            ("downgrade", {}),
            ("rehearse", {}),
            ("why", {}),
            ("current", {}),
            ("adopt", {"reconcile": True, "yes": True}),
        ):
            report = damaged.call(verb, *arguments.get(verb, []), **options)
            says(report, 4, str(damaged.root / ".vvmigrate/key"), "the key", hint="vvmigrate adopt --rekey")
        doctor = damaged.call("doctor")
        assert doctor.exit_code == 4
        assert any("adopt --rekey" in item["remedy"] for item in doctor.body["findings"])
        shown = damaged.call("history")
        assert (shown.exit_code, shown.error, len(shown.body["entries"])) == (0, None, 6)
        verified = damaged.call("history", verify=True)
        says(verified, 7, "the key", hint="vvmigrate adopt --rekey")
        assert len(verified.body["entries"]) == 6


def test_a_new_one_takes_its_place(damaged: HostFolder) -> None:
    """What stood there is kept, and named: somebody may yet read the key out of it. Everything holds again."""
    says(damaged.call("adopt", rekey=True), 4, "a person has to decide", "the key")
    report = damaged.call("adopt", rekey=True, yes=True)
    aside = damaged.root / ".vvmigrate/key.damaged.1"
    assert (report.exit_code, report.error) == (0, None)
    assert any(str(aside) in text for text in report.body["settled"])
    assert aside.exists()
    assert (damaged.root / ".vvmigrate/key").stat().st_mode & 0o777 == 0o600
    assert damaged.call("history", verify=True).exit_code == 0
    assert damaged.up().body["steps"] == []
    assert damaged.call("doctor").exit_code == 0


def test_a_second_one_replaces_no_first(worked: HostFolder) -> None:
    """A disk that fails does so again: what was set aside stays."""
    key = worked.root / ".vvmigrate/key"
    for n, content in ((1, b"first"), (2, b"second")):
        key.write_bytes(content)
        assert worked.call("adopt", rekey=True, yes=True).exit_code == 0
        assert key.with_name(f"key.damaged.{n}").read_bytes() == content


def test_the_right_one_comes_back(worked: HostFolder) -> None:
    """From a backup, through an editor that ends lines its own way: nothing has to be decided."""
    key = worked.root / ".vvmigrate/key"
    good = key.read_bytes().strip()
    key.write_bytes(b"")
    says(worked.call("upgrade"), 4, "the key is damaged")
    key.write_bytes(good.upper() + b"\r\n")
    assert worked.up().body["steps"] == []
    assert worked.call("history", verify=True).exit_code == 0


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(dying.Moment(vault, "set_aside_key"), id="set-aside"),
        pytest.param(dying.Moment(vault, "next_key"), id="key-made", marks=full),
        pytest.param(dying.Moment(recovery, "transaction"), id="epoch-begun", marks=full),
    ],
)
def test_a_kill_on_the_way_loses_nothing(worked: HostFolder, moment: dying.Moment) -> None:
    """The same command again comes to the same end, and what stood there is where it was put."""
    key = worked.root / ".vvmigrate/key"
    key.write_bytes(b"half a key")
    dying.crash(worked, moment, "adopt", rekey=True, yes=True)
    assert worked.call("adopt", rekey=True, yes=True).exit_code in (0, 6)  # 6: the epoch had begun, its key is there
    assert key.with_name("key.damaged.1").read_bytes() == b"half a key"
    assert worked.sql("SELECT count(*) FROM vv_step WHERE direction = 'epoch'") == [(1,)]
    assert worked.call("adopt").exit_code == 0
    assert worked.call("history", verify=True).exit_code == 0


def test_a_damaged_next_key_takes_no_place(worked: HostFolder) -> None:
    """The epoch has begun, the machine dies, its key's file is zeros: the command is given again, and that is all."""
    (worked.root / ".vvmigrate/key").unlink()
    dying.crash(worked, dying.Moment(vault, "settle_key", after=False), "adopt", rekey=True, yes=True)
    (worked.root / ".vvmigrate/key.next").write_bytes(bytes(65))
    with nothing_changes(worked):
        says(worked.call("upgrade"), 4, "the key is missing", hint="adopt --rekey")
    (worked.root / ".vvmigrate/key.next").unlink()
    (worked.root / ".vvmigrate/key.next").mkdir()
    assert worked.call("adopt", rekey=True, yes=True).exit_code == 0
    assert worked.call("history", verify=True).exit_code == 0


def test_a_chain_that_was_emptied_gets_no_new_key(worked: HostFolder) -> None:
    """Whoever owns the database removes its rows, and the key is gone: not the first day again, and nothing is made."""
    key = worked.root / ".vvmigrate/key"
    key.unlink()
    for table in ("vv_step", "vv_run", "vv_hold", "vv_kept", "vv_effect", "vv_version"):
        worked.sql(f"DELETE FROM {table}")
    with nothing_changes(worked):
        says(worked.call("upgrade"), 4, "expected a history of at least")
