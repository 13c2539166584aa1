"""Publishing: one rename makes an effect visible, and what came out is looked at before it is believed."""

from __future__ import annotations

import errno
from collections.abc import Callable

from vvmigrate.engine.effects import Effect, is_same
from vvmigrate.engine.host import Host
from vvmigrate.engine.state import ADOPT, ATTRIBUTES
from vvmigrate.errors import ConflictError
from vvmigrate.files import Entry, Place

ATTEMPTS = 100
"""How often something is tried again against somebody who saves all the time."""


def publish(effect: Effect, host: Host) -> None:
    """Publish AFTER.

    Raises:
        ConflictError: what stands there is not BEFORE; it is untouched.
        OSError: the kernel refused.
    """
    if effect.action == ADOPT:
        return
    path = host.place(effect.target)
    if effect.action == ATTRIBUTES:
        _expect(path.entry(), effect.before, path)
        path.set_attributes(
            effect.after.mode, effect.after.owner if effect.after.owner != effect.before.owner else None
        )
        return
    slot = effect.slot_place(host)
    if not effect.before.exists:
        try:
            slot.move(path)
        except FileExistsError:
            raise conflict(path, "nothing", path.entry()) from None
    elif effect.after.exists:
        if not is_same(seen := path.entry(), effect.before):  # most saves are seen here; the exchange catches the rest
            raise conflict(path, "what was read before", seen)
        try:
            slot.exchange(path)
        except FileNotFoundError:
            raise conflict(path, effect.before.kind, path.entry()) from None
        _verify_out(slot, path, effect, back=lambda: give_back(slot, path, effect.after))
    else:
        try:
            path.move(slot)
        except FileNotFoundError:
            raise conflict(path, effect.before.kind, path.entry()) from None
        _verify_out(slot, path, effect, back=lambda: put_back(slot, path))


def _verify_out(slot: Place, path: Place, effect: Effect, *, back: Callable[[], object]) -> None:
    """What came out must be BEFORE: somebody may have saved between the look and the rename (then give it back)."""
    out = slot.entry()
    emptied = effect.after.exists or out.kind != "dir" or not slot.names()
    if is_same(out, effect.before) and emptied:
        return
    back()
    raise conflict(path, "what was read before", out)


def give_back(slot: Place, path: Place, ours: Entry) -> None:
    """Exchange until what comes out is what we had put in: a save in between is given back too, the newest last.

    Args:
        ours: what stands at the path, unless somebody saved again.
    """
    for _ in range(ATTEMPTS):
        theirs = slot.entry()
        try:
            slot.exchange(path)
        except FileNotFoundError:
            put_back(slot, path)
            return
        if is_same(slot.entry(), ours):
            return
        ours = theirs


def put_back(slot: Place, path: Place) -> bool:
    """Give back what was taken away; False, and it stays in the slot, where somebody made something new meanwhile."""
    try:
        slot.move(path)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return False
    return True


def _expect(seen: Entry, wanted: Entry, path: Place) -> None:
    if (seen.kind, seen.mode, seen.owner) != (wanted.kind, wanted.mode, wanted.owner):
        raise conflict(path, f"{wanted.kind} with mode {wanted.mode:04o}", seen)


def conflict(path: Place, expected: str, found: Entry) -> ConflictError:
    """The error for a path that somebody changed between the look and the rename."""
    return ConflictError(
        f"{path.path}: changed by somebody else meanwhile: expected {expected}, found {found.kind}",
        hint="run the command again",
        path=path.path,
    )
