"""The orchestrator, as far as its database goes: a program of its own, with nothing but sqlite3.

    python orchestrator.py DATABASE JOURNAL

It writes some hundred times a second, until its input ends: a new video, and then something about an older one. What a
COMMIT has acknowledged it notes in the journal, a line of JSON each: the video's key and the values that it has now. It
knows every schema that the releases make, asks before each write which columns there are, and fails when it waits for
the database longer than its patience.
"""

from __future__ import annotations

import hashlib
import json
import select
import sqlite3
import sys
from collections.abc import Iterator

PATIENCE_S = 5
PAUSE_S = 0.01
READY_AFTER = 5

Values = dict[str, object]


def main() -> None:
    """Write until the input ends."""
    database, journal = sys.argv[1:]
    connection = sqlite3.connect(database, timeout=PATIENCE_S, isolation_level=None)
    with open(journal, "a", encoding="utf-8") as notes:
        for number, values in enumerate(work()):
            print(json.dumps(write(connection, values)), file=notes, flush=True)
            if number == READY_AFTER:
                print("at work", flush=True)
            if select.select([sys.stdin], [], [], PAUSE_S)[0]:
                return


def work() -> Iterator[Values]:
    """What there is to write, without end."""
    number = 0
    while True:
        number += 1
        yield {"sha256": key(number), "file_name": f"{number}.mp4", "status": "new", "first_seen": f"{number:09}",
               "size_bytes": number, "source": "camera"}  # fmt: skip
        if number > READY_AFTER:
            yield {"sha256": key(number - READY_AFTER), "status": "done", "finished": f"after {number}"}


def key(number: int) -> str:
    """A video's SHA-256."""
    return hashlib.sha256(b"%d" % number).hexdigest()


def write(connection: sqlite3.Connection, values: Values) -> Values:
    """Insert or update a video, in the columns that there are; what was committed."""
    connection.execute("BEGIN IMMEDIATE")
    there = {row[1] for row in connection.execute("PRAGMA table_info(processed_videos)")}
    known = {name: value for name, value in values.items() if name in there}
    if "file_name" in known:
        statement = f"INSERT INTO processed_videos ({', '.join(known)}) VALUES ({', '.join('?' * len(known))})"
        connection.execute(statement, tuple(known.values()))
    else:
        sets = ", ".join(f"{name} = ?" for name in known)
        connection.execute(f"UPDATE processed_videos SET {sets} WHERE sha256 = ?", (*known.values(), known["sha256"]))
    connection.execute("COMMIT")
    return known


if __name__ == "__main__":
    main()
