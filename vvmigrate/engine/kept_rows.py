"""Rows outlive their table: what a step drops is kept, and comes back by key when the table or column does.

Works in both directions: a downgrade that drops what an upgrade made keeps its rows for the next upgrade.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from vvmigrate.engine.existing import quoted

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
        "WHERE k.table_name = ? AND k.column_name = ? AND k.step_id != ? ORDER BY k.rowid",
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


def keep_table(keeper: Keeper, table: str) -> None:
    """Put a table out of the way, with all its rows.

    A rename takes milliseconds, whatever the size. A table with foreign keys is copied instead: it would go on holding
    its parents, and an orchestrator that enforces foreign keys could not delete them any more.
    """
    kept = _free_name(keeper, table)
    indexes = "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
    for (index,) in keeper.run(indexes, table):
        keeper.run(f"DROP INDEX {quoted(index)}")  # its name must be free when the table comes back
    if keeper.run(f"PRAGMA foreign_key_list({quoted(table)})"):
        names = ", ".join(map(quoted, columns(keeper, table)))
        keeper.run(f"CREATE TABLE {quoted(kept)} AS SELECT {names} FROM {quoted(table)}")
        keeper.run(f"DROP TABLE {quoted(table)}")
    else:
        # With legacy_alter_table other tables' foreign keys go on naming the table that will come back.
        keeper.run("PRAGMA legacy_alter_table=ON")
        keeper.run(f"ALTER TABLE {quoted(table)} RENAME TO {quoted(kept)}")
        keeper.run("PRAGMA legacy_alter_table=OFF")
    _note(keeper, kept, table, "")


def keep_column(keeper: Keeper, table: str, column: str) -> None:
    """Copy a column's values, with the key of their row."""
    kept = _free_name(keeper, f"{table}__{column}")
    keys = key_columns(keeper, table)
    names = ", ".join(f"{quoted(key) if key != 'rowid' else 'rowid'} AS {quoted('key_' + key)}" for key in keys)
    keeper.run(f"CREATE TABLE {quoted(kept)} AS SELECT {names}, {quoted(column)} AS value FROM {quoted(table)}")
    _note(keeper, kept, table, column)


def restore_table(keeper: Keeper, table: str) -> list[tuple[str, bool]]:
    """Bring back the rows of a table that was kept, in the columns that both have.

    An older one stays kept: what is newer holds what became of it.

    Returns:
        Where the rows came from, and whether all of them came back; nothing if none were kept.
    """
    for kept in reversed(_kept(keeper, table, "")):
        common = [name for name in columns(keeper, kept) if name in columns(keeper, table)]
        names = ", ".join(map(quoted, common))
        keeper.run(f"INSERT OR IGNORE INTO {quoted(table)} ({names}) SELECT {names} FROM {quoted(kept)}")
        back = keeper.run(f"SELECT changes() = (SELECT count(*) FROM {quoted(kept)})")
        return [(kept, bool(back[0][0]))]
    return []


def dismiss_orphans(keeper: Keeper, table: str) -> bool:
    """Take rows that came back, but whose parents were deleted meanwhile, out again: they stay kept.

    Returns:
        Whether there were any.
    """
    rows = keeper.run(f"PRAGMA foreign_key_check({quoted(table)})") if columns(keeper, table) else []
    orphans = {row[1] for row in rows if row[1] is not None}
    for rowid in orphans:
        keeper.run(f"DELETE FROM {quoted(table)} WHERE rowid = ?", rowid)
    return bool(orphans)


def restore_column(keeper: Keeper, table: str, column: str) -> None:
    """Bring back kept values: rows that are still there get theirs, deleted ones stay deleted."""
    for kept in reversed(_kept(keeper, table, column)):
        keys = key_columns(keeper, table)
        held = columns(keeper, kept)
        if any("key_" + key not in held for key in keys):
            return  # the table has another key now: the values stay kept, for a person
        match = " AND ".join(
            f"k.{quoted('key_' + key)} = {quoted(table)}.{quoted(key) if key != 'rowid' else 'rowid'}" for key in keys
        )
        # Without an index each row would look through all kept ones, while the orchestrator waits for its database.
        held_keys = ", ".join(quoted("key_" + key) for key in keys)
        keeper.run(f"CREATE INDEX {KEPT}index ON {quoted(kept)} ({held_keys})")
        keeper.run(
            f"UPDATE {quoted(table)} SET {quoted(column)} = (SELECT k.value FROM {quoted(kept)} k WHERE {match}) "
            f"WHERE EXISTS (SELECT 1 FROM {quoted(kept)} k WHERE {match})"
        )
        keeper.run(f"DROP TABLE {quoted(kept)}")
        return
