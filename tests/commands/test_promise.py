"""What a run promised, and what stands in its way: it is not promised, it is ended by a person, and it is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.commands.proof import says
from tests.commands.trial import holds, promise, set_in_ini
from tests.conftest import HostFolder
from tests.crash import dying
from tests.crash.dying import Moment
from vvmigrate import text
from vvmigrate.engine import intention, recovery, stage

CONDITIONS: list[dict[str, Any]] = [{"confirm_within": "1m"}, {"verify_with": "true"}, {"on_failure": "revert-run"}]


def restart(host: HostFolder) -> None:
    """Let the promise be of another boot of the machine: its time is over."""
    found = json.loads(promise(host).read_text())
    promise(host).write_text(json.dumps(found | {"boot_id": "another"}))


def rows(host: HostFolder) -> list[tuple[Any, ...]]:
    """How many rows the history has, and how many runs."""
    return host.sql("SELECT (SELECT count(*) FROM vv_step), (SELECT count(*) FROM vv_run)")


@pytest.fixture
def stuck(two: HostFolder) -> HostFolder:
    """A host that should be taken back, because of its health check, and whose way back fails from then on."""
    broken = two.root.parent / "broken"
    down = f"import os\nif os.path.exists({str(broken)!r}):\n    raise RuntimeError('no')\nop.revert()"
    two.revision("0003", 'op.make_directories(["third"])', down)
    says(two.call("upgrade", verify_with=f"touch {broken}; exit 3"), 4, "0003", "RuntimeError: no")
    return two


# ---- what is not promised --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: next(iter(condition)))
def test_a_way_back_that_fails_is_not_promised(two: HostFolder, condition: dict[str, Any]) -> None:
    """Exit 6 before the first step, with the reason; without conditions the upgrade is anybody's choice."""
    two.revision("0003", 'op.make_directories(["third"])', down="raise RuntimeError('no')")
    before = two.tree(), two.history()
    says(two.call("upgrade", **condition), 6, "0003", "RuntimeError: no", hint="leave out")
    assert (two.tree(), two.history(), promise(two).exists()) == (*before, False)
    two.up()


def test_a_way_back_that_depends_on_rows_may_be_promised(two: HostFolder) -> None:
    """What it will do cannot be told, but nothing says that it fails."""
    two.revision("0003", "op.execute('CREATE TABLE t (id INTEGER)')", "op.execute('SELECT id FROM t')\nop.revert()")
    two.up(confirm_within="1m")
    assert promise(two).exists()


def test_plan_refuses_what_upgrade_refuses(two: HostFolder) -> None:
    """A promise that could not be kept, and a run that waits: the same code and words, and what is planned."""
    path = two.revision("0003", 'op.make_directories(["third"])', down="raise RuntimeError('no')")
    set_in_ini(two, "health_check = true")
    refused = two.call("plan")
    says(refused, 6, "RuntimeError: no")
    assert [step["revision"] for step in refused.body["steps"]] == ["0002", "0003"]
    assert str(refused.error) == str(two.call("upgrade").error)
    two.up("0002", confirm_within="10m")
    path.write_text(path.read_text().replace("raise RuntimeError('no')", "op.revert()"))
    for verb in ("plan", "upgrade"):
        says(two.call(verb), 6, "waits to be confirmed", hint="vvmigrate downgrade 0001")
    assert two.call("plan", "0002").exit_code == 0


def test_plan_says_that_a_run_is_taken_back_first(two: HostFolder) -> None:
    """What upgrade would do before all else is no step of the plan, but said."""
    two.up("0002", confirm_within="10m")
    restart(two)
    told: list[tuple[str, dict[str, Any]]] = []
    assert two.call("plan", told=told).exit_code == 3
    assert any("is taken back first: not confirmed" in str(facts) for _, facts in told)


