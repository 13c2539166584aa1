"""Rows outlive their table and their column, in both directions."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.conftest import HostFolder

VIDEOS = (
    'op.create_table("videos", sa.Column("sha", sa.Text, primary_key=True), sa.Column("name", sa.Text),\n'
    '    sa.Column("note", sa.Text, server_default="none"))\n'
    'op.create_index("ix_videos_name", "videos", ["name"])\n'
)
RUNS = (
    'op.create_table("runs", sa.Column("id", sa.Integer, primary_key=True),\n'
    '    sa.Column("sha", sa.Text, sa.ForeignKey("videos.sha"), nullable=False))\n'
)
NOTE = 'sa.Column("note", sa.Text, server_default="none")'
REBUILD = 'with op.batch_alter_table("videos") as batch:\n    batch.'
PLAIN = ('op.drop_column("videos", "note")', f'op.add_column("videos", {NOTE})')
BATCH = (REBUILD + 'drop_column("note")', REBUILD + f"add_column({NOTE})")
ways = pytest.mark.parametrize(("drop", "add"), [PLAIN, BATCH], ids=["plain", "batch"])


@pytest.fixture
def videos(bare: HostFolder) -> HostFolder:
    """A host with a table of videos, an index on it, and a table of runs that refers to it."""
    bare.revision("0002", VIDEOS + RUNS, 'op.drop_table("runs")\nop.drop_table("videos")')
    bare.up()
    bare.sql("INSERT INTO videos VALUES ('a', 'door', 'first'), ('b', 'hall', 'second')")
    bare.sql("INSERT INTO runs VALUES (1, 'a'), (2, 'b'), (3, 'a')")
    return bare


def rows(host: HostFolder, table: str) -> list[tuple[Any, ...]]:
    return host.sql(f"SELECT * FROM {table} ORDER BY 1")


def kept_tables(host: HostFolder) -> list[str]:
    return [name for (name,) in host.sql("SELECT name FROM sqlite_master WHERE name LIKE 'vv_kept\\__%' ESCAPE '\\'")]


def test_a_downgrade_that_drops_tables_keeps_their_rows(videos: HostFolder) -> None:
    """Taking the schema back and applying it again brings back every row of parents and children."""
    before = rows(videos, "videos"), rows(videos, "runs")
    videos.down("-1", no_hold=True)
    assert not videos.sql("SELECT 1 FROM sqlite_master WHERE name IN ('videos', 'runs', 'ix_videos_name')")
    videos.up()
    assert (rows(videos, "videos"), rows(videos, "runs")) == before
    assert videos.sql("PRAGMA foreign_key_check") == []
    assert kept_tables(videos) == []


def test_an_upgrade_that_drops_a_table_keeps_its_rows(videos: HostFolder) -> None:
    """A release that retires a table can be taken back: the table returns with its rows."""
    videos.revision("0003", 'op.drop_table("runs")', RUNS)
    before = rows(videos, "runs")
    videos.up()
    videos.down("-1")
    assert rows(videos, "runs") == before


def test_indexes_come_back_with_their_table(videos: HostFolder) -> None:
    """The index's name is free when the table comes back, and the index is used again."""
    videos.down("-1", no_hold=True)
    videos.up()
    plan = str(videos.sql("EXPLAIN QUERY PLAN SELECT * FROM videos WHERE name = 'door'"))
    assert "ix_videos_name" in plan


def test_several_rounds_keep_what_the_last_one_had(videos: HostFolder) -> None:
    """Down and up as often as one likes: rows added, changed and deleted in between are as they were left."""
    for number in range(3):
        videos.sql("INSERT INTO videos VALUES (?, 'new', NULL)", f"v{number}")
        videos.sql("UPDATE videos SET name = ? WHERE sha = 'a'", f"door {number}")
        videos.sql("DELETE FROM videos WHERE sha = ?", f"v{number - 1}")
        before = rows(videos, "videos")
        videos.down("-1", no_hold=True)
        videos.up()
        assert rows(videos, "videos") == before


