"""`prune`: what nothing needs goes, and what a way back needs stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.models import MODELS, NAME, current, generations, install, received, release
from tests.commands.proof import nothing_changes, says
from tests.conftest import HostFolder
from tests.content.fault_server import FaultServer, good


def pruned(host: HostFolder, **options: object) -> list[str]:
    """Prune; the names of what went."""
    report = host.call("prune", **options)
    assert (report.exit_code, report.error) == (0, None)
    assert all(item["reason"] for item in report.body["pruned"])
    assert report.body["freed_bytes"] == sum(item["size_bytes"] for item in report.body["pruned"])
    return [Path(item["path"]).name.rpartition("-")[0] or item["path"] for item in report.body["pruned"]]


# ---- generations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        (None, ["3.0.0", "4.0.0"]),
        (0, ["4.0.0"]),
        (1, ["3.0.0", "4.0.0"]),
        (2, ["2.0.0", "3.0.0", "4.0.0"]),
        (9, ["2.0.0", "3.0.0", "4.0.0"]),
    ],
)
def test_what_is_current_or_within_the_horizon_stays(old: HostFolder, keep: int | None, left: list[str]) -> None:
    """By default one release can be taken back offline; `--keep 0` leaves the current generation alone."""
    gone = [f"{NAME}-{version}" for version in MODELS if version not in left]
    assert pruned(old, keep=keep) == gone
    assert (generations(old), current(old)) == (left, MODELS["4.0.0"])
    assert len(list((old.root / "models/.store").glob("*.json"))) == len(left)
    assert old.call("status").exit_code == 0
    assert pruned(old, keep=keep) == []


def test_the_setting_in_alembic_ini(old: HostFolder) -> None:
    """`keep_releases` is what `--keep` is when nobody says it; what is no number is refused."""
    ini = old.home / "alembic.ini"
    text = ini.read_text()
    ini.write_text(text.replace("[vvmigrate]\n", "[vvmigrate]\nkeep_releases = 2\n"))
    assert pruned(old) == []
    ini.write_text(text.replace("[vvmigrate]\n", "[vvmigrate]\nkeep_releases = some\n"))
    says(old.call("prune"), 2, "keep_releases", "'some'")


def test_a_dry_run_says_the_same_and_writes_nothing(old: HostFolder) -> None:
    """What would go, with its bytes: no lock, no log, no byte changed."""
    with nothing_changes(old):
        report = old.call("prune", dry_run=True)
    assert (report.exit_code, report.body["dry_run"]) == (0, True)
    real = old.call("prune")
    assert report.body | {"dry_run": False} == real.body


def test_after_a_downgrade_the_newer_generation_may_go(old: HostFolder) -> None:
    """Current is what the link says; the release that was taken back is not a way back any more."""
    old.down("0003")
    gone = pruned(old, keep=0)
    assert gone[:2] == [f"{NAME}-{version}" for version in ("2.0.0", "4.0.0")]
    assert all("/undo/" in name for name in gone[2:])
    assert (generations(old), current(old)) == (["3.0.0"], MODELS["3.0.0"])


def test_one_run_of_several_revisions_is_one_release(bare: HostFolder, server: FaultServer) -> None:
    """Taking the last run back goes through all of its steps: what any of them switches back to stays."""
    for version, data in MODELS.items():
        release(bare, version, data, server.url(f"/{version}", good(data)))
    install(bare, "0002", "2.0.0")
    bare.up()
    install(bare, "0003", "3.0.0")
    install(bare, "0004", "4.0.0")
    bare.up()
    assert pruned(bare) == []
    bare.down("0002")
    assert current(bare) == MODELS["2.0.0"]


def test_a_generation_that_somebody_changed_is_kept_and_reported(old: HostFolder) -> None:
    """A file that a person added, or edited, is the only copy of his work."""
    folder = next((old.root / "models/.store").glob(f"{NAME}-2.0.0-*[0-9a-f]"))
    (folder / "notes.txt").write_text("mine")
    report = old.call("prune")
    assert (report.body["pruned"], [item["path"] for item in report.body["kept"]]) == ([], [str(folder)])
    assert (folder / "notes.txt").read_text() == "mine"


def test_what_we_did_not_put_into_the_store_stays(old: HostFolder) -> None:
    """A folder of the user's in the store is none of our generations."""
    (old.root / "models/.store/mine").mkdir()
    assert f"{NAME}-2.0.0" in pruned(old)
    assert (old.root / "models/.store/mine").is_dir()


# ---- received files and before-images --------------------------------------------------------------------------------


