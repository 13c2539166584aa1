"""`rehearse`: the real upgrade and the real downgrade, in a shadow of this host; the host itself is not touched."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from vvmigrate.commands.downgrade import downgrade, steps_down
from vvmigrate.commands.recover import recover
from vvmigrate.commands.shadowed import Shadowed, open_shadow
from vvmigrate.commands.upgrade import upgrade, wanted
from vvmigrate.content.store import STORE
from vvmigrate.engine import adoption
from vvmigrate.engine.signals import Ended
from vvmigrate.engine.sources import Revision
from vvmigrate.errors import RefusedError, StepError, VvmigrateError
from vvmigrate.report import SIGNALLED, Report, error_as_json
from vvmigrate.runs.forecast import DOWN, UP, Workplace, open_workplace
from vvmigrate.runs.likeness import LAYOUT, NOTHING, Picture, picture
from vvmigrate.runs.looking import looking, warn_of_refusals
from vvmigrate.runs.opening import Call
from vvmigrate.runs.outlook import version_after
from vvmigrate.runs.pending import split_at_hold
from vvmigrate.runs.site import Site, open_site

OTHER_WAY = {UP: DOWN, DOWN: UP}


def rehearse(call: Call, target: str = "head") -> Report:
    """Try pending revisions, or the way back, on a shadow of this host; and prove that each comes back.

    Args:
        target: a revision in Alembic's syntax. Each revision up to it goes up, down and up; where it lies behind
            (`-1`, `base`), each revision that is applied after it goes down, up and down.

    Returns:
        The report of `rehearse`, by docs/cli.md; exit code 1 if a step fails, or something does not come back.
    """
    report = Report(call.command, body={"from": "", "to": "", "steps": [], "proved": None, "held": []})
    try:
        with ExitStack() as stack:
            course = _opened(call.asking_nobody(), target, report, stack)
            if course is not None:
                _go(course, report)
    except VvmigrateError as error:
        report.fail(error)
    except OSError as error:
        where = str(error.filename or call.folder)
        text = f"{where}: no shadow can be made: {error.strerror or error}"
        report.fail(RefusedError(text, hint="vvmigrate rehearse --in DIR", path=where))
    except Ended as ended:
        report.exit_code = SIGNALLED + ended.number
    return report


@dataclass(frozen=True)
class Course:
    """What is to be tried.

    Attributes:
        version: the revision that the host is at.
        package: the installed release's revisions: only they can come up again.
    """

    shadowed: Shadowed
    revisions: list[Revision]
    direction: str
    version: str
    package: frozenset[str]

    @property
    def end(self) -> str:
        """The revision that the way up, of which each step is a part, leads to; empty on the way down."""
        return self.revisions[-1].revision if self.direction == UP else ""


def _opened(call: Call, target: str, report: Report, stack: ExitStack) -> Course | None:
    """Look at the host, and make its shadow; None where there is nothing to try."""
    settings, session = call.read()
    with session:
        warn_of_refusals(call, session)
        for doubt in adoption.unproved(session):
            raise doubt
        place = open_workplace(call, settings, session)
        revisions, direction = _line(place, target)
        _, held, _ = split_at_hold(place, revisions) if direction == UP else (revisions, None, {})
        report.body |= {
            "from": place.version,
            "to": version_after(place, revisions, down=direction == DOWN),
            "held": [held] if held else [],
        }
        if not revisions:
            return None
        shadowed = open_shadow(place, revisions, direction, stack)
        return Course(shadowed, revisions, direction, place.version, frozenset(place.line.package))


def _line(place: Workplace, target: str) -> tuple[list[Revision], str]:
    """The revisions on the way to a target, and which way that goes."""
    if not target.startswith("-") and target != "base":
        revisions = wanted(place, target)
        if revisions or target == "head" or place.scripts.script(target).revision == place.version:
            return revisions, UP
    return steps_down(place, target), DOWN


# ---- on the shadow ---------------------------------------------------------------------------------------------------


def _go(course: Course, report: Report) -> None:
    """Every revision, one by one; the first that fails is the last.

    Raises:
        VvmigrateError: a step failed, or something did not come back.
    """
    shadowed, version = course.shadowed, course.version
    if version in course.package:  # what an upgrade does by the way, such as trying degraded steps again
        _done(shadowed, upgrade(shadowed.calling("upgrade"), version))
    else:
        _done(shadowed, recover(shadowed.calling("recover")))
    before = _look(shadowed)
    for revision in course.revisions:
        trial = Trial(course, revision, before)
        report.body["steps"].append(trial.entry)
        report.body["proved"] = False
        try:
            before = trial.run()
        except VvmigrateError as error:
            trial.entry["error"] = error_as_json(error)
            raise
    report.body["proved"] = True


def _done(shadowed: Shadowed, report: Report) -> Report:
    """A command on the shadow, which must succeed.

    Raises:
        Ended: a signal ended it.
        VvmigrateError: it failed.
    """
    if report.exit_code >= SIGNALLED:
        raise Ended(report.exit_code - SIGNALLED)
    if report.error is not None:
        raise shadowed.error(report.error)
    return report


def _look(shadowed: Shadowed) -> Picture:
    """What the shadow is like now."""
    found: list[Picture] = []

    def look(site: Site, _: Report) -> None:
        found.append(picture(site, shadowed.told))

    _done(shadowed, looking(shadowed.calling("look"), open_site, look))
    return found[0]


class Trial:
    """One revision: one way, the other, and the first again.

    Attributes:
        entry: what the report says of it; it grows while it is tried.
    """

    def __init__(self, course: Course, revision: Revision, before: Picture) -> None:
        """Nothing was tried yet."""
        self._course, self._revision, self._before = course, revision, before
        self.entry: dict[str, Any] = {
            "revision": revision.revision,
            "title": revision.title,
            "direction": course.direction,
            "up": None,
            "down": None,
            "again": None,
            "digest_before": before.digest,
            "digest_after_up": None,
            "digest_after_down": None,
            "changes": [],
            "kept": [],
            "differs": [],
            "proved": False,
            "error": None,
        }

    def run(self) -> Picture:
        """Try it.

        Returns:
            What the shadow is like at the end.

        Raises:
            VvmigrateError: a step failed, or something did not come back.
        """
        first, entry = self._course.direction, self.entry
        after, kept = self._turn(first, first)
        if entry["revision"] not in self._course.package:  # an older package can take it back, and has no way up
            entry["changes"] = self._changes(after, after, [])
            entry["proved"] = True
            return after
        back, more = self._turn(OTHER_WAY[first], OTHER_WAY[first])
        entry["kept"] = [*kept, *more]
        entry["changes"] = self._changes(after, back, entry["kept"])
        left = [change for change in entry["changes"] if not (change["back"] or change["stays"])]
        self._judge(left, self._before, back, "does not come back as it was")
        last, _ = self._turn(first, "again")
        again = [_difference(path, after, last) for path in after.differences(last)]
        self._judge(again, after, last, "is not the same when it is done again")
        entry["proved"] = True
        return last

    def _turn(self, direction: str, name: str) -> tuple[Picture, list[dict[str, Any]]]:
        """One way; what the shadow is like then, and what was kept."""
        shadowed, revision = self._course.shadowed, self._revision
        if direction == UP:
            done = _done(shadowed, upgrade(shadowed.calling("upgrade", self._course.end), revision.revision))
        else:
            done = _done(shadowed, downgrade(shadowed.calling("downgrade"), revision.follows or "base"))
        mine = [step for step in done.body["steps"] if step["revision"] == revision.revision]
        self.entry[name] = {key: mine[-1][key] for key in ("result", "duration_s", "degraded")} if mine else None
        seen = _look(shadowed)
        if name != "again":
            self.entry[f"digest_after_{direction}"] = seen.digest
        return seen, shadowed.told([kept for step in mine for kept in step["kept"]])

    def _changes(self, after: Picture, back: Picture, kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What the first way changed, and whether the other way brought it back."""
        reasons = {item["path"]: item["reason"] for item in kept}
        paths = sorted({*self._before.differences(after), *self._before.differences(back)})
        changes = []
        for path in paths:
            is_back = self._before.at(path) == back.at(path)
            stays = None if is_back else self._stays(path, back, reasons)
            changes.append({**_difference(path, self._before, after), "back": is_back, "stays": stays})
        return changes

    def _stays(self, path: str, back: Picture, reasons: Mapping[str, str]) -> str | None:
        """Why a path may be otherwise than before; of `.env`, a key that is kept excuses no other key."""
        store = f"{self._course.shadowed.root}/{STORE}"
        if path == store or path.startswith(f"{store}/"):
            return "stays in the store until it is pruned"
        before, now = self._before.at(path), back.at(path)
        whole = before.part_of or now.part_of
        if reason := reasons.get(path) or reasons.get(whole):
            return reason
        layout = bool(whole) and path == f"{whole}: {LAYOUT}"
        parts = [kept for kept in reasons if back.at(kept).part_of == (whole or path)]
        if parts and (layout or (not whole and before == NOTHING)):
            return f"holds what is kept: {', '.join(kept.removeprefix(f'{whole or path}: ') for kept in parts)}"
        if layout and self._course.direction == DOWN:
            return "lines that come in again find their place in the file as it is then"
        return None

    def _judge(self, left: list[dict[str, Any]], one: Picture, other: Picture, text: str) -> None:
        """See that a state is the one it should be.

        Raises:
            StepError: it is not; with what differs.
        """
        self.entry["differs"] = left
        if not left and one.digest == other.digest:
            return
        names = ", ".join(item["path"] for item in left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
        odd = f"{text}: {names}" if left else f"{text}: expected state digest {one.digest}, found {other.digest}"
        raise StepError(
            f"revision {self.entry['revision']} {odd}",
            hint=f"look at its upgrade() and downgrade(): vvmigrate show {self.entry['revision']}",
        )


def _difference(path: str, one: Picture, other: Picture) -> dict[str, Any]:
    """A path in two states, in words."""
    before, after = one.at(path), other.at(path)
    both = NOTHING not in (before, after)
    return {
        "path": path,
        "before": before.words,
        "after": after.words + (", other content" if both and before.content != after.content else ""),
    }
