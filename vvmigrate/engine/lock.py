"""One writer at a time: flock on a file that is never deleted, freed by the kernel however its holder ends."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, BinaryIO

from vvmigrate.engine.contents import LOCK
from vvmigrate.errors import LockedError
from vvmigrate.files import Tree

_PAUSE_S = 0.05


def acquire(state: Tree, who: Mapping[str, Any], timeout_s: float) -> BinaryIO:
    """Take the lock of a state directory and sign it.

    Args:
        who: what others are told about the holder.
        timeout_s: how long to wait for another one to end.

    Returns:
        The open file: the lock lasts as long as it.

    Raises:
        LockedError: somebody else holds it.
    """
    deadline = time.monotonic() + timeout_s
    while (file := (state / LOCK).lock()) is None:
        if time.monotonic() >= deadline:
            raise _locked(state)
        time.sleep(_PAUSE_S)
    file.truncate(0)
    file.write(json.dumps(dict(who)).encode())
    return file


def is_held(state: Tree) -> bool:
    """Whether somebody holds the lock, asked without taking it (proc(5), /proc/locks)."""
    _, inode = (state / LOCK).identity()
    with open("/proc/locks", encoding="ascii") as lines:
        return any(f":{inode} " in line and " FLOCK " in line for line in lines)


def _locked(state: Tree) -> LockedError:
    holder: dict[str, Any] = {}
    with suppress(OSError, ValueError):  # the holder may be writing its name just now
        holder = json.loads((state / LOCK).read(4096))
    who = "process {pid} ({command}) of {user}, since {started_at}".format_map(
        {"pid": "?", "command": "?", "user": "?", "started_at": "?"} | holder
    )
    return LockedError(
        f"another vvmigrate works here: {who}",
        hint="wait for it: --lock-timeout SECONDS",
        path=(state / LOCK).path,
    )
