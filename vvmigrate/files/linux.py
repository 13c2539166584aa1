"""What Linux offers and Python has no name for. Looking at a host needs none of it, and does not wait for it."""

from __future__ import annotations

import ctypes
import os

_SYNC_FILE_RANGE_WRITE = 2  # sync_file_range(2), <linux/fs.h>
_libc = ctypes.CDLL(None, use_errno=True)


def rename(parent: int, name: str, other_parent: int, other_name: str, flags: int) -> None:
    """renameat2(2), by descriptors of the directories and names in them.

    Raises:
        OSError: as the kernel says; nothing happened.
    """
    names = os.fsencode(name), os.fsencode(other_name)
    if _libc.renameat2(parent, names[0], other_parent, names[1], ctypes.c_uint(flags)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def begin_to_write(descriptor: int) -> None:
    """Let the kernel begin to write what it has of a file, without waiting: a hint, whose failure is none of ours."""
    everything = ctypes.c_int64(0), ctypes.c_int64(0)
    _libc.sync_file_range(descriptor, *everything, _SYNC_FILE_RANGE_WRITE)


def access_files_as(uid: int, gid: int) -> None:
    """Let the kernel judge this thread's access to files as if another user asked (setfsuid(2))."""
    _libc.setfsgid(gid)
    _libc.setfsuid(uid)