@ways
def test_a_dropped_column_comes_back_by_key(videos: HostFolder, drop: str, add: str) -> None:
    """Rows still there get their values, deleted rows stay deleted, new rows get the default."""
    videos.revision("0003", drop, add)
    videos.up()
    assert rows(videos, "videos") == [("a", "door"), ("b", "hall")]
    videos.sql("DELETE FROM runs WHERE sha = 'b'")
    videos.sql("DELETE FROM videos WHERE sha = 'b'")
    videos.sql("INSERT INTO videos VALUES ('c', 'roof')")
    videos.down("-1")
    assert rows(videos, "videos") == [("a", "door", "first"), ("c", "roof", "none")]
    assert kept_tables(videos) == []


@ways
def test_a_column_that_a_downgrade_drops_keeps_its_values(videos: HostFolder, drop: str, add: str) -> None:
    """A column that a release brought, filled meanwhile, is filled again when the release returns."""
    add_more, drop_more = add.replace("note", "more"), drop.replace("note", "more")
    videos.revision("0003", add_more, drop_more)
    videos.up()
    videos.sql("UPDATE videos SET more = 'filled' WHERE sha = 'a'")
    videos.down("-1", no_hold=True)
    assert len(videos.sql("PRAGMA table_info(videos)")) == 3
    videos.up()
    assert videos.sql("SELECT sha, more FROM videos ORDER BY sha") == [("a", "filled"), ("b", "none")]


@ways
def test_children_and_indexes_outlive_a_change_of_the_parent(videos: HostFolder, drop: str, add: str) -> None:
    """Rebuilding the parent neither deletes child rows nor loses its index, in either direction."""
    videos.revision("0003", drop, add)
    for move in (videos.up, lambda: videos.down("-1", no_hold=True)):
        move()
        assert rows(videos, "runs") == [(1, "a"), (2, "b"), (3, "a")]
        assert videos.sql("PRAGMA foreign_key_check") == []
        assert videos.sql("SELECT tbl_name FROM sqlite_master WHERE name = 'ix_videos_name'") == [("videos",)]
        assert videos.sql("SELECT \"table\" FROM pragma_foreign_key_list('runs')") == [("videos",)]


def test_a_back_fill_does_not_outrank_what_people_wrote(videos: HostFolder) -> None:
    """A revision that computes a column's first values loses against the values that were kept of it."""
    fill = 'op.add_column("videos", sa.Column("rank", sa.Integer))\nop.execute("UPDATE videos SET rank = 0")'
    videos.revision("0003", fill, 'op.drop_column("videos", "rank")')
    videos.up()
    videos.sql("UPDATE videos SET rank = 9 WHERE sha = 'a'")
    videos.down("-1", no_hold=True)
    videos.sql("INSERT INTO videos VALUES ('c', 'roof', NULL)")
    videos.up()
    assert videos.sql("SELECT sha, rank FROM videos ORDER BY sha") == [("a", 9), ("b", 0), ("c", 0)]


def test_a_renamed_column_keeps_what_was_written_since(videos: HostFolder) -> None:
    """Renaming there and back in batch mode is no dropping: later values are not replaced by older ones."""
    rename = 'with op.batch_alter_table("videos") as batch:\n    batch.alter_column("{}", new_column_name="{}")'
    videos.revision("0003", rename.format("note", "remark"), rename.format("remark", "note"))
    videos.up()
    videos.sql("UPDATE videos SET remark = 'later' WHERE sha = 'a'")
    videos.down("-1", no_hold=True)
    assert videos.sql("SELECT note FROM videos ORDER BY sha") == [("later",), ("second",)]
    videos.up()
    assert videos.sql("SELECT remark FROM videos ORDER BY sha") == [("later",), ("second",)]


