"""What doctor says of `.env`: what is missing in it, what is not as demanded, and what programs read differently."""

from __future__ import annotations

from collections.abc import Iterator

from vvmigrate.commands.finding import Finding
from vvmigrate.content.env.template import FILE
from vvmigrate.content.env.warnings import unclear_lines, wrong_keys
from vvmigrate.operations.env_file import set_hint
from vvmigrate.runs.site import Site
from vvmigrate.runs.unset import missing, read_settings, settings_file


def unset(site: Site) -> Iterator[Finding]:
    """Required keys without a value."""
    if names := missing(site):
        yield Finding(
            f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no value in .env",
            "Services that need it will not start, or not work.",
            set_hint(names),
        )


def unclear(site: Site) -> Iterator[Finding]:
    """Lines and values of `.env` that its readers stumble over; no secret is told."""
    document, target = read_settings(site), settings_file(site)
    if document is None or target is None:
        return
    path = site.session.host.path(target)
    for name, wrong in wrong_keys(document, site.template()):
        yield Finding(
            f"{wrong}; {FILE} has something else",
            "Services read it as it stands there, and will not start, or not do what is meant.",
            set_hint([name]),
            path=path,
        )
    for text in unclear_lines(document, site.template()):
        why = "The services, systemd and Docker Compose each read this file, and may not read the same."
        yield Finding(text, why, f"edit {path}; then: vvmigrate doctor", path=path)
