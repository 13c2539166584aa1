"""Tables and indexes that revisions made and somebody dropped: the looks name them, and what can be done."""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import closing

import pytest

from tests.commands.proof import nothing_changes
from tests.conftest import HostFolder


@pytest.fixture
def up(host: HostFolder) -> HostFolder:
    """A host at its last revision, with every required value."""
    host.up(values={"DVR_IP": "192.168.1.20"})
    return host


def missing(host: HostFolder, *paths: str) -> list[tuple[str, str]]:
    """(what is gone, the revision that made it), as `verify` says; all of it lies in the database."""
    report = host.call("verify", *paths)
    assert report.error is None
    assert {item["path"] for item in report.body["drift"]} <= {str(host.database)}
    assert report.exit_code == (3 if report.body["drift"] else 0)
    return [(item["expected"], item["revision"]) for item in report.body["drift"]]


def test_a_dropped_table_is_no_healthy_host(up: HostFolder) -> None:
    """verify and doctor name each; repair cannot bring rows back and says what is left; its words make them empty."""
    up.sql("DROP TABLE stage_runs")
    up.sql("DROP INDEX ix_processed_videos_status")
    gone = [
        ("index ix_processed_videos_status", "0005"),
        ("table stage_runs", "0005"),
        ("index ix_stage_runs_video", "0005"),
    ]
    with nothing_changes(up):
        assert missing(up) == missing(up, str(up.database)) == missing(up, str(up.root)) == gone
        assert missing(up, str(up.root / "fallback")) == []
        (finding,) = up.call("doctor").body["findings"]
    assert "stage_runs" in finding["what"]
    entries = len(up.history())
    report = up.call("repair")
    assert (report.exit_code, len(report.body["left"]), len(up.history())) == (3, 3, entries)
    words = shlex.split(finding["remedy"].rpartition("empty: ")[2])
    assert words[:2] == ["sqlite3", str(up.database)]
    with closing(sqlite3.connect(words[1])) as connection:
        connection.executescript(words[2])
    assert missing(up) == []
    assert up.call("doctor").exit_code == 0
    up.down("0004")


def test_what_the_orchestrator_adds_is_its_own(up: HostFolder) -> None:
    """A table, a column, an index: nobody asks for them to be away."""
    up.sql("CREATE TABLE its_own (id INTEGER)")
    up.sql("ALTER TABLE stage_runs ADD COLUMN host TEXT")
    up.sql("CREATE INDEX its_own_index ON stage_runs (host)")
    assert missing(up) == []


def test_a_table_that_a_later_revision_altered_or_dropped(up: HostFolder) -> None:
    """What counts is what all of them together leave, also for a table that an older system had made."""
    up.revision("0007", 'op.create_table("cameras", sa.Column("id", sa.Integer, primary_key=True))')
    up.revision("0008", 'op.add_column("cameras", sa.Column("name", sa.Text))\nop.drop_table("stage_runs")')
    up.sql("CREATE TABLE cameras (id INTEGER NOT NULL PRIMARY KEY)")
    up.up()
    assert missing(up) == []
    up.sql("DROP TABLE cameras")
    assert missing(up) == [("table cameras", "0007")]


def test_where_nobody_can_tell_nothing_is_said(up: HostFolder) -> None:
    """A revision whose words do not run here any more: no finding is better than a wrong one."""
    up.revision("0007", "import only_then\nop.create_table('of_it', sa.Column('id', sa.Integer))")
    (up.home / "only_then.py").write_text("")
    assert up.run("upgrade", environ={"PYTHONPATH": str(up.home)}).returncode == 0
    up.sql("DROP TABLE of_it")
    assert missing(up) == []


def test_what_depends_on_rows_is_not_guessed(up: HostFolder) -> None:
    """On an empty copy this revision makes another table than here."""
    up.sql("INSERT INTO processed_videos VALUES ('x', 'a.mp4', 1, 'processed', 'then', NULL, NULL)")
    read = "rows = op.get_bind().execute(sa.text('SELECT 1 FROM processed_videos')).all()"
    up.revision("0007", f"{read}\nop.create_table(f'of_{{len(rows)}}', sa.Column('id', sa.Integer))")
    up.up()
    assert up.sql("SELECT name FROM sqlite_master WHERE name LIKE 'of_%'") == [("of_1",)]
    assert missing(up) == []
