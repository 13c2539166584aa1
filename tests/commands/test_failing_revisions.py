"""A revision that fails leaves no trace on the host, and a row in the history."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import HostFolder
from vvmigrate.report import Report

FILES = 'op.make_directories(["extra"])\nop.install_assets("fallback", "extra", ["placeholder.png"])\n'
DDL = 'op.create_table("cameras", sa.Column("id", sa.Integer, primary_key=True))\n'
CHILDREN = 'op.create_table("c", sa.Column("id", sa.Integer), sa.Column("p", sa.Integer, sa.ForeignKey("p.id")))'
LEDGER = [
    "INSERT INTO vv_hold VALUES (99, '0001', 'held', '', '', '', '', '', '', '')",
    "UPDATE vv_step SET result = 'failed'",
    "DELETE FROM vv_effect",
    "UPDATE vv_version SET version_num = '0001'",
    "DROP TABLE vv_run",
    "ALTER TABLE vv_step RENAME TO steps",
    "ALTER TABLE vv_step ADD COLUMN more TEXT",
    "CREATE INDEX sneaky ON vv_step (user)",
    "CREATE TRIGGER sneaky AFTER INSERT ON vv_step BEGIN SELECT 1; END",
]


def schema(host: HostFolder) -> list[tuple[Any, ...]]:
    return host.sql("SELECT type, name, sql FROM sqlite_master ORDER BY name")


@pytest.fixture
def settled(bare: HostFolder) -> HostFolder:
    """A host at 0002, with a table and a row of the orchestrator's."""
    bare.revision(
        "0002", 'op.create_table("videos", sa.Column("id", sa.Integer, primary_key=True), sa.Column("a", sa.Text))'
    )
    bare.up()
    bare.sql("INSERT INTO videos VALUES (1, 'one')")
    return bare


def fails_without_a_trace(host: HostFolder, up: str, *words: str) -> Report:
    """Upgrade to a revision with this body: it must fail, say why, and change nothing."""
    host.revision("0003", up)
    tree, tables = host.tree(), schema(host)
    report = host.call("upgrade", "head")
    assert report.exit_code == 1
    assert report.error is not None
    for word in words:
        assert word in report.error.message
    assert {path: found for path, found in host.tree().items() if path in tree} == tree
    assert set(host.tree()) - set(tree) == {"home/migrations/versions/0003_test.py"} - set(tree)
    assert (schema(host), host.version()) == (tables, "0002")
    assert host.sql("SELECT * FROM videos") == [(1, "one")]
    entry = host.call("history").body["entries"][0]
    assert (entry["revision"], entry["result"]) == ("0003", "failed")
    assert words[0] in entry["error"]
    assert list((host.root / ".vvmigrate/staging").iterdir()) == []
    assert not (host.root / ".vvmigrate/journal").exists()
    return report


def test_a_revision_that_raises_half_way_leaves_nothing(settled: HostFolder) -> None:
    """After directories, assets and DDL were asked for, an exception takes all of it back and is recorded."""
    fails_without_a_trace(settled, FILES + DDL + 'raise RuntimeError("the camera is on fire")', "the camera is on fire")


def test_a_revision_that_only_fails_for_real_leaves_nothing(settled: HostFolder) -> None:
    """What passes on the empty copy and fails on real rows is undone too, files staged and all."""
    fails_without_a_trace(settled, FILES + 'op.execute("INSERT INTO videos VALUES (1, 2)")', "UNIQUE")


