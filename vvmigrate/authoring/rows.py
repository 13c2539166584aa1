"""What a revision does with rows while the orchestrator waits, and what cannot be planned because of rows."""

from __future__ import annotations

from collections.abc import Iterator

from vvmigrate.authoring.findings import Finding
from vvmigrate.authoring.release import Draft
from vvmigrate.authoring.round_trip import RoundTrip
from vvmigrate.authoring.sql import SCHEMA, UNREAD, Statement, read
from vvmigrate.authoring.statements import of as written_in
from vvmigrate.engine.rehearsal import Rehearsed

_CHANGES = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE"})
_BATCH = "_alembic_tmp_"
"""How Alembic names the table into which batch mode copies another."""


def statements(draft: Draft, function: str, tried: Rehearsed | None) -> list[Statement]:
    """The statements that are written in a function, and those that it made up when it was tried.

    Those that its source does not tell stand at the first line that runs one of them.
    """
    written = written_in(draft, function)
    told = {(one.verb, one.table) for one in written}
    unread = [one.line for one in written if one.verb == UNREAD or (one.verb in _CHANGES and not one.table)]
    line = min(unread, default=draft.line(function))
    made_up = [read(one.text, line) for one in (tried.statements if tried is not None else ())]
    more = [one for one in made_up if one.verb in _CHANGES and (one.verb, one.table) not in told]
    more = [one for one in dict.fromkeys(more) if not one.table.startswith(_BATCH)]
    better = {one.verb for one in more}
    return [one for one in written if one.table or one.verb not in better] + more


def findings(draft: Draft, up: list[Statement], trip: RoundTrip) -> Iterator[Finding]:
    """Whole tables that are changed after DDL, and rows that are read.

    Args:
        up: the statements of `upgrade()`.
    """
    yield from _slow(draft, up)
    lines = [one.line for one in up if one.verb == "SELECT" and not one.table.startswith(("sqlite_", "pragma_"))]
    if not lines and trip.up is not None and trip.up.reads_rows:
        lines = [draft.line("upgrade")]
    for line in lines:
        yield draft.finding(
            line,
            "reads-rows",
            "upgrade() reads rows: on an empty database it does something else than on a host, so nobody can plan it",
            "say it as one statement (UPDATE ... WHERE, INSERT ... SELECT)",
        )


def _slow(draft: Draft, up: list[Statement]) -> Iterator[Finding]:
    """A statement over a whole table, after DDL: nobody else can write until both are done.

    A table that the same revision makes has no rows that take long.
    """
    made = {one.table for one in up if one.verb == "CREATE TABLE"}
    schema_changed = False
    for one in up:
        schema_changed |= one.verb in SCHEMA
        if schema_changed and one.whole and (one.verb in ("INSERT", "REPLACE") or one.table not in made):
            yield draft.finding(
                one.line,
                "slow",
                f"{one.verb} goes through a whole table after the schema was changed: "
                "the orchestrator cannot write until both are done",
                "put it into a revision of its own, or narrow it with WHERE",
            )
