"""A run that was to take itself back, and was killed: whoever comes next carries it out."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.commands.trial import holds, is_taken_back, promise
from tests.conftest import HostFolder
from tests.crash import dying
from tests.crash.dying import Moment
from vvmigrate.engine import intention, recovery, signals
from vvmigrate.engine.journal import Journal
from vvmigrate.engine.ledger import Ledger
from vvmigrate.runs import health

FAILING = {"verify_with": "exit 3"}
SEED = 20250101

STEPS = {
    "promised": Moment(intention, "write"),
    "first step sealed": Moment(Journal, "seal"),
    "first step committed": Moment(recovery, "finish", after=False),
    "second step written": Moment(Ledger, "append_step", nth=2),
    "second step done": Moment(recovery, "finish", nth=2),
}
"""The run did not come to its end, and nobody had judged it: it is taken back, and may be tried again."""

CHECK = {
    "check begins": Moment(intention, "write", nth=2),
    "check runs": Moment(health, "run_line", after=False),
    "check ended": Moment(health, "run_line"),
}
"""The check never came to its end, as far as anybody knows."""

BACK = {
    "way back promised": Moment(intention, "write", nth=3),
    "first step back sealed": Moment(Journal, "seal", nth=3),
    "first step back committed": Moment(recovery, "finish", nth=3, after=False),
    "second step back written": Moment(Ledger, "append_step", nth=4),
    "second step back done": Moment(recovery, "finish", nth=4),
}
"""The check had failed."""


@pytest.mark.parametrize("name", STEPS)
def test_killed_in_its_steps(two: HostFolder, name: str) -> None:
    """The host is as before the run, nothing is held, and the next upgrade may try again."""
    before = two.tree()
    dying.crash(two, STEPS[name], "upgrade", "head", **FAILING)
    assert promise(two).exists()
    dying.settled(two)
    assert (two.tree(), two.version(), promise(two).exists(), holds(two)) == (before, "0001", False, [])
    two.up(verify_with="true")
    assert two.version() == "0003"


@pytest.mark.parametrize("name", CHECK)
def test_killed_in_its_check(two: HostFolder, name: str) -> None:
    """It may have taken the machine with it: it is taken back and held, so that the next boot does not begin again."""
    before = two.tree()
    dying.crash(two, CHECK[name], "upgrade", "head", verify_with="true")
    dying.settled(two)
    is_taken_back(two, before, "health check failed: it never came to its end")
    assert two.call("upgrade", "head").exit_code == 3


@pytest.mark.parametrize("name", BACK)
def test_killed_on_its_way_back(two: HostFolder, name: str) -> None:
    """The rest of the way is gone by the next command, with the same reason; every step once."""
    before = two.tree()
    dying.crash(two, BACK[name], "upgrade", "head", **FAILING)
    report = two.call("upgrade", "head")
    assert report.exit_code == 3
    is_taken_back(two, before, "health check failed: it ended with 3")


def test_killed_once_more_while_it_is_carried_on(two: HostFolder) -> None:
    """A second and a third power cut only mean that somebody else comes to the end."""
    before = two.tree()
    dying.crash(two, BACK["first step back sealed"], "upgrade", "head", **FAILING)
    dying.crash(two, Moment(Journal, "seal"), "recover")
    dying.crash(two, Moment(recovery, "finish", after=False), "recover")
    dying.settled(two)
    is_taken_back(two, before, "health check failed: it ended with 3")


def test_killed_right_before_it_forgets(two: HostFolder) -> None:
    """All is done but that the promise stands: it is dropped, and nothing is taken back twice."""
    before = two.tree()
    dying.crash(two, Moment(intention, "drop", after=False), "upgrade", "head", **FAILING)
    assert dying.settled(two).body["settled"] == []
    two.up("0001")
    is_taken_back(two, before, "health check failed: it ended with 3")


@pytest.mark.parametrize(
    "options", [{"confirm_within": "10m"}, {"on_failure": "revert-run"}], ids=lambda options: next(iter(options))
)
def test_every_condition_is_durable_before_the_first_step(two: HostFolder, options: dict[str, Any]) -> None:
    """Without a check too: a run that was killed before its end is taken back whole."""
    before = two.tree()
    dying.crash(two, STEPS["second step written"], "upgrade", "head", **options)
    dying.settled(two)
    assert (two.tree(), two.version()) == (before, "0001")


def test_killed_while_it_waits(two: HostFolder) -> None:
    """After the run nothing is under way: a kill of the next command changes nothing of the trial."""
    two.up(confirm_within="10m")
    dying.crash(two, Moment(recovery, "recover"), "upgrade", "head")
    assert two.call("status").body["confirm"]["state"] == "waiting"
    dying.crash(two, Moment(intention, "drop"), "confirm")
    two.up()
    assert (two.version(), promise(two).exists()) == ("0003", False)


def test_what_cannot_be_taken_back_waits_for_a_person(two: HostFolder) -> None:
    """A way back that fails: exit 4, nothing else is done, the promise stands; mended, it is carried out."""
    before = two.tree()
    fragile = two.root.parent / "fragile"
    down = f"import os\nif os.path.exists({str(fragile)!r}):\n    raise RuntimeError('no')\nop.revert()"
    source = two.revision("0003", 'op.make_directories(["third"])', down).read_bytes()
    before |= {"home/migrations/versions/0003_test.py": ("file", 0o644, source)}
    failing = {"verify_with": f"touch {fragile}; exit 3"}
    for verb, options in (("upgrade", failing), ("upgrade", {}), ("recover", {}), ("prune", {})):
        assert two.call(verb, **options).exit_code == 4
        assert (two.version(), two.call("status").body["confirm"]["state"]) == ("0003", "reverting")
    fragile.unlink()
    dying.settled(two)
    is_taken_back(two, before, "health check failed: it ended with 3")


def test_a_way_back_without_room_waits_for_a_person(
    bare: HostFolder, mount: Callable[..., None], tmp_path: Path
) -> None:
    """A disk that the check finds full, and leaves so: exit 4 says that the host is not as before; with room it is."""
    bare.root.mkdir()
    mount(bare.root)
    bare.up()
    (bare.home / "fallback/placeholder.png").write_bytes(bytes(1 << 20))
    bare.revision("0002", "op.install_assets('fallback', 'fallback', ['placeholder.png'])")
    (bare.root / "fallback").mkdir(exist_ok=True)
    (bare.root / "fallback/placeholder.png").write_bytes(b"\1" * (1 << 20))
    before = bare.tree()
    fills = f"head -c 99000000 /dev/zero > {bare.root}/full; exit 3"
    report = bare.call("upgrade", "head", verify_with=fills)
    assert (report.exit_code, bare.version()) == (4, "0002")
    assert "could not be settled" in str(report.error)
    assert promise(bare).exists()
    (bare.root / "full").unlink()
    dying.settled(bare)
    assert (bare.tree(), bare.version(), [revision for revision, _ in holds(bare)]) == (before, "0001", ["0002"])


def test_an_intention_in_other_words_is_not_acted_on(two: HostFolder) -> None:
    """What a newer vvmigrate promised is not guessed at: exit 4, and it is still there."""
    two.up()
    promise(two).write_text('{"format": 2}')
    for verb in ("recover", "upgrade", "confirm", "status"):
        report = two.call(verb)
        assert report.exit_code == 4
        assert "not in words of this vvmigrate" in str(report.error)
    assert promise(two).exists()


# ---- signals ---------------------------------------------------------------------------------------------------------


def interrupted(host: HostFolder, at: Moment | None = None, **options: Any) -> int:
    """Upgrade in a fork that heeds signals as the command line does, and gets SIGTERM at a moment; its exit code."""

    def work() -> None:
        signals.install()
        with dying.at(at, lambda: os.kill(os.getpid(), signal.SIGTERM)) if at else nullcontext():
            code = host.call("upgrade", "head", **options).exit_code
        os._exit(code)

    return dying.in_a_fork(work)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_during_the_check(two: HostFolder, tmp_path: Path, number: signal.Signals) -> None:
    """The check, which sends it here, ends with what it began; the run is taken back and not held; exit 128+n."""
    before = two.tree()
    check = f"sleep 1000 & echo $! > {tmp_path}/child; kill -{int(number)} $PPID; wait"
    assert interrupted(two, verify_with=check) == 128 + number
    assert (two.tree(), two.version(), holds(two), promise(two).exists()) == (before, "0001", [], False)
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] in "ZX"  # nobody reaps it here
    assert two.sql("SELECT exit_code FROM vv_run ORDER BY seq DESC LIMIT 1") == [(128 + number,)]


def test_a_signal_during_a_step(two: HostFolder) -> None:
    """The step is undone, the run's others are taken back; without conditions they stay."""
    before, second = two.tree(), Moment(Journal, "seal", nth=2)
    assert interrupted(two, second, on_failure="revert-run") == 128 + signal.SIGTERM
    assert (two.tree(), two.version(), holds(two), promise(two).exists()) == (before, "0001", [], False)
    assert interrupted(two, second) == 128 + signal.SIGTERM
    assert two.version() == "0002"


