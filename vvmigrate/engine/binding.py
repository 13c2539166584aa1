"""What ties a home to its storage root: a small file in the home's state directory, written before all others.

It outranks `.env`, so that every later command finds the host again, also before `.env` exists and after it went.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from vvmigrate.engine import vault
from vvmigrate.errors import RefusedError
from vvmigrate.files import Tree

NAME = "root"


@dataclass(frozen=True)
class Binding:
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
    (state / NAME).replace(json.dumps(asdict(binding), sort_keys=True).encode())


def fresh(root: Path, variant: str) -> Binding:
    """A binding for a host that has none, with a new ledger id."""
    return Binding(str(root), os.urandom(16).hex(), variant)


def settled(binding: Binding, variant: str) -> Binding:
    """The same binding, once root and database are there, with the variant that was asked for now, if any was."""
    return replace(binding, complete=True, variant=variant or binding.variant)


def check_request(binding: Binding | None, requested: Path | None) -> str | None:
    """Why the storage root that was asked for is not the one that this home is bound to; None if it is."""
    if binding is None or requested is None or str(requested) == binding.storage_root:
        return None
    return f"this home is bound to storage root {binding.storage_root!r}, but {str(requested)!r} is named now"


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
