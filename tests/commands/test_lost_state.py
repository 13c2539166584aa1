"""What the state directories lost: doctor tells it before it is needed, with what helps."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.proof import nothing_changes, says
from tests.conftest import HostFolder


@pytest.fixture
def up(host: HostFolder) -> HostFolder:
    """A host at its last revision, with something to take back that only a before-image has."""
    (host.root / "fallback").mkdir(parents=True)
    (host.root / "fallback/placeholder.png").write_bytes(b"an older one")
    host.up(values={"DVR_IP": "192.168.1.20"})
    return host


def finding(host: HostFolder) -> dict[str, object]:
    """The one thing that doctor finds; looking for it changes nothing."""
    with nothing_changes(host):
        (found,) = host.call("doctor").body["findings"]
    return dict(found)


def test_nothing_is_lost_on_a_host_that_was_used(up: HostFolder) -> None:
    """Steps forth and back, retries, repairs and a pruning leave nothing that looks lost."""
    up.up(values={"DVR_IP": "192.168.1.21"})
    (up.root / "fallback/placeholder.png").write_bytes(b"damaged")
    (up.root / "fallback/loop_silencioso.mp4").unlink()
    up.call("repair")
    up.down("0002")
    up.up(release_hold=True)
    up.call("prune")
    assert up.call("doctor").body["findings"] == []


def test_a_lost_binding_is_a_finding(up: HostFolder) -> None:
    """Commands that write would refuse: doctor says it before, and its command binds the home again."""
    (up.home / ".vvmigrate/root").unlink()
    found = finding(up)
    assert found["exit_code"] == 6
    command = shlex.split(str(found["remedy"]).rpartition("home's: ")[2])
    assert up.run(*command[1:], "--yes").returncode == 0
    assert up.call("doctor").exit_code == 0


def test_secrets_that_cannot_be_read_are_a_finding(up: HostFolder) -> None:
    """No traceback for a damaged file; without it what `.env` holds counts, and no secret changes."""
    path, env = up.root / ".vvmigrate/secrets", (up.home / ".env").read_text()
    path.write_bytes(b"\xffgarbage")
    assert (finding(up)["exit_code"], "remove it" in str(finding(up)["remedy"])) == (6, True)
    says(up.call("upgrade", update_env=True), 6, str(path), hint="remove it")
    path.unlink()
    up.up(update_env=True)
    assert (up.call("doctor").exit_code, (up.home / ".env").read_text()) == (0, env)


def test_lost_before_images_are_a_finding(up: HostFolder) -> None:
    """Nobody learns only while taking back that it cannot be done."""
    shutil.rmtree(up.root / ".vvmigrate/undo")
    (up.root / ".vvmigrate/undo").mkdir(mode=0o700)
    assert str(up.root / "fallback/placeholder.png") in str(finding(up)["what"])


def test_what_was_set_aside_is_named_until_a_person_removes_it(up: HostFolder) -> None:
    """prune keeps it, says where it lies, and its words remove it; nobody needs it for a way back."""
    link = up.root / "models/bitnet_summarizer"
    model = next(link.glob("*.gguf"))
    model.write_bytes(b"a user's" * 1000)
    (aside,) = [Path(item["aside"]) for item in up.call("repair").body["set_aside"]]
    report = up.call("prune", dry_run=True)
    (kept,) = [item for item in report.body["kept"] if item["path"] == str(aside)]
    words = shlex.split(kept["reason"].rpartition("wants it: ")[2])
    assert words[:2] == ["rm", "-r"]
    shutil.rmtree(words[2])
    assert not aside.exists()
    assert up.call("prune", dry_run=True).body["kept"] == []
    assert up.call("doctor").exit_code == 0
    up.down("base")


def test_a_root_that_lost_the_file_with_its_id_gets_it_back(up: HostFolder) -> None:
    """Everything refuses, and says which file is missing; the command that is named writes it, and all is as before."""
    path = up.root / ".vvmigrate/ledger_id"
    kept = path.read_bytes()
    path.unlink()
    done = up.call("upgrade")
    says(done, 6, str(path), hint=kept.decode().strip())
    assert done.error is not None
    subprocess.run(done.error.hint or "", shell=True, check=True)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (kept, 0o600)
    assert up.call("doctor").exit_code == 0
    up.up()


@pytest.mark.parametrize("folder", ["home", "root"])
def test_a_state_directory_of_another_mode_is_told_by_every_look(up: HostFolder, folder: str) -> None:
    """Whoever writes stops at it: so does whoever looks, and the command that is named mends it."""
    state = getattr(up, folder) / ".vvmigrate"
    state.chmod(0o755)
    for verb in ("status", "verify", "history", "repair"):
        says(up.call(verb), 4, str(state), "0700", hint=f"chmod 700 {state}")
    assert (finding(up)["exit_code"], str(finding(up)["remedy"])[-len(str(state)) :]) == (4, str(state))
    state.chmod(0o700)
    assert up.call("doctor").exit_code == 0


@pytest.mark.parametrize("folder", ["home", "root"])
def test_a_disk_that_became_read_only_is_a_finding(up: HostFolder, folder: str, mount: Callable[..., None]) -> None:
    """All of it can be read, and is as recorded; the next command that writes is refused."""
    mount(getattr(up, folder), bind=getattr(up, folder), options="ro")
    found = finding(up)
    assert (found["exit_code"], "Read-only file system" in str(found["what"])) == (6, True)
    says(up.call("plan"), 6, "Read-only file system")


@pytest.mark.parametrize("folder", ["home", "root"])
def test_a_link_in_place_of_a_state_directory_is_moved_away(up: HostFolder, folder: str, tmp_path: Path) -> None:
    """To change its mode would change that of what it leads to, which may be anything."""
    state = getattr(up, folder) / ".vvmigrate"
    state.rename(tmp_path / "state")
    state.symlink_to("/etc/hostname")
    found = finding(up)
    assert (found["exit_code"], "chmod" in str(found["remedy"]), "move it away" in str(found["remedy"])) == (
        4,
        False,
        True,
    )
    state.unlink()
    (tmp_path / "state").rename(state)
    assert up.call("doctor").exit_code == 0


@pytest.mark.parametrize("text", ["x", "{}\n0\n"])
def test_a_journal_that_cannot_be_trusted_is_one_finding(up: HostFolder, text: str) -> None:
    """`vvmigrate recover` does not mend it, and is not named."""
    path = up.root / ".vvmigrate/journal"
    path.write_text(text)
    path.chmod(0o600)
    found = finding(up)
    assert (found["exit_code"], found["path"], "recover" in str(found["remedy"])) == (4, str(path), False)


@pytest.mark.parametrize("pending", [False, True])
def test_a_damaged_promise_is_one_finding(up: HostFolder, pending: bool) -> None:
    """Several looks meet it; a person reads it once, and its command ends it."""
    path = up.home / ".vvmigrate/intention"
    path.write_text("{}")
    if pending:
        up.revision("0007", "op.make_directories(['new'])")
    with nothing_changes(up):
        told = [str(item["what"]) for item in up.call("doctor").body["findings"]]
    assert (len([what for what in told if str(path) in what]), len(told)) == (1, 2 if pending else 1)
    assert up.run("confirm", "--yes").returncode == 0
    assert up.call("doctor").exit_code == (3 if pending else 0)
