"""Real power cuts: what a file system keeps after a shutdown without flushing, on loop devices of its own."""

import os
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path

import pytest

from . import power, sample
from .killpoints import Harness
from .scenario import Scenario
from .shim import HarnessError
from .test_harness import SEED, harness

why_not = cache(power.why_not)
#: An orchestrator that keeps the database open and looks into it now and then.
COMPANION = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1] + "/storage/data/state.db", timeout=5)
print(db.execute("SELECT count(*) FROM version").fetchone()[0], flush=True)
while True:
    time.sleep(0.01)
    db.execute("SELECT count(*) FROM history").fetchone()
"""


@pytest.fixture(params=["ext4", "xfs"])
def filesystem(request: pytest.FixtureRequest) -> str:
    """Return a file system whose power can be cut here; else the test is skipped and says why."""
    if why := why_not(request.param):
        pytest.skip(why)
    return str(request.param)


def setup_wal(root: Path) -> None:
    """Make the state before, with a database in WAL mode."""
    sample.setup(root)
    sample.run_sql(root / "storage/data/state.db", "PRAGMA journal_mode = WAL")


def test_honest_updater_survives_real_power_cuts(shim: Path, filesystem: str) -> None:
    """A seeded sample of points; the full set takes all of them."""
    with harness(shim, filesystem=filesystem) as h:
        h.strike(["power"], sample=6, seed=SEED).assert_clean()


def test_unsynced_files_are_found_by_a_real_power_cut(shim: Path, filesystem: str) -> None:
    """The cut is real: what was never synced is really gone."""
    with harness(shim, "no-fsync-of-files", filesystem=filesystem) as h:
        report = h.strike(["power"], points=range(20, 60, 3), stop_early=True)
    assert report.failures, report.summary()


def test_a_power_cut_where_none_is_possible_is_an_error(shim: Path) -> None:
    """The mode power on a shared file system must not pass as a kill."""
    with harness(shim, jobs=1) as h, pytest.raises(HarnessError, match="file system of its own"):
        h.strike(["power"], points=[5])


def test_disks_are_gone_afterwards(filesystem: str) -> None:
    """Neither mount nor loop device nor image stays, also when the test fails in the middle."""
    with pytest.raises(ZeroDivisionError), power.mounted(filesystem) as disk:  # noqa: PT012 - both are the point
        folder = disk.path.parent
        assert str(disk.path) in Path("/proc/mounts").read_text("utf-8")
        _ = 1 / 0
    assert str(folder) not in Path("/proc/mounts").read_text("utf-8")
    assert not folder.exists()
    assert not [name for name in backing_files() if folder.name in name]


def backing_files() -> list[str]:
    """The images that loop devices show."""
    return [p.read_text("utf-8").strip() for p in Path("/sys/block").glob("loop*/loop/backing_file")]


def test_disks_of_a_killed_process_are_swept(filesystem: str) -> None:
    """Who is killed in the middle cannot tidy; the next harness does it for him."""
    lines = f"""
        import os, signal
        from {power.__package__} import power
        with power.mounted("{filesystem}") as disk:
            print(disk.path, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(lines)], env=env, capture_output=True, text=True, check=False
    )
    folder = Path(killed.stdout.strip()).parent
    assert [name for name in backing_files() if folder.name in name]
    with power.mounted(filesystem):
        assert not [name for name in backing_files() if folder.name in name]
    assert not folder.exists()


@pytest.mark.full
def test_honest_updater_survives_every_real_power_cut(shim: Path, filesystem: str) -> None:
    """A cut at every call, and cuts inside the recovery."""
    with harness(shim, filesystem=filesystem) as h:
        (h.strike(["power"]) + h.strike(["kill"], recrash=["power"], recrash_step=5)).assert_clean()


@pytest.mark.full
def test_power_cuts_with_an_orchestrator_in_wal_mode(shim: Path, filesystem: str) -> None:
    """The database is kept open by somebody else all the while, so that no checkpoint tidies the log."""
    here = Path(__file__).parent
    scenario = Scenario(
        setup_wal, ["upgrade", "{root}"], ["recover", "{root}"], app="sample:main", import_path=[here],
        companion=[sys.executable, "-c", COMPANION, "{root}"],
    )  # fmt: skip
    with Harness(scenario, shim=shim, filesystem=filesystem) as h:
        h.strike(["power"]).assert_clean()
