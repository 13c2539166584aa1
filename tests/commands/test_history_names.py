"""`history A:B`, `--failures`, `--run`: what is asked for by a name, and the answer where there is nothing of it."""

from __future__ import annotations

import shutil

import pytest

from tests.commands.proof import says
from tests.conftest import HostFolder


@pytest.fixture
def lived(bare: HostFolder) -> HostFolder:
    """A host between two revisions of a line whose names say nothing of their order: 0001, zeta, beta, last."""
    bare.revision("zeta", 'op.make_directories(["second"])', follows="0001")
    bare.revision("beta", 'op.make_directories(["third"])', follows="zeta")
    bare.revision("last", 'op.make_directories(["fourth"])', follows="beta")
    bare.up("beta")
    bare.down("zeta", no_hold=True)
    return bare


UP_AND_BACK = [("beta", "down"), ("beta", "up")]
NAMED = {
    "beta": UP_AND_BACK,
    "bet": UP_AND_BACK,
    "+1": UP_AND_BACK,
    "current": [("zeta", "up")],
    "-1": [("0001", "up")],
    "head": [],
    "base": [],
    "zeta:beta": [*UP_AND_BACK, ("zeta", "up")],
    "beta:zeta": [*UP_AND_BACK, ("zeta", "up")],
    "zeta:": [*UP_AND_BACK, ("zeta", "up")],
    ":zeta": [("zeta", "up"), ("0001", "up")],
    "-1:current": [("zeta", "up"), ("0001", "up")],
    "base:head": [*UP_AND_BACK, ("zeta", "up"), ("0001", "up")],
    "head:base": [*UP_AND_BACK, ("zeta", "up"), ("0001", "up")],
}


@pytest.mark.parametrize("span", NAMED)
def test_the_history_knows_revisions_by_every_name_that_other_commands_know(lived: HostFolder, span: str) -> None:
    """And a range is one of the line that they form, from whichever end it is named."""
    entries = lived.json("history", span)["entries"]
    assert [(entry["revision"], entry["direction"]) for entry in entries] == NAMED[span]


@pytest.mark.parametrize("span", ["9:10", "zeta:nine", "-7", "+9:", "nine"])
def test_a_revision_that_is_none_is_a_usage_error(lived: HostFolder, span: str) -> None:
    """A name that was misspelt is no answer of an empty history: exit 2, on a host without one too."""
    says(lived.json("history", span), 2, hint="vvmigrate heads")
    shutil.rmtree(lived.root)
    shutil.rmtree(lived.home / ".vvmigrate")
    says(lived.json("history", span), 2, hint="vvmigrate heads")


def test_what_the_history_has_needs_no_release(lived: HostFolder) -> None:
    """Whoever lost the release finds what was done by its number still; a name of the release's is said to need it."""
    shutil.rmtree(lived.home / "migrations")
    assert [entry["revision"] for entry in lived.json("history", "zeta:beta")["entries"]] == ["beta", "beta", "zeta"]
    says(lived.json("history", "head:"), 2, "this release has none", hint="install the release again")


@pytest.mark.parametrize("arguments", [("--failures",), ("--run", "zzz"), ("head",)])
def test_nothing_of_what_was_asked_for_is_not_called_no_history(lived: HostFolder, arguments: tuple[str, ...]) -> None:
    """A person who looks for failures and finds none must not read that nothing was ever done on this host."""
    shown = lived.run("history", *arguments).stdout
    assert "no history" not in shown
    assert "all 4 attempts: vvmigrate history" in shown
    document = lived.json("history", *arguments)
    assert (document["exit_code"], document["entries"], document["attempts"]) == (0, [], 4)


def test_a_fresh_host_has_no_history(bare: HostFolder) -> None:
    """There nothing was done, whatever is asked for."""
    for arguments in ((), ("--failures",), ("head",)):
        assert "no history: nothing was done" in bare.run("history", *arguments).stdout


def test_one_revision_is_shown_by_every_name(lived: HostFolder) -> None:
    """`show` knows the same names, and says that base is none."""
    assert [lived.json("show", name)["revision"] for name in ("-1", "+1", "head")] == ["0001", "beta", "last"]
    says(lived.json("show", "base"), 2, "base")


def test_names_of_a_history_that_does_not_verify_are_not_resolved(lived: HostFolder) -> None:
    """Where the host is cannot be read out of rows that somebody changed; what stands in them is shown all the same."""
    lived.sql("UPDATE vv_step SET user = 'eve'")
    says(lived.json("history", "-1"), 7, "does not verify")
    assert len(lived.json("history", "zeta:beta")["entries"]) == 3
