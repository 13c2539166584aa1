"""Rows outlive their table: what a step drops is kept, and comes back by key when the table or column does.

Works in both directions: a downgrade that drops what an upgrade made keeps its rows for the next upgrade.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from alembic.ddl.sqlite import SQLiteImpl

BATCH = "_alembic_tmp_"  # the name that Alembic's batch mode gives to the table it builds


class Keeper(Protocol):
    """What the implementation needs to know of the step."""

    step_id: str

    def unguarded(self) -> AbstractContextManager[None]:
        """Let the engine's own statements through."""

    def run(self, statement: str, *arguments: str) -> list[tuple[Any, ...]]:
        """Run a statement in the step's transaction."""


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def columns(keeper: Keeper, table: str) -> list[str]:
    """The names of a table's columns; empty where there is no such table."""
    return [row[1] for row in keeper.run(f"PRAGMA table_info({quoted(table)})")]


def key_columns(keeper: Keeper, table: str) -> list[str]:
    """The primary key's columns, or the rowid where there is none."""
    rows = keeper.run(f"PRAGMA table_info({quoted(table)})")
    return [row[1] for row in sorted(rows, key=lambda row: row[5]) if row[5]] or ["rowid"]


class KeepingImpl(SQLiteImpl):
    """Alembic's DDL for SQLite, except that nothing with rows in it is thrown away."""

    @property
    def _keeper(self) -> Keeper:
        keeper: Keeper = self.context_opts["vvmigrate"]
        return keeper

    def drop_table(self, table: Any, **kw: Any) -> None:
        """Rename the table out of the way; only batch mode's own copies are really dropped."""
        keeper, name = self._keeper, str(table.name)
        with keeper.unguarded():
            copied = columns(keeper, BATCH + name)
            if name.startswith(BATCH) or copied:
                for column in set(columns(keeper, name)) - set(copied) if copied else ():
                    keep_column(keeper, name, column)
                self._added = (name, set(copied) - set(columns(keeper, name)))
                super().drop_table(table, **kw)
            else:
                keep_table(keeper, name)

    def rename_table(self, old_table_name: str, new_table_name: Any, schema: Any = None) -> None:
        """Rename; batch mode ends with it, and its new columns get back what was kept of them."""
        super().rename_table(old_table_name, new_table_name, schema)
        added: tuple[str, set[str]] = getattr(self, "_added", ("", set()))
        if old_table_name == BATCH + added[0]:
            self._returning.extend((added[0], column) for column in sorted(added[1]))

    def create_table(self, table: Any, **kw: Any) -> None:
        """Create; rows that were kept of a table of this name come back at once."""
        super().create_table(table, **kw)
        with self._keeper.unguarded():
            restore_table(self._keeper, str(table.name))

    def drop_column(self, table_name: str, column: Any, **kw: Any) -> None:
        """Keep the column's values with their keys, then drop it."""
        with self._keeper.unguarded():
            keep_column(self._keeper, table_name, str(column.name))
        super().drop_column(table_name, column, **kw)

    def add_column(self, table_name: str, column: Any, **kw: Any) -> None:
        """Add; kept values come back when the revision has filled in its own."""
        super().add_column(table_name, column, **kw)
        self._returning.append((table_name, str(column.name)))

    @property
    def _returning(self) -> list[tuple[str, str]]:
        pending: list[tuple[str, str]] = self.__dict__.setdefault("_pending", [])
        return pending

    def return_columns(self) -> None:
        """Bring kept values back, at the end of the step: rows that are still there get theirs."""
        for table, column in self._returning:
            restore_column(self._keeper, table, column)
        self._returning.clear()


def _kept(keeper: Keeper, table: str, column: str) -> list[str]:
    """Names of kept tables that are still there, oldest first."""
    rows = keeper.run(
        "SELECT k.kept FROM vv_kept k JOIN sqlite_master m ON m.name = k.kept AND m.type = 'table' "
        "WHERE k.table_name = ? AND k.column_name = ? ORDER BY k.rowid",
        table,
        column,
    )
    return [row[0] for row in rows]


def _note(keeper: Keeper, kept: str, table: str, column: str) -> None:
    keeper.run("INSERT INTO vv_kept VALUES (?, ?, ?, ?)", kept, table, column, keeper.step_id)


def keep_table(keeper: Keeper, table: str) -> None:
    """Rename a table out of the way, with all its rows: milliseconds, whatever its size."""
    kept = f"vv_kept_{keeper.step_id[:8]}_{table}"
    indexes = "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
    for (index,) in keeper.run(indexes, table):
        keeper.run(f"DROP INDEX {quoted(index)}")  # its name must be free when the table comes back
    # With legacy_alter_table other tables' foreign keys go on naming the table that will come back.
    keeper.run("PRAGMA legacy_alter_table=ON")
    keeper.run(f"ALTER TABLE {quoted(table)} RENAME TO {quoted(kept)}")
    keeper.run("PRAGMA legacy_alter_table=OFF")
    _note(keeper, kept, table, "")


def keep_column(keeper: Keeper, table: str, column: str) -> None:
    """Copy a column's values, with the key of their row."""
    kept = f"vv_kept_{keeper.step_id[:8]}_{table}__{column}"
    keys = key_columns(keeper, table)
    names = ", ".join(f"{quoted(key) if key != 'rowid' else 'rowid'} AS {quoted('key_' + key)}" for key in keys)
    keeper.run(f"CREATE TABLE {quoted(kept)} AS SELECT {names}, {quoted(column)} AS value FROM {quoted(table)}")
    _note(keeper, kept, table, column)


def restore_table(keeper: Keeper, table: str) -> None:
    """Bring back the rows of a table that was kept, in the columns that both have."""
    for kept in reversed(_kept(keeper, table, "")):
        common = [name for name in columns(keeper, kept) if name in columns(keeper, table)]
        names = ", ".join(map(quoted, common))
        keeper.run(f"INSERT OR IGNORE INTO {quoted(table)} ({names}) SELECT {names} FROM {quoted(kept)}")
        missing = keeper.run(f"SELECT (SELECT count(*) FROM {quoted(kept)}) - (SELECT count(*) FROM {quoted(table)})")
        if missing[0][0] <= 0:
            keeper.run(f"DROP TABLE {quoted(kept)}")
        return  # an older one stays kept: what is newer holds what became of it


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
        keeper.run(
            f"UPDATE {quoted(table)} SET {quoted(column)} = (SELECT k.value FROM {quoted(kept)} k WHERE {match}) "
            f"WHERE EXISTS (SELECT 1 FROM {quoted(kept)} k WHERE {match})"
        )
        keeper.run(f"DROP TABLE {quoted(kept)}")
        return
