"""Whether the storage root that stands there is the one that a home is bound to."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from shlex import quote

from vvmigrate.engine import database, roots, vault
from vvmigrate.engine.binding import NAME, Binding
from vvmigrate.engine.contents import move_away
from vvmigrate.engine.host import HOME, ROOT, STATE, Host, check_usable, state_tree
from vvmigrate.engine.rows import Rows
from vvmigrate.engine.state import Target
from vvmigrate.errors import RefusedError, VvmigrateError
from vvmigrate.files import Tree


def check_host(host: Host, bound: Binding | None) -> None:
    """What is asked of the storage root before anything is made there; one that does not exist must be makeable.

    Raises:
        RefusedError: it is not mounted, another home's, or may not be written, or not be made.
        StateError: its state directory is not to be trusted.
    """
    if bound is not None and bound.complete:
        check_known(host, bound)
    if (tree := host.tree(ROOT)) is not None:
        check_usable(tree)
    else:
        roots.check_can_be_made(Path(host.path(Target(ROOT, ""))))


def check_known(host: Host, bound: Binding) -> None:
    """A storage root that was made must still be there, with a state directory that is ours and this home's.

    Raises:
        RefusedError: it is not mounted, or another home's; or the file that says whose it is is damaged.
        StateError: its state directory is not to be trusted.
    """
    tree, state = host.tree(ROOT), host.state(ROOT)
    if tree is not None and state is None and (tree / STATE).stat() is not None:
        state_tree(tree, make=True)  # it exists: this only says what is wrong with it
    found = vault.ledger_id(state)
    if found == bound.ledger_id:
        return
    if state is not None and _is_ours(host, bound, state, found):
        path = (state / vault.LEDGER_ID).path
        raise RefusedError(
            f"{path}: expected {bound.ledger_id}, which says that this root belongs to this home, "
            + (f"found {found[:80]!r}: it is damaged" if found else "it is missing or empty; the root's key is there"),
            hint=f"sh -c {quote(f'umask 077; echo {bound.ledger_id} > {quote(path)}')}",
            path=path,
        )
    seen = f"that of another home ({found})" if found else "none: is its disk not mounted?"
    hint = "mount the disk; or, if the root moved on purpose: vvmigrate adopt --storage-root DIR"
    if found and (home_state := host.state(HOME)) is not None:
        mine = f"{move_away(home_state / NAME)} && vvmigrate adopt --storage-root {quote(bound.storage_root)}"
        hint += f"; or, if this one is to be this home's from now on: {mine}"
    raise RefusedError(
        f"storage root {bound.storage_root!r}: expected ledger id {bound.ledger_id}, found {seen}",
        hint=hint,
        path=bound.storage_root,
    )


def _is_ours(host: Host, bound: Binding, state: Tree, found: str) -> bool:
    """Whether a root that does not say so is mounted, and taken for this home's.

    One with a key is somebody's; if it is not this host's, its history does not verify. One that has another home's id
    is another home's, unless its database says that it is ours.
    """
    if not vault.is_id(found):
        return bool(found) or (state / vault.KEY).stat() is not None
    place = host.place(Target(ROOT, database.NAME))
    with suppress(VvmigrateError, sqlite3.Error), closing(database.connect(place, timeout_s=10, writing=False)) as ours:
        return Rows(ours).ledger_id() == bound.ledger_id
    return False
