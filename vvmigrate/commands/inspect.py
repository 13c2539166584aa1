"""Looking at revisions: current, heads, show."""

from __future__ import annotations

from vvmigrate.engine.sources import Revision
from vvmigrate.errors import UsageError
from vvmigrate.report import Report
from vvmigrate.runs.looking import looking
from vvmigrate.runs.opening import Call
from vvmigrate.runs.releases import release_of
from vvmigrate.runs.site import Site, Sources, open_site


def current(call: Call) -> Report:
    """The revision that the host is at."""

    def look(site: Site, report: Report) -> None:
        head = site.line.head()
        title = site.line.revision(site.version).title if site.version else ""
        report.body = {"revision": site.version, "title": title, "head": head, "is_head": site.version == head}

    return looking(call, open_site, look)


def heads(call: Call) -> Report:
    """The last revision of the installed release."""

    def look(site: Site, report: Report) -> None:
        head = site.line.head()
        found = {
            "revision": head,
            "title": site.line.revision(head).title if head else "",
            "release": release_of(site, head),
        }
        report.body = {"heads": [found] if head else []}

    return looking(call, open_site, look)


def show(call: Call, revision: str) -> Report:
    """One revision: where it stands, what it is for, what it asks for.

    Raises:
        UsageError: (in the report) there is none.
    """

    def look(site: Site, report: Report) -> None:
        found = _named(site, revision)
        source = site.line.sources[found.revision]
        report.body = {
            "revision": found.revision,
            "title": found.title,
            "release": found.release or None,
            "follows": found.follows or None,
            "path": source.path,
            "sha256": source.sha256,
            "applied": any(step["revision"] == found.revision for step in site.ledger.applied())
            if site.ledger
            else False,
            "source": source.data.decode("utf-8", "replace"),
        }

    return looking(call, open_site, look)


def _named(site: Site, name: str) -> Revision:
    """The revision that somebody means by its id, a unique beginning of it, `head`, or `current`."""
    if not name:
        raise UsageError("show needs a revision", hint="vvmigrate show head")
    wanted = {"current": site.version, "head": site.line.head()}.get(name, name)
    if wanted not in site.line.sources:  # Alembic knows more ways to name one
        scripts = Sources(site.settings, site.line.package, site.line.sources).scripts()
        wanted = scripts.script(wanted).revision
    return site.line.revision(wanted)
