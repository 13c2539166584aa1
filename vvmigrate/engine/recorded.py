"""The state that is recorded of a host, in one digest: every step says what it was before, and what it is after."""

from __future__ import annotations

from collections.abc import Iterable

from vvmigrate.engine import state
from vvmigrate.engine.effects import Effect, led_to
from vvmigrate.engine.session import Session


def recorded_digest(session: Session, effects: Iterable[Effect] = (), reverted: str = "") -> str:
    """The state digest of what is recorded, as it is or as it will be.

    Args:
        effects: those of the step that is about to be recorded.
        reverted: the revision that it takes back; empty where it takes none back.

    Returns:
        16 hex digits.
    """
    ledger, app = session.ledger, session.opening.owner
    found = {target: effect for target, (effect, _) in ledger.recorded().items()}
    gone: set[state.Target] = set()
    if reverted:
        gone = {effect.target for _, effect in ledger.since_applied(reverted)}
        for revision in (row["revision"] for row in ledger.applied() if row["revision"] != reverted):
            gone -= {effect.target for _, effect in ledger.since_applied(revision)}
    found |= {effect.target: ledger.masked(effect) for effect in effects}
    is_current = led_to(effect for target, effect in found.items() if target not in gone)
    found = {t: e for t, e in found.items() if t not in gone or (e.lasting and is_current(t))}
    entries = {target: effect.after for target, effect in found.items() if effect.after.exists}
    keys = {target: tuple(effect.note["keys"]) for target, effect in found.items() if "keys" in effect.note}
    return state.digest(ledger.version(), entries, keys, app)
