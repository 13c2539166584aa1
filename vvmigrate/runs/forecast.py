"""What a run would do: every pending revision rehearsed and compared with the host. `plan` is this, and no more."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from alembic.runtime.migration import RevisionStep

from vvmigrate.engine import runtime
from vvmigrate.engine.dropped import Counts, Dropped
from vvmigrate.engine.rehearsal import Rehearsal, Rehearsed
from vvmigrate.engine.scripts import Scripts, take_recorded_way
from vvmigrate.engine.session import DATABASE, Session
from vvmigrate.engine.sources import Recorded, Revision, Source
from vvmigrate.engine.state import ADOPT, ATTRIBUTES, MAKE_DIRECTORY, Change, Kept, Observer, Overlay, Proposal
from vvmigrate.engine.way_back import WayBack
from vvmigrate.errors import RefusedError, StepError, VvmigrateError
from vvmigrate.files import ABSENT, Entry
from vvmigrate.operations import MERGERS, InstallModel, Operation, Situation, difference
from vvmigrate.runs.asked import claimed, in_words, way_back_of
from vvmigrate.runs.opening import Call, root_of, variant_of
from vvmigrate.runs.pending import superseded_of
from vvmigrate.runs.site import Site, read_sources
from vvmigrate.runs.told import Later, Told, operations_in
from vvmigrate.settings import Settings

UP, DOWN, REPAIR = "up", "down", "repair"


@dataclass
class Forecast:
    """One step that lies ahead.

    Attributes:
        code: the revision's own step; None where only its host operations are done again.
        rehearsed: what its code asked for; None if it failed.
        error: why it failed.
        retry: whether the revision is applied but degraded.
        line, number: the steps of the run, of which it is one, and those beyond.
        later: (revision, operation) of revisions that are not in that line, but come after this one.
        accepts: for a revision that is only taken over: raises where a proposal would change the host.
        release: the release that the revision belongs to; empty where it says none.
        way_back: what was learned of the way back of a revision that will be applied.
        remarks: warnings that come from the revision itself, not from an operation.
        dropped: what its own code drops from the database, as far as there are rows in it.
    """

    revision: str
    title: str
    direction: str
    source: Source
    code: RevisionStep | None
    rehearsed: Rehearsed | None = None
    proposal: Proposal = field(default_factory=Proposal)
    error: VvmigrateError | None = None
    retry: bool = False
    line: list[Forecast] = field(default_factory=list, repr=False, compare=False)
    number: int = 0
    later: Later = ()
    accepts: Callable[[Proposal], None] | None = None
    release: str = ""
    way_back: WayBack = field(default_factory=WayBack)
    remarks: tuple[str, ...] = ()
    dropped: tuple[Dropped, ...] = ()

    @property
    def following(self) -> tuple[str, ...]:
        """Revisions that come after this one in the run, or beyond it."""
        return tuple(other.revision for other in self.line[self.number + 1 :])

    @property
    def upcoming(self) -> Later:
        """(revision, operation) of what comes after it on the way up, and may supersede its own."""
        line = self.line[self.number + 1 :] if self.direction == UP else []
        return (*self.later, *of_all(line))

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The host operations that it asks for."""
        return operations_in(self.rehearsed) if self.rehearsed else ()

    def learn(self, way_back: WayBack) -> None:
        """Keep what was learned of the way back; a person is told where there will be none without the release."""
        self.way_back = way_back
        if way_back.problem:
            text = f"its way back is not recorded, and will need the files of its release: {way_back.problem}"
            self.remarks = (text,)


