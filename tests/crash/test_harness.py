"""The harness tests itself: an honest updater survives everything, and every planted bug is found."""

from pathlib import Path
from typing import Any

import pytest

from . import sample
from .crashstates import Profile, explore
from .killpoints import ALL_MODES, Harness
from .scenario import Outcome, Report, Scenario, before_or_after

HERE = Path(__file__).parent
PROFILES: tuple[Profile, ...] = ("posix", "journaled")
SEED = 20250101
SAVED = b"# mine\nPORT=9999 # saved by somebody\n"
#: An editor's save: a new file, renamed over the old one.
SAVE = "printf '# mine\\nPORT=9999 # saved by somebody\\n' > {root}/home/x && mv {root}/home/x {root}/home/.env"


def harness(
    shim: Path,
    bug: str = "",
    *,
    jobs: int | None = None,
    filesystem: str | None = None,
    **more: Any,
) -> Harness:
    """Return a harness for the sample with a planted bug; what is more goes to the scenario."""
    scenario = Scenario(
        sample.setup, ["upgrade", "{root}"], ["recover", "{root}"], app="sample:main", import_path=[HERE],
        env={"BUG": bug}, **more,
    )  # fmt: skip
    return Harness(scenario, shim=shim, jobs=jobs, filesystem=filesystem)


def somebody_saved(outcome: Outcome) -> str:
    """Check that a save in the middle is still there, in its place or beside it, and that the rest is whole."""
    kept = [outcome.root / "home" / name for name in (".env", ".env.kept")]
    if not any(p.exists() and p.read_bytes().startswith(SAVED) for p in kept):
        return "what somebody saved is lost"
    mine = {p: e for p, e in outcome.now_tree.items() if not p.startswith("home/.env")}
    for tree in (outcome.before_tree, outcome.after_tree):
        if mine == {p: e for p, e in tree.items() if not p.startswith("home/.env")}:
            return ""
    return f"the rest is torn: {before_or_after(outcome)}"


def save(root: Path) -> None:
    """Save as an editor does."""
    (root / "home/x").write_bytes(SAVED)
    (root / "home/x").replace(root / "home/.env")


def other_database(root: Path) -> None:
    """Put the database of another host in the place of ours, whatever its journal said."""
    if (root / "storage/.vv/journal.json").exists():
        (root / "asked").touch()
    data = root / "storage/data"
    for path in data.iterdir():
        path.unlink()
    other = root / "other"
    sample.setup(other)
    (other / "storage/data/state.db").rename(data / "state.db")
    sample.remove(other)
    sample.run_sql(data / "state.db", "UPDATE ledger SET id = 'another'")


def untouched(outcome: Outcome) -> str:
    """Check that a recovery that cannot judge has refused, or had nothing to judge."""
    asked = (outcome.root / "asked").exists()
    return "" if outcome.recover_exit == (4 if asked else 0) else "judged by a foreign database"


def test_honest_updater_survives_a_sample_of_every_mode(shim: Path) -> None:
    """All points of kill, and a seeded sample of every other mode: nothing fails, nothing is missed."""
    with harness(shim) as h:
        (h.strike(["kill"]) + h.strike(ALL_MODES[1:], sample=8, seed=SEED)).assert_clean()


def test_honest_updater_survives_strikes_of_its_recovery(shim: Path) -> None:
    """A second fault inside the recovery changes nothing; here at a sample of points."""
    with harness(shim) as h:
        report = h.strike(["kill"], sample=8, seed=SEED, recrash=["kill", "sticky:ENOSPC"], recrash_step=3)
    report.assert_clean()
    assert report.recrashes > 0


@pytest.mark.parametrize("profile", PROFILES)
def test_honest_updater_survives_power_losses_by_the_rules(shim: Path, profile: Profile) -> None:
    """After every legal state of the disk the recovery ends before or after, and after exit 0 only after."""
    with harness(shim) as h:
        explore(h, profile, subsets=2, sample=60, seed=SEED).assert_clean()