UPDATE = "UPDATE videos SET a = 7"
FAILS = "try:\n    op.execute('no SQL')\nexcept Exception:\n    pass\n"


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ('op.execute("COMMIT")', "COMMIT"),
        ('op.execute("END")', "COMMIT"),
        ('op.execute("ROLLBACK")', "ROLLBACK"),
        ('op.execute("/* a comment */ commit")', "COMMIT"),
        ("op.get_bind().commit()", "COMMIT"),
        ("op.get_bind().connection.driver_connection.commit()", "COMMIT"),
        ("op.get_bind().connection.driver_connection.executescript('SELECT 1')", "COMMIT"),
        ("op.get_bind().connection.execute('INSERT INTO videos VALUES (2, 9)')", "op.execute"),
        ("op.get_bind().connection.cursor().executemany('DELETE FROM videos WHERE id = ?', [(1,)])", "op.execute"),
        ("list(op.get_bind().connection.execute('SELECT * FROM videos'))", "op.execute"),
        (f"op.execute({UPDATE!r})\nop.get_bind().connection.execute({UPDATE!r})", "op.execute"),
        (FAILS + "op.get_bind().connection.execute('INSERT INTO videos VALUES (2, 9)')", "op.execute"),
        ("op.execute(\"ATTACH ':memory:' AS other\")", "ATTACH"),
        ('op.execute("DETACH main")', "DETACH"),
        ('op.execute("PRAGMA journal_mode=OFF")', "PRAGMA journal_mode"),
        ('op.execute("PRAGMA page_size=512")', "PRAGMA page_size"),
        ('op.execute("DROP TABLE videos")', "op.drop_table"),
        ("op.execute('CREATE VIRTUAL TABLE x USING fts5(a)')\nop.execute('DROP TABLE x')", "op.drop_table"),
        ("sa.inspect(op.get_bind().engine).get_table_names()", "BEGIN"),
        ('op.execute("ALTER TABLE videos DROP COLUMN a")', "op.drop_column"),
    ],
)
def test_the_steps_transaction_belongs_to_vvmigrate(settled: HostFolder, statement: str, word: str) -> None:
    """A revision that ends or escapes the transaction is stopped by SQLite itself; the message says what it did."""
    fails_without_a_trace(settled, FILES + DDL + statement, "may not do this", word)


@pytest.mark.parametrize("statement", LEDGER)
def test_a_revision_cannot_write_the_history(settled: HostFolder, statement: str) -> None:
    """Every way to change the ledger's tables from a revision is refused, and the history still verifies."""
    fails_without_a_trace(settled, DDL + f'op.execute("{statement}")', "may not do this")
    assert settled.call("history", verify=True).body["problems"] == []


def test_dying_inside_batch_mode_leaves_nothing(settled: HostFolder) -> None:
    """Batch mode rebuilds a table: a failure in the middle of it leaves the old one, rows and all."""
    up = FILES + 'with op.batch_alter_table("videos") as batch:\n    batch.alter_column("a", nullable=False)\n'
    fails_without_a_trace(settled, up + 'op.execute("INSERT INTO videos VALUES (2, NULL)")', "NOT NULL")


def test_dying_while_batch_mode_copies_leaves_nothing(settled: HostFolder) -> None:
    """A row that does not fit the rebuilt table stops the step, and the table is the old one."""
    settled.sql("UPDATE videos SET a = NULL")
    settled.revision(
        "0003", 'with op.batch_alter_table("videos") as batch:\n    batch.alter_column("a", nullable=False)'
    )
    before = schema(settled)
    assert settled.call("upgrade", "head").exit_code == 1
    assert schema(settled) == before
    assert settled.sql("SELECT * FROM videos") == [(1, None)]


def test_fixed_and_run_again_it_is_applied_and_both_attempts_are_told(settled: HostFolder) -> None:
    """The failed attempt stays in the history beside the one that worked."""
    fails_without_a_trace(settled, FILES + DDL + 'raise RuntimeError("not yet")', "not yet")
    settled.revision("0003", FILES + DDL)
    settled.up()
    assert settled.history()[-2:] == [("0003", "up", "failed"), ("0003", "up", "applied")]
    assert (settled.root / "extra/placeholder.png").is_file()
    assert settled.sql("SELECT count(*) FROM cameras") == [(0,)]
    entries = settled.call("history", failures=True).body["entries"]
    assert [entry["error"] for entry in entries] == ["revision 0003: RuntimeError: not yet"]


