"""Looking at revisions: current, heads, show."""

from __future__ import annotations

import re

from vvmigrate.engine.sources import Revision
from vvmigrate.errors import UsageError
from vvmigrate.report import Report
from vvmigrate.runs.looking import looking
from vvmigrate.runs.opening import Call
from vvmigrate.runs.releases import release_of
from vvmigrate.runs.site import Site, Sources, open_site

STEPS = re.compile(r"[+-][0-9]{1,6}")
"""So many steps from where the host is."""


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
    """The revision that somebody asks to see."""
    if not name:
        raise UsageError("show needs a revision", hint="vvmigrate show head")
    if not (found := named(site, name)):
        raise UsageError(f"no revision {name!r}: there is none at base", hint="vvmigrate show head")
    return site.line.revision(found)


def named(site: Site, name: str) -> str:
    """The full id that somebody means by it, a unique beginning of it, `head`, `current`, `base`, or steps from here.

    Returns:
        Empty for base.

    Raises:
        UsageError: there is none.
    """
    wanted = {"current": site.version, "head": site.line.head(), "base": ""}.get(name, name)
    if name == "head" and not wanted:
        raise UsageError("no revision 'head': this release has none", hint="install the release again")
    if STEPS.fullmatch(name):
        line = ["", *(revision.revision for revision in site.line.order)]
        at = line.index(site.version) + int(name)
        if not 0 <= at < len(line):
            text = f"no revision {name!r}: this host is at {site.version or 'base'}, the line ends at {line[-1]}"
            raise UsageError(text, hint="vvmigrate history; vvmigrate heads")
        wanted = line[at]
    if wanted and wanted not in site.line.sources:  # Alembic knows more ways to name one
        scripts = Sources(site.settings, site.line.package, site.line.sources).scripts()
        wanted = scripts.script(wanted).revision
    return wanted