@dataclass
class Workplace(Site):
    """A site whose revisions can be run: what forecasts and steps are made from."""

    scripts: Scripts
    memory: dict[str, Any] = field(default_factory=dict)
    observer: Observer | None = None
    """Whoever says what stands on the host; the host itself where nobody else does."""
    _told: dict[str, Told] = field(default_factory=dict)

    def run_revisions(self) -> Scripts:
        """They were run when the place was opened."""
        return self.scripts

    def situation(self, observer: Observer, forecast: Forecast | None = None) -> Situation:
        """What the operations of one step, or of none, may look at."""
        return Situation(
            host=self.session.host,
            observer=observer,
            ledger=self.ledger,
            settings=self.settings,
            storage_root=root_of(self.session),
            variant=variant_of(self.settings, self.session),
            revision=forecast.revision if forecast else "",
            upcoming=forecast.upcoming if forecast else (),
            following=forecast.following if forecast else (),
            memory=self.memory,
            mergers=MERGERS,
            ask=self.call.ask,
            progress=lambda phase, done, total: self.call.listener("progress", phase=phase, done=done, total=total),
            again=forecast is not None and forecast.code is None and forecast.direction == UP,
            retry=forecast is not None and forecast.retry,
            adopting=forecast is not None and forecast.accepts is not None,
        )

    def forecast(self, revisions: Sequence[Revision], direction: str) -> list[Forecast]:
        """Rehearse revisions in order, and predict what they change; the first that fails ends the list."""
        return self.predicted(self.rehearsed(revisions, direction))

    def rehearsed(
        self, revisions: Sequence[Revision], direction: str, beyond: Sequence[Revision] = ()
    ) -> list[Forecast]:
        """Rehearse revisions in order, on one copy of the schema. The first that fails ends the list, and says why.

        Args:
            beyond: revisions that another run will go on with; they are rehearsed as far as they can be.
        """
        forecasts = [self.described(revision, direction) for revision in (*revisions, *beyond)]
        had = claimed(self.scripts, self.ledger) if direction == UP else {}
        for number, forecast in enumerate(forecasts):
            forecast.line, forecast.number = forecasts, number
            if forecast.revision in had and forecast.code is not None:
                forecast.code = runtime.without_sql(forecast.code, had[forecast.revision].rehearsed.operations)
        with Rehearsal.of(self.session.tables) as rehearsal:
            for number, forecast in enumerate(forecasts):
                if not self._rehearse(forecast, rehearsal):
                    del forecasts[number + (number < len(revisions)) :]
                    break
        return forecasts[: len(revisions)]

    def predicted(self, forecasts: list[Forecast]) -> list[Forecast]:
        """Say what steps would change that come one after the other, on one overlay of predicted files.

        The first that fails ends the list, but for a degraded step's retry: that can be left out.
        """
        overlay, counts = self._overlay(), Counts(self.session.tables)
        for number, forecast in enumerate(forecasts):
            if forecast.rehearsed is not None:
                forecast.proposal, forecast.error = Proposal(), None
                self._predict(forecast, overlay, counts)
            if forecast.error is not None and not forecast.retry:
                return forecasts[: number + 1]
        return forecasts

    def described(self, revision: Revision, direction: str) -> Forecast:
        """A revision as a step that was not rehearsed yet."""
        name, title = revision.revision, revision.title or revision.revision
        step = self.scripts.step(revision, up=direction != DOWN)
        return Forecast(name, title, direction, self.line.sources[name], step, release=revision.release)

    def _rehearse(self, forecast: Forecast, rehearsal: Rehearsal) -> bool:
        if forecast.code is None:
            return True
        try:
            forecast.rehearsed = self._run(forecast, forecast.code, rehearsal)
        except VvmigrateError as error:
            forecast.error = error
        except Exception as error:  # noqa: BLE001 - a revision may raise anything
            path = forecast.source.path
            text = in_words(forecast.revision, error).message
            forecast.error = StepError(text, hint=f"look at {path}", path=path)
        if forecast.error is None and forecast.direction == UP:
            forecast.learn(way_back_of(forecast.code, self.scripts, rehearsal))
        return forecast.error is None

    def _run(self, forecast: Forecast, code: RevisionStep, rehearsal: Rehearsal) -> Rehearsed:
        """Run a step's code; a way back whose source cannot be imported here is what was recorded of it."""
        source = forecast.source
        if forecast.direction == DOWN and (problem := self.scripts.stand_ins.get(forecast.revision)):
            forecast.remarks = (f"{problem.message}; its recorded way back is taken",)
        try:
            return rehearsal.run(code)
        except ImportError as error:  # inside its downgrade()
            if forecast.direction != DOWN or not isinstance(source, Recorded):
                raise
            forecast.remarks = (f"{source.path}: {error}; its recorded way back is taken",)
            code.migration_fn = partial(take_recorded_way, source, f"{source.path}: {error}")
            return rehearsal.run(code)

    def _predict(self, forecast: Forecast, overlay: Overlay, counts: Counts | None = None) -> None:
        """Let each operation say what it wants of a host that has what came before.

        Args:
            counts: where all that comes before was predicted too: so there must be a folder for whatever is made.
        """
        try:
            for operation in forecast.operations:
                situation = replace(self.situation(overlay, forecast), planned=overlay.changes)
                proposal = operation.propose(situation)
                shown = []
                for change in proposal.changes:
                    if counts is not None:
                        self._check_folder(change, overlay)
                    shown.append(change._replace(diff=difference(change, situation)))
                    overlay.predict(change)
                forecast.proposal += proposal._replace(changes=tuple(shown))
            forecast.proposal += self.own_words(forecast, counts)
        except VvmigrateError as error:
            forecast.error = error
        except OSError as error:
            where = error.filename or ""
            forecast.error = RefusedError(f"{where}: {error.strerror}", path=str(where) or None)

    def _overlay(self) -> Overlay:
        """The host as the first step will find it: to open it for writing makes the database, and its folder."""
        overlay = Overlay(self.observer or self.session.host)
        if not self.session.host.entry(folder := DATABASE.above).exists:
            opening = self.session.opening
            made = Entry("dir", uid=os.geteuid(), gid=os.getegid())
            made = made.with_attributes(opening.directory_mode, opening.owner)
            overlay.predict(Change(MAKE_DIRECTORY, folder, ABSENT, made))
        return overlay

    def _check_folder(self, change: Change, overlay: Overlay) -> None:
        """See that there is a directory, or will be, for what a change makes.

        Raises:
            RefusedError: there is none; it would be met in the middle of the run.
        """
        folder = change.target.above
        makes = change.after.exists and change.action not in (ADOPT, ATTRIBUTES)
        if not makes or not folder.name or (kind := overlay.entry(folder).kind) == "dir":
            return
        path = self.session.host.path(folder)
        recorded = self.ledger is not None and folder in self.ledger.recorded()
        hint = f"vvmigrate repair {path}" if recorded else f"mkdir {path}, if nobody removed it on purpose"
        if kind != "absent":
            hint = "move it away; vvmigrate does not follow links below the storage root: use a bind mount"
        found = "nothing" if kind == "absent" else f"a {kind}"
        text = f"{path}: expected a directory for {change.target.name.rpartition('/')[2]}, found {found}"
        raise RefusedError(text, hint=hint, path=path)

    def told(self, revision: str) -> Told:
        """What revisions up to one ask of the host; told once a run, since nothing of the host changes it."""
        if revision not in self._told:
            self._told[revision] = Told.up_to(self.scripts, revision)
        return self._told[revision]

    def asked(self, revision: str) -> dict[str, Rehearsed]:
        """See `Told.whole`."""
        return self.told(revision).whole()

    def redo(
        self, revision: str, *kinds: type[Operation], retry: bool = False, pending: Later = (), version: str = ""
    ) -> Forecast:
        """The host operations of an applied revision once more: a degraded step, another variant, `--update-env`.

        What it changes is not predicted yet.

        Args:
            kinds: only operations of these kinds; without any all of them.
            retry: the revision is degraded.
            pending: what revisions ask for that will be applied in this run. Later applied ones count too: an older
                model must not take the place of theirs.
            version: the revision that the host is at then; by default where it is now.

        Raises:
            RevisionError: see `asked`.
        """
        told = self.told(version or self.version)
        reads_rows = told.whole()[revision].reads_rows
        operations, later = told.of(revision)
        chosen = tuple(op for op in operations if not kinds or isinstance(op, kinds))
        forecast = self.without_code(revision, UP, Rehearsed(chosen, (), reads_rows))
        forecast.later, forecast.retry = (*later, *pending), retry
        return forecast

    def without_code(self, revision: str, direction: str, rehearsed: Rehearsed) -> Forecast:
        """An applied revision as a step of host operations alone."""
        forecast = self.described(self.line.revision(revision), direction)
        forecast.code, forecast.rehearsed = None, rehearsed
        return forecast

    def own_words(self, forecast: Forecast, counts: Counts | None = None) -> Proposal:
        """What a step has to say beside what its operations say.

        Args:
            counts: what is in the database before the step; what is there now without.
        """
        acts = forecast.rehearsed.acts if forecast.rehearsed is not None and forecast.code is not None else ()
        forecast.dropped = tuple((counts or Counts(self.session.tables)).dropped(acts))
        kept = (Kept(f"{self.session.database_path}: {item.name}", item.reason) for item in forecast.dropped)
        said = Proposal(kept=tuple(kept), warnings=forecast.remarks)
        return said if forecast.code is not None else said + self._lacking_still(forecast)

    def _lacking_still(self, forecast: Forecast) -> Proposal:
        """What its revision lacks or left out, and lacks still where a step does only other operations of it again."""
        steps = self.ledger.applied() if self.ledger is not None else []
        last = next((step for step in steps if step["revision"] == forecast.revision), None)
        if last is None:
            return Proposal()
        with_models = any(isinstance(op, InstallModel) for op in forecast.operations)
        waits = last["result"] == "degraded" and forecast.direction == UP and not forecast.retry
        return Proposal(
            degraded=str(last["error"]) if waits else "", superseded=() if with_models else superseded_of(last)
        )

    def predict(self, forecast: Forecast, behind: Iterable[Forecast] = ()) -> None:
        """Say what a step that stands alone, or comes behind others, would do."""
        overlay = self._overlay()
        for change in (change for other in behind for change in other.proposal.changes):
            overlay.predict(change)
        self._predict(forecast, overlay)


def of_all(forecasts: Iterable[Forecast]) -> Later:
    """(revision, operation) of all operations of some steps."""
    return tuple((forecast.revision, operation) for forecast in forecasts for operation in forecast.operations)


def open_workplace(call: Call, settings: Settings, session: Session) -> Workplace:
    """Load the revisions, which is to run them.

    Raises:
        VvmigrateError: see `site.read_sources`, `Sources.scripts` and `Site.check_version`.
    """
    sources = read_sources(call, settings, session)
    scripts = sources.scripts()
    place = Workplace(call, sources.settings, session, scripts.line, scripts, sources=sources)
    place.check_version()
    return place
