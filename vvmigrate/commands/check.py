"""`check`: for a release's CI: what is wrong with its revisions. No host is needed, and nothing is written."""

from __future__ import annotations

from dataclasses import asdict

from vvmigrate import settings
from vvmigrate.authoring import checks
from vvmigrate.engine.roots import check_trust, what_runs
from vvmigrate.errors import RefusedError, VvmigrateError
from vvmigrate.files import Tree
from vvmigrate.report import Report
from vvmigrate.runs.looking import FINDINGS
from vvmigrate.runs.opening import Call
from vvmigrate.runs.trust import signed_only


def check(call: Call) -> Report:
    """Look at the release, and at nothing else.

    Returns:
        `revisions`: how many; `not_tried`: the numbers of those that were only read; `findings`: path (relative to
        the release), line, kind, reason and remedy of each; `allowed`: those that an author accepts, with `because`.
    """
    report = Report(call.command)
    try:
        home = settings.find_home(call.options.get("home"), call.environ, call.folder)
        check_trust(home, what_runs(home))  # to check a revision is to run its file
        may_run = signed_only(home, call.environ)
        with Tree.open(home) as tree:
            checked = checks.check(tree / "", may_run)
    except OSError as error:
        report.fail(RefusedError(f"{error.filename}: cannot be read: {error.strerror}", path=str(error.filename)))
    except VvmigrateError as error:
        report.fail(error)
    else:
        report.body = {
            "revisions": checked.revisions,
            "not_tried": checked.not_tried,
            "findings": [asdict(finding) for finding in checked.findings],
            "allowed": [{**asdict(finding), "because": reason} for finding, reason in checked.allowed],
        }
        if checked.findings:
            report.raise_to(FINDINGS)
    return report
