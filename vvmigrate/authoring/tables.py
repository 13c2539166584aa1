"""The orchestrator's tables: what its SQLAlchemy metadata declares against what the revisions make, by Alembic."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

from alembic.autogenerate import produce_migrations
from alembic.migration import MigrationContext
from alembic.operations import MigrateOperation, ops
from sqlalchemy import MetaData, create_engine
from sqlalchemy.pool import StaticPool

from vvmigrate import schema
from vvmigrate.authoring import metadata
from vvmigrate.authoring.checkout import Checkout
from vvmigrate.authoring.difference import Difference, Section
from vvmigrate.engine.kept_rows import KEPT

WORDS: dict[type[MigrateOperation], tuple[str, str]] = {
    ops.CreateTableOp: ("{op.table_name}", "new table {name}"),
    ops.DropTableOp: ("{op.table_name}", "table {name}: gone; its rows are kept"),
    ops.AddColumnOp: ("{op.table_name}.{op.column.name}", "new column {name}"),
    ops.DropColumnOp: ("{op.table_name}.{op.column_name}", "column {name}: gone; its values are kept"),
    ops.AlterColumnOp: ("{op.table_name}.{op.column_name}", "column {name}: {altered}"),
    ops.CreateIndexOp: ("{op.table_name}.{op.index_name}", "new index {name}"),
    ops.DropIndexOp: ("{op.table_name}.{op.index_name}", "index {name}: gone"),
    ops.DropConstraintOp: ("{op.table_name}.{op.constraint_name}", "constraint {name}: gone"),
    ops.CreateUniqueConstraintOp: ("{op.table_name}.{op.constraint_name}", "new constraint {name}"),
    ops.CreateForeignKeyOp: ("{op.source_table}.{op.constraint_name}", "new constraint {name}"),
    MigrateOperation: ("", "{op!r}"),
}
"""What each of Alembic's operations is about, and what it says: the first that fits."""


def section(checkout: Checkout, setting: str, database: sqlite3.Connection) -> Section:
    """What brings the tables that revisions make to the declared ones.

    Args:
        setting: `module:attribute`, imported from the release folder; empty where nobody declares tables.
        database: as the revisions leave it.

    Raises:
        RefusedError: there is no such metadata, or it cannot be imported.
    """
    if not setting:
        return Section()
    found = compare(metadata.load(checkout.tree, setting, checkout.may_run), database)
    flat = list(_flat(found))
    for operation in flat:
        _name_constraint(operation)
    file = metadata.file_of(checkout.home, setting)
    differences = tuple(Difference(file, *_described(operation)) for operation in flat)
    return Section(differences, tuple(found), tuple(_advice(flat)))


def compare(declared: MetaData, database: sqlite3.Connection) -> list[MigrateOperation]:
    """Alembic's comparison; our own tables, and what was kept of others, are nobody's business."""

    def is_theirs(name: str | None, kind: str, _parents: Any) -> bool:
        return kind != "table" or not (name in schema.TABLES or str(name).startswith(KEPT))

    engine = create_engine("sqlite://", creator=lambda: database, poolclass=StaticPool)
    with engine.connect() as connection:
        opts = {
            "include_name": is_theirs,
            "compare_type": True,
            "compare_server_default": True,
            "version_table": schema.VERSION_TABLE,
        }
        context = MigrationContext.configure(connection=connection, opts=opts)
        upgrade = produce_migrations(context, declared).upgrade_ops
        return list(upgrade.ops) if upgrade is not None else []


def _flat(operations: list[MigrateOperation]) -> Iterator[MigrateOperation]:
    for operation in operations:
        if isinstance(operation, ops.OpContainer):
            yield from _flat(list(operation.ops))
        else:
            yield operation


def _name_constraint(op: MigrateOperation) -> None:
    """Give a new constraint a name where the orchestrator gives none: what has no name cannot be dropped again."""
    if isinstance(op, ops.CreateUniqueConstraintOp) and op.constraint_name is None:
        op.constraint_name = "_".join(["uq", op.table_name, *op.columns])
    elif isinstance(op, ops.CreateForeignKeyOp) and op.constraint_name is None:
        op.constraint_name = "_".join(["fk", op.source_table, *op.local_cols])


def _described(op: MigrateOperation) -> tuple[str, str]:
    """The name of the table, column or index, and what is new about it."""
    about, what = next(words for kind, words in WORDS.items() if isinstance(op, kind))
    altered = _altered(op) if isinstance(op, ops.AlterColumnOp) else ""
    name = about.format(op=op)
    return name, what.format(op=op, name=name, altered=altered)


def _altered(op: ops.AlterColumnOp) -> str:
    parts = ["other type"] if op.modify_type is not None else []
    if op.modify_nullable is not None:
        parts.append("may be empty" if op.modify_nullable else "may not be empty")
    if op.modify_server_default is not False:
        parts.append("other default")
    return ", ".join(parts)


def _advice(operations: list[MigrateOperation]) -> Iterator[str]:
    """What Alembic writes without knowing that there are rows."""
    added = [op for op in operations if isinstance(op, ops.AddColumnOp)]
    for column in added:
        if not column.column.nullable and column.column.server_default is None:
            name = f"{column.table_name}.{column.column.name}"
            yield f"{name} may not be empty: give it a server_default, for the rows that are there"
    for op in operations:
        if isinstance(op, ops.DropConstraintOp) and op.constraint_name is None:
            yield f"{op.table_name}: a constraint that has no name cannot be dropped as written; make the table anew"
        if isinstance(op, ops.DropColumnOp) and any(column.table_name == op.table_name for column in added):
            name = f"{op.table_name}.{op.column_name}"
            yield f"{name}: if it only has a new name, say so with op.alter_column(..., new_column_name=...) instead"
