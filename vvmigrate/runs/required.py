"""Required keys of `.env` that have no value, as the host is now."""

from __future__ import annotations

from vvmigrate.content.env.template import FILE
from vvmigrate.runs.site import Site


def missing(site: Site) -> tuple[str, ...]:
    """Required keys without a value, once `.env` is managed."""
    managed = [t for t in site.ledger.recorded() if t.name == FILE] if site.ledger is not None else []
    host = site.session.host
    kind = host.glance(managed[0]).kind if managed else ""
    if kind not in ("file", "absent"):
        return ()  # what stands in its place is drift
    try:
        return site.template().missing(host.read(managed[0]) if kind == "file" else None, name=FILE)
    except OSError:
        return ()  # another user's .env