def test_honest_updater_loses_no_save_of_somebody_else(shim: Path) -> None:
    """Somebody saves a managed file right before each call: it is kept wherever it falls."""
    with harness(shim, check=somebody_saved, meddle=SAVE) as h:
        h.strike(["meddle"]).assert_clean()


def test_honest_updater_keeps_an_edit_between_crash_and_recovery(shim: Path) -> None:
    """The recovery compares before it takes back."""
    with harness(shim, check=somebody_saved, between=save) as h:
        h.strike(["kill"], sample=20, seed=SEED).assert_clean()


def test_honest_updater_keeps_an_edit_between_power_loss_and_recovery(shim: Path) -> None:
    """Whoever acts between strike and recovery does so on a disk that lost something too."""
    with harness(shim, check=somebody_saved, between=save) as h:
        explore(h, "posix", sample=10, seed=SEED).assert_clean()


def test_honest_updater_refuses_another_database(shim: Path) -> None:
    """A journal is judged by the database that it speaks of, or not at all."""
    with harness(shim, check=untouched, between=other_database, recover_exits=(0, 4)) as h:
        h.strike(["kill"], sample=20, seed=SEED).assert_clean()


#: Each bug, and a way to find it. Where a profile stands, no strike can: memory that survives a kill hides it.
FOUND_BY = [
    ("publish-before-seal", "kill"),
    ("journal-removed-before-commit", "kill"),
    ("compare-then-rename", "meddle"),
    ("no-fsync-of-files", "journaled"),
    ("no-fsync-of-directories", "posix"),
    ("synchronous-off", "journaled"),
    ("synchronous-full", "posix"),
    ("rewrite-in-place", "torn"),
    ("short-write-ignored", "short"),
    ("recovery-trusts-any-database", "another database"),
    ("recovery-without-comparing", "an edit"),
]


def find(shim: Path, bug: str, way: str) -> Report:
    """Look for a bug in one way, up to the first point that shows it."""
    if way == "meddle":
        with harness(shim, bug, check=somebody_saved, meddle=SAVE) as h:
            return h.strike(["meddle"], stop_early=True)
    if way == "an edit":
        with harness(shim, bug, check=somebody_saved, between=save) as h:
            return h.strike(["kill"], stop_early=True)
    if way == "another database":
        with harness(shim, bug, check=untouched, between=other_database, recover_exits=(0, 4)) as h:
            return h.strike(["kill"], stop_early=True)
    with harness(shim, bug) as h:
        for profile in PROFILES:
            if way == profile:
                return explore(h, profile, sample=60, seed=SEED, stop_early=True)
        return h.strike([way], stop_early=True)


@pytest.mark.parametrize(("bug", "way"), FOUND_BY)
def test_planted_bug_is_found(shim: Path, bug: str, way: str) -> None:
    """A harness that finds no bug proves nothing: every planted one must fail at least one point."""
    report = find(shim, bug, way)
    assert [s.verdict for s in report.failures][:1] == ["failed"], report.summary()


def test_every_planted_bug_has_a_way() -> None:
    """No bug is planted that no test looks for."""
    assert [bug for bug, _ in FOUND_BY] == list(sample.BUGS)


@pytest.mark.full
def test_honest_updater_survives_every_point_of_every_mode(shim: Path) -> None:
    """The whole grid."""
    with harness(shim) as h:
        h.strike(ALL_MODES).assert_clean()


@pytest.mark.full
@pytest.mark.parametrize("second", ["kill", "after", "errno:EIO", "sticky:ENOSPC"])
def test_honest_updater_survives_every_strike_of_its_recovery(shim: Path, second: str) -> None:
    """A crash at every call, and a second fault at every call of each recovery."""
    with harness(shim) as h:
        h.strike(["kill"], recrash=[second]).assert_clean()


@pytest.mark.full
@pytest.mark.parametrize("profile", PROFILES)
def test_honest_updater_survives_every_power_loss_by_the_rules(shim: Path, profile: Profile) -> None:
    """All systematic states, and random subsets beside them."""
    with harness(shim) as h:
        explore(h, profile, subsets=20, seed=SEED).assert_clean()
