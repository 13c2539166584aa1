"""A plan is the command stopped early: what stands in the command's way stands in its plan's, in the same words."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.commands.conftest import Mount
from tests.commands.proof import nothing_changes, says
from tests.commands.test_bad_database import KNOWN, Spoil
from tests.commands.trial import promise, set_in_ini
from tests.conftest import HostFolder
from tests.crash.dying import PROTOCOL, Moment, crash
from vvmigrate.report import Report
from vvmigrate.runs import health

Told = list[tuple[str, dict[str, Any]]]
PLANS = {"upgrade": "plan", "downgrade": "plan down", "prune": "prune"}


def planned(host: HostFolder, verb: str, *words: str, told: Told | None = None, **options: Any) -> Report:
    """What a command would do; nothing is changed to find that out."""
    dry = {"dry_run": True} if verb == "prune" else {}
    with nothing_changes(host):
        return host.call(PLANS[verb], *words, told=told, **dry, **options)


def refused_alike(host: HostFolder, verb: str, *words: str, code: int, **options: Any) -> Report:
    """Plan a command and then run it: both are refused, with the same code, words and next step; the plan."""
    plan = planned(host, verb, *words, **options)
    done = host.call(verb, *words, **options)
    assert done.exit_code == code, done.as_json()
    assert (plan.exit_code, plan.as_json()["error"]) == (code, done.as_json()["error"])
    return plan


def warnings(told: Told) -> list[str]:
    """The warnings among what was told."""
    return [facts["text"] for event, facts in told if event == "warning"]


def restart(host: HostFolder) -> None:
    """Let the promise be of another boot of the machine: its time is over."""
    found = json.loads(promise(host).read_text())
    promise(host).write_text(json.dumps(found | {"boot_id": "another"}))


# ---- what preflight finds --------------------------------------------------------------------------------------------


@pytest.fixture
def small(bare: HostFolder, mount: Mount) -> HostFolder:
    """A host at 0002 on a small disk, whose release has 40 directories more."""
    bare.root.mkdir()
    mount(bare.root, size="9m")
    bare.revision("0002", 'op.make_directories(["second"])')
    bare.up()
    bare.revision("0003", f"op.make_directories({[f'd{number}' for number in range(40)]})")
    return bare


WAYS = [("upgrade", ()), ("downgrade", ("0001",))]


@pytest.mark.parametrize(("verb", "words"), WAYS, ids=["up", "down"])
def test_a_disk_without_room(small: HostFolder, verb: str, words: Sequence[str]) -> None:
    """The figures stand in the plan, beside what is planned."""
    (small.root / "others.mp4").write_bytes(bytes(6 << 20))
    plan = refused_alike(small, verb, *words, code=6)
    says(plan, 6, "bytes needed", "free")
    assert len(plan.body["steps"]) == 1


def test_a_disk_without_inodes(small: HostFolder) -> None:
    """As much room as one likes, and no names left for it."""
    subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=90", str(small.root)], check=True)
    says(refused_alike(small, "upgrade", code=6), 6, "inodes needed")


@pytest.mark.parametrize("what", ["input", "orchestrator_data", "orchestrator_data/orchestrator_db.sqlite"])
@pytest.mark.parametrize(("verb", "words"), WAYS, ids=["up", "down"])
def test_what_may_not_be_written(
    bare: HostFolder, immutable: Callable[[Path], None], what: str, verb: str, words: Sequence[str]
) -> None:
    """A folder of a change, and the database: neither is opened to find out."""
    bare.revision("0002", 'op.make_directories(["input/second"])')
    bare.up()
    bare.revision("0003", 'op.make_directories(["input/third"])')
    immutable(bare.root / what)
    says(refused_alike(bare, verb, *words, code=6), 6, what, "may not be written")


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_that_may_not_be_replaced(host: HostFolder, immutable: Callable[[Path], None], mode: int) -> None:
    """An immutable `.env` is met before the first step (6), not by it (1), be it to replace it or to set its mode."""
    host.up(values={"DVR_IP": "192.168.1.20"})
    (host.home / ".env").chmod(mode)
    immutable(host.home / ".env")
    options = {"values": {"LOG_LEVEL": "DEBUG"}} if mode == 0o600 else {"update_env": True}
    says(refused_alike(host, "upgrade", code=6, **options), 6, ".env: may not be written")


def test_a_read_only_file_is_replaced_by_its_owner(nobodys: HostFolder, unprivileged: Callable[[], Any]) -> None:
    """Its mode says that it is not to be written into, not that nothing may take its place."""
    with unprivileged():
        nobodys.up("0005", values={"DVR_IP": "192.168.1.20"})
        (nobodys.home / ".env").chmod(0o400)
        assert planned(nobodys, "upgrade", "0005", values={"LOG_LEVEL": "DEBUG"}).exit_code == 3
        nobodys.up("0005", values={"LOG_LEVEL": "DEBUG"})


@pytest.mark.parametrize("what", ["home", "root"])
@pytest.mark.parametrize(("verb", "words"), WAYS, ids=["up", "down"])
def test_a_disk_that_is_read_only(bare: HostFolder, mount: Mount, what: str, verb: str, words: Sequence[str]) -> None:
    """Not even a lock could be taken there, and a plan takes none."""
    bare.revision("0002", 'op.make_directories(["second"])')
    bare.up()
    bare.revision("0003", "op.merge_env()")
    folder = {"home": bare.home, "root": bare.root}[what]
    mount(folder, bind=folder, options="ro")
    says(refused_alike(bare, verb, *words, code=6), 6, str(folder), "Read-only file system")


# ---- what is in doubt, and what may not be opened --------------------------------------------------------------------


@pytest.mark.parametrize(("spoil", "code", "words", "hint"), KNOWN)
def test_a_database_in_doubt(bare: HostFolder, spoil: Spoil, code: int, words: list[str], hint: str) -> None:
    """Nothing is planned by rows that nobody may believe: least of all to do again what was done."""
    bare.up()
    bare.revision("0002", "op.make_directories(['more'])")
    spoil(bare)
    for verb, *target in (("upgrade",), ("downgrade", "base"), ("prune",)):
        plan = refused_alike(bare, verb, *target, code=code)
        says(plan, code, *words, hint=hint)
        assert plan.body == {}


@pytest.mark.parametrize("area", ["home", "root"])
def test_a_state_directory_that_others_may_enter(bare: HostFolder, area: str) -> None:
    """What lies there may be anybody's: exit 4, for a plan too."""
    bare.up()
    bare.revision("0002", "op.make_directories(['more'])")
    ({"home": bare.home, "root": bare.root}[area] / ".vvmigrate").chmod(0o755)
    for verb, *target in (("upgrade",), ("downgrade", "base"), ("prune",)):
        says(refused_alike(bare, verb, *target, code=4), 4, "expected a directory of user", "0700")


