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
from typing import NamedTuple

from vvmigrate.engine import journal, roots, vault
from vvmigrate.engine.host import ROOT, STATE, Host, check_usable, closed, state_tree
from vvmigrate.engine.rows import Head
from vvmigrate.engine.state import Target
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
    data = vault.read_json(state, NAME)
    if data is None:
        return None
    try:
        return Binding(**data)
    except TypeError as error:
        raise RefusedError(
            f"the binding of home and storage root is damaged: {error}", hint="vvmigrate doctor"
        ) from error


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


def check_same_ledger(binding: Binding, found: str) -> None:
    """Home and root must know each other by the ledger id.

    Raises:
        RefusedError: the root has no id (a disk that is not mounted), or another home's.
    """
    if found == binding.ledger_id:
        return
    seen = f"that of another home ({found})" if found else "none: is its disk not mounted?"
    raise RefusedError(
        f"storage root {binding.storage_root!r}: expected ledger id {binding.ledger_id}, found {seen}",
        hint="mount the disk; or, if the root moved on purpose: vvmigrate adopt --storage-root DIR",
        path=binding.storage_root,
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
        check_free(root)
    return bound, root


def check_free(root: Path) -> None:
    """A root that knows another home is not taken over in silence.

    Raises:
        RefusedError: it does.
    """
    if found := ledger_id_in(root):
        check_same_ledger(Binding(str(root), "none in this home"), found)


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
        RefusedError: it is not mounted, or another home's.
        StateError: its state directory is not to be trusted.
    """
    tree, state = host.tree(ROOT), host.state(ROOT)
    if tree is not None and state is None and (tree / STATE).stat() is not None:
        state_tree(tree, make=True)  # it exists: this only says what is wrong with it
    if state is not None and (state / vault.KEY).stat() is not None:
        _check_id_is_there(bound, state)
    check_same_ledger(bound, vault.ledger_id(state))


def _check_id_is_there(bound: Binding, state: Tree) -> None:
    """A root with a key is mounted, and somebody's; if it is not this host's, its history does not verify.

    Raises:
        RefusedError: the file that says whose it is is gone.
    """
    path = (state / "ledger_id").path
    if (state / "ledger_id").stat() is None:
        raise RefusedError(
            f"{path} is missing: it says that this root belongs to this home; its key is there",
            hint=f"sh -c {quote(f'umask 077; echo {bound.ledger_id} > {quote(path)}')}",
            path=path,
        )


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
    if not root.is_dir():
        yield None
        return
    with Tree.open(root) as tree:
        state = state_tree(tree, make=False)
        try:
            yield state
        finally:
            if state is not None:
                state.close()
