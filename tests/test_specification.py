"""docs/specification.md promises a test for each behaviour; here that promise is kept."""

from __future__ import annotations

import re

import pytest

from tests.conftest import REPOSITORY

LINES = (REPOSITORY / "docs/specification.md").read_text().splitlines()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES if line.startswith("| ")][1:]
TESTS = {
    name
    for path in (REPOSITORY / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_each_behaviour_has_its_place_and_its_test(row: list[str]) -> None:
    """What the page names exists: every file or folder, and at least one test, all of them."""
    behaviour, happens, where, shown_by = row
    assert behaviour
    assert happens
    assert all((REPOSITORY / name).exists() for name in re.findall(r"`([^`]+)`", where))
    named = re.findall(r"`([^`]+)`", shown_by)
    assert named
    assert set(named) <= TESTS


def test_no_behaviour_was_dropped() -> None:
    """The specification has at least so many behaviours; a row may be split, not lost."""
    assert len(ROWS) >= 34
