"""A run that changes the host: recover, forecast, preflight, then step after step; every word of it recorded."""

from __future__ import annotations

import os
import syslog
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vvmigrate.content.delivery import download
from vvmigrate.content.store import STORE
from vvmigrate.engine import journal, recovery, step
from vvmigrate.engine.contents import DECISION, RUN
from vvmigrate.engine.host import HOME, ROOT, STATE
from vvmigrate.engine.runtime import HostOperation
from vvmigrate.engine.signals import Ended, put_off
from vvmigrate.engine.state import Overlay, Proposal, Target
from vvmigrate.engine.step import Attempt, Outcome
from vvmigrate.errors import RefusedError, StateError, StepError, VvmigrateError
from vvmigrate.files import Tree
from vvmigrate.log import Log, opened
from vvmigrate.operations import MERGERS
from vvmigrate.operations.generation import STORE_DIGITS
from vvmigrate.operations.supply import RECEIVED
from vvmigrate.report import SIGNALLED, Report, error_as_json
from vvmigrate.runs.admission import admit
from vvmigrate.runs.forecast import DOWN, Forecast, Workplace, open_workplace
from vvmigrate.runs.hook import Hook
from vvmigrate.runs.opening import Call, paths_of
from vvmigrate.runs.outcomes import outcome_as_json
from vvmigrate.runs.taking_back import conclude, settle
from vvmigrate.runs.trial import Conditions


