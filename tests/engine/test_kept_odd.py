"""Rows of tables that are not as others: they come back as they were, or stay kept; nothing stands in the way."""

from __future__ import annotations

import pytest

from tests.conftest import HostFolder
from tests.engine.test_kept_rows import kept_tables, rows

T = "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True), sa.Column('n', sa.Text))"
BATCH = "with op.batch_alter_table('t'{}) as batch:\n    batch."
ONLY_ID = "sa.Table('t', sa.MetaData(), sa.Column('id', sa.Integer, primary_key=True))"


@pytest.fixture
def table(bare: HostFolder) -> HostFolder:
    """A host with a table of two rows."""
    bare.revision("0002", T, "op.drop_table('t')")
    bare.up()
    bare.sql("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    return bare


def there_and_back(host: HostFolder) -> None:
    """Take the last revision back and apply it again."""
    host.down("-1", no_hold=True)
    host.up()


@pytest.mark.parametrize(
    ("make", "fill", "look"),
    [
        ("CREATE TABLE x (a)", "INSERT INTO x (rowid, a) VALUES (5, 'p'), (9, 'q')", "SELECT rowid, a FROM x"),
        (
            "CREATE VIRTUAL TABLE x USING fts5(a)",
            "INSERT INTO x (rowid, a) VALUES (5, 'door'), (9, 'gate')",
            "SELECT rowid FROM x WHERE x MATCH 'gate'",
        ),
        (
            "CREATE VIRTUAL TABLE x USING fts5(a, content='')",
            "INSERT INTO x (rowid, a) VALUES (5, 'door'), (9, 'gate')",
            "SELECT rowid FROM x WHERE x MATCH 'gate'",
        ),
    ],
    ids=["no key", "fts5", "fts5 without texts"],
)
def test_a_table_comes_back_with_what_no_copy_has(bare: HostFolder, make: str, fill: str, look: str) -> None:
    """Rows keep their numbers, an index its words."""
    bare.revision("0002", f"op.execute({make!r})", "op.drop_table('x')")
    bare.up()
    bare.sql(fill)
    before = bare.sql(look)
    assert before
    there_and_back(bare)
    assert (bare.sql(look), kept_tables(bare)) == (before, [])


def test_autoincrement_gives_no_number_twice(bare: HostFolder) -> None:
    """What was counted goes with the table, and comes back with it."""
    bare.revision("0002", "op.execute('CREATE TABLE x (id INTEGER PRIMARY KEY AUTOINCREMENT)')", "op.drop_table('x')")
    bare.up()
    bare.sql("INSERT INTO x VALUES (7), (8)")
    bare.sql("DELETE FROM x WHERE id = 8")
    there_and_back(bare)
    bare.sql("INSERT INTO x DEFAULT VALUES")
    assert rows(bare, "x") == [(7,), (9,)]


def test_values_find_their_rows_though_the_table_went_too(bare: HostFolder) -> None:
    """Without a key values are kept by the row's number, so the table must come back with its numbers."""
    bare.revision("0002", "op.create_table('log', sa.Column('a', sa.Text))", "op.drop_table('log')")
    bare.revision("0003", "op.add_column('log', sa.Column('b', sa.Text))", "op.drop_column('log', 'b')")
    bare.up()
    bare.sql("INSERT INTO log VALUES ('w', 'w!'), ('x', 'x!'), ('y', 'y!')")
    bare.sql("DELETE FROM log WHERE a = 'w'")
    bare.down("0001", no_hold=True)
    bare.up()
    assert rows(bare, "log") == [("x", "x!"), ("y", "y!")]


def test_a_trigger_goes_with_its_table(bare: HostFolder) -> None:
    """As with SQLite's own DROP TABLE: its name is free when the table comes back."""
    trigger = "CREATE TRIGGER seen AFTER INSERT ON t BEGIN UPDATE t SET n = 'seen'; END"
    bare.revision("0002", f"{T}\nop.execute({trigger!r})", "op.drop_table('t')")
    bare.up()
    bare.sql("INSERT INTO t VALUES (1, 'a')")
    there_and_back(bare)
    assert rows(bare, "t") == [(1, "seen")]


def test_a_computed_column_has_nothing_to_keep(table: HostFolder) -> None:
    """What SQLite computes cannot be written back, and need not be."""
    add = "op.add_column('t', sa.Column('g', sa.Text, sa.Computed(\"n || '!'\", persisted=False)))"
    table.revision("0003", add, "op.drop_column('t', 'g')")
    table.up()
    there_and_back(table)
    assert table.sql("SELECT g FROM t ORDER BY id") == [("a!",), ("b!",)]


@pytest.mark.parametrize(
    "body",
    [
        BATCH.format("") + "drop_column('n')\n    batch.add_column(sa.Column('n', sa.Integer))",
        BATCH.format("") + "alter_column('n', new_column_name='m')\n    batch.add_column(sa.Column('n', sa.Integer))",
        BATCH.format(f", copy_from={ONLY_ID}, recreate='always'") + "add_column(sa.Column('m', sa.Text))",
    ],
    ids=["dropped and added", "renamed and added", "not known to copy_from"],
)
def test_whatever_a_rebuilding_does_not_copy_is_kept(table: HostFolder, body: str) -> None:
    """Batch mode copies what it knows; the rest of the old table's values is kept with its keys."""
    table.revision("0003", body)
    table.up()
    (kept,) = kept_tables(table)
    assert rows(table, kept) == [(1, "a"), (2, "b")]


def test_a_table_that_a_savepoint_takes_back_leaves_its_rows_kept(table: HostFolder) -> None:
    """A revision that tries, fails and goes on loses nothing of what would have come back."""
    table.down("-1", no_hold=True)
    tries = (
        f"try:\n    with op.get_bind().begin_nested():\n        {T}\n        raise ValueError\nexcept ValueError:\n    "
    )
    table.revision("0002", tries + "pass")
    table.up()
    (kept,) = kept_tables(table)
    assert rows(table, kept) == [(1, "a"), (2, "b")]


def test_a_column_that_the_mended_release_has_no_more_stays_kept(table: HostFolder) -> None:
    """Rows come back in the columns that both have; the other values are the only ones, and stay."""
    table.down("-1", no_hold=True)
    table.revision("0002", "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True))")
    table.up()
    assert rows(table, "t") == [(1,), (2,)]
    (kept,) = kept_tables(table)
    assert rows(table, kept) == [(1, "a"), (2, "b")]


def test_a_value_that_a_column_does_not_take_any_more_stays_kept(table: HostFolder) -> None:
    """The mended release demands one: the row gets its default, and the upgrade happens."""
    table.revision("0003", "op.add_column('t', sa.Column('q', sa.Text))", "op.drop_column('t', 'q')")
    table.up()
    table.sql("UPDATE t SET q = 'x' WHERE id = 1")
    table.down("-1", no_hold=True)
    table.revision("0003", "op.add_column('t', sa.Column('q', sa.Text, nullable=False, server_default='none'))")
    table.up()
    assert table.sql("SELECT id, q FROM t ORDER BY id") == [(1, "x"), (2, "none")]
    assert len(kept_tables(table)) == 1


def test_rows_that_a_trigger_refuses_are_no_damaged_database(table: HostFolder) -> None:
    """The step fails and says so; nobody is told to put another database in place."""
    table.sql("CREATE TRIGGER no BEFORE UPDATE ON t BEGIN SELECT RAISE(ABORT, 'read only'); END")
    table.revision("0003", "op.drop_column('t', 'n')", "op.add_column('t', sa.Column('n', sa.Text))")
    table.up()
    report = table.call("downgrade", "-1")
    assert report.exit_code == 1
    assert report.error is not None
    assert "read only" in report.error.message


def test_orphans_of_orphans_stay_kept(table: HostFolder) -> None:
    """A row whose parent went meanwhile is the parent of others; also in a table without rowids, and made first."""
    refers = "INTEGER REFERENCES"
    table.revision(
        "0003",
        f"op.execute('CREATE TABLE leaf (k TEXT PRIMARY KEY, p {refers} node(id)) WITHOUT ROWID')\n"
        f"op.execute('CREATE TABLE node (id INTEGER PRIMARY KEY, p {refers} node(id), t {refers} t(id))')",
        "op.drop_table('leaf')\nop.drop_table('node')",
    )
    table.up()
    table.sql("INSERT INTO node VALUES (1, NULL, 1), (2, 1, 2), (3, NULL, 2)")
    table.sql("INSERT INTO leaf VALUES ('a', 2), ('b', 3)")
    table.down("-1", no_hold=True)
    table.sql("DELETE FROM t WHERE id = 1")
    table.up()
    assert (rows(table, "node"), rows(table, "leaf")) == ([(3, None, 2)], [("b", 3)])
    assert table.sql("PRAGMA foreign_key_check") == []
    assert len(kept_tables(table)) == 2


def test_a_search_over_a_table_that_is_away_stands_in_nobodys_way(table: HostFolder) -> None:
    """FTS5 that reads its texts from another table cannot be read while that is kept; the next upgrade makes both."""
    make = "CREATE VIRTUAL TABLE x USING fts5(n, content='t', content_rowid='id')"
    fill = "INSERT INTO x (x) VALUES ('rebuild')"
    table.revision("0003", f"op.execute({make!r})\nop.execute({fill!r})", "op.drop_table('x')")
    table.up()
    table.down("0001", no_hold=True)
    assert table.call("plan").exit_code == 3
    table.up()
    assert table.sql("SELECT rowid FROM x WHERE x MATCH 'b'") == [(2,)]


@pytest.mark.parametrize("module", ["fts5", "fts4"])
def test_a_revision_reads_what_it_searches(bare: HostFolder, module: str) -> None:
    """A search asks SQLite of its own for each row that is fetched: that belongs to the statement."""
    bare.revision(
        "0002",
        f"op.execute('CREATE VIRTUAL TABLE x USING {module}(a)')\n"
        + "".join(f"op.execute(\"INSERT INTO x VALUES ('door {n}')\")\n" for n in range(3))
        + "found = op.get_bind().execute(sa.text(\"SELECT a FROM x WHERE x MATCH 'door'\"))\n"
        "assert len(found.fetchall()) == 3",
    )
    bare.up()


def test_a_result_that_is_never_read_to_its_end_holds_no_lock(table: HostFolder) -> None:
    """A revision that keeps a result does not stand in the way of the next one."""
    table.revision("0003", "global found\nfound = op.get_bind().execute(sa.text('SELECT * FROM t'))\nfound.fetchone()")
    table.revision("0004", "op.create_table('u', sa.Column('id', sa.Integer))")
    assert table.run("upgrade", "head").returncode == 0


@pytest.mark.parametrize("old_package", [False, True])
def test_values_come_back_in_whatever_words_their_column_is_added(table: HostFolder, old_package: bool) -> None:
    """A plan says that they do; once, also where the way back is a recorded one."""
    add = "op.execute('/* by hand */ ALTER TABLE \"t\" ADD q TEXT')"
    table.revision("0003", add, "op.drop_column('t', 'q')")
    table.revision("0004", "op.drop_column('t', 'q')", add)
    table.up("0003")
    table.sql("UPDATE t SET q = 'x' WHERE id = 1")
    table.up()
    path = table.home / "migrations/versions/0004_test.py"
    if old_package:
        path.unlink()
    table.down("0003", no_hold=True)
    assert table.sql("SELECT id, q FROM t ORDER BY id") == [(1, "x"), (2, None)]
    counted = table.call("plan down", "0002").body["rows"]
    assert [(item["table"], item["column"], item["rows"]) for item in counted] == [("t", "q", 1)]
    assert kept_tables(table) == []


def test_a_plan_counts_rows_of_a_table_that_sql_brings_back(table: HostFolder) -> None:
    """Back over two revisions: the first brings the rows back, the second keeps them."""
    table.revision("0003", "op.drop_table('t')", "op.execute('CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT)')")
    table.up()
    counted = table.call("plan down", "0001").body["rows"]
    assert [(item["revision"], item["table"], item["rows"]) for item in counted] == [("0002", "t", 2)]
