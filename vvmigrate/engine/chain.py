"""The chain: how the rows of our tables prove themselves.

The database's owner may write every row. Each link's hash is an HMAC, under a key that only the state directory holds,
of the row and of the hash before it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any

from vvmigrate import schema
from vvmigrate.engine.effects import Effect
from vvmigrate.engine.rows import LAST_SEQ, Head, Rows, plain
from vvmigrate.errors import IntegrityError, StateError
from vvmigrate.files import Entry

ADOPT_ROW, EPOCH_ROW = "adopt", "epoch"
"""Directions of rows of `vv_step` that are of no revision: a person's decision about the host as a whole. From an epoch
on rows count; what is older can be read, but nothing is done because of it."""


def _blob(value: bytes) -> dict[str, str]:
    """What no text of ours is the same as: we write no bytes into our tables, their owner may."""
    return {"blob": bytes(value).hex()}


_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=_blob)


def canonical(value: Any) -> bytes:
    """The one way to write a value as bytes: JSON, sorted keys, ASCII."""
    return _CANONICAL.encode(value).encode()


def _same(found: Any, expected: str) -> bool:
    """Whether a column holds this digest; it may hold anything."""
    return isinstance(found, str) and hmac.compare_digest(found.encode(), expected.encode())


class Chain(Rows):
    """Our tables, and the key under which their rows prove themselves.

    Args:
        connection: of `database.connect`.
        key: the chain's key, or None for a reader that may not see it: nothing can be verified or added then.
    """

    def __init__(self, connection: sqlite3.Connection, key: bytes | None) -> None:
        """Take over the connection."""
        super().__init__(connection)
        self._key = key

    def epoch_seq(self) -> int:
        """The number of the row that began this epoch; 0 in the first one."""
        found = self.connection.execute("SELECT max(seq) FROM vv_step WHERE direction = ?", (EPOCH_ROW,)).fetchone()
        return int(found[0] or 0)

    def mac(self, data: bytes) -> str:
        """The keyed digest of some bytes, in hex."""
        if self._key is None:
            raise StateError("the ledger's key is not readable by this user")
        return hmac.digest(self._key, data, "sha256").hex()

    def masked(self, effect: Effect) -> Effect:
        """The effect as the database may hold it: a secret file's digest is keyed, its size left out."""
        if not effect.secret:
            return effect

        def mask(entry: Entry) -> Entry:
            return entry._replace(digest=self.mac(entry.digest.encode()) if entry.digest else "", size_bytes=0)

        return effect._replace(before=mask(effect.before), after=mask(effect.after))

    def next_seq(self) -> int:
        """The number of the next link.

        Raises:
            StateError: somebody took the last one that there is.
        """
        if (last := self.head().seq) < LAST_SEQ:
            return last + 1
        statements = " ".join(f"DELETE FROM {table} WHERE seq = {LAST_SEQ};" for table in schema.LINKS)
        raise StateError(
            f"history row {LAST_SEQ}: no row can follow it, and it is none of vvmigrate's",
            hint=f'look at it, then: sqlite3 DATABASE "{statements}"',
        )

    def append(self, table: str, values: Mapping[str, Any]) -> Head:
        """Add a link to the chain and read it back. Inside the caller's transaction.

        Raises:
            StateError: what was read back is not what was written: something on the table interferes.
        """
        last = self.head()
        row = {"seq": self.next_seq(), **values, "previous_hash": last.hash}
        row["hash"] = self._hash(table, row)
        self._insert(table, row)
        if self.rows(table, "seq = ?", (row["seq"],)) != [row]:
            raise StateError(f"a row of {table} does not read back as it was written")
        return Head(row["seq"], row["hash"])

    def append_step(self, values: Mapping[str, Any], effects: Iterable[Effect]) -> Head:
        """Add a step with its effects."""
        texts = [canonical(self.masked(effect).as_json()).decode() for effect in effects]
        for n, text in enumerate(texts):
            self._insert("vv_effect", {"step_id": values["step_id"], "n": n, "effect": text})
        stored = [row["effect"] for row in self.rows("vv_effect", "step_id = ?", (values["step_id"],))]
        if stored != texts:
            raise StateError("the rows of vv_effect do not read back as they were written")
        return self.append("vv_step", {**values, "effects_digest": self.mac(canonical(texts))})

    def _insert(self, table: str, row: Mapping[str, Any]) -> None:
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self.connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))

    def _hash(self, table: str, row: Mapping[str, Any]) -> str:
        """What the hash of a link must be.

        Args:
            row: without it.
        """
        return self.mac(canonical([table, row]))

    def problems(self) -> list[str]:
        """What does not hold in the chain, a sentence each; empty when history is as it was written."""
        since = self.epoch_seq()
        digests = self._effect_digests(since)
        nothing, found, previous, broken = self.mac(canonical([])), [], Head(), not since
        for table, row in self._links():
            seq, claimed = row["seq"], row.pop("hash")
            if seq < since:
                previous = Head(seq, plain(claimed))
                continue
            where = f"history row {seq}"
            if seq != previous.seq + 1:
                found.append(f"{where}: expected number {previous.seq + 1}: rows were removed or inserted")
            if row["previous_hash"] != previous.hash:
                found.append(f"{where}: does not follow the row before it")
            if not _same(claimed, self._hash(table, row)):
                found.append(f"{where}: was changed after it was written")
            elif seq == since and json.loads(row["notes"])["epoch"]["sha256"] != self.seal(since):
                found.append(f"{where}: the rows before it were changed after it was written")
                broken = True
            if table == "vv_step" and not _same(row["effects_digest"], digests.pop(row["step_id"], nothing)):
                found.append(f"{where}: the effects recorded for it were changed")
            previous = Head(seq, plain(claimed))
        of_nobody = sorted(map(plain, digests)) if broken else ()  # those from before an epoch are sealed with it
        return found + [f"effects of a step {name} were inserted: no row of the history has it" for name in of_nobody]

    def _links(self) -> list[tuple[str, dict[str, Any]]]:
        """The rows of the chain with their tables, in its order."""
        links = ((table, row) for table in schema.LINKS for row in self.rows(table))
        return sorted(links, key=lambda link: link[1]["seq"])

    def _effect_digests(self, since: int) -> dict[Any, str]:
        """Of every step from a row on, and of what is no step, the keyed digest of the effects that are there.

        It is empty where their numbers are not those that we give.
        """
        earlier = "SELECT step_id FROM vv_step WHERE seq < ?"
        select = f"SELECT step_id, n, effect FROM vv_effect WHERE step_id NOT IN ({earlier}) ORDER BY step_id, n"

        def read() -> dict[Any, str]:
            found: dict[Any, str] = {}
            for step_id, rows in groupby(self.connection.execute(select, (since,)), key=itemgetter(0)):
                numbers, texts = zip(*((n, text) for _, n, text in rows), strict=True)
                found[step_id] = self.mac(canonical(texts)) if numbers == tuple(range(len(texts))) else ""
            return found

        return self.reading(read)

    def seal(self, before: int) -> str:
        """SHA-256 in hex of all rows older than one, as they are: no key is needed, and none proves them.

        Effects that belong to no row at all count as old.
        """
        digest = hashlib.sha256()
        for table in schema.LINKS:
            digest.update(repr(self.rows(table, "seq < ?", (before,))).encode("utf-8", "surrogateescape"))
        where = "step_id NOT IN (SELECT step_id FROM vv_step WHERE seq >= ?)"
        digest.update(repr(self.rows("vv_effect", where, (before,))).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def check_chain(self) -> None:
        """Refuse a history that was tampered with.

        Raises:
            IntegrityError: the chain does not hold.
        """
        if found := self.problems():
            raise IntegrityError(
                f"the history does not verify: {found[0]}" + (f" (and {len(found) - 1} more)" if found[1:] else ""),
                hint="vvmigrate history --verify",
            )