def test_another_root_than_the_one_that_is_bound(two: HostFolder) -> None:
    """A typing error in a unit's environment is said by the plan, not only by the upgrade at night."""
    two.environ["VIDEO_STORAGE_ROOT"] = str(two.home.parent / "other")
    says(refused_alike(two, "upgrade", code=6), 6, "is bound to", hint="adopt --storage-root")
    assert two.call("status").exit_code == 3  # which shows what it can


def test_another_homes_root(two: HostFolder) -> None:
    """A copied home names the first one's root."""
    other = two.home.parent / "other_home"
    shutil.copytree(two.home, other, ignore=shutil.ignore_patterns(".vvmigrate", "logs"))
    says(refused_alike(HostFolder(other, two.root), "upgrade", code=6), 6, "belongs to another home")


def test_a_root_that_cannot_be_made(bare: HostFolder, mount: Mount) -> None:
    """On the first day: nothing is there yet, and nothing can be."""
    above = bare.root.parent / "disk"
    above.mkdir()
    mount(above, options="ro")
    bare.root = above / "deep/storage"
    says(refused_alike(bare, "upgrade", code=6), 6, "cannot be made", str(above), hint="--storage-root")


def test_the_first_days_warnings(bare: HostFolder) -> None:
    """Who will own what, and where it will be, is said before it is so."""
    seen: dict[str, Told] = {"plan": [], "upgrade": []}
    for verb, told in seen.items():
        bare.call(verb, told=told)
    assert warnings(seen["plan"]) == warnings(seen["upgrade"]) != []


# ---- which of two things in the way is said --------------------------------------------------------------------------


def test_a_run_that_waits_comes_before_a_revision_that_fails(two: HostFolder) -> None:
    """Exit 6: the upgrade does not even begin with what would fail."""
    two.up("0002", confirm_within="10m")
    two.revision("0003", "raise RuntimeError('no')")
    says(refused_alike(two, "upgrade", code=6), 6, "waits to be confirmed")


def test_a_way_back_that_fails_comes_before_a_revision_that_does(two: HostFolder) -> None:
    """Nothing is promised that cannot be kept, whatever comes of the upgrade."""
    two.revision("0003", 'op.make_directories(["third"])', down="raise RuntimeError('no')")
    two.revision("0004", "raise RuntimeError('yes')")
    set_in_ini(two, "health_check = true")
    says(refused_alike(two, "upgrade", code=6), 6, "RuntimeError: no", hint="leave out")


def test_a_revision_that_fails_is_where_the_way_ends(two: HostFolder) -> None:
    """What comes before it is done, and `to` says so."""
    two.revision("0003", "raise RuntimeError('no')")
    plan = refused_alike(two, "upgrade", code=1)
    assert (plan.body["to"], two.version()) == ("0002", "0002")


