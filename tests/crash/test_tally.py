"""The table of what was proved: filled row by row, by runs that may be cut short."""

from pathlib import Path

import pytest

from .scenario import Report, Strike, Verdict
from .tally import BEGIN, END, Tally, row_of

FAULTS = "tests/crash/test_steps.py::test_a_step_survives_every_fault[{}] (call)"


def report(*verdicts: Verdict) -> Report:
    """What came of some points."""
    return Report(
        [Strike(n, "kill", "rename", verdict) for n, verdict in enumerate(verdicts, 1)], len(verdicts), 1, 1, 0
    )


def test_a_row_is_written_when_it_is_proved_and_stays_until_it_is_proved_again(tmp_path: Path) -> None:
    """A run that is cut short leaves its rows; the next one adds its own, and replaces those that it has too."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    first = Tally(page)
    first.note(FAULTS.format("repair .env"), report("survived"))
    first.note(FAULTS.format("upgrade 0001-0002"), report("survived", "failed"))
    Tally(page).note(FAULTS.format("upgrade 0001-0002"), report("survived", "survived", "survived"))
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    rows = [line.rpartition(" | ")[0] for line in lines if line.startswith(("| repair", "| upgrade"))]
    assert rows == ["| repair .env | faults | 1 | 1 | 0 | 0 | 0", "| upgrade 0001-0002 | faults | 3 | 3 | 0 | 0 | 0"]


def test_a_row_that_no_full_run_can_fill_does_not_stay(tmp_path: Path) -> None:
    """What was once noted of a sample, or under another name, is not shown as proved for ever."""
    page = tmp_path / "page.md"
    stale = [
        "| prune all | faults, a sample | 9 | 9 | 0 | 0 | 0 | day |",
        "| prune all | second crash | 9 | 9 | 0 | 0 | 0 | day |",
    ]
    kept = "| prune all | power loss, by the rules | 9 | 9 | 0 | 0 | 0 | day |"
    page.write_text("\n".join([BEGIN, *stale, kept, END]))
    Tally(page).note(FAULTS.format("prune all"), report("survived"))
    rows = [line for line in page.read_text().splitlines() if line.startswith("| prune")]
    assert [row.split(" | ")[1] for row in rows] == ["faults", "power loss, by the rules"]
    assert kept in rows


@pytest.mark.parametrize(
    ("test", "row"),
    [
        (
            "test_a_step_survives_every_real_power_cut[ext4-upgrade base-0001]",
            ("upgrade base-0001", "power cut, real, ext4"),
        ),
        (
            "test_a_step_survives_every_real_power_cut_beside_an_orchestrator[xfs-prune all]",
            ("prune all", "power cut, real, xfs, beside an orchestrator"),
        ),
        (
            "test_a_whole_run_survives_every_kill[upgrade base-0006]",
            ("upgrade base-0006", "every kill, faults a sample"),
        ),
        (
            "test_a_step_survives_every_second_crash[upgrade base-0001]",
            ("upgrade base-0001", "second kill, second faults a sample"),
        ),
        (
            "test_a_step_survives_kills_of_the_recovery_of_a_fault[prune all]",
            ("prune all", "faults a sample, then a kill"),
        ),
        (
            "test_a_recovery_survives_every_fault[recover downgrade 0002-0001]",
            ("recover downgrade 0002-0001", "faults"),
        ),
        ("test_a_step_survives_a_sample_of_every_fault[prune all]", None),
        ("test_honest_updater_survives_every_point_of_every_mode", None),
    ],
)  # fmt: skip
def test_every_test_of_the_full_set_has_a_row_of_its_own(test: str, row: tuple[str, str] | None) -> None:
    """What was tried on which file system, and beside whom, is told apart."""
    assert row_of(test) == row
