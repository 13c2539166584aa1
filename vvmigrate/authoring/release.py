"""The revisions of a checkout, read as far as they can be: what one of them spoils does not hide the others."""

from __future__ import annotations

import ast
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from vvmigrate.authoring.findings import Finding
from vvmigrate.engine.sources import (
    FOLDER,
    IRREVERSIBLE,
    Check,
    Source,
    literal,
    read_source,
    revision_files,
    unchecked,
)
from vvmigrate.errors import RevisionError
from vvmigrate.files import Place

UNKNOWN = "?"
"""What a revision says by an expression instead of a plain value."""


@dataclass(frozen=True)
class Draft:
    """One revision as it stands in the checkout.

    Attributes:
        name: of its file, relative to the release.
    """

    name: str
    source: Source

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.source.data, self.source.path)

    @property
    def revision(self) -> str:
        """Its number."""
        return self.source.revision

    @property
    def file_name(self) -> str:
        """The last part of its name."""
        return self.name.rpartition("/")[2]

    @property
    def follows(self) -> Any:
        """The revision that it follows: None for the first, `UNKNOWN` where no plain value says it."""
        value = self.assigned.get("down_revision")
        try:
            return literal(value) if value is not None else UNKNOWN
        except ValueError:
            return UNKNOWN

    @property
    def irreversible(self) -> bool:
        """Whether it says that it cannot be taken back."""
        return IRREVERSIBLE in self.assigned

    @cached_property
    def assigned(self) -> dict[str, ast.expr]:
        """What its names stand for at the end of its top level."""
        found: dict[str, ast.expr] = {}
        for node in self.tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            value = getattr(node, "value", None)
            found |= {target.id: value for target in targets if isinstance(target, ast.Name) and value is not None}
        return found

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        """Its functions, by name."""
        return {node.name: node for node in self.tree.body if isinstance(node, ast.FunctionDef)}

    def line(self, name: str) -> int:
        """Where a name gets its value, or a function begins; 1 where there is none."""
        node = self.assigned.get(name) or self.functions.get(name)
        return node.lineno if node is not None else 1

    def finding(self, line: int, kind: str, reason: str, remedy: str) -> Finding:
        """Something that is wrong in this file."""
        return Finding(self.name, line, kind, reason, remedy)


@dataclass(frozen=True)
class Release:
    """A checkout's revisions, in the order of their numbers.

    Attributes:
        home: the release folder.
        unreadable: what is wrong with files that are no revisions.
        may_run: sees a revision's bytes before they are used.
    """

    home: Place
    drafts: tuple[Draft, ...] = ()
    unreadable: tuple[Finding, ...] = field(default=(), repr=False)
    may_run: Check = unchecked


def read(home: Place, may_run: Check = unchecked) -> Release:
    """Read a checkout's revisions; nothing of them is run.

    Args:
        home: the release folder.
        may_run: see `Release`.
    """
    drafts, unreadable = [], []
    for place in revision_files(home):
        name = f"{FOLDER}/{place.name.rpartition('/')[2]}"
        try:
            drafts.append(Draft(name, read_source(place, may_run)))
        except RevisionError as error:
            unreadable.append(of_error(error, name, place.path))
    return Release(home, tuple(sorted(drafts, key=by_number)), tuple(unreadable), may_run)


def by_number(draft: Draft) -> tuple[bool, int, str, str]:
    """The order of numbers; what is no number comes last."""
    number = draft.revision
    return not number.isdecimal(), int(number) if number.isdecimal() else 0, number, draft.name


def of_error(error: RevisionError, name: str, path: str) -> Finding:
    """A revision that cannot be used, with the line that is to blame."""
    reason = error.message.removeprefix(f"{path}: ")
    return Finding(name, line_of(error, path), "unusable", reason, error.hint or "mend the revision")


def line_of(error: BaseException, path: str) -> int:
    """The last line of a file that an exception came through; 1 where it did not come through it."""
    lines = [1]
    for cause in _causes(error):
        if isinstance(cause, SyntaxError) and cause.filename == path:
            lines.append(cause.lineno or 1)
        lines += [line for frame, line in traceback.walk_tb(cause.__traceback__) if frame.f_code.co_filename == path]
    return lines[-1]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that led to it, the last one first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
