"""The ledger: recorded state and history, in the orchestrator's database.

The database's owner may write every row, so rows prove themselves: each link's hash is an HMAC, under a key that only
the state directory holds, of the row and of the hash before it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vvmigrate import schema
from vvmigrate.engine.effects import Effect
from vvmigrate.engine.state import ADOPT, Target
from vvmigrate.errors import IntegrityError, StateError
from vvmigrate.files import Entry

COMMITTED = ("applied", "adopted", "degraded", "reverted", "repaired", "superseded")
"""Results of steps that happened; `failed` and `interrupted` ones did not."""

ADOPT_ROW, EPOCH_ROW = "adopt", "epoch"
"""Directions of rows of `vv_step` that are of no revision: a person's decision about the host as a whole. From an epoch
on rows count; what is older can be read, but nothing is done because of it."""


@dataclass(frozen=True)
class Head:
    """The end of the chain: sequence number and hash of its last row."""

    seq: int = 0
    hash: str = ""


def canonical(value: Any) -> bytes:
    """The one way to write a value as bytes: JSON, sorted keys, ASCII."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()


class Ledger:
    """The ledger's rows, over an open connection.

    Args:
        connection: of `database.connect`.
        key: the chain's key, or None for a reader that may not see it: nothing can be verified or added then.
    """

    def __init__(self, connection: sqlite3.Connection, key: bytes | None) -> None:
        """Take over the connection."""
        self.connection = connection
        self._key = key

    # ---- reading -------------------------------------------------------------------------------------------------

    def installed(self) -> bool:
        """Whether the database has our tables at all."""
        found = self.connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'vv_ledger'")
        return bool(found.fetchone()[0])

    def ledger_id(self) -> str:
        """The id that ties database, home and storage root together.

        Raises:
            StateError: no id, several, or a format that is newer than this tool.
        """
        rows = self.connection.execute("SELECT ledger_id, format FROM vv_ledger").fetchall()
        if len(rows) != 1:
            raise StateError(f"the database holds {len(rows)} ledger ids, expected 1")
        if rows[0][1] > schema.FORMAT:
            raise StateError(
                f"the ledger has format {rows[0][1]}, this vvmigrate knows {schema.FORMAT}: use a newer one"
            )
        return str(rows[0][0])

    def version(self) -> str:
        """The revision that the database is at; empty at base.

        Raises:
            StateError: several version rows.
        """
        rows = self.connection.execute(f"SELECT version_num FROM {schema.VERSION_TABLE}").fetchall()
        if len(rows) > 1:
            raise StateError(f"the database holds {len(rows)} version rows, expected one: {sorted(r[0] for r in rows)}")
        return str(rows[0][0]) if rows else ""

    def head(self) -> Head:
        """The end of the chain."""
        return max((self._last(table) for table in schema.LINKS), key=lambda head: head.seq)

    def _last(self, table: str) -> Head:
        row = self.connection.execute(f"SELECT seq, hash FROM {table} ORDER BY seq DESC LIMIT 1").fetchone()
        return Head(*row) if row else Head()

    def reaches(self, head: Head) -> bool:
        """Whether the chain once ended with this row, or still does."""
        links = (row for table in schema.LINKS for row in self.rows(table, "seq = ?", (head.seq,)))
        return head.seq == 0 or any(row["hash"] == head.hash for row in links)

    def rows(self, table: str, where: str = "1", arguments: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        """Rows of one of our tables, oldest first, as dictionaries."""
        cursor = self.connection.execute(f"SELECT * FROM {table} WHERE {where} ORDER BY rowid", arguments)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def newest(
        self, table: str, where: str = "1", arguments: tuple[Any, ...] = (), limit: int = 0
    ) -> list[dict[str, Any]]:
        """Rows of one of our tables, newest first; at most so many, 0 for all."""
        picked = f"seq IN (SELECT seq FROM {table} WHERE {where} ORDER BY seq DESC LIMIT ?)"
        return self.rows(table, picked, (*arguments, limit or -1))[::-1]

    def count(self, table: str, where: str = "1", arguments: tuple[Any, ...] = ()) -> int:
        """How many rows there are."""
        found = self.connection.execute(f"SELECT count(*) FROM {table} WHERE {where}", arguments)
        return int(found.fetchone()[0])

    def step(self, step_id: str) -> dict[str, Any] | None:
        """The row of one attempt, if it has one."""
        rows = self.rows("vv_step", "step_id = ?", (step_id,))
        return rows[0] if rows else None

    def committed(self) -> list[dict[str, Any]]:
        """The steps of revisions that happened in this epoch, oldest first."""
        marks = ",".join("?" * len(COMMITTED))
        where = f"result IN ({marks}) AND direction NOT IN (?, ?) AND seq > ?"
        return self.rows("vv_step", where, (*COMMITTED, ADOPT_ROW, EPOCH_ROW, self.epoch_seq()))

    def epoch(self) -> dict[str, Any] | None:
        """The row that began this epoch; None in the first one."""
        rows = self.newest("vv_step", "direction = ?", (EPOCH_ROW,), limit=1)
        return rows[0] if rows else None

    def epoch_seq(self) -> int:
        """The number of the row that began this epoch; 0 in the first one."""
        found = self.connection.execute("SELECT max(seq) FROM vv_step WHERE direction = ?", (EPOCH_ROW,)).fetchone()
        return int(found[0] or 0)

    def effects(self, step_id: str) -> list[Effect]:
        """What a step did, in its order. Digests of secret files are keyed."""
        rows = self.rows("vv_effect", "step_id = ?", (step_id,))
        return [Effect.from_json(json.loads(row["effect"])) for row in sorted(rows, key=lambda row: row["n"])]

    def recorded(self) -> dict[Target, tuple[Effect, dict[str, Any]]]:
        """What stands recorded at each managed path: the last effect on it, and the step that had it.

        A path is managed while a revision that is applied had an effect on it.
        """
        by_step: dict[str, list[Effect]] = {}
        for row in self.connection.execute("SELECT step_id, effect FROM vv_effect ORDER BY step_id, n"):
            by_step.setdefault(row[0], []).append(Effect.from_json(json.loads(row[1])))
        last: dict[Target, tuple[Effect, dict[str, Any]]] = {}
        managed: dict[str, set[Target]] = {}
        for step in self.committed():
            effects = by_step.get(step["step_id"], [])
            last.update({effect.target: (effect, step) for effect in effects})
            if step["result"] == "reverted":
                managed.pop(step["revision"], None)
            else:
                managed.setdefault(step["revision"], set()).update(effect.target for effect in effects)
        owned = set().union(*managed.values())
        return {target: found for target, found in last.items() if target in owned and found[0].after.exists}

    def since_applied(self, revision: str) -> list[tuple[str, Effect]]:
        """What a revision recorded since it was last applied, retries and repairs included, newest first.

        Returns:
            (step id, effect) pairs.
        """
        steps: list[str] = []
        for step in self.committed():
            if step["revision"] == revision:
                if step["result"] == "reverted":
                    steps = []
                else:
                    steps.append(step["step_id"])
        return [(step_id, effect) for step_id in reversed(steps) for effect in reversed(self.effects(step_id))]

    def made(self, target: Target) -> bool:
        """Whether we once made what stands at a target, and never removed it: a downgrade may have had to keep it."""
        ours = False
        for step in self.committed():
            for effect in self.effects(step["step_id"]):
                if effect.target == target and effect.action != ADOPT:
                    ours = effect.after.exists and (ours or not effect.before.exists)
        return ours

    def applied(self) -> list[dict[str, Any]]:
        """For each revision that the host has, the step that last did something for it, oldest first.

        Its `first` is the step that applied the revision, whose source and way back are the recorded ones.
        """
        line: dict[str, dict[str, Any]] = {}
        for step in self.committed():
            if step["result"] == "reverted":
                line.pop(step["revision"], None)
            else:
                first = line.get(step["revision"])
                if first is not None and step["result"] == "repaired":
                    continue  # what was degraded still is
                begun = step if first is None else first["first"]
                line[step["revision"]] = step | {"script_sha256": begun["script_sha256"], "first": begun}
        return list(line.values())

    def applied_by(self, run_id: str) -> list[dict[str, Any]]:
        """The steps by which a run applied revisions that are applied still, oldest first."""
        line: dict[str, dict[str, Any]] = {}
        for step in self.committed():
            if step["result"] == "reverted":
                line.pop(step["revision"], None)
            elif step["version_before"] != step["version_after"]:
                line[step["revision"]] = step
        return [step for step in line.values() if step["run_id"] == run_id]

    def holds(self) -> dict[str, dict[str, Any]]:
        """The holds in force, by revision."""
        found: dict[str, dict[str, Any]] = {}
        for row in self.rows("vv_hold", "seq > ?", (self.epoch_seq(),)):
            if row["state"] == "held":
                found[row["revision"]] = row
            else:
                found.pop(row["revision"], None)
        return found

    # ---- the chain -----------------------------------------------------------------------------------------------

    def mac(self, data: bytes) -> str:
        """The keyed digest of some bytes, in hex."""
        if self._key is None:
            raise StateError("the ledger's key is not readable by this user")
        return hmac.new(self._key, data, hashlib.sha256).hexdigest()

    def masked(self, effect: Effect) -> Effect:
        """The effect as the database may hold it: a secret file's digest is keyed, its size left out."""
        if not effect.secret:
            return effect

        def mask(entry: Entry) -> Entry:
            return replace(entry, digest=self.mac(entry.digest.encode()) if entry.digest else "", size_bytes=0)

        return replace(effect, before=mask(effect.before), after=mask(effect.after))

    def append(self, table: str, values: Mapping[str, Any]) -> Head:
        """Add a link to the chain and read it back. Inside the caller's transaction.

        Raises:
            StateError: what was read back is not what was written: something on the table interferes.
        """
        last = self.head()
        row = {"seq": last.seq + 1, **values, "previous_hash": last.hash}
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
        return self.mac(canonical([table, {name: value for name, value in row.items() if name != "hash"}]))

    def problems(self) -> list[str]:
        """What does not hold in the chain, a sentence each; empty when history is as it was written."""
        links = sorted(
            ((table, row) for table in schema.LINKS for row in self.rows(table)), key=lambda link: link[1]["seq"]
        )
        since = self.epoch_seq()
        found, previous = [], Head()
        for table, row in links:
            if row["seq"] < since:
                previous = Head(row["seq"], row["hash"])
                continue
            where = f"history row {row['seq']}"
            if row["seq"] != previous.seq + 1:
                found.append(f"{where}: expected number {previous.seq + 1}: rows were removed or inserted")
            if row["previous_hash"] != previous.hash:
                found.append(f"{where}: does not follow the row before it")
            if not hmac.compare_digest(row["hash"], self._hash(table, row)):
                found.append(f"{where}: was changed after it was written")
            elif row["seq"] == since and json.loads(row["notes"])["epoch"]["sha256"] != self.seal(since):
                found.append(f"{where}: the rows before it were changed after it was written")
            if table == "vv_step":
                effects = self.rows("vv_effect", "step_id = ?", (row["step_id"],))
                texts = [effect["effect"] for effect in effects]
                moved = [effect["n"] for effect in effects] != list(range(len(effects)))
                if moved or not hmac.compare_digest(row["effects_digest"], self.mac(canonical(texts))):
                    found.append(f"{where}: the effects recorded for it were changed")
            previous = Head(row["seq"], row["hash"])
        return found

    def seal(self, before: int) -> str:
        """SHA-256 in hex of all rows older than one, as they are: no key is needed, and none proves them."""
        digest = hashlib.sha256()
        for table in schema.LINKS:
            digest.update(repr(self.rows(table, "seq < ?", (before,))).encode("utf-8", "surrogateescape"))
        where = "step_id IN (SELECT step_id FROM vv_step WHERE seq < ?)"
        digest.update(repr(self.rows("vv_effect", where, (before,))).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def check(self) -> None:
        """Refuse a history that was tampered with, or that contradicts the version row.

        Raises:
            IntegrityError: the chain does not hold.
            StateError: the version row says something else than the history.
        """
        if found := self.problems():
            raise IntegrityError(
                f"the history does not verify: {found[0]}" + (f" (and {len(found) - 1} more)" if found[1:] else ""),
                hint="vvmigrate history --verify",
            )
        steps = self.committed()
        expected, version = (steps[-1]["version_after"] if steps else ""), self.version()
        if version != expected:
            raise StateError(
                f"the version row says {version or 'base'}, the history says {expected or 'base'}: "
                "somebody moved the version without vvmigrate",
                hint="put it back as it was; or: vvmigrate adopt --reconcile",
            )
