"""Root's SQLite goes nowhere that the database's owner could not go."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vvmigrate.engine.lowered import connection_class

NOBODY = 65534
WAYS: dict[str, Callable[[sqlite3.Connection], object]] = {
    "execute": lambda db: db.execute("INSERT INTO t VALUES (1)"),
    "executemany": lambda db: db.executemany("INSERT INTO t VALUES (?)", [(1,)]),
    "executescript": lambda db: db.executescript("INSERT INTO t VALUES (1)"),
    "cursor.execute": lambda db: db.cursor().execute("INSERT INTO t VALUES (1)"),
    "cursor.executemany": lambda db: db.cursor().executemany("INSERT INTO t VALUES (?)", [(1,)]),
    "cursor.executescript": lambda db: db.cursor().executescript("INSERT INTO t VALUES (1)"),
    "fetchone": lambda db: db.execute("INSERT INTO t VALUES (1), (2) RETURNING x").fetchone(),
    "next": lambda db: next(db.execute("INSERT INTO t VALUES (1), (2) RETURNING x")),
    "iteration": lambda db: list(db.execute("INSERT INTO t VALUES (1), (2) RETURNING x")),
}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that everybody can come to."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root lowers itself")


@pytest.mark.parametrize("way", WAYS)
def test_no_way_to_run_a_statement_makes_a_journal_where_the_owner_may_not_write(tmp_path: Path, way: str) -> None:
    """Whatever the driver's call, it is refused in a folder of root's, and passes in one of the owner's."""
    path = tmp_path / "db"
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE t (x)")
    made.close()
    os.chown(path, NOBODY, NOBODY)
    tmp_path.chmod(0o755)
    db = sqlite3.connect(path, isolation_level=None, factory=connection_class(path.stat(), tmp_path))
    with pytest.raises(sqlite3.OperationalError):
        WAYS[way](db)
    assert os.listdir(tmp_path) == ["db"]
    os.chown(tmp_path, NOBODY, NOBODY)
    WAYS[way](db)
    db.close()


@pytest.mark.parametrize("rows", [0, 1, 1000, 2001])
def test_rows_come_in_order_and_none_is_lost(tmp_path: Path, rows: int) -> None:
    """However many are asked for with the owner's rights at once."""
    path = tmp_path / "db"
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE t (x)")
        made.executemany("INSERT INTO t VALUES (?)", ((x,) for x in range(rows)))
    made.close()
    for owned in (tmp_path, path):
        os.chown(owned, NOBODY, NOBODY)
    db = sqlite3.connect(path, isolation_level=None, factory=connection_class(path.stat(), tmp_path))
    assert type(db) is not sqlite3.Connection
    assert [x for (x,) in db.execute("SELECT x FROM t ORDER BY rowid")] == list(range(rows))
    db.close()


def test_a_database_of_roots_own_is_opened_as_root(tmp_path: Path) -> None:
    """Nobody else is in the way there, and so nothing is lowered."""
    assert connection_class(tmp_path.stat(), tmp_path) is sqlite3.Connection
