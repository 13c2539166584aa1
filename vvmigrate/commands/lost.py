"""What the state directories lack, of which nothing else would tell until it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vvmigrate.commands.finding import Finding, from_error
from vvmigrate.engine import old, vault
from vvmigrate.engine.binding import unbound
from vvmigrate.engine.effects import MENDED, Effect
from vvmigrate.engine.host import ROOT, Host
from vvmigrate.engine.session import Session
from vvmigrate.engine.state import ADOPT, ATTRIBUTES
from vvmigrate.runs.opening import root_of


def lost(session: Session, *, proved: bool) -> Iterator[Finding]:
    """Look for it.

    Args:
        proved: whether the rows are as they were written; of others no effect is read.

    Raises:
        RefusedError: one of our files cannot be read.
    """
    state = session.host.state(ROOT)
    if state is None:
        return
    if session.bound is None and vault.ledger_id(state):
        yield from_error(unbound(session.opening.home, Path(root_of(session))))
    if proved and session.connection is not None:
        yield from _before_images(session)
    vault.secrets_of(state)


def _before_images(session: Session) -> Iterator[Finding]:
    """What taking an applied revision back would put where it was."""
    host, ledger = session.host, session.ledger
    gone = [
        (step, effect)
        for step in old.live_steps(ledger)
        for effect in ledger.effects(step["step_id"])
        if _needs_image(effect) and not _is_there(host, effect)
    ]
    for step, effect in gone[:1]:
        more = f", and {len(gone) - 1} more" if gone[1:] else ""
        yield Finding(
            f"what stood at {host.path(effect.target)} before revision {step['revision']} is gone from undo/{more}",
            "Taking that revision back cannot put it there again.",
            "put the folder undo/ of the state directory back from a backup",
            path=host.path(effect.target),
        )


def _needs_image(effect: Effect) -> bool:
    """Of a repair nothing is taken back: what it set aside is a person's."""
    return bool(effect.slot) and effect.action not in (ADOPT, ATTRIBUTES) and not effect.note.get(MENDED)


def _is_there(host: Host, effect: Effect) -> bool:
    if host.state(effect.store) is None:
        return True  # that is told as a storage root, or a disk, that is missing
    places = [effect.slot_place(host)] if effect.before.exists else []
    places += effect.merge_places(host) if effect.merge and effect.before.exists and effect.after.exists else ()
    return all(place.stat() is not None for place in places)