def test_received_files_that_nothing_pending_needs_go(old: HostFolder, server: FaultServer) -> None:
    """What `fetch` brought for a pending step stays; what belongs to no step of this release goes."""
    data = b"the next model"
    digest = release(old, "5.0.0", data, server.url("/5.0.0", good(data)))
    install(old, "0005", "5.0.0")
    old.call("fetch")
    stray = old.root / f".vvmigrate/downloads/{'0' * 64}.partial"
    stray.write_bytes(b"of another release")
    assert pruned(old, keep=9) == [str(stray)]
    assert received(old) == {digest: data}
    old.up(offline=True)


def test_where_the_pending_steps_cannot_be_told_nothing_received_goes(old: HostFolder) -> None:
    """A revision that fails its rehearsal hides what it needs: the files stay, and are named."""
    stray = old.root / f".vvmigrate/downloads/{'0' * 64}.partial"
    stray.write_bytes(b"of another release")
    old.revision("0005", "raise RuntimeError('broken')")
    report = old.call("prune", keep=9)
    assert (report.exit_code, report.body["pruned"]) == (0, [])
    assert [item["path"] for item in report.body["kept"]] == [str(stray)]


def undo_folders(host: HostFolder) -> int:
    return len(list((host.root / ".vvmigrate/undo").iterdir())) + len(list((host.home / ".vvmigrate/undo").iterdir()))


def test_before_images_of_what_was_taken_back_go(host: HostFolder) -> None:
    """Ours can be made again from the release; after pruning the host comes up and goes down as ever."""
    host.up()
    host.down("base")
    before = host.tree()
    count = undo_folders(host)
    pruned(host, keep=9)
    assert undo_folders(host) < count
    host.up()
    assert pruned(host, keep=9) == []
    host.down("base")
    assert {path for path in host.tree() if ".store" not in path} == {path for path in before if ".store" not in path}


def test_before_images_that_are_an_only_copy_stay(host: HostFolder) -> None:
    """The user's picture that an upgrade replaced, and that could not go back since he changed ours: not lost."""
    picture = host.root / "fallback/placeholder.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"his own picture")
    host.up("0003")
    picture.write_bytes(b"edited since")
    host.down("base")
    assert picture.read_bytes() == b"edited since"
    pruned(host)
    copies = [path for path in (host.root / ".vvmigrate/undo").rglob("*") if path.is_file()]
    assert b"his own picture" in {path.read_bytes() for path in copies}


def test_before_images_of_applied_steps_stay(host: HostFolder) -> None:
    """A downgrade after pruning restores what stood there before the upgrade."""
    picture = host.root / "fallback/placeholder.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"his own picture")
    host.up()
    pruned(host, keep=0)
    host.down("base")
    assert picture.read_bytes() == b"his own picture"


# ---- kills -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["renameat2", "fsync", "unlink", "rmdir"])
def test_a_kill_leaves_a_generation_whole_or_out_of_sight(old: HostFolder, call: str) -> None:
    """Killed at its first such call, or at any later one, pruning has removed all or nothing; the next one ends it."""
    code = (
        "import os, signal, sys\n"
        "from vvmigrate.engine import old\n"
        "from vvmigrate.files import Place\n"
        f"name = {call!r}\n"
        "owner, attribute = {'renameat2': (Place, '_rename'), 'fsync': (os, 'fsync'), 'unlink': (os, 'unlink'),"
        " 'rmdir': (os, 'rmdir')}[name]\n"
        "real = getattr(owner, attribute)\n"
        "def remove(state, place, inner=old.remove):\n"
        "    def dying(*a, **k):\n"
        "        real(*a, **k)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    setattr(owner, attribute, dying)\n"
        "    inner(state, place)\n"
        "old.remove = remove\n"
        "from vvmigrate.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--home", str(old.home), "prune"],
        env=old.environment(),
        cwd=old.home,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert generations(old) == ["3.0.0", "4.0.0"]
    assert len(os.listdir(old.root / ".vvmigrate/staging")) == (0 if call == "rmdir" else 1)  # then it is gone already
    assert old.call("recover").exit_code == 0
    assert os.listdir(old.root / ".vvmigrate/staging") == []
    assert old.call("prune").exit_code == 0
    assert old.call("status").exit_code == 0
    old.down("0002")
    assert current(old) == MODELS["2.0.0"]


def test_the_command_line(old: HostFolder) -> None:
    """Text for people, a document for programs."""
    assert "48.8 kB would be freed" in old.run("prune", "--dry-run").stdout
    document = old.json("prune", "--keep", "0")
    assert len(document["pruned"]) == 2
    assert "nothing to prune" in old.run("prune", "--keep", "0").stdout
    assert old.run("prune", "--keep", "-1").returncode == 2