@dataclass
class Run:
    """One run under way.

    Attributes:
        brings: it only brings what a later run installs.
        conditions: what it must fulfil to stand; None for a run that only goes where it is told.
        said: what its report says beside the verb's own.
    """

    place: Workplace
    report: Report
    log: Log
    hook: Hook
    outcomes: list[Outcome] = field(default_factory=list)
    before: str = ""
    brings: bool = False
    conditions: Conditions | None = None
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def committed(self) -> bool:
        """Whether a step of this run happened."""
        return any(outcome.happened for outcome in self.outcomes)

    def tell(self, event: str, **facts: Any) -> None:
        """Tell the listener and the log."""
        self.place.call.listener(event, **facts)
        if event != "progress":
            self.log.write(event, **facts)

    def preflight(self, forecasts: list[Forecast], *, building: bool = False) -> None:
        """Refuse the whole run before its first write, if something is in its way.

        Args:
            building: whether the run builds upon what is there.

        Raises:
            VvmigrateError: see `admission.admit`.
        """
        admit(self.place, forecasts, self.conditions, building=building)
        total = sum((forecast.proposal for forecast in forecasts), Proposal())
        schema = frozenset().union(*map(schema_affected, forecasts))
        self.hook.expect(self.place.session.host.private, total.affects | schema)

    @property
    def affects(self) -> list[str]:
        """What the steps that happened have changed."""
        return sorted({name for outcome in self.outcomes if outcome.happened for name in outcome.proposal.affects})

    def perform(self, forecast: Forecast, holds: tuple[Mapping[str, Any], ...] = (), reason: str = "") -> bool:
        """Do one step.

        Args:
            reason: why, where nobody asked for it.

        Returns:
            Whether the run may go on.
        """
        self.tell("step_started", revision=forecast.revision, title=forecast.title, direction=forecast.direction)
        outcome = step.perform(self.place.session, self._attempt(forecast, holds, reason))
        if outcome.result:
            self.outcomes.append(outcome)
        self.tell("step_ended", **outcome_as_json(outcome, self.paths()))
        if outcome.ended is None and outcome.error is not None and self._stays_degraded(forecast, outcome.error):
            return True
        if outcome.error is not None:
            code = outcome.error.exit_code
            if code == RefusedError.exit_code and self._committed_before(outcome):
                code = 1  # the contract: the same situation, met after an earlier step of this run was committed
            self.report.fail(outcome.error, code)
        if outcome.ended is not None:
            raise outcome.ended
        return outcome.error is None

    def _stays_degraded(self, forecast: Forecast, error: VvmigrateError) -> bool:
        """Whether it was only a retry that failed: that is told, and holds nothing else up."""
        if not forecast.retry or error.exit_code != StepError.exit_code:
            return False
        self.tell("warning", text=f"revision {forecast.revision} stays degraded: {error.message}")
        return True

    def _committed_before(self, outcome: Outcome) -> bool:
        return any(other.happened for other in self.outcomes if other is not outcome)

    def _attempt(self, forecast: Forecast, holds: tuple[Mapping[str, Any], ...], reason: str) -> Attempt:
        after = self.place.version
        if forecast.code is not None:
            follows = forecast.code.revision.down_revision
            after = forecast.revision if forecast.direction != DOWN else str(follows or "")
        return Attempt(
            forecast.revision,
            forecast.title,
            forecast.direction,
            after,
            forecast.source.data,
            lambda: self._propose(forecast),
            forecast.code,
            holds,
            forecast.way_back.record,
            forecast.release,
            adopts=forecast.accepts is not None,
            reason=reason,
            retry=forecast.retry,
        )

    def _propose(self, forecast: Forecast) -> tuple[Proposal, tuple[HostOperation, ...]]:
        """Look again, now that everything before has really happened."""
        if forecast.error is not None:
            raise forecast.error
        total = Proposal()
        overlay = Overlay(self.place.session.host)
        for operation in forecast.operations:
            proposal = operation.propose(self.place.situation(overlay, forecast))
            for change in proposal.changes:
                overlay.predict(change)
            total += proposal
        if forecast.accepts is not None:
            forecast.accepts(total)
        return total + self.place.own_words(forecast) + Proposal(affects=schema_affected(forecast)), forecast.operations

    def paths(self) -> dict[str, str]:
        """Absolute path of each area."""
        return paths_of(self.place.session)

    def end(self) -> None:
        """Write the run's row and remove the run file; on a run that did nothing, leave no trace.

        A step that could not be undone leaves its journal: then the chain must stay where the journal expects it.
        """
        session = self.place.session
        if journal.pending(session.host.private):
            return
        with put_off():
            decided = (session.host.private / DECISION).stat() is not None
            if decided or not all(outcome.traceless for outcome in self.outcomes):
                recovery.end_run(session, session.run, exit_code=self.report.exit_code, affects=self.affects)
                self._publish_head()
            private = session.host.private
            self.hook.settle(private, self.affects)
            for name in (RUN, DECISION):
                (private / name).remove_file(missing_ok=True)
            private.fsync()
            if not self.report.exit_code and not self.brings:
                self._tidy()

    def _publish_head(self) -> None:
        """The end of the chain goes to the logs, so that a copy of it stands where this host's rows do not reach."""
        head = self.place.session.ledger.head()
        self.log.write("chain", seq=head.seq, hash=head.hash)
        if self.place.settings.apart:
            return
        run = self.place.session.run
        syslog.openlog("vvmigrate", syslog.LOG_PID, syslog.LOG_USER)
        syslog.syslog(
            syslog.LOG_NOTICE,
            f"{run['command']} by {run['user']} ended with {self.report.exit_code}: "
            f"run {run['run_id']}, history row {head.seq}, chain {head.hash}",
        )
        syslog.closelog()

    def _tidy(self) -> None:
        """What was received and is in the store now is of no more use; what was not installed yet stays."""
        host = self.place.session.host
        installed = {name.rpartition("-")[2] for name in host.names(Target(ROOT, STORE))}
        downloads = host.private / "downloads"
        for name in downloads.names():
            if name.endswith(RECEIVED) and name[:STORE_DIGITS] in installed:
                download.discard(downloads / name)


def schema_affected(forecast: Forecast) -> frozenset[str]:
    """`schema` where the revision's own SQL changes anything."""
    changes = forecast.code is not None and forecast.rehearsed is not None and forecast.rehearsed.statements
    return frozenset({"schema"}) if changes else frozenset()


Doer = Callable[[Run], None]


