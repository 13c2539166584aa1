"""What a way back needs although it is not here: a generation that was pruned, or one that the way up left out.

What a newer one of the same run had superseded is installed by a step of its own, behind those that go back. All that
is needed is received before the first of them.
"""

from __future__ import annotations

from contextlib import suppress

from vvmigrate.commands.fetch import receive
from vvmigrate.engine.state import Proposal
from vvmigrate.errors import ManifestError, RefusedError, RevisionError, VvmigrateError
from vvmigrate.operations import InstallModel, Situation, WriteSignature
from vvmigrate.operations.generation import read_manifest
from vvmigrate.operations.supply import ModelDownload
from vvmigrate.runs.forecast import Forecast, Workplace
from vvmigrate.runs.pending import degraded
from vvmigrate.runs.work import Run


def brought_again(place: Workplace, forecasts: list[Forecast]) -> list[Forecast]:
    """What revisions that stay had left out for the sake of those that go.

    Args:
        forecasts: the steps back, newest first.

    Returns:
        Steps that install it; `error` says where one cannot be had, and may not be lacking (`--allow-degraded`). Of one
        that the release does not name nothing is changed, and the proposal is degraded.
    """
    if any(forecast.error is not None for forecast in forecasts):
        return []
    already = {item["revision"] for item in degraded(place)}  # the next upgrade's, as ever
    found: list[Forecast] = []
    for item in degraded(place, without={forecast.revision for forecast in forecasts}):
        if item["revision"] not in already:
            found += _step(place, item["revision"], [*forecasts, *found])
    return found


def _step(place: Workplace, revision: str, behind: list[Forecast]) -> list[Forecast]:
    """The step of one revision; one whose source does not import is told of, and holds no way back up."""
    retry = place.settings.allow_degraded
    try:
        version = next(str(step.code.revision.down_revision or "") for step in reversed(behind) if step.code)
        forecast = place.redo(revision, InstallModel, WriteSignature, retry=retry, version=version)
        place.predict(forecast, behind)
    except RevisionError as problem:
        text = f"revision {revision} will be degraded, what it had left out is not brought: {problem.message}"
        place.call.listener("warning", text=text)
        return []
    if isinstance(error := forecast.error, ManifestError):  # no bytes to wait for: a way back never hangs on a manifest
        forecast.error, forecast.proposal = None, Proposal(degraded=error.message)
    elif error is not None and error.exit_code == RefusedError.exit_code:
        text = f"the way back needs what revision {revision} had left out: {error.message}"
        hint = "; or without it: ".join(filter(None, (error.hint, "vvmigrate downgrade --allow-degraded")))
        forecast.error = RefusedError(text, hint=hint, path=error.path)
    return [forecast]


def bring(run: Run, forecasts: list[Forecast]) -> None:
    """Receive what these steps install, while everything is as it was.

    Raises:
        VvmigrateError: it cannot be had, and may not be lacking.
    """
    situation = run.place.situation(run.place.session.host)
    items = {item.sha256: item for forecast in forecasts for item in forecast.proposal.downloads}
    for item in items.values():
        if isinstance(item, ModelDownload):
            with suppress(*_may_be_missed(situation, item)):
                receive(situation, item)


def _may_be_missed(situation: Situation, item: ModelDownload) -> tuple[type[VvmigrateError], ...]:
    """The errors on which a way back goes on: its step is degraded then."""
    optional = not read_manifest(situation).version(item.model, item.version).required
    return (VvmigrateError,) if optional or situation.settings.allow_degraded else ()
