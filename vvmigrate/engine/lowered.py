"""A connection on which SQLite works with the rights of the database's owner, although root asks.

SQLite opens its files by path: the database once, its journal at every transaction. Whoever owns the storage root may
move a folder under it at that very instant; with the owner's rights (setfsuid(2): of this thread only) it can be led
only to where the owner could go anyway.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self


@contextmanager
def lowered(uid: int, gid: int) -> Iterator[None]:
    """In this block the kernel judges access to files as if another user asked."""
    from vvmigrate.files import linux  # not at the top: where nobody's rights are taken on, nobody waits for it

    linux.access_files_as(uid, gid)
    try:
        yield
    finally:
        linux.access_files_as(os.geteuid(), os.getegid())


def connection_class(info: os.stat_result, top: str | os.PathLike[str]) -> type[sqlite3.Connection]:
    """The class of the connection to a database that belongs to `info`'s user.

    Args:
        info: of the database file.
        top: the storage root. Where its owner cannot even come there, nobody but us is in the way, and neither could
            SQLite come there in the owner's name.
    """
    if os.geteuid() or not info.st_uid:
        return sqlite3.Connection
    with lowered(info.st_uid, info.st_gid):
        try:
            os.lstat(top)
        except PermissionError:
            return sqlite3.Connection
    return type("OwnersConnection", (_Connection,), {"owner": (info.st_uid, info.st_gid)})


ROWS_AT_ONCE = 1000


class _Connection(sqlite3.Connection):
    owner = (0, 0)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        with lowered(*self.owner):
            super().__init__(*arguments, **options)

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or _Cursor)

    # By themselves the connection's own would make a plain cursor, without asking `cursor`.
    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        return _Cursor(self).execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        return _Cursor(self).executemany(*arguments)

    def executescript(self, *arguments: Any) -> sqlite3.Cursor:
        return _Cursor(self).executescript(*arguments)

    def commit(self) -> None:
        with lowered(*self.owner):
            super().commit()

    def rollback(self) -> None:
        with lowered(*self.owner):
            super().rollback()

    def close(self) -> None:
        with lowered(*self.owner):
            super().close()


class _Cursor(sqlite3.Cursor):
    connection: _Connection

    def execute(self, *arguments: Any) -> Self:
        with lowered(*self.connection.owner):
            return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> Self:
        with lowered(*self.connection.owner):
            return super().executemany(*arguments)

    def executescript(self, *arguments: Any) -> sqlite3.Cursor:
        with lowered(*self.connection.owner):
            return super().executescript(*arguments)

    def fetchone(self) -> Any:
        with lowered(*self.connection.owner):
            return super().fetchone()

    def fetchmany(self, *arguments: Any, **options: Any) -> list[Any]:
        with lowered(*self.connection.owner):
            return super().fetchmany(*arguments, **options)

    def fetchall(self) -> list[Any]:
        with lowered(*self.connection.owner):
            return super().fetchall()

    def __iter__(self) -> Any:
        """Many rows at a time: four system calls for each would take longer than SQLite does."""
        while rows := self.fetchmany(ROWS_AT_ONCE):
            yield from rows

    def __next__(self) -> Any:
        with lowered(*self.connection.owner):
            return super().__next__()

    def close(self) -> None:
        with lowered(*self.connection.owner):
            super().close()
