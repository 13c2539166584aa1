"""Whether what a revision does to rows and files can be taken back, and says how."""

from __future__ import annotations

from collections.abc import Iterator

from vvmigrate.authoring.findings import Finding
from vvmigrate.authoring.release import Draft
from vvmigrate.authoring.round_trip import RoundTrip
from vvmigrate.authoring.sql import Statement
from vvmigrate.operations import Operation, Revert

ANSWERS = {
    "UPDATE": frozenset({"UPDATE", "REPLACE"}),
    "DELETE": frozenset({"INSERT", "REPLACE"}),
    "REPLACE": frozenset({"UPDATE", "REPLACE", "DELETE"}),
}
"""What overwrites or removes rows, and by what `downgrade()` can take it back."""


def findings(draft: Draft, up: list[Statement], down: list[Statement], trip: RoundTrip) -> Iterator[Finding]:
    """What has no way back.

    Args:
        up, down: the statements of `upgrade()` and `downgrade()`.
    """
    yield from _raw_drops(draft, (*up, *down))
    if draft.irreversible:
        return
    yield from _rows(draft, up, down)
    yield from _files(draft, trip)


def _raw_drops(draft: Draft, statements: tuple[Statement, ...]) -> Iterator[Finding]:
    for statement in statements:
        if statement.raw and statement.verb in ("DROP TABLE", "DROP COLUMN"):
            yield draft.finding(
                statement.line,
                "drop",
                f"{statement.verb} on {statement.table} throws its rows away, and is refused when it runs",
                f"use op.{statement.verb.lower().replace(' ', '_')}: it keeps what it drops",
            )


def _rows(draft: Draft, up: list[Statement], down: list[Statement]) -> Iterator[Finding]:
    """An UPDATE or DELETE needs an answer in `downgrade()`, unless what it changes goes away there."""
    tables = {one.table for one in up if one.verb == "CREATE TABLE"}
    columns = {(one.table, column) for one in up if one.verb == "ADD COLUMN" for column in one.columns}
    for one in up:
        changed = {(one.table, column) for column in one.columns}
        if one.verb not in ANSWERS or one.table in tables - {""} or (changed and changed <= columns):
            continue
        if not any(other.table == one.table and other.verb in ANSWERS[one.verb] for other in down):
            yield draft.finding(
                one.line,
                "inverse",
                f"{one.verb} of {one.table or 'rows'} has no way back: downgrade() leaves them as they are then",
                f"let downgrade() take it back ({' or '.join(sorted(ANSWERS[one.verb]))}); "
                'if nothing can: irreversible = "why"',
            )


def _files(draft: Draft, trip: RoundTrip) -> Iterator[Finding]:
    """What operations did to files is only taken back by `op.revert()`."""
    if trip.up is None or trip.down is None or any(isinstance(op, Revert) for op in trip.down.operations):
        return
    names = sorted({type(op).__name__ for op in trip.up.operations if isinstance(op, Operation) and op.leaves_files})
    if names:
        yield draft.finding(
            draft.line("downgrade"),
            "revert",
            f"{', '.join(names)} change files, and downgrade() does not take them back",
            "add op.revert() to downgrade()",
        )