def test_a_table_without_a_primary_key_is_kept_by_row(bare: HostFolder) -> None:
    """Without a key the row's own number is the key: values come back to the row that they were in."""
    bare.revision("0002", 'op.create_table("log", sa.Column("a", sa.Text), sa.Column("note", sa.Text))')
    bare.up()
    bare.sql("INSERT INTO log VALUES ('x', 'one'), ('y', 'two'), ('z', 'three')")
    bare.revision("0003", *(step.replace("videos", "log") for step in PLAIN))
    bare.up()
    bare.sql("DELETE FROM log WHERE a = 'y'")
    bare.down("-1")
    assert rows(bare, "log") == [("x", "one"), ("z", "three")]


def test_a_key_of_two_columns_is_matched_whole(bare: HostFolder) -> None:
    """Rows that agree in half of their key do not get each other's values."""
    key = 'sa.Column("a", sa.Integer, primary_key=True), sa.Column("b", sa.Integer, primary_key=True)'
    bare.revision("0002", f'op.create_table("cells", {key}, sa.Column("note", sa.Text))')
    bare.up()
    bare.sql("INSERT INTO cells VALUES (1, 1, 'one'), (1, 2, 'two'), (2, 1, 'three')")
    before = rows(bare, "cells")
    bare.revision("0003", *(step.replace("videos", "cells") for step in BATCH))
    bare.up()
    bare.down("-1")
    assert rows(bare, "cells") == before


def test_a_child_whose_parent_went_meanwhile_stays_kept(videos: HostFolder) -> None:
    """A row that would come back without its parent does not: the foreign keys hold, and the row is not lost."""
    videos.revision("0003", 'op.drop_table("runs")', RUNS)
    videos.up()
    with closing(sqlite3.connect(videos.database)) as strict, strict:
        strict.execute("PRAGMA foreign_keys=ON")  # what is kept must not stand in the orchestrator's way either
        strict.execute("DELETE FROM videos WHERE sha = 'b'")
    videos.down("-1")
    assert rows(videos, "runs") == [(1, "a"), (3, "a")]
    assert videos.sql("PRAGMA foreign_key_check") == []
    (kept,) = kept_tables(videos)
    assert (2, "b") in rows(videos, kept)


def test_a_revision_that_makes_a_table_anew_finds_it_empty(videos: HostFolder) -> None:
    """Dropping and creating in one revision starts afresh; taking it back restores the old rows."""
    videos.revision("0003", 'op.drop_table("runs")\n' + RUNS, 'op.drop_table("runs")\n' + RUNS)
    videos.up()
    assert rows(videos, "runs") == []
    videos.down("-1")
    assert rows(videos, "runs") == [(1, "a"), (2, "b"), (3, "a")]


def test_a_table_that_somebody_made_meanwhile_is_merged_by_key(videos: HostFolder) -> None:
    """An older orchestrator that makes its table itself keeps its newer rows; the kept ones join them."""
    (made,) = videos.sql("SELECT sql FROM sqlite_master WHERE name = 'runs'")
    videos.down("-1", no_hold=True)
    videos.sql(made[0])
    videos.sql("INSERT INTO runs VALUES (2, 'newer'), (9, 'newer')")
    report = videos.call("upgrade", "head")
    assert report.exit_code == 0, report.error
    assert rows(videos, "runs") == [(1, "a"), (2, "newer"), (3, "a"), (9, "newer")]


