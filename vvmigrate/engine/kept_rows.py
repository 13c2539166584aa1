"""Rows outlive their table: what a step drops is kept, and comes back by key when the table or column does.

Works in both directions: a downgrade that drops what an upgrade made keeps its rows for the next upgrade.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from vvmigrate.engine.existing import quoted, statement_of

KEPT = "vv_kept_"


class Keeper(Protocol):
    """What the implementation needs to know of the step."""

    step_id: str

    def unguarded(self) -> AbstractContextManager[None]:
        """Let the engine's own statements through."""

    def run(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Run a statement in the step's transaction."""

    def tell(self, statement: str) -> None:
        """Tell people of SQL in whose place the engine does something else."""

    def act(self, kind: str, *facts: Any) -> AbstractContextManager[None]:
        """Write down what the block does, as one act; see `vvmigrate.engine.acts`."""


def columns(keeper: Keeper, table: str) -> list[str]:
    """The names of a table's columns; empty where there is no such table."""
    return [row[1] for row in keeper.run(f"PRAGMA table_info({quoted(table)})")]


def is_empty(keeper: Keeper, table: str) -> bool:
    """Whether a table has no rows."""
    return not keeper.run(f"SELECT 1 FROM {quoted(table)} LIMIT 1")


def key_columns(keeper: Keeper, table: str) -> list[str]:
    """The primary key's columns, or the rowid where there is none."""
    rows = keeper.run(f"PRAGMA table_info({quoted(table)})")
    return [row[1] for row in sorted(rows, key=lambda row: row[5]) if row[5]] or ["rowid"]


def _kept(keeper: Keeper, table: str, column: str) -> list[str]:
    """Names of tables that an earlier step kept and that are still there, oldest first."""
    rows = keeper.run(
        "SELECT k.kept FROM vv_kept k JOIN sqlite_master m ON m.name = k.kept AND m.type = 'table' "
        "WHERE k.table_name = ? COLLATE NOCASE AND k.column_name = ? COLLATE NOCASE AND k.step_id != ? "
        "ORDER BY k.rowid",
        table,
        column,
        keeper.step_id,
    )
    return [row[0] for row in rows]


def _note(keeper: Keeper, kept: str, table: str, column: str) -> None:
    keeper.run("INSERT INTO vv_kept VALUES (?, ?, ?, ?)", kept, table, column, keeper.step_id)


def _free_name(keeper: Keeper, what: str) -> str:
    """A name that nothing has yet: one step may drop the same table twice."""
    name = f"{KEPT}{keeper.step_id[:8]}_{what}"
    while columns(keeper, name):
        name += "_"
    return name


def _hanging(keeper: Keeper, table: str) -> list[tuple[str, str, str]]:
    """Kind, name and statement of the indexes and triggers on a table."""
    return keeper.run(
        "SELECT upper(type), name, sql FROM sqlite_master "
        "WHERE type IN ('index', 'trigger') AND tbl_name = ? COLLATE NOCASE AND sql IS NOT NULL",
        table,
    )


def keep_table(keeper: Keeper, table: str) -> None:
    """Put a table out of the way, with all its rows.

    A rename takes milliseconds, whatever the size. A table with foreign keys is copied instead: it would go on holding
    its parents, and an orchestrator that enforces foreign keys could not delete them any more.
    """
    kept = _free_name(keeper, table)
    for kind, name, _ in _hanging(keeper, table):
        keeper.run(f"DROP {kind} {quoted(name)}")  # its name must be free when the table comes back
    if keeper.run(f"PRAGMA foreign_key_list({quoted(table)})"):
        names = ", ".join(map(quoted, columns(keeper, table)))
        keeper.run(f"CREATE TABLE {quoted(kept)} AS SELECT {names} FROM {quoted(table)}")
        keeper.run(f"DROP TABLE {quoted(table)}")
    else:
        _rename(keeper, table, kept)
    _note(keeper, kept, table, "")


def _rename(keeper: Keeper, old: str, new: str) -> None:
    """Rename a table; other tables' foreign keys go on naming what they name, which comes back or is there again."""
    keeper.run("PRAGMA legacy_alter_table=ON")
    keeper.run(f"ALTER TABLE {quoted(old)} RENAME TO {quoted(new)}")
    keeper.run("PRAGMA legacy_alter_table=OFF")


def take_back(keeper: Keeper, table: str) -> bool:
    """Let the table that was kept stand in the place of an empty one that is made in the same words.

    So it comes back with what no copy has: the rows' own numbers, by which FTS5's are found; what was counted for
    AUTOINCREMENT; the words of an index whose texts are kept nowhere.

    Returns:
        Whether it did; not where the words differ, as they do of a table whose foreign keys were not kept.
    """
    for kept in reversed(_kept(keeper, table, "")):
        if _body(keeper, kept) != _body(keeper, table):
            return False
        hanging = _hanging(keeper, table)
        keeper.run(f"DROP TABLE {quoted(table)}")
        _rename(keeper, kept, table)
        for _, _, statement in hanging:
            keeper.run(statement)
        return True
    return False


def _body(keeper: Keeper, table: str) -> str:
    """What a table's statement says behind its name."""
    found = re.search(r"\(|\bUSING\b", statement_of(keeper.run, "table", table), re.IGNORECASE)
    return found.string[found.start() :] if found else ""


def _computes(keeper: Keeper, table: str, column: str) -> bool:
    """Whether SQLite computes a column's values (`AS (...)`)."""
    found = keeper.run(f"PRAGMA table_xinfo({quoted(table)})")
    return any(row[1].lower() == column.lower() and row[6] in (2, 3) for row in found)


def keep_column(keeper: Keeper, table: str, column: str) -> None:
    """Copy a column's values, with the key of their row; of one that SQLite computes there are none to keep."""
    if _computes(keeper, table, column):
        return
    kept = _free_name(keeper, f"{table}__{column}")
    keys = key_columns(keeper, table)
    names = ", ".join(f"{quoted(key) if key != 'rowid' else 'rowid'} AS {quoted('key_' + key)}" for key in keys)
    keeper.run(f"CREATE TABLE {quoted(kept)} AS SELECT {names}, {quoted(column)} AS value FROM {quoted(table)}")
    _note(keeper, kept, table, column)


def restore_table(keeper: Keeper, table: str, *, outrank: bool) -> list[tuple[str, bool]]:
    """Bring back the rows of a table that was kept, in the columns that both have.

    An older one stays kept: what is newer holds what became of it.

    Args:
        outrank: they take the place of rows with the same key, unless these have columns that they have not.

    Returns:
        Where the rows came from, and whether all of them came back; nothing if none were kept.
    """
    for kept in reversed(_kept(keeper, table, "")):
        held, there = columns(keeper, kept), columns(keeper, table)
        common = [name for name in held if name in there]
        names = ", ".join(map(quoted, common))
        insert = f"INTO {quoted(table)} ({names}) SELECT {names} FROM {quoted(kept)} k"
        if not _has_key(keeper, table):  # nobody could tell which rows are the same, but those that are alike
            alike = " AND ".join(f"t.{quoted(name)} IS k.{quoted(name)}" for name in common)
            insert += f" WHERE NOT EXISTS (SELECT 1 FROM {quoted(table)} t WHERE {alike})"
        with _quiet(keeper, table) if outrank else nullcontext():
            try:
                keeper.run(f"INSERT OR {'REPLACE' if outrank and len(common) == len(there) else 'IGNORE'} {insert}")
            except sqlite3.IntegrityError:  # the table takes some of them no more: those stay kept
                keeper.run(f"INSERT OR IGNORE {insert}")
        lacking = f"SELECT {names} FROM {quoted(kept)} EXCEPT SELECT {names} FROM {quoted(table)}"
        return [(kept, len(common) == len(held) and not keeper.run(f"SELECT 1 FROM ({lacking}) LIMIT 1"))]
    return []


@contextmanager
def _quiet(keeper: Keeper, table: str) -> Iterator[None]:
    """Without the table's triggers: what they did when the rows came first was kept too, and comes back by itself."""
    triggers = [(name, statement) for kind, name, statement in _hanging(keeper, table) if kind == "TRIGGER"]
    for name, _ in triggers:
        keeper.run(f"DROP TRIGGER {quoted(name)}")
    yield
    for _, statement in triggers:
        keeper.run(statement)


def _has_key(keeper: Keeper, table: str) -> bool:
    key = any(row[5] for row in keeper.run(f"PRAGMA table_info({quoted(table)})"))
    return key or any(row[2] for row in keeper.run(f"PRAGMA index_list({quoted(table)})"))


def dismiss_orphans(keeper: Keeper, table: str) -> bool:
    """Take rows that came back, but whose parents were deleted meanwhile, out again: they stay kept.

    Returns:
        Whether there were any.
    """
    rows = keeper.run(f"PRAGMA foreign_key_check({quoted(table)})") if columns(keeper, table) else []
    for rowid in {row[1] for row in rows if row[1] is not None}:
        keeper.run(f"DELETE FROM {quoted(table)} WHERE rowid = ?", rowid)
    for number in {row[3] for row in rows if row[1] is None}:  # WITHOUT ROWID
        key = [row for row in keeper.run(f"PRAGMA foreign_key_list({quoted(table)})") if row[0] == number]
        parent, own = key[0][2], [f"{quoted(table)}.{quoted(row[3])}" for row in key]
        theirs = [row[4] or name for row, name in zip(key, key_columns(keeper, parent), strict=False)]
        match = " AND ".join(f"p.{quoted(name)} = {mine}" for name, mine in zip(theirs, own, strict=True))
        has_one = f"NOT EXISTS (SELECT 1 FROM {quoted(parent)} p WHERE {match})"
        keeper.run(f"DELETE FROM {quoted(table)} WHERE {' IS NOT NULL AND '.join(own)} IS NOT NULL AND {has_one}")
    return bool(rows)


def restore_column(keeper: Keeper, table: str, column: str) -> None:
    """Bring back kept values: rows that are still there get theirs, deleted ones stay deleted."""
    for kept in reversed(_kept(keeper, table, column)):
        keys = key_columns(keeper, table)
        held = columns(keeper, kept)
        if column not in columns(keeper, table) or any("key_" + key not in held for key in keys):
            return  # the table has another key now, or computes the column: the values stay kept, for a person
        match = " AND ".join(
            f"k.{quoted('key_' + key)} = {quoted(table)}.{quoted(key) if key != 'rowid' else 'rowid'}" for key in keys
        )
        # Without an index each row would look through all kept ones, while the orchestrator waits for its database.
        held_keys = ", ".join(quoted("key_" + key) for key in keys)
        keeper.run(f"CREATE INDEX {KEPT}index ON {quoted(kept)} ({held_keys})")
        there = f"EXISTS (SELECT 1 FROM {quoted(kept)} k WHERE {match})"
        keeper.run(
            f"UPDATE OR IGNORE {quoted(table)} SET {quoted(column)} = "
            f"(SELECT k.value FROM {quoted(kept)} k WHERE {match}) WHERE {there}"
        )
        keyless = " OR ".join(f"{quoted('key_' + key)} IS NULL" for key in keys)
        whole = keeper.run(
            f"SELECT changes() = (SELECT count(*) FROM {quoted(table)} WHERE {there}) "
            f"AND NOT EXISTS (SELECT 1 FROM {quoted(kept)} WHERE {keyless})"
        )
        if whole and whole[0][0]:
            keeper.run(f"DROP TABLE {quoted(kept)}")
        else:  # a value that the column does not take, or whose row cannot be told, stays kept
            keeper.run(f"DROP INDEX {KEPT}index")
        return
