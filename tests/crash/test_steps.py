"""Every baseline revision, up and down, struck at its calls: recovery leaves exactly the state before or after."""

import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import BASELINE

from . import power
from .crashstates import Profile, explore
from .engine_check import Check, note_what_is_there
from .engine_host import DATABASE, IGNORE, State, StepHarness, bring, host_folder, next_release, run, scenario, state_of
from .killpoints import ALL_MODES
from .scenario import Report
from .trees import Snapshots

SEED = 20250101
PROFILES: tuple[Profile, ...] = ("posix", "journaled")
LINE = ("", *BASELINE)
TOP = BASELINE[-1]
NEXT = "0007"
why_not = cache(power.why_not)
#: An orchestrator that keeps the database open in WAL mode and looks into it now and then.
ORCHESTRATOR = f"""
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1] + "/storage/{DATABASE}", timeout=5)
print(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0], flush=True)
while True:
    time.sleep(0.01)
    try:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        sys.exit()  # the power went
"""


@dataclass(frozen=True)
class Case:
    """A command, and the versions that it leads through."""

    verb: str
    path: tuple[str, ...]

    @property
    def target(self) -> str:
        """The command's argument."""
        return self.path[-1] or "base"

    def __str__(self) -> str:
        """Return the test's name."""
        return f"{self.verb} {self.path[0] or 'base'}-{self.target}"

    def setup(self, root: Path) -> None:
        """Bring a host to the state before."""
        first = self.path[0]
        up_to = TOP if NEXT in self.path else first
        host = bring(root, *([("upgrade", up_to)] if up_to else []))
        if NEXT in self.path:
            next_release(host)
            if first == NEXT:
                run(host, "upgrade", NEXT)

    def wal(self, root: Path) -> None:
        """Bring a host to the state before, with the orchestrator's database in WAL mode."""
        self.setup(root)
        with closing(sqlite3.connect(root / "storage" / DATABASE)) as db:
            db.execute("PRAGMA journal_mode = WAL")

    def harness(self, shim: Path, states: Mapping[str, State] | None = None, **more: Any) -> StepHarness:
        """Return a harness for it; jobs and filesystem are the harness's, what else there is the scenario's."""
        own = {name: more.pop(name) for name in ("jobs", "filesystem") if name in more}
        setup = self.wal if "companion" in more else self.setup
        check = Check(self.verb, self.target, self.path, states or {})
        struck = scenario(setup, self.verb, self.target, check, between=note_what_is_there, **more)
        return StepHarness(struck, shim=shim, **own)

    def between(self, root: Path) -> Mapping[str, State]:
        """The states in the middle of it, as one step after the other makes them."""
        root.mkdir()
        self.setup(root)
        found = {}
        for version in self.path[1:-1]:
            run(host_folder(root), self.verb, version)
            fresh = self.verb == "upgrade" and not self.path[0]
            found[version] = state_of(Snapshots(IGNORE).take(root), root, root, fresh=fresh)
        return found


UP = [Case("upgrade", pair) for pair in pairwise(LINE)] + [Case("upgrade", (TOP, NEXT))]
DOWN = [Case("downgrade", (case.path[1], case.path[0])) for case in UP]
STEPS = [*UP, *DOWN]
WHOLE = [Case("upgrade", LINE), Case("downgrade", LINE[::-1])]
RICH = [UP[1], UP[3], UP[-1], DOWN[-1]]  # the model, settings, and what the next release does: every kind of effect
each_step = pytest.mark.parametrize("case", STEPS, ids=str)
each_rich_step = pytest.mark.parametrize("case", RICH, ids=str)


@pytest.fixture(params=["ext4", "xfs"])
def filesystem(request: pytest.FixtureRequest) -> str:
    """Return a file system whose power can be cut here; else the test is skipped and says why."""
    if why := why_not(request.param):
        pytest.skip(why)
    return str(request.param)


def proved(report: Report, harness: StepHarness) -> None:
    """Nothing failed, nothing was missed, and both sides were seen: else the points were badly chosen."""
    print(f"{report.summary()}")
    report.assert_clean()
    check = harness.scenario.check
    assert isinstance(check, Check)
    assert len(check.counts) > 1, check.counts


