"""What was stored of the revisions that ran, put back where it is gone or was changed, if this release has the same.

Rows that prove themselves name its SHA-256, so it does not matter where the bytes come from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress

from vvmigrate.engine import vault
from vvmigrate.errors import VvmigrateError
from vvmigrate.runs.asked import ask
from vvmigrate.runs.audit import Stored, damaged
from vvmigrate.runs.forecast import Workplace


def put_back(place: Workplace) -> tuple[list[Stored], list[Stored]]:
    """Put back what can be had.

    Returns:
        What is whole again, and what still is not.
    """
    found = list(damaged(place.session, proved=True))
    kinds = {stored.kind for stored in found}
    known = {(hashlib.sha256(data).hexdigest(), kind): data for kind, data in _had(place, kinds)}
    there = [stored for stored in found if (stored.digest, stored.kind) in known]
    for stored in there:
        vault.keep_source(place.session.host.private, known[stored.digest, stored.kind], stored.kind)
    return there, [stored for stored in found if stored not in there]


def _had(place: Workplace, kinds: set[str]) -> Iterator[tuple[str, bytes]]:
    """What this release has of these kinds; a way back is learned anew."""
    if vault.SOURCE in kinds:
        yield from ((vault.SOURCE, source.data) for source in place.sources.package.values())
    if vault.TEXT in kinds:
        with suppress(VvmigrateError, OSError):
            yield vault.TEXT, place.template().document.to_bytes()
    if vault.WAY_BACK in kinds and place.version:
        asked, _ = ask(place.scripts, place.version, ways_back=True)
        yield from ((vault.WAY_BACK, one.way_back.record) for one in asked.values())
