"""Which required keys of `.env` have no value, and whose they are to give: a person's, or nobody's."""

from __future__ import annotations

import os

from vvmigrate.content.env.document import Document
from vvmigrate.content.env.template import FILE, Key
from vvmigrate.engine.host import Host
from vvmigrate.engine.state import Target
from vvmigrate.runs.pending import is_ahead, pending
from vvmigrate.runs.site import Site


def settings_file(site: Site) -> Target | None:
    """Where `.env` is recorded on this host; None where no step merged one."""
    recorded = site.ledger.recorded() if site.ledger is not None else {}
    return next((target for target, (effect, _) in recorded.items() if "keys" in effect.note), None)


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
    target, document = settings_file(site), read_settings(site)
    if target is None or document is None:
        return []
    keys = [key for key in site.template().keys if key.required and not document.get(key.name)]
    return [key for key in keys if not _is_to_come(site, target, key)]


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


def _is_to_come(site: Site, target: Target, key: Key) -> bool:
    """Whether a release that is not wholly applied yet may bring the key by a merge of its own."""
    if site.ledger is None or is_ahead(site) or not pending(site):
        return False
    return key.name not in site.ledger.recorded()[target][0].note["keys"]
