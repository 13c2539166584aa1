"""`recover`: settle what a crash left, and nothing else."""

from __future__ import annotations

from vvmigrate.commands.opening import Call
from vvmigrate.engine import recovery
from vvmigrate.errors import VvmigrateError
from vvmigrate.log import opened
from vvmigrate.operations import MERGERS
from vvmigrate.report import Report


def recover(call: Call) -> Report:
    """Settle a journal that waits; without one, nothing happens.

    Returns:
        `settled`: a sentence for each thing that was done or kept.
    """
    report = Report(call.command, body={"settled": []})
    try:
        settings, session = call.write(MERGERS)
        with session, opened(settings.log_file, session.run["run_id"]) as (log, _):
            report.body["settled"] = recovery.recover(session)
            for sentence in report.body["settled"]:
                log.write("recovered", text=sentence)
    except VvmigrateError as error:
        report.fail(error)
    return report
