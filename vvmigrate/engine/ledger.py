"""The ledger: recorded state and history, in the orchestrator's database.

The database's owner may write every row, so rows prove themselves: each link's hash is an HMAC, under a key that only
the state directory holds, of the row and of the hash before it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from vvmigrate import schema
from vvmigrate.engine.effects import Effect
from vvmigrate.engine.rows import Head, Rows
from vvmigrate.engine.state import ADOPT, Target
from vvmigrate.errors import IntegrityError, StateError
from vvmigrate.files import Entry

COMMITTED = ("applied", "adopted", "degraded", "reverted", "repaired", "superseded")
"""Results of steps that happened; `failed` and `interrupted` ones did not."""

ADOPT_ROW, EPOCH_ROW = "adopt", "epoch"
"""Directions of rows of `vv_step` that are of no revision: a person's decision about the host as a whole. From an epoch
on rows count; what is older can be read, but nothing is done because of it."""
PARSED_AT_ONCE = 256
"""Rows whose effects are parsed as one document."""


def canonical(value: Any) -> bytes:
    """The one way to write a value as bytes: JSON, sorted keys, ASCII."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()


class Ledger(Rows):
    """The ledger's rows, over an open connection.

    Args:
        connection: of `database.connect`.
        key: the chain's key, or None for a reader that may not see it: nothing can be verified or added then.
    """

    def __init__(self, connection: sqlite3.Connection, key: bytes | None) -> None:
        """Take over the connection."""
        super().__init__(connection)
        self._key = key

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
        for step_id, effect in self._parsed("1"):
            by_step.setdefault(step_id, []).append(effect)
        last: dict[Target, tuple[Effect, dict[str, Any]]] = {}
        managed: dict[str, set[Target]] = {}
        for step in self.committed():
            done = {effect.target: (effect, step) for effect in by_step.get(step["step_id"], [])}
            last.update(done)
            if step["result"] == "reverted":
                managed.pop(step["revision"], None)
            else:
                managed.setdefault(step["revision"], set()).update(done)
        owned = set().union(*managed.values())
        return {target: found for target, found in last.items() if target in owned and found[0].after.exists}

    def lasting(self) -> Iterator[Effect]:
        """The effects that no downgrade takes back, of steps that happened, oldest first."""
        found: dict[str, list[Effect]] = {}
        for step_id, effect in self._parsed("instr(effect, ?)", (canonical({"lasting": True})[1:-1].decode(),)):
            found.setdefault(step_id, []).append(effect)
        return (effect for step in self.committed() for effect in found.get(step["step_id"], ()) if effect.lasting)

    def _parsed(self, where: str, arguments: tuple[Any, ...] = ()) -> Iterator[tuple[str, Effect]]:
        """Effects with the id of their step, in its order; many are parsed at once, in half the time of one by one.

        Raises:
            ValueError, TypeError, KeyError: a row holds no effect.
        """
        select = f"SELECT step_id, effect FROM vv_effect WHERE {where} ORDER BY step_id, n"
        cursor = self.connection.execute(select, arguments)
        while rows := cursor.fetchmany(PARSED_AT_ONCE):
            values = json.loads(f"[{','.join(text for _, text in rows)}]")
            for (step_id, _), value in zip(rows, values, strict=True):
                yield step_id, Effect.from_json(value)

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

    def released_by(self, run_id: str) -> dict[str, dict[str, Any]]:
        """The holds that a run has lifted, as they were before, by revision."""
        found: dict[str, dict[str, Any]] = {}
        held: dict[str, dict[str, Any]] = {}
        for row in self.rows("vv_hold", "seq > ?", (self.epoch_seq(),)):
            if row["state"] == "held":
                held[row["revision"]] = row
            elif row["run_id"] == run_id and row["revision"] in held:
                found[row["revision"]] = held[row["revision"]]
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
