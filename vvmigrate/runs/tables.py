"""What the applied revisions made in the orchestrator's database, and is not there any more.

Their code is run on an empty copy in memory, as before every upgrade. Where that cannot be done on this host, or what
they make depends on rows, nothing is said: nobody can tell what should be there.
"""

from __future__ import annotations

from vvmigrate.engine.drift import SCHEMA, Drift
from vvmigrate.engine.existing import statement_of
from vvmigrate.engine.session import DATABASE
from vvmigrate.errors import VvmigrateError
from vvmigrate.runs.asked import Asked, ask
from vvmigrate.runs.site import Site


def missing(site: Site) -> list[Drift]:
    """The tables, indexes, views and triggers that are gone; what somebody added or changed is no drift."""
    if site.ledger is None or not site.version:
        return []
    try:
        asked, error = ask(site.run_revisions(), site.version)
    except VvmigrateError:
        return []
    if error is not None or any(one.rehearsed.reads_rows for one in asked.values()):
        return []
    connection = site.ledger.connection
    return [
        Drift(DATABASE, SCHEMA, f"{kind} {name}", "nothing", _maker(asked, (kind, name)), described.sql)
        for (kind, name), described in asked[site.version].schema.items()
        if not statement_of(lambda sql, *a: connection.execute(sql, a).fetchall(), kind, name)
    ]


def _maker(asked: dict[str, Asked], item: tuple[str, str]) -> str:
    """The revision that made something which is there after the last of them: the one behind the last without it."""
    maker = ""
    for revision, one in asked.items():
        maker = (maker or revision) if item in one.schema else ""
    return maker
