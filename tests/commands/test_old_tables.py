"""A database may hold tables that no revision made, an older system's or the orchestrator's: nothing stumbles there."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.conftest import HostFolder

WITHOUT_MODULE = (
    "INSERT INTO sqlite_master VALUES ('table', 'places', 'places', 0, 'CREATE VIRTUAL TABLE places USING nowhere(x)')"
)


def written_into_the_schema(host: HostFolder, statement: str) -> None:
    """What SQLite itself would not make here."""
    with closing(sqlite3.connect(host.database)) as connection, connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(statement)


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "SQLite before 3.37"])
def test_virtual_tables_hold_nothing_up(bare: HostFolder, monkeypatch: pytest.MonkeyPatch, listed: bool) -> None:
    """Full-text search, and a table of a module that is not here: every verb that rehearses goes on."""
    bare.up()
    bare.sql("CREATE VIRTUAL TABLE words USING fts5(word)")
    bare.sql("INSERT INTO words VALUES ('found')")
    bare.sql("VACUUM")  # puts what virtual tables keep their rows in before them
    written_into_the_schema(bare, WITHOUT_MODULE)
    if not listed:
        monkeypatch.setattr("vvmigrate.engine.rehearsal._LIST", "PRAGMA no_such_pragma")
    bare.revision("0002", "op.create_table('t', sa.Column('id', sa.Integer))", "op.drop_table('t')")
    plan = bare.call("plan")
    assert (plan.exit_code, plan.error) == (3, None)
    bare.up()
    bare.down("0001", no_hold=True)
    bare.up()
    assert bare.sql("SELECT word FROM words WHERE words MATCH 'found'") == [("found",)]
