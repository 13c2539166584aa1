"""Before going back: what the plan says, and the question on a terminal. And releases, by their names."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from typing import Any

import pytest

from tests.commands.proof import nothing_changes, says
from tests.conftest import HostFolder


@pytest.fixture
def shipped(bare: HostFolder) -> HostFolder:
    """A host with three releases of one or two revisions, and rows in what the last one made."""
    for number, release in (("0002", "2.1"), ("0003", "2.2"), ("0004", "2.2")):
        named(bare, number, release, f"op.make_directories(['d{number}'])")
    table = "sa.Column('id', sa.Integer, primary_key=True), sa.Column('word', sa.Text)"
    named(
        bare,
        "0005",
        "2.3",
        f"op.install_assets('fallback', 'fallback')\nop.create_table('words', {table})\n"
        "op.add_column('kept', sa.Column('mood', sa.Text))",
        "op.drop_column('kept', 'mood')\nop.drop_table('words')\nop.revert()",
    )
    bare.up("0004")
    bare.sql("CREATE TABLE kept (id INTEGER PRIMARY KEY)")
    bare.up()
    for number in range(3):
        bare.sql("INSERT INTO words VALUES (?, 'w')", number)
        bare.sql("INSERT INTO kept VALUES (?, ?)", number, "calm" if number else None)
    return bare


def named(host: HostFolder, number: str, release: str, up: str, down: str = "op.revert()") -> None:
    host.revision(number, up, down, imports=f"release = {release!r}")


# ---- the plan --------------------------------------------------------------------------------------------------------


def test_the_plan_counts_the_rows_that_will_be_kept(shipped: HostFolder) -> None:
    """Of a table its rows, of a column its values: named, with where they go; and the way back says the same."""
    with nothing_changes(shipped):
        plan = shipped.call("plan down", "-1")
    assert plan.body["rows"] == [
        {"revision": "0005", "table": "kept", "column": "mood", "rows": 2},
        {"revision": "0005", "table": "words", "column": None, "rows": 3},
    ]
    [step] = plan.body["steps"]
    kept = {item["path"].rpartition(": ")[2]: item["reason"] for item in step["kept"]}
    assert kept["words"].startswith("3 rows")
    assert kept["kept.mood"].startswith("2 values")
    assert (plan.body["cannot"], plan.body["network_bytes"]) == ([], 0)
    [done] = shipped.down("-1").body["steps"]
    assert done["kept"] == step["kept"]


def test_the_plan_says_what_cannot_be_restored(shipped: HostFolder) -> None:
    """A before-image that somebody removed cannot come back; the plan says of which path, before anything is done."""
    shipped.down("-1", no_hold=True)
    source = next(path for path in (shipped.home / "fallback").iterdir() if path.is_file())
    (shipped.root / "fallback" / source.name).write_text("the user's own")
    shipped.up()
    images = [
        p for p in (shipped.root / ".vvmigrate/undo").rglob("*") if p.is_file() and p.read_bytes() == b"the user's own"
    ]
    assert images
    images[0].unlink()
    plan = shipped.call("plan down", "-1")
    [lost] = plan.body["cannot"]
    assert (lost["revision"], lost["path"].endswith(source.name), lost["reason"]) == (
        "0005", True, "what stood there before was pruned")  # fmt: skip
    assert "cannot be restored" in shipped.run("downgrade", "-1", "--plan").stdout


@pytest.fixture
def late(bare: HostFolder) -> HostFolder:
    """A host whose revision had to be tried twice: an asset of it came later."""
    bare.up()
    bare.revision("0002", 'op.make_directories(["more"])\nop.install_assets("fallback", "more", ["late.png"])')
    bare.up()
    (bare.home / "fallback/late.png").write_bytes(b"late")
    bare.up()
    return bare


def test_a_step_that_was_done_again_goes_back_whole(late: HostFolder) -> None:
    """Nothing stood there before the first try, so nothing is lost: the folder goes with what was put into it."""
    assert late.call("plan down", "-1").body["cannot"] == []
    [step] = late.down("-1").body["steps"]
    assert step["kept"] == []
    assert not (late.root / "more").exists()


def test_a_folder_that_had_to_stay_goes_with_the_next_way_back(late: HostFolder) -> None:
    """A user's file kept it once; when that is gone the revision takes back what it had made."""
    (late.root / "more/mine").write_text("a user's")
    late.down("-1", no_hold=True)
    late.up()
    (late.root / "more/mine").unlink()
    [step] = late.down("-1").body["steps"]
    assert step["kept"] == []
    assert not (late.root / "more").exists()


def test_a_folder_of_an_earlier_revision_stays(bare: HostFolder) -> None:
    """Two revisions want the same folder: it goes with the first of them, not with the second."""
    bare.up()
    bare.revision("0002", 'op.make_directories(["shared"])')
    bare.revision("0003", 'op.make_directories(["shared", "shared/more"])')
    bare.up()
    [step] = bare.down("0002").body["steps"]
    assert step["kept"] == []
    assert (bare.root / "shared").is_dir()
    bare.down("0001")
    assert not (bare.root / "shared").exists()


