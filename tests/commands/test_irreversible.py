"""A revision that says why it cannot be taken back."""

from __future__ import annotations

import pytest

from tests.commands.proof import nothing_changes, says
from tests.commands.revisions import put, source
from tests.conftest import HostFolder

REASON = "the old keys are gone"
DECLARED = f'irreversible = "{REASON}"\n'


@pytest.mark.parametrize("target", ["-2", "0002", "base"])
def test_a_downgrade_past_it_is_refused_before_it_starts(release: HostFolder, target: str) -> None:
    """Exit 6 with the reason, nothing taken back, not even what came after it; down to it works."""
    put(release, source("op.execute('CREATE TABLE t (id INTEGER)')", top=DECLARED))
    put(release, source("op.make_directories(['late'])", "op.revert()").replace("0003", "0004").replace("0002", "0003"),
        "0004_test.py")  # fmt: skip
    release.up()
    before = release.tree(), release.history()
    says(release.call("downgrade", target), 6, "0003", REASON, hint="vvmigrate downgrade 0003")
    assert (release.tree(), release.history()) == before
    release.down("0003")
    assert release.version() == "0003"


def test_the_plan_of_such_a_downgrade_says_so(release: HostFolder) -> None:
    """Nobody has to try it to learn that it is refused; a look writes nothing."""
    put(release, source("pass", top=DECLARED))
    release.up()
    with nothing_changes(release):
        says(release.json("downgrade", "-1", "--plan"), 6, "0003", REASON, hint="vvmigrate downgrade 0003")


def test_an_irreversible_revision_says_so_also_after_its_package_is_gone(release: HostFolder) -> None:
    """What counts is what was declared when it was applied."""
    path = put(release, source("pass", top=DECLARED))
    release.up()
    path.unlink()
    says(release.call("downgrade", "head"), 6, REASON)