def test_names_with_odd_letters_are_kept_too(bare: HostFolder) -> None:
    """Tables and columns whose names need quoting, or are long, make no difference."""
    name = 'a "quoted" table; with -- everything, and longer than fifty letters'
    bare.revision(
        "0002",
        f"op.create_table({name!r}, sa.Column('id', sa.Integer, primary_key=True), sa.Column('the note', sa.Text))",
        f"op.drop_table({name!r})",
    )
    bare.up()
    table = '"' + name.replace('"', '""') + '"'
    bare.sql(f"INSERT INTO {table} VALUES (1, 'kept')")
    bare.revision(
        "0003",
        f"with op.batch_alter_table({name!r}) as batch:\n    batch.drop_column('the note')",
        f"with op.batch_alter_table({name!r}) as batch:\n    batch.add_column(sa.Column('the note', sa.Text))",
    )
    bare.up()
    bare.down("0001", no_hold=True)
    bare.up("0002")
    assert rows(bare, table) == [(1, "kept")]


def test_kept_rows_do_not_stop_later_upgrades(videos: HostFolder) -> None:
    """Rows that are kept while their table is away do not count as orphans of the revisions applied meanwhile."""
    videos.down("base")
    videos.up("0001")
    videos.up()
    assert len(rows(videos, "runs")) == 3


def test_dropping_what_is_not_there_says_so(videos: HostFolder) -> None:
    """A revision that drops a table that nobody has fails with SQLite's words; if_exists makes it no error."""
    videos.revision("0003", 'op.drop_table("ghosts", if_exists=True)', "pass")
    videos.up()
    videos.revision("0004", 'op.drop_table("ghosts")')
    report = videos.call("upgrade", "head")
    assert report.exit_code == 1
    assert report.error is not None
    assert "no such table" in report.error.message


@pytest.mark.parametrize(
    "make",
    [
        "op.execute('CREATE TABLE seen (at TEXT PRIMARY KEY, who TEXT)')",
        "op.execute('CREATE TABLE IF NOT EXISTS seen (at TEXT, who TEXT)')",
        "op.get_bind().exec_driver_sql('/* by hand */ CREATE TABLE \"seen\" (at, who)')",
        "sa.Table('seen', sa.MetaData(), sa.Column('at', sa.Text), sa.Column('who', sa.Text)).create(op.get_bind())",
        "op.execute('CREATE VIRTUAL TABLE seen USING fts5(at, who)')",
    ],
)
@pytest.mark.parametrize("old_package", [False, True])
def test_rows_come_back_in_whatever_words_their_table_is_made(bare: HostFolder, make: str, old_package: bool) -> None:
    """A plan of the way back says that they do; by SQL of one's own, and by what is recorded of the revision, too."""
    bare.revision("0002", make, "op.drop_table('seen')")
    bare.up()
    bare.sql("INSERT INTO seen VALUES ('10:00', 'cat'), ('11:00', 'dog')")
    kept = [item["reason"] for step in bare.json("downgrade", "-1", "--plan")["steps"] for item in step["kept"]]
    assert kept == ["2 rows: the table is renamed and kept; they come back with it"]
    source = bare.home / "migrations/versions/0002_test.py"
    text = source.read_text()
    if old_package:
        source.unlink()
    bare.down("-1", no_hold=True)
    source.write_text(text)
    bare.up()
    assert rows(bare, "seen") == [("10:00", "cat"), ("11:00", "dog")]
    assert kept_tables(bare) == []


SEEDED = {
    "by key": ("id INTEGER PRIMARY KEY, name TEXT", "(1, 'cat'), (2, 'dog')", [(1, "cat"), (2, "wolf"), (3, "bird")]),
    "by number": (
        "id INTEGER PRIMARY KEY, name TEXT",
        "(NULL, 'cat'), (NULL, 'dog')",
        [(1, "cat"), (2, "wolf"), (3, "bird")],
    ),
    "by name": (
        "id INTEGER, name TEXT UNIQUE",
        "(1, 'cat'), (2, 'dog')",
        [(1, "cat"), (2, "dog"), (2, "wolf"), (3, "bird")],
    ),
    "without a key": (
        "id INTEGER, name TEXT",
        "(1, 'cat'), (2, 'dog')",
        [(1, "cat"), (2, "dog"), (2, "wolf"), (3, "bird")],
    ),
}