# ---- the question ----------------------------------------------------------------------------------------------------


def test_no_leaves_everything_as_it_is(shipped: HostFolder) -> None:
    """The plan is shown, then the question is asked; whoever says no has changed nothing: exit 6, no history."""
    told: list[tuple[str, dict[str, Any]]] = []
    asked: list[str] = []

    def no(question: str) -> bool:
        asked.append(question)
        return False

    before = shipped.tree(), shipped.history()
    says(shipped.call("downgrade", "0003", confirm=no, told=told), 6, "nothing was taken back", hint="--yes")
    assert (shipped.tree(), shipped.history()) == before
    [shown] = [facts for event, facts in told if event == "outlook"]
    assert [step["revision"] for step in shown["steps"]] == ["0005", "0004"]
    assert "0005 to 0003" in asked[0]


def test_nothing_to_go_back_is_no_question(shipped: HostFolder) -> None:
    """Where the host is there already nobody is asked anything."""
    shipped.down("head", confirm=lambda _: pytest.fail("asked"))


@pytest.mark.parametrize(
    ("options", "answer", "code"),
    [
        pytest.param((), b"n\n", 6, id="no"),
        pytest.param((), b"y\n", 0, id="yes"),
        pytest.param(("--yes",), b"", 0, id="option-yes"),
        pytest.param(("--non-interactive",), b"", 0, id="non-interactive"),
    ],
)
def test_on_a_real_terminal(shipped: HostFolder, options: tuple[str, ...], answer: bytes, code: int) -> None:
    """A terminal is shown what will go and is asked; with --yes or --non-interactive it is not."""
    seen, process = _on_a_terminal(shipped, answer, "downgrade", "-1", *options)
    assert process == code, seen
    text = re.sub(r"\s+", " ", seen)
    assert ("Go back from 0005 to 0004?" in text, "3 rows" in text.split("Go back")[0]) == (bool(answer), True)
    assert shipped.version() == ("0004" if code == 0 else "0005")


def _on_a_terminal(host: HostFolder, answer: bytes, *arguments: str) -> tuple[str, int]:
    """Run the command line on a terminal of its own; what it showed, and its exit code."""
    ours, theirs = pty.openpty()
    environ = host.environment(TERM="dumb", COLUMNS="200")
    with subprocess.Popen(
        [sys.executable, "-m", "vvmigrate", *arguments],
        cwd=host.home, env=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        seen = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                more = os.read(ours, 4096)
            except OSError:  # the other end was closed
                break
            if not more:
                break
            seen += more
            if answer and b"[y/N]" in seen:
                os.write(ours, answer)
                answer = b""
        os.close(ours)
        return seen.decode(), process.wait(60)


# ---- releases --------------------------------------------------------------------------------------------------------


def test_back_to_a_release_is_back_to_its_last_revision(shipped: HostFolder) -> None:
    """`--to-release 2.2` takes back what came after 2.2, and nothing of it; also when the package is that old."""
    for path in (shipped.home / "migrations/versions").glob("0005*"):
        path.unlink()
    assert [step["revision"] for step in shipped.call("plan down", "", to_release="2.2").body["steps"]] == ["0005"]
    shipped.down("", to_release="2.2")
    assert shipped.version() == "0004"
    shipped.down("", to_release="2.1")
    assert shipped.version() == "0002"
    says(shipped.call("downgrade", "", to_release="2.3"), 2, "2.3", "releases on this host: 2.1")


def test_every_attempt_names_its_release(shipped: HostFolder) -> None:
    """The history has it from the ledger alone, of failed attempts and of the way back too; status and heads say it."""
    shipped.down("-1", no_hold=True)
    named(shipped, "0005", "2.4", "raise RuntimeError('bad')")
    assert shipped.call("upgrade").exit_code == 1
    entries = shipped.call("history").body["entries"]
    found = [(entry["revision"], entry["result"], entry["release"]) for entry in entries]
    assert found[:3] == [("0005", "failed", "2.4"), ("0005", "reverted", "2.3"), ("0005", "applied", "2.3")]
    assert found[-1] == ("0001", "applied", None)
    assert shipped.call("status").body["release"] == "2.2"
    assert shipped.call("heads").body["heads"][0]["release"] == "2.4"
    assert shipped.call("show", "0003").body["release"] == "2.2"
    lines = [line.split()[1] for line in shipped.run("history").stdout.splitlines() if line.startswith("release ")]
    assert lines == ["2.4", "2.3", "2.2", "2.1"]


def test_a_release_that_is_no_name_is_refused(bare: HostFolder) -> None:
    """A number is no name: 2.10 would be 2.1."""
    bare.revision("0002", "pass", imports="release = 2.1")
    says(bare.call("upgrade"), 6, "0002_test.py", 'release = "2.3"')