@pytest.mark.parametrize("pending", [False, True])
def test_strict_is_said_before_the_first_step(host: HostFolder, pending: bool) -> None:
    """A required key that nobody gives stays without a value: what is pending is not done, exit 6."""
    host.up()
    if pending:
        host.revision("0007", 'op.make_directories(["more"])')
    says(refused_alike(host, "upgrade", code=6, strict=True), 6, "DVR_IP", hint="--set DVR_IP=VALUE")
    assert host.version() == "0006"
    host.up(strict=True, values={"DVR_IP": "192.168.1.20"})


def test_strict_holds_no_way_back_up(host: HostFolder) -> None:
    """A run on trial is taken back, although the key that it was strict about has lost its value meanwhile."""
    host.up(values={"DVR_IP": "192.168.1.20"})
    host.revision("0007", 'op.make_directories(["more"])')
    line = f"sed -i s/^DVR_IP=.*/DVR_IP=/ {shlex.quote(str(host.home / '.env'))}; exit 3"
    says(host.call("upgrade", strict=True, verify_with=line), 1, "health check failed")
    assert (host.version(), promise(host).exists()) == ("0006", False)


# ---- what an earlier run promised ------------------------------------------------------------------------------------


def test_nothing_is_pruned_while_a_run_waits(two: HostFolder) -> None:
    """What it may need is not even offered."""
    two.up(confirm_within="10m")
    says(refused_alike(two, "prune", code=6), 6, "waits to be confirmed")


@pytest.mark.parametrize(("verb", "words"), [("downgrade", ["-1"]), ("prune", [])])
def test_a_run_that_is_taken_back_first(two: HostFolder, verb: str, words: list[str]) -> None:
    """Its time is over: whoever plans is told that the command would begin with that."""
    two.up("0003", confirm_within="10m")
    restart(two)
    told: Told = []
    planned(two, verb, *words, told=told)
    assert any("is taken back first: not confirmed" in text for text in warnings(told))
    done = two.call(verb, *words)
    assert [item["revision"] for item in done.body["reverted"]] == ["0003", "0002"]


def test_a_run_that_was_killed_in_its_health_check(two: HostFolder) -> None:
    """Its check never came to its end: it is taken back first, and a plan says so."""
    crash(two, Moment(health, "run_line", after=False), "upgrade", "0002", verify_with="true")
    told: Told = []
    planned(two, "upgrade", told=told)
    assert any("is taken back first: health check failed" in text for text in warnings(told))
    assert two.call("upgrade").body["reverted"]


def test_a_health_check_that_plans(two: HostFolder) -> None:
    """The run is not at its end: nothing is said of taking it back, and nothing fails for it."""
    words = [sys.executable, "-m", "vvmigrate", "--home", str(two.home), "downgrade", "0001", "--plan"]
    report = two.up(verify_with=f"{shlex.join(words)} 2>&1 | grep 'taken back' && exit 1; exit 0")
    assert report.body["health"]["output"] == ""


def test_a_run_of_which_nothing_is_applied(two: HostFolder) -> None:
    """It was killed before its first step: nothing has to be taken back, and nothing is said of it."""
    crash(two, PROTOCOL[0], "upgrade", confirm_within="10m")
    assert promise(two).exists()
    told: Told = []
    planned(two, "upgrade", told=told)
    assert not any("taken back" in text for text in warnings(told))


def test_a_run_that_cannot_be_taken_back(two: HostFolder) -> None:
    """It stands in every way (4) but the one back by hand, whose plan says so in passing, as it does."""
    broken = two.root.parent / "broken"
    down = f"import os\nif os.path.exists({str(broken)!r}):\n    raise RuntimeError('no')\nop.revert()"
    two.revision("0003", 'op.make_directories(["third"])', down)
    assert two.call("upgrade", verify_with=f"touch {broken}; exit 3").exit_code == 4
    for verb in ("upgrade", "prune"):
        says(refused_alike(two, verb, code=4), 4, "0003 does not go back", hint="vvmigrate confirm --yes")
    seen: dict[str, Told] = {"plan down": [], "downgrade": []}
    for verb, told in seen.items():
        two.call(verb, "0002", told=told)
        assert any("0003 does not go back" in text for text in warnings(told)), verb


@pytest.mark.parametrize("verb", PLANS)
def test_a_promise_that_cannot_be_understood(two: HostFolder, verb: str) -> None:
    """Nothing is guessed, for a plan as little as for what it plans."""
    two.up("0002", confirm_within="10m")
    promise(two).write_text("no JSON")
    words = ["0001"] if verb == "downgrade" else []
    says(refused_alike(two, verb, *words, code=4), 4, "not in words of this vvmigrate")


def test_a_step_that_waits_for_recovery(two: HostFolder) -> None:
    """The plan says for which host it is made: recovery comes first, and may undo or finish that step."""
    crash(two, PROTOCOL[1], "upgrade")
    told: Told = []
    planned(two, "upgrade", told=told)
    assert any("waits: vvmigrate recover; this is planned for the host as it is now" in text for text in warnings(told))
