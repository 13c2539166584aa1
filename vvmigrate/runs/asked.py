"""What each revision asks for when all are rehearsed from the beginning, and the schema that they make together."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import takewhile

from alembic.runtime.migration import RevisionStep

from vvmigrate.engine import existing
from vvmigrate.engine.existing import Schema
from vvmigrate.engine.ledger import Ledger
from vvmigrate.engine.rehearsal import Rehearsal, Rehearsed
from vvmigrate.engine.scripts import Scripts, irreversible
from vvmigrate.engine.way_back import WayBack
from vvmigrate.errors import StateError, StepError, VvmigrateError


@dataclass(frozen=True)
class Asked:
    """What one revision asks for, and the schema that all up to it make.

    Attributes:
        gone: (kind, name) of what earlier ones made, and this or another one removed.
        way_back: what was learned of its way back, if that was wanted.
    """

    rehearsed: Rehearsed
    schema: Schema
    gone: frozenset[tuple[str, str]]
    way_back: WayBack = field(default_factory=WayBack)

    def check(self, ledger: Ledger) -> None:
        """See that a database has this schema.

        Raises:
            StateError: it has not.
        """
        connection = ledger.connection
        existing.check_schema(lambda sql, *a: connection.execute(sql, a).fetchall(), self.schema, self.gone)


def ask(scripts: Scripts, last: str, *, ways_back: bool = False) -> tuple[dict[str, Asked], VvmigrateError | None]:
    """What every revision up to one asks for, in the line's order; and why the first that fails does.

    Args:
        ways_back: learn the way back of each, too.
    """
    asked: dict[str, Asked] = {}
    ever: frozenset[tuple[str, str]] = frozenset()
    with Rehearsal() as rehearsal:
        for step in scripts.upgrades(last, ""):
            revision = step.revision.revision
            try:
                rehearsed = rehearsal.run(step)
            except Exception as error:  # noqa: BLE001 - a revision may raise anything
                return asked, in_words(revision, error)
            schema = rehearsal.schema()
            ever |= schema.keys()
            way_back = way_back_of(step, scripts, rehearsal) if ways_back else WayBack()
            asked[revision] = Asked(rehearsed, schema, ever - schema.keys(), way_back)
    return asked, None


def in_words(revision: str, error: Exception) -> VvmigrateError:
    """Why a revision's code failed, for people."""
    if isinstance(error, VvmigrateError):
        return error
    first = (str(error).strip() or "no message").splitlines()[0]
    return StepError(f"revision {revision}: {type(error).__name__}: {first}")


def way_back_of(step: RevisionStep, scripts: Scripts, rehearsal: Rehearsal) -> WayBack:
    """What is recorded with a revision, so that it can be taken back without its release.

    Args:
        rehearsal: where the step was just rehearsed.
    """
    return WayBack() if irreversible(step.revision) else rehearsal.way_back(scripts.back(step))


def claimed(scripts: Scripts, ledger: Ledger | None) -> dict[str, Asked]:
    """The revisions that the database had when this epoch began: its SQL is not run a second time.

    It is the version row that claimed it, and nothing proves that; so the schema must say the same, and with it what
    the revisions did to rows is believed. Empty in the first epoch.
    """
    epoch = ledger.epoch() if ledger is not None else None
    if ledger is None or epoch is None:
        return {}
    last = str(json.loads(epoch["notes"])["epoch"]["claimed"])
    if last not in scripts.sources:
        return {}
    asked, _ = ask(scripts, last)
    try:
        asked[last].check(ledger)
    except (KeyError, StateError):
        return {}
    return asked


def first_that_hold(ledger: Ledger, names: list[str], asked: dict[str, Asked]) -> tuple[int, str]:
    """How many of these revisions a database's schema has at most, and why not one more.

    Whole schemas are compared: a column that a later revision adds is there already on a host that has it all.
    """
    known = list(takewhile(asked.__contains__, names))
    reason = ""
    for count in range(len(known), 0, -1):
        try:
            asked[known[count - 1]].check(ledger)
        except StateError as error:
            reason = error.message
        else:
            return count, reason
    return 0, reason
