"""A release's inputs against its revisions: what a host would lack that runs them all.

Both sides are facts. What an input declares is read from its file; what the revisions bring is what their operations
pin, up to the head. An operation without pins brings whatever stands in the release on the day on which it is applied,
so nobody can say what a host has of it: it covers nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from vvmigrate.authoring import declared as inputs
from vvmigrate.authoring import keys, storage, tables
from vvmigrate.authoring.checkout import Checkout, Line
from vvmigrate.authoring.declared import Declared
from vvmigrate.authoring.difference import Difference, Section
from vvmigrate.authoring.keys import Answers, Keys
from vvmigrate.errors import RefusedError
from vvmigrate.operations import Fact, InstallAssets, InstallModel, MergeEnv


@dataclass(frozen=True)
class Comparison:
    """Declared inputs, and what the revisions bring.

    Attributes:
        tables: what has to be done about the orchestrator's tables.
        unpinned: sentences on operations that pin nothing.
    """

    declared: Declared
    produced: Mapping[Fact, str]
    tables: Section
    unpinned: tuple[str, ...]

    def undecided(self, answers: Answers) -> tuple[list[str], list[str]]:
        """See `Keys.undecided`."""
        return Keys.compare(self.declared, self.produced, answers).undecided(answers)

    def sections(self, answers: Answers) -> list[Section]:
        """What a revision has to say, input by input.

        Raises:
            UsageError: see `Keys.compare`.
        """
        return [
            storage.directories(self.declared, self.produced),
            storage.models(self.declared, self.produced),
            storage.assets(self.declared, self.produced),
            keys.section(self.declared, self.produced, answers),
            self.tables,
        ]


def compare(checkout: Checkout) -> Comparison:
    """Run all revisions in memory, read all inputs, and compare.

    Raises:
        RefusedError: an input is not what it should be.
        RevisionError: a revision fails.
    """
    with checkout.rehearsed() as line:
        try:
            declared = inputs.read(checkout, line)
        except OSError as error:
            where = str(error.filename or checkout.home)
            raise RefusedError(f"{where}: cannot be read: {error.strerror}", path=where) from error
        schema = tables.section(checkout, declared.metadata, line.database)
    return Comparison(declared, produced(line), schema, tuple(_unpinned(line)))


def uncovered(checkout: Checkout) -> list[Difference]:
    """What the inputs declare and no revision covers; nothing is asked, and nothing written.

    Raises:
        RefusedError: an input is not what it should be.
        RevisionError: a revision fails.
    """
    return list(chain.from_iterable(section.differences for section in compare(checkout).sections(Answers())))


def produced(line: Line) -> dict[Fact, str]:
    """What holds after all revisions, by their pins."""
    facts: dict[Fact, str] = {}
    for _, operation in line.operations:
        for fact, value in operation.facts().items():
            if value is None:
                facts.pop(fact, None)
            else:
                facts[fact] = value
    return facts


def _unpinned(line: Line) -> list[str]:
    pinning = (InstallAssets, InstallModel, MergeEnv)
    return [
        f"revision {revision}: op.{op.verb} without pins covers nothing: hosts have what the release held on their day"
        for revision, op in line.operations
        if isinstance(op, pinning) and not op.facts()
    ]
