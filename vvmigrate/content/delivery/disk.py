"""A full disk is called by its name: "disk full" with figures, so that nobody looks for the fault in the network."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vvmigrate.errors import DeliveryError

if TYPE_CHECKING:
    from vvmigrate.files import Place

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def naming_full_disk(place: Place, needed: Callable[[], str]) -> Iterator[None]:
    """Turn "no space" and "over quota" into an error with figures; every other error passes.

    Args:
        place: what is being written.
        needed: says how far that came and how much more it needs.

    Raises:
        DeliveryError: the disk or the quota is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        free, inodes = place.tree.free()
        cause = "disk full" if error.errno == errno.ENOSPC else "disk quota exceeded"
        raise DeliveryError(
            f"{cause}: {needed()}; {free} bytes and {inodes} inodes are free",
            hint="make room and run the same command again: a download goes on where it stopped",
            path=place.path,
        ) from error
