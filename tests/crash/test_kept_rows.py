"""Ten thousand rows go with their table and their column and come back, though somebody writes and we are killed."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HostFolder

from . import dying
from .power import new_folder

FORK = multiprocessing.get_context("fork")
ROWS = 10_000
SEED = 20250103
BUSY_S = 10.0
ROUNDS_A_SECOND = 200
BOUND_S = 30.0
#: By key: what an orchestrator has written, and its score; None where a row has none.
Table = dict[int, tuple[str, int | None]]
DROP = {
    "plain": "op.drop_column('clips', 'score')",
    "batch": "with op.batch_alter_table('clips') as table:\n    table.drop_column('score')",
}
ADD = {
    "plain": "op.add_column('clips', sa.Column('score', sa.Integer))",
    "batch": "with op.batch_alter_table('clips') as table:\n    table.add_column(sa.Column('score', sa.Integer))",
}
RETIRED = "op.create_table('retired', sa.Column('name', sa.Text, primary_key=True), sa.Column('n', sa.Integer))"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory: what is tried here is no power loss."""
    folder = new_folder("rows")
    yield folder
    shutil.rmtree(folder)


def release(host: HostFolder, way: str, journal_mode: str) -> HostFolder:
    """A host whose next revision drops a table and a column, both full."""
    host.revision(
        "0002",
        "op.create_table('clips', sa.Column('id', sa.Integer, primary_key=True), sa.Column('word', sa.Text),"
        f" sa.Column('score', sa.Integer))\n{RETIRED}",
        "op.drop_table('retired')\nop.drop_table('clips')",
    )
    host.up()
    host.revision("0003", f"op.drop_table('retired')\n{DROP[way]}", f"{ADD[way]}\n{RETIRED}")
    with closing(sqlite3.connect(host.database)) as connection, connection:
        connection.execute(f"PRAGMA journal_mode={journal_mode}")
        connection.executemany("INSERT INTO clips VALUES (?, ?, ?)", ((n, f"w{n}", 7 * n) for n in range(1, ROWS + 1)))
        connection.executemany("INSERT INTO retired VALUES (?, ?)", ((f"name {n}", n) for n in range(ROWS)))
    return host


class Orchestrator:
    """A process that inserts, updates and deletes all the while, and knows what must be there."""

    def __init__(self, host: HostFolder) -> None:
        """Start it."""
        self._stop, self._diary, self._done = FORK.Event(), FORK.Queue(), FORK.Semaphore(0)
        self._process = FORK.Process(target=self._work, args=(str(host.database),), daemon=True)
        self._process.start()

    def _work(self, database: str) -> None:
        table: Table = {n: (f"w{n}", 7 * n) for n in range(1, ROWS + 1)}
        choose, number = random.Random(SEED), ROWS
        with closing(sqlite3.connect(database, timeout=BUSY_S, isolation_level=None)) as connection:
            while not self._stop.wait(1 / ROUNDS_A_SECOND):
                number += 1
                connection.execute("INSERT INTO clips (id, word) VALUES (?, ?)", (number, f"new {number}"))
                table[number] = (f"new {number}", None)
                keys = (key for key in choose.sample(range(1, number + 1), 99) if key in table)
                one, two, three = next(keys), next(keys), next(keys)
                connection.execute("UPDATE clips SET word = ? WHERE id = ?", (f"again {number}", one))
                table[one] = (f"again {number}", table[one][1])
                connection.execute("DELETE FROM clips WHERE id = ?", (two,))
                del table[two]
                if self._scored(connection, number, three):
                    table[three] = (table[three][0], number)
                self._done.release()
        self._diary.put(table)

    @staticmethod
    def _scored(connection: sqlite3.Connection, number: int, key: int) -> bool:
        """Give a row a score, if there are scores just now."""
        try:
            connection.execute("UPDATE clips SET score = ? WHERE id = ?", (number, key))
        except sqlite3.OperationalError as error:
            if "no such column" not in str(error):
                raise
            return False
        return True

    def works(self, rounds: int) -> None:
        """Wait until it has done some more of its work."""
        for _ in range(rounds):
            assert self._done.acquire(timeout=BOUND_S), "the orchestrator died"

    def end(self) -> Table:
        """Stop it; what must be in its table."""
        self._stop.set()
        table: Table = self._diary.get(timeout=BOUND_S)
        self._process.join()
        return table


