"""What was taken back on purpose does not return by itself."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import HostFolder


@pytest.fixture
def two(bare: HostFolder) -> HostFolder:
    """A host at 0003, whose two last revisions make a directory each."""
    bare.revision("0002", 'op.make_directories(["second"])')
    bare.revision("0003", 'op.make_directories(["third"])')
    bare.up()
    return bare


def test_an_upgrade_by_itself_does_not_bring_it_back(two: HostFolder) -> None:
    """After downgrade -1 the next boot's upgrade stops below, exit 3, and says who held it, when and why."""
    two.down("-1", reason="the lobby camera went dark")
    done = two.run("upgrade", "head")
    assert done.returncode == 3
    entry = two.call("status").body["held"][0]
    text = " ".join((done.stdout + done.stderr).split())
    for word in ("0003", entry["user"], entry["at"], "the lobby camera went dark", "--release-hold"):
        assert word in text
    assert not (two.root / "third").exists()
    assert two.version() == "0002"


def test_a_held_upgrade_is_no_attempt(two: HostFolder) -> None:
    """Stopping below a hold changes nothing and adds nothing to the history, however often it happens."""
    two.down("-1")
    before = two.history(), two.tree()
    for _ in range(2):
        assert two.call("upgrade", "head").exit_code == 3
    assert (two.history(), two.tree()) == before


def test_release_hold_brings_it_back_and_lifts_the_hold(two: HostFolder) -> None:
    """--release-hold applies it again; afterwards the hold is gone also after another downgrade with --no-hold."""
    two.down("-1")
    two.up(release_hold=True)
    assert (two.root / "third").is_dir()
    two.down("-1", no_hold=True)
    two.up()
    assert two.version() == "0003"


def test_a_release_that_changes_the_revision_lifts_the_hold(two: HostFolder) -> None:
    """A mended revision is applied by the next upgrade without anybody's help."""
    two.down("-1")
    two.revision("0003", 'op.make_directories(["third", "mended"])')
    two.up()
    assert (two.root / "mended").is_dir()


def test_no_hold_sets_none(two: HostFolder) -> None:
    """downgrade --no-hold lets the next upgrade bring it back."""
    assert two.down("-1", no_hold=True).body["held"] == []
    two.up()
    assert two.version() == "0003"


def test_going_down_to_base_sets_none(two: HostFolder) -> None:
    """A host that is taken down whole can be brought up again by upgrade."""
    two.down("base")
    two.up()
    assert two.version() == "0003"


def test_every_revision_that_was_taken_back_is_held(two: HostFolder) -> None:
    """Taking back two sets two holds; upgrade stops below the first of them, and one --release-hold lifts both."""
    assert [hold["revision"] for hold in two.down("0001").body["held"]] == ["0003", "0002"]
    assert two.call("upgrade", "head").exit_code == 3
    assert two.version() == "0001"
    two.up(release_hold=True)
    assert two.version() == "0003"


def test_what_lies_below_the_hold_is_applied(two: HostFolder) -> None:
    """A hold on the last revision does not keep the ones before it from coming back."""
    two.down("-1")
    two.down("-1", no_hold=True)
    report = two.call("upgrade", "head")
    assert (report.exit_code, report.body["to"]) == (3, "0002")
    assert [hold["revision"] for hold in report.body["held"]] == ["0003"]


def test_a_person_at_a_terminal_decides(two: HostFolder) -> None:
    """On a terminal the question names the revision and its hold; no leaves it, yes applies it."""
    two.down("-1")
    questions = []

    def no(question: str) -> bool:
        questions.append(question)
        return False

    assert two.call("upgrade", "head", confirm=no).exit_code == 3
    assert "0003" in questions[0]
    two.up(confirm=lambda _: True)
    assert two.version() == "0003"


@pytest.mark.parametrize("options", [{}, {"no_hold": True}, {"reason": "it flickers"}], ids=str)
@pytest.mark.parametrize("target", ["0001", "base"])
def test_a_plan_back_says_what_will_not_return_by_itself(two: HostFolder, target: str, options: dict[str, Any]) -> None:
    """Who takes a release back at night knows before whether the next boot brings it again."""
    plan = two.call("plan down", target, **options)
    done = two.down(target, **options)
    assert plan.body["held"] == done.body["held"]
    protects = target != "base" and not options.get("no_hold")
    assert [hold["revision"] for hold in plan.body["held"]] == (["0003", "0002"] if protects else [])
    assert all(hold["reason"] == options.get("reason", hold["reason"]) for hold in plan.body["held"])


def test_plan_and_status_say_that_it_is_held(two: HostFolder) -> None:
    """Whoever looks before upgrading sees the hold: exit 3, and the revision by name."""
    two.down("-1")
    for verb in ("plan", "status"):
        report = two.call(verb)
        assert report.exit_code == 3
        assert [hold["revision"] for hold in report.body["held"]] == ["0003"]


def test_a_failed_downgrade_holds_nothing(two: HostFolder) -> None:
    """The hold is written in the step's own transaction: no step, no hold."""
    two.revision("0004", 'op.make_directories(["fourth"])', 'raise RuntimeError("no")')
    two.up()
    assert two.call("downgrade", "-1").exit_code == 1
    assert two.sql("SELECT count(*) FROM vv_hold") == [(0,)]
