"""A rehearsal on a copy that lacks tables which no revision made: SQL that misses them does nothing.

Only what a revision asks of the host matters then.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alembic.operations import BatchOperations, Operations
from sqlalchemy import Engine, event

from vvmigrate.engine.kept_rows import Keeper, columns


def forgive(engine: Engine) -> None:
    """Let statements that fail find nothing."""
    for name in ("do_execute", "do_executemany"):
        event.listen(engine, name, _forgive)


def _forgive(cursor: sqlite3.Cursor, statement: str, parameters: Any, context: Any) -> bool:
    """Run a statement in SQLAlchemy's place; one that fails finds nothing."""
    try:
        (cursor.executemany if context.executemany else cursor.execute)(statement, parameters)
    except sqlite3.OperationalError:
        cursor.execute("SELECT NULL WHERE FALSE")
    return True


def pass_over_batches(operations: Operations, keeper: Keeper) -> None:
    """Let batch mode do nothing to a table that is not there: it cannot be reflected, nor compared, nor copied.

    Alembic asks its implementation of a batch only where `recreate` is "auto"; so this stands in front of it.
    """
    batch_alter_table = operations.batch_alter_table

    @contextmanager
    def unless_missing(table_name: str, *arguments: Any, **options: Any) -> Iterator[BatchOperations]:
        with batch_alter_table(table_name, *arguments, **options) as batch:
            yield batch
            if not columns(keeper, table_name):
                batch.impl.batch.clear()
                batch.impl.recreate = "never"

    operations.batch_alter_table = unless_missing  # type: ignore[method-assign]