def test_a_failing_downgrade_leaves_the_host_where_it_was(settled: HostFolder) -> None:
    """A way back that raises is undone like a way there: the revision stays applied, files and tables untouched."""
    settled.revision("0003", FILES + DDL, 'op.revert()\nop.drop_table("cameras")\nraise RuntimeError("no way back")')
    settled.up()
    settled.sql("INSERT INTO cameras VALUES (4)")
    tree, tables = settled.tree(), schema(settled)
    report = settled.call("downgrade", "-1")
    assert report.exit_code == 1
    assert (settled.tree(), schema(settled), settled.version()) == (tree, tables, "0003")
    assert settled.sql("SELECT id FROM cameras") == [(4,)]
    assert settled.history()[-1] == ("0003", "down", "failed")
    assert settled.call("status").body["held"] == []


def test_steps_before_the_failing_one_stay(bare: HostFolder) -> None:
    """Each step is its own: what was applied before the failure is applied, and the next run goes on from there."""
    bare.revision("0002", 'op.make_directories(["second"])')
    bare.revision("0003", 'op.make_directories(["third"])\nraise RuntimeError("stop")')
    report = bare.call("upgrade", "head")
    assert (report.exit_code, report.body["to"]) == (1, "0002")
    assert (bare.root / "second").is_dir()
    assert not (bare.root / "third").exists()


@pytest.mark.parametrize(
    "real",
    ['op.make_directories(["other"])', "pass", FILES + 'op.make_directories(["other"])'],
    ids=["other", "less", "more"],
)
def test_a_revision_that_asks_for_something_else_than_rehearsed_is_stopped(settled: HostFolder, real: str) -> None:
    """A revision that looks at rows and then wants other files than plan could foresee fails whole, saying so."""
    indented = "\n    ".join(real.splitlines())
    rehearsed = "\n    ".join(FILES.splitlines())
    rows = 'op.get_bind().execute(sa.text("SELECT count(*) FROM videos")).scalar()'
    fails_without_a_trace(settled, f"if {rows}:\n    {indented}\nelse:\n    {rehearsed}", "rehearsed")


def test_a_revision_that_exits_the_process_is_recorded_too(settled: HostFolder) -> None:
    """sys.exit() in a revision is a failure like any other, not a way out of the protocol."""
    fails_without_a_trace(settled, FILES + DDL + "raise SystemExit(0)", "SystemExit")


def test_a_revision_that_orphans_rows_is_refused(bare: HostFolder) -> None:
    """Foreign keys are checked before COMMIT, though they are off while tables are rebuilt."""
    bare.revision("0002", f'op.create_table("p", sa.Column("id", sa.Integer, primary_key=True))\n{CHILDREN}')
    bare.up()
    bare.sql("INSERT INTO p VALUES (1)")
    bare.sql("INSERT INTO c VALUES (1, 1)")
    bare.revision("0003", 'op.execute("DELETE FROM p")')
    report = bare.call("upgrade", "head")
    assert report.exit_code == 1
    assert report.error is not None
    assert "without their parent" in report.error.message
    assert bare.sql("SELECT * FROM p") == [(1,)]


def test_orphans_that_the_orchestrator_made_do_not_stop_an_upgrade(bare: HostFolder) -> None:
    """SQLite enforces no foreign keys by default: an orchestrator's dangling row is not the revision's fault."""
    bare.revision(
        "0002", 'op.create_table("c", sa.Column("id", sa.Integer), sa.Column("p", sa.Integer, sa.ForeignKey("p.id")))'
    )
    bare.up()
    bare.sql("INSERT INTO c VALUES (1, 77)")
    bare.revision("0003", DDL)
    bare.up()
    assert bare.version() == "0003"
