"""`recover`: settle what a crash left, take back a run whose time is over, and nothing else."""

from __future__ import annotations

from vvmigrate.engine import intention, recovery
from vvmigrate.engine.intention import Moment
from vvmigrate.errors import VvmigrateError
from vvmigrate.log import opened
from vvmigrate.operations import MERGERS
from vvmigrate.report import Report
from vvmigrate.runs.opening import Call
from vvmigrate.runs.work import carry_out


def recover(call: Call) -> Report:
    """Settle a journal that waits, and carry out what a run promised; without either, nothing happens.

    Returns:
        `settled`: a sentence for each thing that was done or kept; and `upgrade`'s keys where a run was taken back.
    """
    report = Report(call.command, body={"settled": []})
    try:
        settings, session = call.write(MERGERS)
        with session, opened(settings.log_file, session.run["run_id"]) as (log, _):
            report.body["settled"] = recovery.recover(session)
            for sentence in report.body["settled"]:
                log.write("recovered", text=sentence)
            found = intention.read(session.host)
            due = found is not None and found.due(Moment.of(session))
    except VvmigrateError as error:
        report.fail(error)
        return report
    return _take_back(call, report.body["settled"]) if due else report


def _take_back(call: Call, settled: list[str]) -> Report:
    """A journal is settled without the release; to take a run back its revisions are needed, recorded ones too."""
    report = carry_out(call.asking_nobody(), lambda _: None)
    back = [f"revision {step['revision']} was taken back: {step['reason']}" for step in report.body.get("reverted", ())]
    report.body["settled"] = settled + back
    return report
