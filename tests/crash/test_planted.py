"""Bugs planted in vvmigrate itself: each is found by the same judges that find the honest one without fault."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .cases import PRUNE, RECOVERIES, UP, Case
from .crashstates import Profile, explore
from .engine_check import opened, state_directory
from .engine_host import StepHarness, bring, scenario
from .planted import BUGS
from .saving import Saving
from .scenario import Report

SEED = 20250106
Way = Callable[[Path, str], Report]


def struck(mode: str, case: Case = UP[-1], *, on: str = "") -> Way:
    """Strike every call in one mode, or every one on a certain file, up to the first that shows the bug."""

    def find(shim: Path, bug: str) -> Report:
        with case.harness(shim, bug=bug, jobs=1) as h:
            points = [call.n for call in h.calls if call.path.endswith(on)]
            return h.strike([mode], points=points, stop_early=True)

    return find


def lost(profile: Profile, sample: int) -> Way:
    """Lose what was not synced, by one file system's rules, up to the first disk that shows the bug.

    Args:
        profile: whose rules.
        sample: how many disks, beside those after the last call.
    """

    def find(shim: Path, bug: str) -> Report:
        with UP[-1].harness(shim, bug=bug, jobs=1) as h:
            return explore(h, profile, sample=sample, seed=SEED, stop_early=True)

    return find


def somebody_saves(name: str, mode: str) -> Way:
    """Have somebody save a managed file right before each call, or between a kill there and the recovery."""

    def find(shim: Path, bug: str) -> Report:
        with StepHarness(Saving(name, "upgrade").scenario(between=mode == "kill", bug=bug), shim=shim, jobs=1) as h:
            return h.strike([mode], stop_early=True)

    return find


FOUND_BY: dict[str, Way] = {
    "before-images-not-synced": lost("posix", 1),
    "synchronous-full": lost("posix", 1),
    "interrupted-is-failed": struck("kill", RECOVERIES[len(UP) - 1]),
    "error-of-commit-believed": struck("errno:EIO", on="/orchestrator_data"),
    "publish-before-seal": struck("kill"),
    "journal-removed-before-commit": struck("kill"),
    "compare-then-rename": somebody_saves("fallback/placeholder.png", "meddle"),
    "no-fsync-of-files": lost("journaled", 60),
    "no-fsync-of-directories": lost("posix", 60),
    "synchronous-off": lost("journaled", 60),
    "rewrite-in-place": struck("torn", on="/home/.env"),
    "short-write-ignored": struck("short"),
    "recovery-without-comparing": somebody_saves(".env", "kill"),
}
QUICK = ("before-images-not-synced", "synchronous-full", "interrupted-is-failed")


@pytest.mark.parametrize("bug", [pytest.param(b, marks=() if b in QUICK else pytest.mark.full) for b in BUGS])
def test_a_bug_planted_in_vvmigrate_is_found(shim: Path, bug: str) -> None:
    """Before-images that may be lost, a COMMIT that may come undone, a history that tells another story, and more."""
    report = FOUND_BY[bug](shim, bug)
    print(report.failures[:1])
    assert [strike.verdict for strike in report.failures][:1] == ["failed"], report.summary()


def test_what_lies_about_in_a_state_directory_is_found(tmp_path: Path) -> None:
    """A name that nobody knows, in the home's as in the storage root's."""
    bring(tmp_path, ("upgrade", "0001"))
    assert state_directory(tmp_path) == ""
    for folder in ("home", "storage"):
        stray = tmp_path / folder / ".vvmigrate/forgotten"
        stray.touch(0o600)
        assert "forgotten" in state_directory(tmp_path)
        stray.unlink()


def lose_an_image(root: Path) -> None:
    """Lose what the last step that is still applied had taken out."""
    with opened(root) as (private, ledger):
        applied = [row["step_id"] for row in ledger.rows("vv_step") if row["version_after"] == "0008"]
        shutil.rmtree(private / "undo" / applied[0])


@pytest.mark.full
def test_a_pruning_that_loses_more_than_it_says_is_found(shim: Path) -> None:
    """What prune must keep is compared too, also where no program looks: before-images of applied steps."""
    loses = scenario(PRUNE.setup, "prune", "", PRUNE.check({}), between=lose_an_image)
    with StepHarness(loses, shim=shim, jobs=1) as h:
        report = h.strike(["kill"], points=[1])
    assert "undo/step" in report.failures[0].why
