"""What a plan and the history tell of a revision's own SQL: all that was done, and no values in the history."""

from __future__ import annotations

import json

import pytest

from tests.commands.plans import agree, statements
from tests.conftest import HostFolder

CAMERAS = "op.create_table('cams', sa.Column('id', sa.Integer, primary_key=True), sa.Column('pw', sa.Text))"
EMPTY = "op.execute('DELETE FROM cams')"

ROWS = [
    ("INSERT INTO cams(id,pw)VALUES(9,'secret8')", "INSERT INTO cams ..."),
    ("-- note: 'secret'\nUPDATE cams SET pw='secret3' WHERE id=1", "UPDATE cams ..."),
    ("/* 'secret' */ UPDATE cams SET pw='secret4' WHERE id=1", "UPDATE cams ..."),
    ("WITH x AS (SELECT 'secret5' AS p) INSERT INTO cams (id,pw) SELECT 3,p FROM x", "INSERT INTO cams ..."),
    ("UPDATE\"cams\"SET pw='secret9' WHERE id=1", "UPDATE cams ..."),
    ("UPDATE main . [cams] SET pw='secret' || id RETURNING pw", "UPDATE cams ..."),
    ("REPLACE INTO cams VALUES (1, 'secret')", "INSERT INTO cams ..."),
    ("WITH x AS (SELECT 'secret5' AS p) DELETE FROM cams WHERE pw IN x OR id = 1", "DELETE FROM cams ..."),
    ("UPDATE shown SET pw='secret' WHERE id = 1", "UPDATE shown ..."),
]
SCHEMA = [
    ("CREATE TABLE more AS SELECT 'secret6' AS p", "CREATE TABLE more ..."),
    ("create view\n  more(a) -- 'secret'\n as select 'secret'", "create view more(a) ..."),
    ("CREATE TRIGGER more AFTER UPDATE ON cams WHEN new.pw='secret' BEGIN SELECT 'secret'; END",
     "CREATE TRIGGER more AFTER UPDATE ON cams ..."),
    ("CREATE INDEX more ON cams (pw) WHERE pw='secret'", "CREATE INDEX more ON cams (pw) ..."),
    ("ALTER TABLE cams ADD COLUMN mood VARCHAR(9) DEFAULT 'calm -- and' NOT NULL",
     "ALTER TABLE cams ADD COLUMN mood VARCHAR(9) DEFAULT 'calm -- and' NOT NULL"),
    ("CREATE TABLE more (a TEXT CHECK (a != 'x'), b AS (a))", "CREATE TABLE more (a TEXT CHECK (a != 'x'), b AS (a))"),
    ("PRAGMA User_Version = 7", "PRAGMA User_Version = 7"),
]  # fmt: skip
LOOKS = [
    "SELECT 'insert into cams'",
    "-- delete\nSELECT 1",
    "WITH x AS (SELECT 1) SELECT * FROM x",
    "EXPLAIN UPDATE cams SET pw='secret'",
    "PRAGMA table_info(cams)",
    "PRAGMA user_version",
]


@pytest.fixture
def cams(bare: HostFolder) -> HostFolder:
    """A host with a table of cameras, a view of it, and a trigger by which the view can be written."""
    through = "CREATE TRIGGER through INSTEAD OF UPDATE ON shown BEGIN UPDATE cams SET pw=new.pw WHERE id=old.id; END"
    more = ["CREATE VIEW shown AS SELECT * FROM cams", through, "INSERT INTO cams VALUES (1, 'first')"]
    bare.revision("0002", "\n".join([CAMERAS, *(f"op.execute({text!r})" for text in more)]), EMPTY)
    bare.up()
    return bare


def told(host: HostFolder, revision: str, direction: str = "up") -> list[str]:
    """The SQL of a revision's newest step, as the history has it."""
    entries = host.call("history", effects=True).body["entries"]
    entry = next(entry for entry in entries if (entry["revision"], entry["direction"]) == (revision, direction))
    return [effect["detail"] for effect in entry["effects"] if effect["action"] == "sql"]


def executed(*texts: str) -> str:
    """Code of a revision that runs SQL just as it is written."""
    return "\n".join(f"op.get_bind().exec_driver_sql({text!r})" for text in texts)


