"""The ledger: recorded state and history, in the orchestrator's database. What its rows mean."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from vvmigrate.engine.chain import ADOPT_ROW, EPOCH_ROW, Chain, canonical
from vvmigrate.engine.effects import Effect, led_to
from vvmigrate.engine.rows import UNDECODED
from vvmigrate.engine.state import ADOPT, Target
from vvmigrate.errors import IntegrityError, StateError
from vvmigrate.files import Entry

COMMITTED = ("applied", "adopted", "degraded", "reverted", "repaired", "superseded")
"""Results of steps that happened; `failed` and `interrupted` ones did not."""

PARSED_AT_ONCE = 256
"""Rows whose effects are parsed as one document."""


class Ledger(Chain):
    """The ledger's rows, over an open connection."""

    def committed(self) -> list[dict[str, Any]]:
        """The steps of revisions that happened in this epoch, oldest first."""
        return self.rows("vv_step", *self._happened())

    def live(self) -> dict[str, list[dict[str, Any]]]:
        """For each revision that the host has, the steps since it was last applied, retries and repairs included.

        Revisions in the order in which they were applied, steps oldest first: what a downgrade may need.
        """
        return _live(self.committed())

    def _happened(self) -> tuple[str, tuple[Any, ...]]:
        """Which steps these are, as an SQL condition and its arguments."""
        marks = ",".join("?" * len(COMMITTED))
        where = f"result IN ({marks}) AND direction NOT IN (?, ?) AND seq > ?"
        return where, (*COMMITTED, ADOPT_ROW, EPOCH_ROW, self.epoch_seq())

    def epoch(self) -> dict[str, Any] | None:
        """The row that began this epoch; None in the first one."""
        rows = self.newest("vv_step", "direction = ?", (EPOCH_ROW,), limit=1)
        return rows[0] if rows else None

    def effects(self, step_id: str) -> list[Effect]:
        """What a step did, in its order. Digests of secret files are keyed.

        Raises:
            IntegrityError: a row holds no effect.
        """
        return [effect for _, effect in self._parsed("step_id = ?", (step_id,))]

    def recorded(self) -> dict[Target, tuple[Effect, dict[str, Any]]]:
        """What stands recorded at each managed path: the last effect on it, and the step that had it.

        A path is managed while a revision that is applied had an effect on it, and so is what a managed link leads to:
        where a way back could not have its model, that is another's, of a revision that is gone.
        """
        by_step: dict[str, list[Effect]] = {}
        where, arguments = self._happened()
        for step_id, effect in self._parsed(f"step_id IN (SELECT step_id FROM vv_step WHERE {where})", arguments):
            by_step.setdefault(step_id, []).append(effect)
        last: dict[Target, tuple[Effect, dict[str, Any]]] = {}
        happened = self.committed()
        for step in happened:
            last.update((effect.target, (effect, step)) for effect in by_step.get(step["step_id"], ()))
        live = (step["step_id"] for steps in _live(happened).values() for step in steps)
        managed = {effect.target for step_id in live for effect in by_step.get(step_id, ())}
        is_current = led_to(last[target][0] for target in managed)
        return {
            target: (effect, step)
            for target, (effect, step) in last.items()
            if effect.after.exists and (target in managed or (effect.lasting and is_current(target)))
        }

    def lasting(self) -> Iterator[Effect]:
        """The effects that no downgrade takes back, of steps that happened, oldest first."""
        lasting = canonical({"lasting": True})[1:-1].decode()
        return (effect for _, effect in self.mentioning(lasting) if effect.lasting)

    def noted(self, key: str) -> Iterator[tuple[dict[str, Any], Any]]:
        """What effects noted under a key, with the steps that had them, oldest first."""
        return ((s, effect.note[key]) for s, effect in self.mentioning(f"{json.dumps(key)}:") if key in effect.note)

    def mentioning(self, text: str) -> Iterator[tuple[dict[str, Any], Effect]]:
        """Effects in whose row a text is, with the steps that had them, oldest first: a few of many, soon found.

        Args:
            text: as it stands in the row; a path as `canonical` spells it.
        """
        found: dict[str, list[Effect]] = {}
        where, arguments = self._happened()
        where = f"instr(effect, ?) AND step_id IN (SELECT step_id FROM vv_step WHERE {where})"
        for step_id, effect in self._parsed(where, (text, *arguments)):
            found.setdefault(step_id, []).append(effect)
        return ((step, effect) for step in self.committed() for effect in found.get(step["step_id"], ()))

    def _parsed(self, where: str, arguments: tuple[Any, ...] = ()) -> Iterator[tuple[str, Effect]]:
        """Effects with the id of their step, in its order; many are parsed at once, in half the time of one by one.

        Raises:
            IntegrityError: a row holds no effect. Whoever may see the key has checked the chain before, and does not
                meet it.
        """
        select = f"SELECT step_id, effect FROM vv_effect WHERE {where} ORDER BY step_id, n"
        try:
            cursor = self.connection.execute(select, arguments)
            while rows := cursor.fetchmany(PARSED_AT_ONCE):
                values = json.loads(f"[{','.join(text for _, text in rows)}]")
                for (step_id, _), value in zip(rows, values, strict=True):
                    yield step_id, Effect.from_json(value)
        except (ValueError, TypeError, KeyError, AttributeError, sqlite3.OperationalError) as error:
            if isinstance(error, sqlite3.OperationalError) and UNDECODED not in str(error):
                raise
            text = f"the effects that are recorded cannot be read: {error}"
            raise IntegrityError(text, hint="vvmigrate history --verify") from error

    def since_applied(self, revision: str) -> list[tuple[str, Effect]]:
        """What a revision recorded since it was last applied, retries and repairs included, newest first.

        Returns:
            (step id, effect) pairs.
        """
        steps = [step["step_id"] for step in self.live().get(revision, ())]
        return [(step_id, effect) for step_id in reversed(steps) for effect in reversed(self.effects(step_id))]

    def life(self, target: Target) -> list[tuple[dict[str, Any], Effect]]:
        """The effects on a path, with the steps that had them, oldest first."""
        found = self.mentioning(canonical(target.name).decode())
        return [(step, effect) for step, effect in found if effect.target == target]

    def owner(self, target: Target) -> str:
        """Of the revisions that the host has, the last that had an effect on a path; empty where none had."""
        live = {step["step_id"] for steps in self.live().values() for step in steps}
        return next((str(step["revision"]) for step, _ in reversed(self.life(target)) if step["step_id"] in live), "")

    def made(self, target: Target) -> bool:
        """Whether we once made what stands at a target, and never removed it: a downgrade may have had to keep it."""
        ours = False
        for _, effect in self.life(target):
            if effect.action != ADOPT:
                ours = effect.after.exists and (ours or not effect.before.exists)
        return ours

    def left(self, target: Target) -> Iterator[Entry]:
        """What steps of ours put at a target, oldest first; what one on the way back put there may be anybody's."""
        ours = (e for step, e in self.life(target) if step["direction"] != "down" and e.action != ADOPT)
        return (effect.after for effect in ours)

    def applied(self) -> list[dict[str, Any]]:
        """For each revision that the host has, the step that last did something for it, oldest first.

        Its `first` is the step that applied the revision, whose source and way back are the recorded ones.
        """
        found = []
        for first, *more in self.live().values():
            tried = (step for step in reversed(more) if step["result"] != "repaired")  # which mends nothing degraded
            last = next(tried, first)
            found.append(last | {"script_sha256": first["script_sha256"], "first": first})
        return found

    def applied_by(self, run_id: str) -> list[dict[str, Any]]:
        """The steps by which a run applied revisions that are applied still, oldest first."""
        steps = (step for steps in self.live().values() for step in steps)
        moved = {step["revision"]: step for step in steps if step["version_before"] != step["version_after"]}
        return [step for step in moved.values() if step["run_id"] == run_id]

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

    def check_version(self) -> None:
        """Refuse a version row that the history contradicts.

        Raises:
            StateError: it says something else.
        """
        steps = self.committed()
        expected, version = (steps[-1]["version_after"] if steps else ""), self.version()
        if version != expected:
            raise StateError(
                f"the version row says {version or 'base'}, the history says {expected or 'base'}: "
                "somebody moved the version without vvmigrate",
                hint="put it back as it was; or: vvmigrate adopt --reconcile",
            )


def _live(happened: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for step in happened:
        if step["result"] == "reverted":
            found.pop(step["revision"], None)
        else:
            found.setdefault(step["revision"], []).append(step)
    return found
