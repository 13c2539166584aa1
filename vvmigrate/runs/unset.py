"""Which required keys of `.env` have no value, and whose they are to give: a person's, or nobody's."""

from __future__ import annotations

import os
from collections.abc import Collection

from vvmigrate.content.env.document import Document
from vvmigrate.content.env.template import FILE, Key
from vvmigrate.engine.host import Host
from vvmigrate.engine.state import Target
from vvmigrate.runs.pending import is_ahead, pending
from vvmigrate.runs.site import Site


def settings_file(site: Site) -> Target | None:
    """Where `.env` is recorded on this host; None where no step merged one."""
    return next(iter(_merged(site)), None)


def is_lost(site: Site) -> bool:
    """Whether nothing stands where `.env` is recorded: then the file is missing, not its values."""
    target = settings_file(site)
    return target is not None and not site.session.host.glance(target).exists


def missing(site: Site) -> tuple[str, ...]:
    """Required keys that a person has to give a value; none where there is no `.env` that could hold one.

    Raises:
        EnvFileError: `.env` or its template cannot be read as such.
    """
    return tuple(key.name for key in _without_value(site) if key.generate is None)


def unmade(site: Site) -> tuple[str, ...]:
    """Required keys without a value that nobody has to choose: it is kept, or can be made.

    Raises:
        EnvFileError: see `missing`.
    """
    return tuple(key.name for key in _without_value(site) if key.generate is not None)


def read_settings(site: Site) -> Document | None:
    """`.env`, where a step merged one, it is there, and this user may read it.

    Raises:
        EnvFileError: it cannot be read as such.
    """
    target = settings_file(site)
    return _read(site.session.host, target) if target is not None else None


def _without_value(site: Site) -> list[Key]:
    for target, merged in _merged(site).items():
        if document := _read(site.session.host, target):
            keys = [key for key in site.template().keys if key.required and not document.get(key.name)]
            return [key for key in keys if key.name in merged or not _is_more_to_come(site)] if keys else []
    return []


def _merged(site: Site) -> dict[Target, Collection[str]]:
    """Where `.env` is recorded, if it is, and the keys that were merged into it."""
    recorded = site.ledger.recorded() if site.ledger is not None else {}
    return {target: effect.note["keys"] for target, (effect, _) in recorded.items() if "keys" in effect.note}


def _read(host: Host, target: Target) -> Document | None:
    """The file, also behind a link within the home; None for what else stands there, which is drift."""
    seen = host.glance(target)
    if seen.kind == "link" and not os.path.normpath(seen.target).startswith(("/", "..")):
        target = Target(target.area, os.path.normpath(seen.target))
    if host.glance(target).kind != "file":
        return None
    try:
        return Document.parse(host.read(target), name=FILE)
    except OSError:
        return None  # another user's


def _is_more_to_come(site: Site) -> bool:
    """Whether the release is not wholly applied yet, and may bring further keys by a merge of its own."""
    return not is_ahead(site) and bool(pending(site))