@pytest.mark.parametrize(("text", "line"), [*ROWS, *SCHEMA])
def test_what_is_done_is_told_however_it_is_written(cams: HostFolder, text: str, line: str) -> None:
    """Plan, upgrade and history name each statement that changed anything; the history without values of rows."""
    cams.revision("0003", executed(text))
    plan = cams.call("plan")
    assert statements(plan) == statements(cams.up())
    assert len(statements(plan)) == 1
    assert "--" not in statements(plan)[0][3].replace("'calm -- and'", "")
    assert told(cams, "0003") == [line]
    assert "secret" not in json.dumps(cams.call("history", effects=True).body)
    assert not cams.sql("SELECT 1 FROM vv_step WHERE notes LIKE '%secret%'")


@pytest.mark.parametrize("text", LOOKS)
def test_a_look_is_not_told_as_a_change(cams: HostFolder, text: str) -> None:
    """A revision that only looks changes nothing, and no service has to be restarted for it."""
    cams.revision("0003", executed(text))
    plan, done = cams.call("plan"), cams.up()
    assert (statements(plan), statements(done), told(cams, "0003")) == ([], [], [])
    assert "schema" not in done.body["affects"]


def test_a_statement_that_failed_is_not_told(cams: HostFolder) -> None:
    """What a revision tried, and went on without, was not done."""
    tries = f"try:\n    {executed('UPDATE no_such_table SET a = 1')}\nexcept sa.exc.OperationalError:\n    pass"
    cams.revision("0003", f"{tries}\n{executed('DELETE FROM cams')}")
    plan = cams.call("plan")
    agree(plan, cams.up())
    assert told(cams, "0003") == ["DELETE FROM cams ..."]


def test_rows_that_a_commented_statement_changes_are_not_counted_too_early(cams: HostFolder) -> None:
    """How many rows a dropped table will have cannot be told once the same revision has deleted some."""
    cams.revision("0003", f"{executed('-- the old ones' + chr(10) + 'DELETE FROM cams')}\nop.drop_table('cams')")
    (dropped,) = cams.call("plan").body["rows"]
    assert (dropped["table"], dropped["rows"]) == ("cams", None)


def test_a_statement_that_runs_again_is_told_again(cams: HostFolder) -> None:
    """SQLite is asked once for a statement that is run many times; the plan has each run, the history one line."""
    run = "op.get_bind().exec_driver_sql('INSERT INTO cams (pw) VALUES (?)', ('secret',))"
    many = "op.get_bind().exec_driver_sql('INSERT INTO cams (pw) VALUES (?)', [('secret',), ('secret',)])"
    cams.revision("0003", f"for _ in range(3):\n    {run}\n{many}")
    plan, done = cams.call("plan"), cams.up()
    agree(plan, done)
    assert [len(statements(report)) for report in (plan, done)] == [4, 4]
    assert told(cams, "0003") == ["INSERT INTO cams ..."]


@pytest.mark.parametrize("how", ["recorded source", "recorded way back"])
def test_the_way_back_tells_what_was_taken_away(cams: HostFolder, how: str) -> None:
    """Also where it is done without its source: an auditor sees which tables and columns went."""
    helper = cams.home / "helper.txt"
    helper.write_text("what the package of this revision brings")
    imports = f"open({str(helper)!r}).close()" if how == "recorded way back" else ""
    up = "op.add_column('cams', sa.Column('mood', sa.Text))\nop.create_table('more', sa.Column('id', sa.Integer))"
    down = f"op.drop_table('more')\nop.drop_column('cams', 'mood')\n{executed('/**/DELETE FROM cams')}"
    cams.revision("0003", up, down, imports=imports)
    cams.up()
    helper.unlink()
    cams.down("-1")
    expected = ["DROP TABLE more", "ALTER TABLE cams DROP COLUMN mood", "DELETE FROM cams ..."]
    assert told(cams, "0003", "down") == expected


