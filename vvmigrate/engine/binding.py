"""What ties a home to its storage root: a small file in the home's state directory, written before all others.

It outranks `.env`, so that every later command finds the host again, also before `.env` exists and after it went.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from vvmigrate.engine import database, journal, roots, vault
from vvmigrate.engine.contents import move_away
from vvmigrate.engine.host import STATE, closed, state_tree
from vvmigrate.engine.rows import Head
from vvmigrate.errors import RefusedError
from vvmigrate.files import Tree

NAME = "root"
OPTION, ENVIRONMENT, ENV_FILE = "--storage-root", "VIDEO_STORAGE_ROOT in the environment", ".env"
"""Who may name a storage root."""


class Binding(NamedTuple):
    """The storage root of a home.

    Attributes:
        storage_root: absolute path, links resolved.
        ledger_id: random, the same in home, storage root and database.
        variant: the model variant chosen when the host was first brought up; empty for the default.
        complete: whether root and database were made; until then a missing root is no sign of a missing disk.
    """

    storage_root: str
    ledger_id: str
    variant: str = ""
    complete: bool = False


def read(state: Tree | None) -> Binding | None:
    """The binding of a home, or None where it has none, or where this user may not see it.

    Raises:
        RefusedError: the file is damaged.
    """
    if state is None:
        return None
    try:
        data = vault.read_json(state, NAME)
        return None if data is None else _understood(data)
    except (RefusedError, TypeError, ValueError) as error:
        place = state / NAME
        raise RefusedError(
            f"{place.path}: expected the binding of this home to its storage root: {error}",
            hint="put the file back from a backup; or, DIR being this home's storage root: "
            f"{move_away(place)} && vvmigrate adopt --storage-root DIR",
            path=place.path,
        ) from error


def _understood(data: dict[str, Any]) -> Binding:
    """What the file says.

    Raises:
        TypeError, ValueError: it is none of ours, or a value is not of its kind.
    """
    bound = Binding(**data)
    if tuple(map(type, bound)) != (str, str, str, bool) or not os.path.isabs(bound.storage_root):
        raise ValueError(f"found {data!r}")
    if not vault.is_id(bound.ledger_id):
        raise ValueError(f"found ledger id {bound.ledger_id!r}")
    return bound


def write(state: Tree, binding: Binding) -> None:
    """Make a binding durable."""
    (state / NAME).replace(json.dumps(binding._asdict(), sort_keys=True).encode())


def fresh(root: Path, variant: str) -> Binding:
    """A binding for a host that has none, with a new ledger id."""
    return Binding(str(root), os.urandom(16).hex(), variant)


def settled(binding: Binding, variant: str) -> Binding:
    """The same binding, once root and database are there, with the variant that was asked for now, if any was."""
    return binding._replace(complete=True, variant=variant or binding.variant)


def disagreement(binding: Binding | None, requested: Path | None, named_by: str) -> RefusedError | None:
    """Why the storage root that was asked for is not the one that this home is bound to; None if it is.

    Args:
        named_by: `OPTION`, `ENVIRONMENT` or `ENV_FILE`.
    """
    if binding is None or requested is None or str(requested) == binding.storage_root:
        return None
    bound, other = quote(binding.storage_root), quote(str(requested))
    return RefusedError(
        f"this home is bound to storage root {binding.storage_root!r}, but {named_by} names {str(requested)!r}",
        hint=f"if {bound} is right: {_agree(named_by, bound)}; "
        f"if the root was moved to {other}: vvmigrate adopt --storage-root {other}",
    )


def _agree(named_by: str, bound: str) -> str:
    """How whoever names another root comes to name the bound one."""
    if named_by == OPTION:
        return f"the same command without {OPTION}"
    if named_by == ENVIRONMENT:
        return f"set VIDEO_STORAGE_ROOT={bound} where it is set"
    return set_again(bound)


def set_again(bound: str) -> str:
    """The command that makes `.env` name the bound root again; it works although `.env` names another one.

    Args:
        bound: quoted for a shell.
    """
    return f"vvmigrate upgrade head --storage-root {bound} --set VIDEO_STORAGE_ROOT={bound}"


def unbound(home: Path, root: Path) -> RefusedError:
    """That a home without a binding meets a root that has one."""
    path = os.path.join(home, STATE, NAME)
    return RefusedError(
        f"{path} is missing: this home is bound to no storage root, and {str(root)!r} belongs to another home, or did "
        "to this one",
        hint="put the file back; or name another root: --storage-root DIR; or, if that root is this home's: "
        f"vvmigrate adopt --storage-root {quote(str(root))}",
        path=path,
    )


# ---- which root a home is, or becomes, bound to ----------------------------------------------------------------------


def chosen(
    bound: Binding | None,
    requested: Path | None,
    default: Path,
    *,
    home: Path,
    named_by: str,
    take_over: Callable[[str], None] | None = None,
) -> tuple[Binding | None, Path]:
    """The binding that a writer goes by, None where it makes the first; and the storage root, which may be one.

    Args:
        bound: what the home says.
        requested, default, named_by, take_over: see `session.Opening`.

    Raises:
        RefusedError: it may not be one, or is another home's, or another one than is bound.
    """
    if bound is not None and requested is not None and not was_begun(bound):
        bound = None  # a first day that ended before anything was made there binds nobody
    if take_over is not None and requested is not None:
        bound = rebound(bound, requested, home, take_over)
    if refusal := disagreement(bound, requested, named_by):
        raise refusal
    root = Path(bound.storage_root) if bound else (requested or default)
    roots.check_root(root, home)
    if bound is None:
        check_free(root, home)
    return bound, root


def check_free(root: Path, home: Path) -> None:
    """A root that knows another home is not taken over in silence.

    Raises:
        RefusedError: it does.
    """
    if ledger_id_in(root):
        raise unbound(home, root)


def first(home_state: Tree, root: Path, variant: str) -> Binding:
    """Bind a home for the first time, durably."""
    bound = fresh(root, variant)
    write(home_state, bound)
    return bound


def was_begun(bound: Binding) -> bool:
    """Whether anything of ours may lie in the bound root: it was made, or it was given this home's ledger id."""
    try:
        return bound.complete or ledger_id_in(Path(bound.storage_root)) == bound.ledger_id
    except OSError:
        return False