def test_nothing_is_taken_over_while_a_confirm_is_waited_for(two: HostFolder) -> None:
    """`adopt` would move the version, from where the promise could not be kept: exit 6, and it is kept in time."""
    two.up(confirm_within="10m")
    assert two.call("adopt").exit_code == 0  # nothing to take over
    two.revision("0004", 'op.make_directories(["second"])')
    says(two.call("adopt", yes=True), 6, "waits to be confirmed", hint="vvmigrate confirm")
    restart(two)
    dying.settled(two)
    assert two.version() == "0001"


# ---- what cannot be kept ---------------------------------------------------------------------------------------------


def test_a_take_back_that_fails_is_recorded_once(stuck: HostFolder) -> None:
    """The shipped timer tries every minute: neither attempts nor runs fill the database."""
    before = rows(stuck)
    for _ in range(3):
        says(stuck.call("recover"), 4, "RuntimeError: no", hint="vvmigrate confirm --yes")
    assert rows(stuck) == before
    assert stuck.history()[-1] == ("0003", "down", "failed")


def test_so_is_one_that_fails_in_the_database(two: HostFolder) -> None:
    """The orchestrator's rows stand in the way: the step is undone every time, and recorded the first time."""
    two.revision("0003", "op.execute('CREATE TABLE t (id INTEGER PRIMARY KEY)')", "op.execute('UPDATE t SET id = 1')")
    two.up(confirm_within="10m")
    two.sql("INSERT INTO t VALUES (1), (2)")
    restart(two)
    says(two.call("recover"), 4, "UNIQUE constraint failed")
    before = rows(two)
    says(two.call("recover"), 4, "UNIQUE constraint failed")
    assert (rows(two), two.history()[-1]) == (before, ("0003", "down", "failed"))
    two.sql("DELETE FROM t WHERE id = 2")
    dying.settled(two)
    assert two.version() == "0001"


@pytest.mark.parametrize("answer", [{"yes": True}, {"confirm": lambda question: "Keep the host as it is?" in question}])
def test_a_person_ends_a_promise_that_cannot_be_kept(
    stuck: HostFolder, capsys: pytest.CaptureFixture[str], answer: dict[str, Any]
) -> None:
    """By --yes or asked on a terminal: the host stays as it is, the history says who and why, and work goes on."""
    says(stuck.call("confirm"), 4, "does not go back", hint="vvmigrate confirm --yes")
    assert stuck.call("confirm", confirm=lambda _: False).exit_code == 4
    before, version = stuck.tree(), stuck.version()
    report = stuck.call("confirm", **answer)
    assert (report.exit_code, report.error) == (0, None)
    assert "does not go back" in report.body["ended"]
    text.show(text.Screen("never"), report)
    assert "the host stays as it is" in capsys.readouterr().out
    assert (stuck.tree(), stuck.version(), promise(stuck).exists()) == (before, version, False)
    entry = stuck.call("history").body["entries"][0]
    assert (entry["direction"], entry["revision"], "does not go back" in entry["error"]) == ("adopt", "", True)
    assert entry["title"].startswith("kept as it is: the run of ")
    stuck.up()
    dying.settled(stuck)


def test_a_way_back_by_hand_is_not_barred(two: HostFolder) -> None:
    """A version that has moved meanwhile: exit 4; by hand the host goes to where it was expected."""
    before = two.tree()
    two.up(confirm_within="10m")
    aside = promise(two).rename(two.root.parent / "aside")
    two.revision("0004", 'op.make_directories(["fourth"])')
    two.up()
    aside.rename(promise(two))
    restart(two)
    says(two.call("recover"), 4, "expected the host at 0003, found it at 0004")
    told: list[tuple[str, dict[str, Any]]] = []
    report = two.call("downgrade", "0003", no_hold=True, told=told)
    assert (report.exit_code, report.error, two.version()) == (0, None, "0003")
    assert any("could not be settled" in str(facts) for _, facts in told)
    dying.settled(two)
    (two.home / "migrations/versions/0004_test.py").unlink()
    assert (two.tree(), two.version(), promise(two).exists()) == (before, "0001", False)


