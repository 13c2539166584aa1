"""Every step there is, struck at its calls: recovery leaves exactly the state before or after."""

from functools import cache
from pathlib import Path

import pytest

from . import power
from .cases import ADOPT, COMPANION, DOWN, EVERY, RECOVERIES, UP, WHOLE, Case
from .crashstates import Profile, explore
from .engine_check import Check
from .engine_host import DATABASE, StepHarness
from .killpoints import ALL_MODES
from .scenario import Report

SEED = 20250101
PROFILES: tuple[Profile, ...] = ("posix", "journaled")
why_not = cache(power.why_not)
each_step = pytest.mark.parametrize("case", [*EVERY, pytest.param(ADOPT, marks=pytest.mark.full)], ids=str)
each_recovery = pytest.mark.parametrize("case", RECOVERIES, ids=str)
each_with_a_database = pytest.mark.parametrize("case", [*UP[1:], *DOWN], ids=str)


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


def test_a_commit_that_reports_an_error_is_what_the_database_says(shim: Path) -> None:
    """SQLite's journal cannot be removed: nothing happened; or it can, and the sync after it fails: all happened."""
    with UP[2].harness(shim, jobs=1) as h:
        removed = next(c.n for c in h.calls if c.name == "unlink" and c.path.endswith(f"{DATABASE}-journal"))
        proved(h.strike(["errno:EIO", "sticky:EIO"], points=[removed, removed + 1]), h)


def test_a_recovery_survives_faults_and_power_losses_of_its_own(shim: Path) -> None:
    """Struck at a call a mode, or without power: the next one leaves what an undisturbed one does, told once."""
    with RECOVERIES[len(UP) - 1].harness(shim, jobs=1) as h:
        (h.strike(ALL_MODES, sample=1, seed=SEED) + explore(h, *PROFILES, sample=20, seed=SEED)).assert_clean()


def test_a_step_survives_power_losses_by_the_rules(shim: Path) -> None:
    """A seeded sample of the legal disks; after exit 0 only the state after is left."""
    with UP[2].harness(shim) as h:
        explore(h, *PROFILES, sample=40, seed=SEED).assert_clean()


def test_a_step_survives_real_power_cuts_beside_an_orchestrator(shim: Path, filesystem: str) -> None:
    """The orchestrator keeps the database open in WAL mode; the power goes at a sample of calls."""
    with UP[-1].harness(shim, filesystem=filesystem, companion=COMPANION) as h:
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
    """From nothing to the last revision, back, and an old host's take-over: each step is before or after, in order."""
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
def test_a_step_survives_kills_of_the_recovery_of_a_fault(shim: Path, case: Case) -> None:
    """A call fails instead, once or from then on; then the recovery is killed."""
    with case.harness(shim) as h:
        report = h.strike(["errno:EIO", "sticky:ENOSPC"], sample=20, seed=SEED, recrash=["kill"])
    report.assert_clean()
    assert report.recrashes > 0


@pytest.mark.full
@each_recovery
def test_a_recovery_survives_every_fault(shim: Path, case: Case) -> None:
    """Every call of the recovery of a killed step, every mode."""
    with case.harness(shim) as h:
        h.strike(ALL_MODES).assert_clean()


@pytest.mark.full
@each_recovery
def test_a_recovery_survives_every_power_loss_by_the_rules(shim: Path, case: Case) -> None:
    """All systematic disks that a power loss in a recovery may leave."""
    with case.harness(shim) as h:
        explore(h, *PROFILES, seed=SEED).assert_clean()


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
@each_with_a_database
def test_a_step_survives_every_real_power_cut_beside_an_orchestrator(shim: Path, case: Case, filesystem: str) -> None:
    """The same while somebody writes into the database in WAL mode, and no checkpoint tidies the log."""
    with case.harness(shim, filesystem=filesystem, companion=COMPANION) as h:
        h.strike(["power"]).assert_clean()