@contextmanager
def orchestrator(host: HostFolder) -> Iterator[Orchestrator]:
    """An orchestrator that works in this block, and whose rows are all there afterwards, each once."""
    worker = Orchestrator(host)
    worker.works(20)
    try:
        yield worker
        worker.works(20)
    finally:
        expected = worker.end()
    found = {row[0]: (row[1], row[2]) for row in host.sql("SELECT id, word, score FROM clips")}
    assert len(host.sql("SELECT id FROM clips")) == len(expected)
    differ = {key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)}
    assert not differ, [(key, expected.get(key), found.get(key)) for key in sorted(differ)[:5]]
    print(f"seed {SEED}: {len(expected)} rows, {sum(score is None for _, score in expected.values())} of them new")


def whole(host: HostFolder) -> None:
    """The retired table has each of its rows once, and nothing is kept twice."""
    assert host.sql("SELECT count(*), count(DISTINCT name), sum(n) FROM retired") == [
        (ROWS, ROWS, ROWS * (ROWS - 1) // 2)
    ]
    assert host.sql("SELECT name FROM sqlite_master WHERE name LIKE 'vv_kept_%'") == []
    assert host.sql("PRAGMA integrity_check") == [("ok",)]


def gone(host: HostFolder) -> None:
    """Neither table nor column is to be seen."""
    assert host.sql("SELECT name FROM sqlite_master WHERE name = 'retired'") == []
    assert "score" not in [row[1] for row in host.sql("PRAGMA table_info(clips)")]


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
@pytest.mark.parametrize("way", ["plain", "batch"])
def test_rows_come_back_by_key_while_somebody_writes(bare: HostFolder, way: str, journal_mode: str) -> None:
    """Rows still there get their values, deleted ones stay deleted, new ones have none: three times over."""
    host = release(bare, way, journal_mode)
    with orchestrator(host) as worker:
        for _ in range(3):
            host.up(release_hold=True)
            gone(host)
            worker.works(20)
            host.down("0002")
            whole(host)
            worker.works(20)


MOMENTS = [
    pytest.param(moment, marks=() if moment in (dying.WRITTEN, dying.COMMITTED) else (pytest.mark.full,), id=name)
    for moment, name in zip(
        dying.PROTOCOL, ("staged", "sealed", "published", "written", "committed", "anchored", "moved"), strict=True
    )
]


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_rows_come_back_by_key_after_a_kill(bare: HostFolder, moment: dying.Moment, journal_mode: str) -> None:
    """Killed on the way down and on the way back while somebody writes: nothing is lost and nothing doubled."""
    host = release(bare, "batch", journal_mode)
    happens = dying.PROTOCOL.index(moment) > dying.PROTOCOL.index(dying.WRITTEN)
    with orchestrator(host) as worker:
        dying.crash(host, moment, "upgrade")
        worker.works(20)  # SQLite rolls back for whoever comes first
        dying.settled(host)
        gone(host) if happens else whole(host)
        host.up()
        worker.works(20)
        dying.crash(host, moment, "downgrade", "0002")
        worker.works(20)
        dying.settled(host)
        whole(host) if happens else gone(host)
        host.up(release_hold=True)
        worker.works(20)
        host.down("0002")
        whole(host)


def column_of_ten_thousand(host: HostFolder) -> Any:
    """The scores, in the order of their keys."""
    return [score for (score,) in host.sql("SELECT score FROM clips ORDER BY id")]


def test_what_an_upgrade_made_and_filled_comes_back_with_it(bare: HostFolder) -> None:
    """The other direction: a downgrade below the tables keeps their rows, a kill in it does not lose or double them."""
    host = release(bare, "plain", "delete")
    before = column_of_ten_thousand(host)
    dying.crash(host, dying.WRITTEN, "downgrade", "0001")
    dying.settled(host)
    assert column_of_ten_thousand(host) == before
    host.down("0001")
    assert host.sql("SELECT name FROM sqlite_master WHERE name = 'clips'") == []
    dying.crash(host, dying.WRITTEN, "upgrade", "0002", release_hold=True)
    dying.settled(host)
    host.up("0002", release_hold=True)
    assert column_of_ten_thousand(host) == before
    whole(host)
