"""`check`: the line of a release's revisions, what an author accepts, and what the command says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.proof import says
from tests.commands.revisions import VIDEOS, found, numbered, put, source
from tests.conftest import HostFolder

# ---- the line --------------------------------------------------------------------------------------------------------


LINES: dict[str, tuple[dict[str, str], list[tuple[str, int, str]]]] = {
    "two-heads": (
        {"0003_a.py": numbered("0003", "0002"), "0004_b.py": numbered("0004", "0002")},
        [("0004_b.py", 2, "line")],
    ),
    "same-number": (
        {"0003_a.py": numbered("0003", "0002"), "0003_b.py": numbered("0003", "0002")},
        [("0003_b.py", 1, "number")],
    ),
    "skipped": ({"0004_a.py": numbered("0004", "0002")}, [("0004_a.py", 1, "number")]),
    "no-number": ({"abcdef_a.py": numbered("abcdef", "0002")}, [("abcdef_a.py", 1, "number")]),
    "another-name": ({"0004_a.py": numbered("0003", "0002")}, [("0004_a.py", 1, "number")]),
    "follows-nothing-known": ({"0003_a.py": numbered("0003", "9999")}, [("0003_a.py", 2, "line")]),
    "second-base": ({"0003_a.py": numbered("0003", None)}, [("0003_a.py", 2, "line")]),
    "follows-itself": ({"0003_a.py": numbered("0003", "0003")}, [("0003_a.py", 2, "line")]),
    "wrong-order": (
        {"0003_a.py": numbered("0003", "0004"), "0004_b.py": numbered("0004", "0002")},
        [("0003_a.py", 2, "line"), ("0004_b.py", 2, "line")],
    ),
    "merge-of-two": ({"0003_a.py": numbered("0003", "0002").replace("'0002'", "('0001', '0002')")},
                     [("0003_a.py", 2, "line")]),
    "computed": ({"0003_a.py": numbered("0003", "0002").replace("'0002'", "str(2)")}, [("0003_a.py", 2, "line")]),
    "no-python": ({"0003_a.py": "x = 1\ndef f(:\n"}, [("0003_a.py", 2, "unusable")]),
    "no-id": ({"0003_a.py": ""}, [("0003_a.py", 1, "unusable")]),
    "does-not-import": ({"0003_a.py": numbered("0003", "0002") + "\n1 / 0\n"}, [("0003_a.py", 6, "unusable")]),
}  # fmt: skip


@pytest.mark.parametrize(("files", "findings"), LINES.values(), ids=LINES.keys())
def test_a_line_that_is_broken_is_found_where_it_breaks(
    release: HostFolder, files: dict[str, str], findings: list[tuple[str, int, str]]
) -> None:
    """Numbers, order and heads; the findings in other revisions are still told."""
    for name, text in files.items():
        put(release, text, name)
    put(release, VIDEOS.replace("import sqlalchemy", "import shutil, sqlalchemy"), "0002_videos.py")
    report = release.call("check")
    told = [(Path(one["path"]).name, one["line"], one["kind"]) for one in report.body["findings"]]
    assert told == [("0002_videos.py", 2, "outside"), *findings]


def test_revisions_before_the_first_broken_one_are_tried(release: HostFolder) -> None:
    """What cannot be loaded hides nothing of what comes before it; what was not tried is said."""
    put(release, VIDEOS.replace('op.drop_table("videos")', "pass"), "0002_videos.py")
    put(release, numbered("0003", "0002") + "1 / 0\n")
    report = release.call("check")
    assert [one["kind"] for one in report.body["findings"]] == ["way-back", "way-back", "unusable"]
    assert report.body["not_tried"] == ["0003"]


def test_what_goes_round_the_operations_is_read_and_not_run(release: HostFolder, tmp_path: Path) -> None:
    """A check that ran such a revision would do to this machine what the revision does."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    put(release, source("pass", top=f"import os\nos.remove({str(victim)!r})\n"))
    put(release, numbered("0004", "0003"), "0004_test.py")
    report = release.call("check")
    assert [(one["line"], one["kind"]) for one in report.body["findings"]] == [(6, "outside")]
    assert report.body["not_tried"] == ["0003", "0004"]
    assert victim.read_text() == "mine"


# ---- what an author accepts ------------------------------------------------------------------------------------------

DELETE = "op.execute('DELETE FROM videos WHERE id = 1')"
ALLOWED: dict[str, tuple[str, list[tuple[int, str]], str]] = {
    "beside": (f"{DELETE}  # vvmigrate: allow inverse: it was never used", [], "it was never used"),
    "above": (f"# vvmigrate: allow inverse: not used\n{DELETE}", [], "not used"),
    "another-kind": (f"{DELETE}  # vvmigrate: allow slow: why not", [(6, "allow"), (6, "inverse")], ""),
    "no-reason": (f"{DELETE}  # vvmigrate: allow inverse", [(6, "allow"), (6, "inverse")], ""),
    "another-line": (f"# vvmigrate: allow inverse: x\n\n{DELETE}", [(6, "allow"), (8, "inverse")], ""),
    "never": (
        "op.execute('PRAGMA journal_mode=WAL')  # vvmigrate: allow transaction: faster",
        [(6, "allow"), (6, "transaction")],
        "",
    ),
}


@pytest.mark.parametrize(("up", "findings", "because"), ALLOWED.values(), ids=ALLOWED.keys())
def test_a_finding_is_allowed_by_a_reason_at_its_line(
    release: HostFolder, up: str, findings: list[tuple[int, str]], because: str
) -> None:
    """The reason is in the report; a comment that allows nothing, or what can never be right, is a finding."""
    put(release, source(up))
    assert found(release) == findings
    assert [one["because"] for one in release.call("check").body["allowed"]] == ([because] if because else [])


# ---- the command -----------------------------------------------------------------------------------------------------


def test_a_person_reads_file_line_reason_and_remedy(release: HostFolder) -> None:
    """As compilers say it, so that editors and CI logs lead there; with --json each in a key of its own."""
    put(release, source(DELETE))
    done = release.run("check")
    assert done.returncode == 3
    assert "migrations/versions/0003_test.py:6: inverse: DELETE of videos" in done.stdout.replace("\n", " ")
    assert "3 revisions checked: 1 finding" in done.stdout
    finding = release.json("check")["findings"][0]
    assert (finding["path"], finding["line"], finding["kind"]) == ("migrations/versions/0003_test.py", 6, "inverse")
    assert finding["remedy"]
    assert not release.root.exists()


def test_outside_of_a_release_it_is_refused(release: HostFolder) -> None:
    """Without alembic.ini there is nothing to check: exit 6, as upgrade would."""
    (release.home / "alembic.ini").unlink()
    says(release.call("check"), 6, "alembic.ini")


def test_root_checks_nothing_that_others_may_have_written(release: HostFolder) -> None:
    """To try a revision is to run it: root takes it only from where nobody else writes."""
    put(release, numbered("0003", "0002")).chmod(0o666)
    says(release.call("check"), 6, "root runs nothing from here")
