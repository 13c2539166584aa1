"""What revisions ask of the host, told without the host: all are rehearsed from the beginning, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from vvmigrate.engine.rehearsal import Rehearsal, Rehearsed
from vvmigrate.engine.scripts import Scripts
from vvmigrate.errors import RevisionError
from vvmigrate.operations import Operation
from vvmigrate.runs.asked import in_words

Later = tuple[tuple[str, Operation], ...]
"""Revisions that come after one, with their operations."""


@dataclass(frozen=True)
class Told:
    """What every revision up to one asks of the host, as far as it can be told.

    Attributes:
        asked: by revision, in the line's order.
        error: why the next one cannot be told; those behind it cannot either.
    """

    asked: dict[str, Rehearsed]
    error: RevisionError | None = None

    @classmethod
    def up_to(cls, scripts: Scripts, last: str) -> Self:
        """Rehearse them; SQL that misses a table which none of them makes, an older system's, is passed over."""
        asked: dict[str, Rehearsed] = {}
        with Rehearsal(lenient=True) as rehearsal:
            for step in scripts.upgrades(last, ""):
                revision = step.revision.revision
                try:
                    asked[revision] = rehearsal.run(step)
                except Exception as error:  # noqa: BLE001 - a revision may raise anything
                    text = f"{in_words(revision, error).message}: what it asks of the host cannot be told"
                    return cls(asked, RevisionError(text, path=step.revision.path))
        return cls(asked)

    def whole(self) -> dict[str, Rehearsed]:
        """All of it.

        Raises:
            RevisionError: one of them cannot be told.
        """
        if self.error is not None:
            raise self.error
        return self.asked

    def of(self, revision: str) -> tuple[tuple[Operation, ...], Later]:
        """What one asks for; and those behind it, as far as that can be told.

        Raises:
            RevisionError: it cannot be told.
        """
        if revision not in self.asked:
            self.whole()
        names = list(self.asked)
        behind = names[names.index(revision) + 1 :]
        later = ((name, operation) for name in behind for operation in operations_in(self.asked[name]))
        return operations_in(self.asked[revision]), tuple(later)


def operations_in(rehearsed: Rehearsed) -> tuple[Operation, ...]:
    """The host operations that a revision asked for."""
    return tuple(operation for operation in rehearsed.operations if isinstance(operation, Operation))
