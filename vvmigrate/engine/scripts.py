"""Revisions that are run: from the very bytes that were read and checked, by Alembic.

No bytecode cache is consulted and nothing is imported by path: a forged `__pycache__` beside a revision is never seen.
A revision that the host has applied is run from the source that was recorded when it was, not from the package's file.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, partial
from types import ModuleType
from typing import Any, NoReturn

from alembic.runtime.migration import RevisionStep
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionError as AlembicRevisionError
from alembic.util import CommandError

from vvmigrate.engine.lineage import Lineage
from vvmigrate.engine.signals import is_signal
from vvmigrate.engine.sources import IRREVERSIBLE, Recorded, Revision, Source, is_text, shown
from vvmigrate.engine.way_back import replay
from vvmigrate.errors import RevisionError, UsageError


def load(source: Source) -> ModuleType:
    """Run a revision's file: its functions are there afterwards, none of them has been called.

    Raises:
        RevisionError: it does not import, or does not say what every revision has to say.
    """
    module = ModuleType(f"vvmigrate_revision_{source.revision}")
    module.__file__ = source.path
    try:
        exec(compile(source.data, source.path, "exec"), vars(module))  # noqa: S102 - the bytes that were checked
    except BaseException as error:
        if is_signal(error):
            raise
        raise RevisionError(
            f"{source.path}: does not import: {type(error).__name__}: {error}",
            hint="mend the revision; nothing was changed",
            path=source.path,
        ) from error
    vars(module).pop("__getattr__", None)  # only what it has is asked for
    if hasattr(module, IRREVERSIBLE):
        _declare_irreversible(module, source)
    for name in ("upgrade", "downgrade"):
        if not callable(getattr(module, name, None)):
            raise RevisionError(
                f"{source.path}: has no {name}(): every revision needs a way there and a way back", path=source.path
            )
    _check_words(module, source)
    return module


def _check_words(module: ModuleType, source: Source) -> None:
    """What a revision says of itself must be what lines and histories are made of.

    Raises:
        RevisionError: it is not.
    """
    if not hasattr(module, "down_revision"):
        raise RevisionError(f"{source.path}: does not say which revision it follows (down_revision)", path=source.path)
    if not is_text(release := getattr(module, "release", "")):
        _refuse(source, 'release = "2.3"', release)
    if not is_text(module.__doc__ or ""):
        _refuse(source, "a text as its docstring", module.__doc__)
    for name in ("branch_labels", "depends_on"):
        if getattr(module, name, None):
            _refuse(source, f"no {name}, since revisions form one line", getattr(module, name))


def _check_place(module: ModuleType, source: Source) -> None:
    """A revision of a line follows one other, or none.

    Raises:
        RevisionError: it says something else.
    """
    follows = module.down_revision
    if follows is not None and not (isinstance(follows, str) and follows):
        _refuse(source, "one revision that it follows, or down_revision = None", follows)


def _refuse(source: Source, expected: str, found: object) -> NoReturn:
    raise RevisionError(
        f"{source.path}: expected {expected}, found {shown(found)}", hint="mend the revision", path=source.path
    )


def _declare_irreversible(module: ModuleType, source: Source) -> None:
    """A revision that says why it cannot be taken back needs no way back.

    Raises:
        RevisionError: it gives no reason.
    """
    reason = getattr(module, IRREVERSIBLE)
    if not (is_text(reason) and reason.strip()):
        _refuse(source, f'a reason, like {IRREVERSIBLE} = "why it cannot be taken back"', reason)
    module.downgrade = _no_way_back  # type: ignore[attr-defined]


def _no_way_back() -> None:
    raise RevisionError("this revision was declared irreversible")


def irreversible(script: Script) -> str:
    """Why a revision cannot be taken back; empty if it can."""
    return str(getattr(script.module, IRREVERSIBLE, ""))


def _stand_in(source: Recorded, problem: RevisionError) -> ModuleType:
    """A module for a recorded source that does not import here: its way back is what was recorded of it."""

    def upgrade() -> None:
        raise problem

    module = ModuleType(f"vvmigrate_revision_{source.revision}")
    vars(module).update(
        __doc__=source.title,
        revision=source.revision,
        down_revision=source.follows or None,
        release=source.release,
        upgrade=upgrade,
        downgrade=partial(take_recorded_way, source, problem.message),
    )
    return module


def take_recorded_way(source: Recorded, problem: str) -> None:
    """Do the recorded acts of a revision's downgrade, in the place of its own.

    Args:
        problem: why that cannot run.

    Raises:
        RevisionError: nothing was recorded.
    """
    try:
        acts = source.way_back()
    except RevisionError as error:
        raise RevisionError(f"{problem}, and {error.message}", hint=error.hint, path=source.path) from error
    replay(acts)


class Scripts(ScriptDirectory):
    """Alembic's script directory, over bytes instead of files.

    Args:
        folder: the migrations folder, for Alembic's messages.
        package: the installed release's revisions.
        recorded: sources of what the host has applied, by revision; they take the package's place.

    Attributes:
        stand_ins: why the source of a recorded revision does not import here, by revision.
    """

    def __init__(self, folder: str, package: Iterable[Source], recorded: Mapping[str, Source]) -> None:
        """Nothing is run before a revision is asked for.

        Raises:
            RevisionError: the folder is gone.
        """
        try:
            super().__init__(folder)
        except CommandError as error:
            problem = f"{folder}: expected the release's folder of revisions, found none"
            raise RevisionError(problem, hint="install the release again", path=folder) from error
        self.package = {source.revision: source for source in package}
        self.sources = self.package | dict(recorded)
        self.stand_ins: dict[str, RevisionError] = {}

    def _load_revisions(self) -> Iterator[Script]:
        for source in self.sources.values():
            yield Script(self._load(source), source.revision, source.path)

    def _load(self, source: Source) -> ModuleType:
        try:
            module = load(source)
            _check_place(module, source)
        except RevisionError as error:
            if not isinstance(source, Recorded):
                raise
            self.stand_ins[source.revision] = error
            return _stand_in(source, error)
        return module

    def check_line(self) -> None:
        """The revisions must form one line.

        Raises:
            RevisionError: two heads, or one that follows nothing.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # Alembic only warns of a revision that follows nothing
                heads = self.revision_map.heads
        except (AlembicRevisionError, CommandError, KeyError, UserWarning) as error:
            raise RevisionError(f"{self.dir}: the revisions do not form a line: {error}", path=str(self.dir)) from error
        if len(heads) > 1:
            raise RevisionError(
                f"{self.dir}: expected one last revision, found {len(heads)}: {', '.join(sorted(heads))}",
                hint="let one of them follow the other (down_revision)",
                path=str(self.dir),
            )

    @cached_property
    def line(self) -> Lineage:
        """The line as values, by what the revisions say now that they were run."""
        return Lineage(self.package, self.sources, [self._said(revision) for revision in self.sources])

    def _said(self, revision: str) -> Revision:
        script = self.script(revision)
        release = str(getattr(script.module, "release", ""))
        return Revision(script.revision, script.doc, str(script.down_revision or ""), release)

    def script(self, revision: str) -> Script:
        """One revision, by its full id or a unique prefix, `head`, or relative.

        Raises:
            UsageError: there is none.
        """
        try:
            found = self.get_revision(revision)
        except CommandError as error:
            raise UsageError(str(error), hint="vvmigrate history; vvmigrate heads") from error
        if found is None:
            raise UsageError(f"no revision {revision!r}", hint="vvmigrate heads")
        return found

    def upgrades(self, target: str, current: str) -> list[RevisionStep]:
        """The steps from the current revision up to a target, oldest first.

        Raises:
            UsageError: the target does not exist or does not lie ahead.
        """
        return self._steps(self._upgrade_revs, target, current)

    def downgrades(self, target: str, current: str) -> list[RevisionStep]:
        """The steps from the current revision back to a target, newest first.

        Raises:
            UsageError: the target does not exist or does not lie behind.
            RevisionError: one of them was declared irreversible.
        """
        steps = self._steps(self._downgrade_revs, target, current)
        for step in steps:
            if reason := irreversible(step.revision):
                number = step.revision.revision
                raise RevisionError(
                    f"revision {number} cannot be taken back: {reason}",
                    hint=f"vvmigrate downgrade {number} goes back as far as that",
                    path=step.revision.path,
                )
        return steps

    def step(self, revision: Revision, *, up: bool) -> RevisionStep:
        """One revision as a step of Alembic's, that way."""
        return RevisionStep(self.revision_map, self.script(revision.revision), is_upgrade=up)

    def back(self, step: RevisionStep) -> RevisionStep:
        """The way back of a step up."""
        return RevisionStep(self.revision_map, step.revision, is_upgrade=False)

    def _steps(self, resolve: Any, target: str, current: str) -> list[RevisionStep]:
        if not target:
            raise UsageError("expected a revision, found an empty name", hint="vvmigrate heads")
        try:
            return list(resolve(target, current or None))
        except (CommandError, AlembicRevisionError) as error:
            raise UsageError(f"revision {target!r}: {error}", hint="vvmigrate heads") from error
