"""Alembic's DDL for SQLite, except that nothing with rows in it is thrown away, and every act is written down."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from alembic.ddl.sqlite import SQLiteImpl
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable

from vvmigrate.engine import existing
from vvmigrate.engine.existing import quoted
from vvmigrate.engine.kept_rows import (
    Keeper,
    columns,
    dismiss_orphans,
    is_empty,
    keep_column,
    keep_table,
    restore_column,
    restore_table,
    take_back,
)
from vvmigrate.errors import StepError


class KeepingImpl(SQLiteImpl):
    """Alembic's DDL for SQLite, except that nothing with rows in it is thrown away."""

    def __init__(self, *arguments: Any) -> None:
        """Nothing is under way; see Alembic's DefaultImpl for the arguments."""
        super().__init__(*arguments)
        self._batch: Any = None  # the table that batch mode rebuilds just now
        self._made: list[str] = []
        self._dropped: set[str] = set()
        self._returning: list[tuple[str, str]] = []
        self._returned: list[tuple[str, str, bool]] = []

    @property
    def _keeper(self) -> Keeper:
        keeper: Keeper = self.context_opts["vvmigrate"]
        return keeper

    # ---- tables --------------------------------------------------------------------------------------------------

    def create_table(self, table: Any, **kw: Any) -> None:
        """Create, or take over an equal one, whose rows meet those that were kept of a table of this name."""
        indexes = sorted([str(index.name), self._words(CreateIndex(index))] for index in table.indexes)
        self.bring_table(
            str(table.name),
            self._words(CreateTable(table, **kw)),
            indexes,
            lenient=bool(kw.get("if_not_exists")),
            create=lambda: SQLiteImpl.create_table(self, table, **kw),
        )

    def bring_table(
        self, name: str, statement: str, indexes: list[list[str]], *, lenient: bool, create: Callable[[], None]
    ) -> None:
        """The same, in plain words.

        Args:
            indexes: names and statements of its indexes.
            lenient: whether any table of this name will do.
            create: makes the table and its indexes.
        """
        keeper = self._keeper
        with keeper.act("create_table", name, statement, indexes, lenient):
            if columns(keeper, name) and not lenient:
                existing.check_table(keeper.run, name, statement)
                for index, words in indexes:
                    self.bring_index(index, name, words, lenient=False, create=partial(self.say, words))
                self._returned += [(name, kept, False) for kept, _ in restore_table(keeper, name, outrank=False)]
            else:
                create()

    def return_rows(self, table: str) -> None:
        """At the end of the step, bring back what was kept of a table that was made just now."""
        if table not in self._made:
            self._made.append(table)

    def create_index(self, index: Any, **kw: Any) -> None:
        """Create, or take over an equal one."""
        self.bring_index(
            str(index.name),
            str(index.table.name),
            self._words(CreateIndex(index, **kw)),
            lenient=bool(kw.get("if_not_exists")),
            create=lambda: SQLiteImpl.create_index(self, index, **kw),
        )

    def bring_index(self, name: str, table: str, statement: str, *, lenient: bool, create: Callable[[], None]) -> None:
        """The same, in plain words; see `bring_table`."""
        keeper = self._keeper
        with keeper.act("create_index", name, table, statement, lenient):
            if existing.statement_of(keeper.run, "index", name) and not lenient:
                existing.check_index(keeper.run, table, name, statement)
            else:
                create()

    def say(self, statement: str, parameters: Any = ()) -> None:
        """Let SQLite do a statement, as it is written.

        Args:
            parameters: a tuple, or a list of tuples for one run each.

        Raises:
            StepError: there is no database.
        """
        if self.connection is None:
            raise StepError("a revision needs a database connection")
        self.connection.exec_driver_sql(statement, parameters)

    def _words(self, element: Any) -> str:
        return str(element.compile(dialect=self.dialect)).strip()

    def drop_table(self, table: Any, **kw: Any) -> None:
        """Rename the table out of the way; only what batch mode has copied is really dropped."""
        keeper, name = self._keeper, str(table.name)
        batch = self._batch
        with keeper.unguarded():
            if batch is not None and name == batch.table.name:
                for column in columns(keeper, name):
                    if "expr" not in batch.column_transfers.get(column, {}):  # unknown, dropped, or made anew
                        self.keep_column(name, column)
            elif batch is None or name != batch.temp_table_name:
                with keeper.act("drop_table", name, bool(kw.get("if_exists"))):
                    if columns(keeper, name):
                        keeper.tell(self._words(DropTable(table)))
                        keep_table(keeper, name)
                        self._dropped.add(name.lower())
                    else:
                        super().drop_table(table, **kw)
                return
            super().drop_table(table, **kw)

    # ---- columns -------------------------------------------------------------------------------------------------

    def prep_table_for_batch(self, batch_impl: Any, table: Any) -> None:
        """Alembic is about to rebuild a table."""
        super().prep_table_for_batch(batch_impl, table)
        self.expect_columns(str(table.name), columns(self._keeper, str(table.name)))
        self._batch = batch_impl

    def expect_columns(self, table: str, names: list[str]) -> None:
        """A table that is rebuilt has these columns, no other: what the rebuilding does not know would be lost.

        Raises:
            StepError: it has others.
        """
        with self._keeper.act("expect_columns", table, names):
            found = columns(self._keeper, table)
            if found != names:
                raise StepError(
                    f"table {table}: expected the columns {', '.join(names)}, found {', '.join(found) or 'none'}: "
                    "rebuilding it from what was recorded would lose something",
                    hint="install the release that the revision belongs to, then the same command",
                )

    def rename_table(self, old_table_name: str, new_table_name: Any, schema: Any = None) -> None:
        """Rename; batch mode ends with it, and its new columns get back what was kept of them."""
        super().rename_table(old_table_name, new_table_name, schema)
        batch = self._batch
        if batch is not None and old_table_name == batch.temp_table_name:
            added = [name for name, transfer in batch.column_transfers.items() if "expr" not in transfer]
            self._batch = None
            for name in added:
                self.return_column(str(new_table_name), name)

    def drop_column(self, table_name: str, column: Any, **kw: Any) -> None:
        """Keep the column's values with their keys, then drop it."""
        name = str(column.name)
        with self._keeper.act("drop_column", table_name, name), self._keeper.unguarded():
            self.keep_column(table_name, name)
            super().drop_column(table_name, column, **kw)

    def keep_column(self, table: str, column: str) -> None:
        """Keep a column's values with their keys."""
        with self._keeper.act("keep_column", table, column):
            keep_column(self._keeper, table, column)

    def add_column(self, table_name: str, column: Any, **kw: Any) -> None:
        """Add; kept values come back when the revision has filled in its own."""
        super().add_column(table_name, column, **kw)
        self.return_column(table_name, str(column.name))

    def return_column(self, table: str, column: str) -> None:
        """At the end of the step, bring back what was kept of a column; once, in whatever words it was added."""
        if (table, column) in self._returning:
            return
        with self._keeper.act("return_column", table, column):
            self._returning.append((table, column))

    # ---- the end of the step -------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Bring kept rows and values back: rows that are still there get theirs. Forget what came back whole."""
        for table in self._made:
            if columns(self._keeper, table):
                self._bring_rows(table)
        for table, column in self._returning:
            restore_column(self._keeper, table, column)
        # A savepoint of the revision's may have taken a table back: then its rows are where they were.
        whole = [(table, kept) for table, kept, whole in self._returned if whole and columns(self._keeper, table)]
        stay: set[str] = set()
        while lonely := {table for table, _ in whole if dismiss_orphans(self._keeper, table)}:
            stay |= lonely  # a row that goes may have been the parent of others
        for table, kept in whole:
            if table not in stay:
                self._keeper.run(f"DROP TABLE IF EXISTS {quoted(kept)}")

    def _bring_rows(self, table: str) -> None:
        """None come into a table that this very step has dropped, and filled again: it was rebuilt by hand."""
        empty = is_empty(self._keeper, table)
        if (empty or table.lower() not in self._dropped) and not (empty and take_back(self._keeper, table)):
            self._returned += [(table, *back) for back in restore_table(self._keeper, table, outrank=True)]