def test_a_signal_on_the_way_back(two: HostFolder) -> None:
    """The promise stands, and whoever comes next carries it out."""
    before = two.tree()
    assert interrupted(two, BACK["first step back sealed"], **FAILING) == 128 + signal.SIGTERM
    assert promise(two).exists()
    dying.settled(two)
    is_taken_back(two, before, "health check failed: it ended with 3")


# ---- anywhere --------------------------------------------------------------------------------------------------------


@pytest.mark.full
def test_killed_at_any_access_to_the_file_system(two: HostFolder) -> None:
    """From the first access to the last, every seventh from a seeded beginning: the host is as before, or untouched."""
    before = two.tree()
    number = random.Random(SEED).randrange(1, 8)
    while dying.crash_at_call(two, number, "upgrade", "head", release_hold=True, **FAILING):
        dying.settled(two)
        assert (two.tree(), two.version(), promise(two).exists()) == (before, "0001", False), number
        number += 7
    assert number > 100


@pytest.mark.full
def test_killed_at_any_access_while_it_is_carried_out(two: HostFolder) -> None:
    """The same for the command that comes next: the one after it comes to the end."""
    before = two.tree()
    number = random.Random(SEED).randrange(1, 8)
    while True:
        dying.crash(two, CHECK["check ended"], "upgrade", "head", release_hold=True, verify_with="true")
        reached = dying.crash_at_call(two, number, "recover")
        dying.settled(two)
        assert (two.tree(), two.version(), promise(two).exists()) == (before, "0001", False), number
        assert [revision for revision, _ in holds(two)][-2:] == ["0003", "0002"]
        number += 7
        if not reached:
            break
    assert number > 100
