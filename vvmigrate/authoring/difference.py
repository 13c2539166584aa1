"""Where inputs and revisions differ, and what a revision says about it: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import renderers
from alembic.operations import MigrateOperation

REMEDY = "vvmigrate revision -m TEXT --autogenerate"


class Difference(NamedTuple):
    """Something that an input declares and no revision brings, or the other way round.

    Attributes:
        input: the file of the release that says so.
        name: the key, model, asset, directory, table or column.
        what: a few words for people; no secret is in them.
        remedy: what to do, as a command where one exists.
        line: where in the file, from 1.
    """

    input: str
    name: str
    what: str
    remedy: str = REMEDY
    line: int = 1

    def __str__(self) -> str:
        """One line."""
        return f"{self.input}: {self.what}"


@dataclass(frozen=True)
class Section:
    """What a revision says about the differences of one input.

    Attributes:
        operations: what brings hosts there; fewer than differences where no operation can.
        advice: what the author has to look at.
    """

    differences: tuple[Difference, ...] = ()
    operations: tuple[MigrateOperation, ...] = ()
    advice: tuple[str, ...] = ()


@dataclass(frozen=True)
class Remark(MigrateOperation):
    """A comment in a generated revision."""

    text: str


@renderers.dispatch_for(Remark)
def _render(_: AutogenContext, remark: Remark) -> str:
    """A comment of one line, whatever names of files and keys are in it: what is read here becomes code."""
    return "# " + "".join(c if c.isprintable() else " " for c in remark.text)