@pytest.mark.parametrize(
    "words",
    [
        {"format": 2},
        {"within_s": "x"},
        {"within_s": 1e300},
        {"since_s": float("nan")},
        {"hold": 1},
        {"user": None},
        {"state": "?"},
        {"more": 1},
        None,
    ],
    ids=str,
)
def test_a_promise_that_cannot_be_understood(two: HostFolder, words: dict[str, Any] | None) -> None:
    """Of a newer vvmigrate, or damaged: exit 4, nothing is guessed; the hint works, in its order."""
    two.up(confirm_within="10m")
    found = json.loads(promise(two).read_text())
    promise(two).write_text(json.dumps(found | words) if words is not None else "no JSON")
    hint = "vvmigrate confirm --yes"
    for verb in ("status", "plan", "recover", "upgrade"):
        says(two.call(verb), 4, "not in words of this vvmigrate", hint=hint)
    says(two.call("downgrade", "0001"), 4, "not in words of this vvmigrate", hint="then vvmigrate downgrade REVISION")
    assert two.version() == "0003"
    ended = two.call("confirm", yes=True)
    assert (ended.exit_code, ended.body["confirmed"]) == (0, None)
    two.down("0001", no_hold=True)


# ---- whose word counts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "moment", [Moment(recovery, "record"), Moment(intention, "drop", after=False), Moment(intention, "drop")], ids=str
)
def test_a_confirm_that_was_killed_has_happened(two: HostFolder, moment: Moment) -> None:
    """From its row on: the history says who confirmed, and the run stays, although its time is over."""
    two.up(confirm_within="10m")
    dying.crash(two, moment, "confirm")
    assert two.call("status").body["confirm"] is None
    if promise(two).exists():
        restart(two)
    dying.settled(two)
    assert (two.version(), promise(two).exists()) == ("0003", False)
    entry = two.call("history").body["entries"][0]
    assert entry["title"].startswith("confirmed: the run of ")
    assert ("confirm", None) in two.sql("SELECT command, exit_code FROM vv_run")


@pytest.mark.parametrize("way", ["rekey", "reconcile"])
def test_a_promise_that_ends_with_its_history_is_named(two: HostFolder, way: str) -> None:
    """A person who goes on with a lost key, or an older database, is told what is not taken back any more."""
    older = two.database.read_bytes()
    two.up(confirm_within="10m")
    restart(two)
    if way == "rekey":
        (two.root / ".vvmigrate/key").unlink()
    else:
        two.database.write_bytes(older)
    asked: list[str] = []
    report = two.call("adopt", **{way: True}, confirm=lambda question: not asked.append(question))
    assert report.error is None
    assert "waits for a confirm; that ends with this" in asked[0]
    assert (promise(two).exists(), two.version()) == (False, "0003")
    said = two.sql("SELECT title, notes FROM vv_step WHERE direction IN ('adopt', 'epoch') ORDER BY seq")
    assert "that ends with this" in said[0][1]
    assert said[1][0].startswith("kept as it is: the run of ")
    dying.settled(two)


def test_a_decision_about_the_database_is_the_end_of_a_promise(two: HostFolder) -> None:
    """Also where the older database still knows what the run did, and a kill comes before its promise is gone."""
    two.up(confirm_within="10m")
    older = two.database.read_bytes()
    (two.root / "second").rmdir()
    two.call("repair")
    two.database.write_bytes(older)
    restart(two)
    dying.crash(two, Moment(intention, "drop", after=False), "adopt", reconcile=True, yes=True)
    assert promise(two).exists()
    dying.settled(two)
    assert (two.version(), promise(two).exists()) == ("0003", False)


def test_a_hold_returns_with_a_run_that_had_lifted_it(two: HostFolder) -> None:
    """Cut short, judged by nobody, taken back: what was held before is held again, for the same reason."""
    two.up("0002")
    two.down("0001", reason="bad release")
    dying.crash(two, Moment(stage, "stage", nth=2), "upgrade", "head", release_hold=True, on_failure="revert-run")
    assert two.version() == "0002"
    dying.settled(two)
    assert (two.version(), holds(two)) == ("0001", [("0002", "bad release")] * 2)
    assert two.call("upgrade").exit_code == 3
    assert two.version() == "0001"