def _carried_out(call: Call, doer: Doer, fill: Doer, first: Doer) -> Run:
    """Open a host, settle what earlier commands left, do the work, and end the run whatever happens.

    Raises:
        VvmigrateError: the host cannot be opened. What goes wrong later is the report's.
    """
    settings, session = call.write(MERGERS)
    with session, opened(settings.log_file, session.run["run_id"]) as (log, why):
        if why:
            call.listener("warning", text=why)
        log.write("run_started", command=call.command, arguments=call.arguments, user=session.run["user"])
        for sentence in recovery.recover(session):
            call.listener("recovered", text=sentence)
            log.write("recovered", text=sentence)
        place = open_workplace(call, settings, session)
        run = Run(
            place, Report(call.command), log, Hook.of(settings.after_change, session.host.private), before=place.version
        )
        try:
            with _reporting(run):
                first(run)
                doer(run)
            with _reporting(run):
                conclude(run)
        finally:
            _close(run, log, fill)
    return run


@contextmanager
def _reporting(run: Run) -> Iterator[None]:
    """What goes wrong in the block is the report's."""
    try:
        yield
    except VvmigrateError as error:
        run.report.fail(error, 1 if run.committed and error.exit_code == RefusedError.exit_code else None)
    except OSError as error:
        where = os.fsdecode(error.filename or paths_of(run.place.session)[ROOT])
        refused = RefusedError(f"{where}: {error.strerror or error}", path=where)
        run.report.fail(refused, 1 if run.committed else None)
    except Ended as ended:
        run.report.exit_code = SIGNALLED + ended.number


def _close(run: Run, log: Log, fill: Doer) -> None:
    """End the run; a failure to do so is the run's failure."""
    with put_off():
        try:
            run.end()
        except (VvmigrateError, OSError) as error:
            refused = RefusedError(f"the run's end could not be recorded: {error}", hint="vvmigrate recover")
            run.report.fail(refused, StateError.exit_code)
        fill(run)
        if run.report.body:  # else the verb came to nothing, and its error says it all
            run.report.body |= run.said
        log.write("run_ended", exit_code=run.report.exit_code, error=error_as_json(run.report.error))


def nothing_done() -> dict[str, Any]:
    """What the reports of upgrade, downgrade and repair say of a host without history."""
    lists = ("steps", "affects", "held", "required_missing", "degraded")
    return {"run_id": None, "from": "", "to": "", **{name: [] for name in lists}}


def fill_report(run: Run) -> None:
    """What the reports of upgrade, downgrade and repair have in common."""
    common = {
        "run_id": run.place.session.run["run_id"],
        "from": run.before,
        "to": run.place.version if run.place.session.connection is not None else run.before,
        "steps": [outcome_as_json(outcome, run.paths()) for outcome in run.outcomes],
        "affects": run.affects,
    }
    run.report.body = nothing_done() | common | run.report.body


def add_nothing(_: Run) -> None:
    """For reports that are not of steps."""


def carry_out(
    call: Call,
    doer: Doer,
    fill: Doer = fill_report,
    first: Doer = settle,
    nothing: Callable[[], dict[str, Any]] | None = None,
) -> Report:
    """A whole command that changes the host.

    Args:
        fill: adds what every report of its kind has in common.
        first: does something about what an earlier run promised.
        nothing: tells what there is to say of a host without history, on which then nothing is made; None where the
            command may be a host's first.

    Returns:
        Its report, whatever happened.
    """
    report = Report(call.command)
    try:
        if nothing is not None and not call.has_begun():
            report.body = nothing()
            return report
        run = _carried_out(call, doer, fill, first)
        report = run.report
        _tell_hook(run)
    except VvmigrateError as error:
        report.fail(error)
    except Ended as ended:
        report.exit_code = SIGNALLED + ended.number
    return report


def _tell_hook(run: Run) -> None:
    """Let the release's command know what was changed, now that nothing is locked; its failure is a warning."""
    paths = run.paths()
    facts = {"VV_HOME": paths[HOME], "VIDEO_STORAGE_ROOT": paths[ROOT], "VV_REVISION": str(run.report.body.get("to"))}
    done = run.hook.call(run.place.settings.home, run.place.call.environ, facts)
    if done is None:
        return
    run.report.body["after_change"] = done
    if done["exit_code"] == 0:
        with Tree.open(Path(paths[ROOT]) / STATE) as state:
            run.hook.told(state)
    else:
        code = "could not be run" if done["exit_code"] is None else f"ended with {done['exit_code']}"
        said = f" ({done['output']})" if done["output"] else ""
        text = f"after_change {code}{said}; the next command that writes tells it again"
        run.place.call.listener("warning", text=text)