def test_changed_rows_are_not_taken_over_unseen(cams: HostFolder) -> None:
    """Whether rows were changed cannot be told from the host, however the statement is written."""
    cams.revision("0003", executed("/* c */ UPDATE cams SET pw = '' WHERE id = 1"))
    report = cams.call("adopt")
    assert report.exit_code == 3
    details = [item["detail"] for left in report.body["left"] for item in left["differs"]]
    assert any("cannot be told: UPDATE cams" in detail for detail in details)


def test_a_table_for_searching_goes_there_and_back_with_its_rows(cams: HostFolder) -> None:
    """FTS5 asks SQLite for its own settings when it is made; it is several tables, and all of them are kept."""
    make, fill = "CREATE VIRTUAL TABLE found USING fts5(name)", "INSERT INTO found SELECT 'door'"
    cams.revision("0003", f"op.execute({make!r})\nop.execute({fill!r})", "op.drop_table('found')")
    agree(cams.call("plan"), cams.up())
    assert told(cams, "0003") == [make, "INSERT INTO found ..."]
    cams.sql("INSERT INTO found VALUES ('gate at night')")
    cams.down("0002")
    cams.up(release_hold=True)
    assert cams.sql("SELECT name FROM found WHERE found MATCH 'night'") == [("gate at night",)]


def test_the_number_of_a_schema_goes_back_without_the_release(cams: HostFolder) -> None:
    """The way back of a revision that counts is recorded with all that it does."""
    down = "op.execute('PRAGMA user_version(1)')\nop.drop_table('more')"
    cams.revision("0003", "op.execute('CREATE TABLE more (a)')\nop.execute('PRAGMA user_version=2')", down)
    cams.up()
    assert cams.sql("PRAGMA user_version") == [(2,)]
    (cams.home / "migrations/versions/0003_test.py").unlink()
    cams.down("0002")
    assert cams.sql("PRAGMA user_version") == [(1,)]
    assert told(cams, "0003", "down") == ["PRAGMA user_version(1)", "DROP TABLE more"]


def test_what_a_savepoint_takes_back_is_not_told(cams: HostFolder) -> None:
    """Neither plan nor history says what was not done; what is done before, and behind, they say."""
    inner = "op.execute(\"INSERT INTO cams VALUES (8, 'x')\")\n        raise ValueError"
    tries = f"try:\n    with op.get_bind().begin_nested():\n        {inner}\nexcept ValueError:\n    pass\n"
    cams.revision("0003", f"op.execute('CREATE TABLE more (a)')\n{tries}op.execute('CREATE TABLE last (a)')", "pass")
    agree(cams.call("plan"), cams.up())
    assert told(cams, "0003") == ["CREATE TABLE more (a)", "CREATE TABLE last (a)"]


@pytest.mark.parametrize(
    "fails",
    [
        "op.get_bind().exec_driver_sql('INSERT INTO more VALUES (?)', [(1,), (1,)])",
        "op.execute('INSERT OR FAIL INTO more VALUES (1), (1)')",
    ],
)
def test_what_a_failing_statement_has_done_is_told(cams: HostFolder, fails: str) -> None:
    """A revision that goes on after it keeps the rows of its first runs."""
    tries = f"try:\n    {fails}\nexcept sa.exc.IntegrityError:\n    pass"
    cams.revision("0003", f"op.execute('CREATE TABLE more (a UNIQUE)')\n{tries}", "pass")
    agree(cams.call("plan"), cams.up())
    assert cams.sql("SELECT * FROM more") == [(1,)]
    assert told(cams, "0003") == ["CREATE TABLE more (a UNIQUE)", "INSERT INTO more ..."]


def test_a_table_of_places_can_be_made_and_looked_through(cams: HostFolder) -> None:
    """An R*Tree asks for the size of a page; whoever checks the database first may do so too."""
    make = "CREATE VIRTUAL TABLE places USING rtree(id, west, east)"
    looks = "op.execute('PRAGMA integrity_check')"
    cams.revision("0003", f"{looks}\nop.execute({make!r})\nop.execute('INSERT INTO places VALUES (1, 2, 3)')")
    agree(cams.call("plan"), cams.up())
    assert told(cams, "0003") == [make, "INSERT INTO places ..."]
    assert cams.sql("SELECT * FROM places WHERE west < 2.5") == [(1, 2.0, 3.0)]