def may_be_somebodys(home: Path, root: Path) -> bool:
    """Whether a folder has a ledger id, or a state directory that keeps this user from seeing that."""
    for folder in (home, root):
        if folder.is_dir():
            with Tree.open(folder) as tree:
                if closed(tree):
                    return True
    return bool(ledger_id_in(root))


def is_unused(bound: Binding) -> bool:
    """Whether the bound root is there, and nothing was ever recorded in it."""
    with _state_in(Path(bound.storage_root)) as state:
        if state is None or vault.ledger_id(state) != bound.ledger_id:
            return False
        return vault.anchor(state) == Head() and not journal.pending(state)


def rebound(bound: Binding | None, root: Path, home: Path, take_over: Callable[[str], None]) -> Binding | None:
    """The binding to a root that was named on purpose; None where nothing binds either of the two yet.

    A root in which nothing was ever recorded binds nobody. Whether the named one is what it is taken for is looked at
    when it is opened.

    Raises:
        RefusedError: the root that is bound is still there, and has come further than the one that is named.
        StateError: a person does not want another home's root to be taken over.
    """
    roots.check_root(root, home)
    found = ledger_id_in(root)
    if bound is None:
        if not found:
            return None
        _check_is_id(found, root)
        take_over(f"storage root {str(root)!r} belongs to another home, of ledger {found}")
        return Binding(str(root), found, complete=True)
    if bound.storage_root == str(root):
        return bound
    if not found and is_unused(bound):
        return None
    old = Path(bound.storage_root)
    here, there = anchor_in(root), anchor_in(old)
    if found == bound.ledger_id == ledger_id_in(old) and there.seq > here.seq:
        raise RefusedError(
            f"storage root {str(root)!r} is an older copy: its history ends with row {here.seq}, that of "
            f"{bound.storage_root!r} with row {there.seq}",
            hint="copy it again while nothing writes there",
            path=str(root),
        )
    return bound._replace(storage_root=str(root), complete=True)


def _check_is_id(found: str, root: Path) -> None:
    """A home is bound by no id that is damaged.

    Raises:
        RefusedError: it is.
    """
    if not vault.is_id(found):
        path = os.path.join(root, STATE, vault.LEDGER_ID)
        text = f"{path}: expected the id of this root's ledger, 32 hex digits, found {found[:80]!r}"
        query = f"sqlite3 {quote(os.path.join(root, database.NAME))} 'SELECT ledger_id FROM vv_ledger'"  # noqa: S608 - for a person
        raise RefusedError(text, hint=f"put it back as the database has it: {query} > {quote(path)}", path=path)


def ledger_id_in(root: Path) -> str:
    """The id in a folder's state directory, empty where there is none; nothing else is looked at."""
    with _state_in(root) as state:
        return vault.ledger_id(state)


def anchor_in(root: Path) -> Head:
    """How far the history of a folder's database has come."""
    with _state_in(root) as state:
        return vault.anchor(state) if state is not None else Head()


@contextmanager
def _state_in(root: Path) -> Iterator[Tree | None]:
    if root.is_symlink() or not root.is_dir():  # where a bound root was, a link may lead to where it is now
        yield None
        return
    with Tree.open(root) as tree:
        state = state_tree(tree, make=False)
        try:
            yield state
        finally:
            if state is not None:
                state.close()
