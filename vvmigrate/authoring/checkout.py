"""A release as its author has it: a folder with revisions and inputs, on a machine that need not be a host."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alembic.runtime.migration import RevisionStep

from vvmigrate.engine.rehearsal import Rehearsal
from vvmigrate.engine.roots import check_trust, what_runs
from vvmigrate.engine.scripts import Scripts
from vvmigrate.engine.sources import Check, read_package, unchecked
from vvmigrate.errors import RefusedError, RevisionError, VvmigrateError
from vvmigrate.files import Tree
from vvmigrate.operations import Operation


@dataclass(frozen=True)
class Line:
    """What all revisions produce, one after the other, on a host that had nothing.

    Attributes:
        operations: (revision, host operation) in order.
        database: the orchestrator's tables without rows, among ours; in memory.
    """

    operations: tuple[tuple[str, Operation], ...]
    database: sqlite3.Connection


@dataclass(frozen=True)
class Checkout:
    """A release folder that is open for reading.

    Attributes:
        home: its path, absolute, links resolved.
        may_run: sees the bytes of whatever is run from it before.
    """

    home: Path
    tree: Tree
    scripts: Scripts
    may_run: Check

    @classmethod
    @contextmanager
    def open(cls, home: Path, may_run: Check = unchecked) -> Iterator[Checkout]:
        """Open a release folder and read its revisions, which is to run them.

        Args:
            may_run: see `Checkout`.

        Raises:
            RefusedError: the folder cannot be opened, or the caller is root and others may have written in it.
            RevisionError: the revisions cannot be used, or do not form one line.
        """
        home = Path(os.path.realpath(home))
        check_trust(home, what_runs(home))
        try:
            tree = Tree.open(home)
        except OSError as error:
            raise RefusedError(f"home {home}: cannot be opened: {error.strerror}", path=str(home)) from error
        with tree:
            scripts = Scripts(str(home / "migrations"), read_package(tree / "", may_run), {})
            scripts.check_line()
            yield cls(home, tree, scripts, may_run)

    @contextmanager
    def rehearsed(self) -> Iterator[Line]:
        """Run every revision up to the head, in memory.

        Raises:
            RevisionError: one of them fails.
        """
        head = self.scripts.line.head()
        found: list[tuple[str, Operation]] = []
        with Rehearsal() as rehearsal:
            for step in self.scripts.upgrades(head, "") if head else []:
                asked = self._run(rehearsal, step)
                found += [(step.revision.revision, op) for op in asked if isinstance(op, Operation)]
            yield Line(tuple(found), rehearsal.connection)

    def _run(self, rehearsal: Rehearsal, step: RevisionStep) -> tuple[object, ...]:
        source = self.scripts.sources[step.revision.revision]
        try:
            return rehearsal.run(step).operations
        except VvmigrateError as error:
            raise RevisionError(f"{source.path}: {error.message}", hint=error.hint, path=source.path) from error
        except Exception as error:  # a revision may raise anything
            first = (str(error).strip() or "no message").splitlines()[0]
            text = f"{source.path}: fails on an empty database: {type(error).__name__}: {first}"
            raise RevisionError(text, hint="mend the revision", path=source.path) from error