@pytest.mark.parametrize("kind", SEEDED)
def test_a_table_that_is_made_with_rows_may_come_again_and_again(bare: HostFolder, kind: str) -> None:
    """What people wrote in its first rows outranks them, nothing is doubled, and the release can always come back."""
    form, seeds, wanted = SEEDED[kind]
    fill = f'op.execute("INSERT INTO seen VALUES {seeds}")'
    bare.revision("0002", f"op.execute('CREATE TABLE seen ({form})')\n{fill}", "op.drop_table('seen')")
    bare.up()
    bare.sql("UPDATE seen SET name = 'wolf' WHERE id = 2")
    bare.sql("INSERT INTO seen VALUES (3, 'bird')")
    for _ in range(3):
        bare.down("-1", no_hold=True)
        bare.up()
        assert rows(bare, "seen") == wanted
        assert kept_tables(bare) == []


def test_scratch_tables_of_two_revisions_are_two(bare: HostFolder) -> None:
    """Whoever makes a table, fills it and drops it in one step finds it empty, whatever others left under its name."""
    for number, name in ((2, "cat"), (3, "dog")):
        make = f"op.execute('CREATE TABLE scratch (name TEXT)')\nop.execute(\"INSERT INTO scratch VALUES ('{name}')\")"
        into = f"op.execute('CREATE TABLE t{number} AS SELECT * FROM scratch')\nop.drop_table('scratch')"
        bare.revision(f"{number:04d}", f"{make}\n{into}", f"op.drop_table('t{number}')")
    bare.up()
    assert (rows(bare, "t2"), rows(bare, "t3")) == ([("cat",)], [("dog",)])
    bare.down("0001", no_hold=True)
    bare.up()
    assert (rows(bare, "t2"), rows(bare, "t3")) == ([("cat",)], [("dog",)])


def test_a_table_that_is_rebuilt_by_hand_can_be_taken_back(bare: HostFolder) -> None:
    """Its rows are where the author puts them; those that the way up had put aside would only collide."""
    bare.revision("0002", "op.execute('CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)')", "op.drop_table('t')")
    rebuild = (
        "op.execute('CREATE TABLE tmp AS SELECT id, a FROM t')\nop.drop_table('t')\n"
        "op.execute('CREATE TABLE t (id INTEGER PRIMARY KEY, a {0})')\n"
        "op.execute('INSERT INTO t (id, a) SELECT id, a FROM tmp')\nop.drop_table('tmp')"
    )
    bare.revision("0003", rebuild.format("TEXT NOT NULL"), rebuild.format("TEXT"))
    bare.up("0002")
    bare.sql("INSERT INTO t VALUES (1, 'one'), (2, 'two')")
    for edit in ("UPDATE t SET a = 'uno' WHERE id = 1", "DELETE FROM t WHERE id = 2"):
        bare.up()
        bare.sql(edit)
        bare.down("0002", no_hold=True)
    assert rows(bare, "t") == [(1, "uno")]


def test_rows_that_come_back_are_no_news(bare: HostFolder) -> None:
    """A trigger writes down each row that is added: those that were written down before are not written down again."""
    bare.revision(
        "0002",
        "op.execute('CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)')\nop.execute('CREATE TABLE log (a TEXT)')\n"
        "op.execute(\"INSERT INTO t VALUES (1, 'one')\")\n"
        "op.execute('CREATE TRIGGER news AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.a); END')",
        "op.drop_table('log')\nop.drop_table('t')",
    )
    bare.up()
    bare.sql("INSERT INTO t VALUES (2, 'two')")
    bare.down("-1", no_hold=True)
    bare.up()
    assert (rows(bare, "t"), rows(bare, "log")) == ([(1, "one"), (2, "two")], [("two",)])
    bare.sql("INSERT INTO t VALUES (3, 'three')")
    assert rows(bare, "log") == [("three",), ("two",)]
