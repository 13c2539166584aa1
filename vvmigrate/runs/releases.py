"""Releases: what revisions say they belong to (`release = "2.3"`), and the way back to one of them."""

from __future__ import annotations

from vvmigrate.errors import UsageError
from vvmigrate.runs.site import Site


def release_of(site: Site, revision: str) -> str | None:
    """The release that a revision belongs to; None at base, and where it says none."""
    return site.line.revision(revision).release or None if revision else None


def last_of(site: Site, release: str) -> str:
    """The last revision of a release on this host, by the sources that were recorded: the old package will do.

    Raises:
        UsageError: the host has none.
    """
    applied: list[str] = [step["revision"] for step in site.ledger.applied()] if site.ledger is not None else []
    named = {revision: name for revision in applied if (name := release_of(site, revision))}
    found = [revision for revision, name in named.items() if name == release]
    if not found:
        known = ", ".join(dict.fromkeys(named.values())) or "none"
        raise UsageError(f"no revision of release {release!r} is applied here; releases on this host: {known}")
    return found[-1]