# ---- the quick set ---------------------------------------------------------------------------------------------------


@each_step
def test_a_step_survives_a_sample_of_every_fault(shim: Path, case: Case) -> None:
    """A seeded sample of kills and faults of every mode: files, tables, version, history and secrets agree."""
    with case.harness(shim) as h:
        report = h.strike(["kill", "after"], sample=4, seed=SEED) + h.strike(ALL_MODES[2:], sample=1, seed=SEED)
        proved(report, h)


def test_a_step_survives_a_second_crash(shim: Path) -> None:
    """The recovery is struck in its turn, and recovers."""
    with UP[-1].harness(shim) as h:
        report = h.strike(["kill"], sample=4, seed=SEED, recrash=["kill", "sticky:ENOSPC"], recrash_step=12)
    report.assert_clean()
    assert report.recrashes > 0


def test_a_step_survives_power_losses_by_the_rules(shim: Path) -> None:
    """A seeded sample of the legal disks; after exit 0 only the state after is left."""
    with UP[2].harness(shim) as h:
        explore(h, *PROFILES, sample=40, seed=SEED).assert_clean()


def test_a_step_survives_real_power_cuts_beside_an_orchestrator(shim: Path, filesystem: str) -> None:
    """The orchestrator keeps the database open in WAL mode; the power goes at a sample of calls."""
    companion = [sys.executable, "-c", ORCHESTRATOR, "{root}"]
    with UP[-1].harness(shim, filesystem=filesystem, companion=companion) as h:
        h.strike(["power"], sample=4, seed=SEED).assert_clean()


# ---- the full set ----------------------------------------------------------------------------------------------------


@pytest.mark.full
@each_step
def test_a_step_survives_every_fault(shim: Path, case: Case) -> None:
    """Every call, every mode."""
    with case.harness(shim) as h:
        proved(h.strike(ALL_MODES), h)


@pytest.mark.full
@pytest.mark.parametrize("case", WHOLE, ids=str)
def test_a_whole_run_survives_every_kill(shim: Path, case: Case, tmp_path: Path) -> None:
    """From nothing to the last revision and back to base: each step is before or after, in their order."""
    with case.harness(shim, case.between(tmp_path / "way")) as h:
        # A kill right after a call is one right before the next: nothing on the disk lies between them.
        kills = h.strike(["kill"]) + h.strike(["after"], points=[len(h.calls)])
        proved(kills + h.strike(ALL_MODES[2:], sample=20, seed=SEED), h)


@pytest.mark.full
@each_step
def test_a_step_survives_every_second_crash(shim: Path, case: Case) -> None:
    """A kill at every call, and a second one at every call of the recoveries; faults at a sample of those."""
    faults = ["errno:EIO", "sticky:ENOSPC"]
    with case.harness(shim) as h:
        kills = h.strike(["kill"], recrash=["kill"])  # a kill right after a call is one right before the next
        (kills + h.strike(["kill"], sample=30, seed=SEED, recrash=faults, recrash_step=4)).assert_clean()


@pytest.mark.full
@each_step
def test_a_step_survives_every_power_loss_by_the_rules(shim: Path, case: Case) -> None:
    """All systematic disks of both kinds of file systems, and random subsets beside them."""
    with case.harness(shim) as h:
        explore(h, *PROFILES, subsets=1, seed=SEED).assert_clean()


@pytest.mark.full
@each_step
def test_a_step_survives_every_real_power_cut(shim: Path, case: Case, filesystem: str) -> None:
    """The power goes at every call."""
    with case.harness(shim, filesystem=filesystem) as h:
        h.strike(["power"]).assert_clean()


@pytest.mark.full
@each_rich_step
def test_a_step_survives_every_real_power_cut_beside_an_orchestrator(shim: Path, case: Case, filesystem: str) -> None:
    """The same while somebody keeps the database open in WAL mode, so that no checkpoint tidies the log."""
    companion = [sys.executable, "-c", ORCHESTRATOR, "{root}"]
    with case.harness(shim, filesystem=filesystem, companion=companion) as h:
        h.strike(["power"]).assert_clean()
