"""Looking: plan, current, heads, show."""

from __future__ import annotations

from typing import Any

from vvmigrate.commands.downgrade import steps_down
from vvmigrate.commands.forecast import DOWN, UP, Workplace
from vvmigrate.commands.looking import FINDINGS, looking
from vvmigrate.commands.opening import Call
from vvmigrate.commands.outlook import outlook, version_after
from vvmigrate.commands.releases import release_of
from vvmigrate.commands.upgrade import pending, split_at_hold
from vvmigrate.errors import UsageError
from vvmigrate.report import Report


def plan(call: Call, target: str = "head", *, down: bool = False) -> Report:
    """What upgrade (or downgrade) would do: the same forecast, stopped before the first write.

    Returns:
        The report of `plan`; exit code 3 if anything is pending.
    """

    def look(place: Workplace, report: Report) -> None:
        held: dict[str, Any] | None = None
        if down:
            steps = steps_down(place, target)
        else:
            steps, held, _ = split_at_hold(place, pending(place, target))
        forecasts = place.forecast(steps, DOWN if down else UP)
        report.body = {
            **outlook(place, forecasts, version_after(place, steps, down=down)),
            "held": [held] if held else [],
        }
        for forecast in forecasts:
            if forecast.error is not None:
                raise forecast.error
        if forecasts or held:
            report.raise_to(FINDINGS)

    return looking(call, look)


def current(call: Call) -> Report:
    """The revision that the host is at."""

    def look(place: Workplace, report: Report) -> None:
        head = place.scripts.package_head()
        title = place.scripts.script(place.version).doc if place.version else ""
        report.body = {"revision": place.version, "title": title, "head": head, "is_head": place.version == head}

    return looking(call, look)


def heads(call: Call) -> Report:
    """The last revision of the installed release."""

    def look(place: Workplace, report: Report) -> None:
        head = place.scripts.package_head()
        found = {
            "revision": head,
            "title": place.scripts.script(head).doc if head else "",
            "release": release_of(place, head),
        }
        report.body = {"heads": [found] if head else []}

    return looking(call, look)


def show(call: Call, revision: str) -> Report:
    """One revision: where it stands, what it is for, what it asks for.

    Raises:
        UsageError: (in the report) there is none.
    """

    def look(place: Workplace, report: Report) -> None:
        if not revision:
            raise UsageError("show needs a revision", hint="vvmigrate show head")
        wanted = place.version if revision == "current" else revision
        script = place.scripts.script(place.scripts.package_head() if wanted == "head" else wanted)
        source = place.scripts.sources[script.revision]
        report.body = {
            "revision": script.revision,
            "title": script.doc,
            "release": release_of(place, script.revision),
            "follows": script.down_revision,
            "path": source.path,
            "sha256": source.sha256,
            "applied": any(step["revision"] == script.revision for step in place.ledger.applied())
            if place.ledger
            else False,
            "source": source.data.decode("utf-8", "replace"),
        }

    return looking(call, look)
