"""`verify`: whether this host is what was recorded; and the comparison that status, repair and doctor begin with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vvmigrate.content import signature
from vvmigrate.content.env.document import Document
from vvmigrate.content.env.template import FILE
from vvmigrate.engine import drift as drifts
from vvmigrate.engine import old
from vvmigrate.engine.drift import CONTENT, DEEP, QUICK, Drift
from vvmigrate.engine.effects import TREE
from vvmigrate.engine.host import HOME, ROOT
from vvmigrate.engine.round import Round
from vvmigrate.engine.session import DATABASE
from vvmigrate.engine.state import Target
from vvmigrate.errors import EnvFileError, UsageError
from vvmigrate.report import Report
from vvmigrate.runs.looking import FINDINGS, looking
from vvmigrate.runs.opening import Call, paths_of
from vvmigrate.runs.site import Site, open_site

SIGNATURE = Target(HOME, signature.NAME)


@dataclass(frozen=True)
class Comparison:
    """What was looked at, and what differs.

    Attributes:
        checked: how many recorded paths, and files of the release.
    """

    checked: int
    drift: list[Drift]


def verify(call: Call, paths: Iterable[str] = ()) -> Report:
    """Compare what is there with what is recorded, by content unless told otherwise.

    Args:
        paths: only these, and what is below them; all without any.

    Returns:
        The report of `verify`; exit code 3 if anything differs.
    """

    def look(site: Site, report: Report) -> None:
        found = compare(site, list(paths), how_deep(call))
        report.body = {"checked": found.checked, "drift": as_json(site, found.drift)}
        if found.drift:
            report.raise_to(FINDINGS)

    return looking(call, open_site, look)


def how_deep(call: Call) -> str:
    """Which comparison the options ask for.

    Raises:
        UsageError: two that exclude each other.
    """
    quick, deep = call.options.get("quick"), call.options.get("deep")
    if quick and deep:
        raise UsageError("--quick and --deep exclude each other")
    return QUICK if quick else DEEP if deep else CONTENT


def as_json(site: Site, found: Iterable[Drift]) -> list[dict[str, Any]]:
    """Drift as reports show it."""
    return [
        {
            "path": site.session.host.path(item.target),
            "kind": item.kind,
            "expected": item.expected,
            "actual": item.actual,
            "revision": item.revision,
        }
        for item in found
    ]


def compare(site: Site, paths: list[str], how: str = CONTENT) -> Comparison:
    """Compare recorded with actual.

    Raises:
        UsageError: nothing is recorded at one of the paths.
    """
    if site.ledger is None:
        return Comparison(0, [])
    host, recorded = site.session.host, site.ledger.recorded()
    chosen = chosen_by(site, paths, recorded)
    targets = [target for target in drifts.managed(recorded, host) if target in chosen]
    trees = {**old.placed_trees(site.ledger)}
    trees |= {target: effect.note[TREE] for target, (effect, _) in recorded.items() if TREE in effect.note}

    def progress(done: int, total: int) -> None:
        site.call.listener("progress", phase="verify", done=done, total=total)

    found = drifts.find(host, recorded, trees, targets, how, progress)
    gone = {item.target for item in found if item.kind == "kind"}
    found += _keys(site, recorded, set(targets) - gone)
    listed: list[Drift] = []
    names: list[str] = []
    if SIGNATURE in targets and not any(item.target == SIGNATURE for item in found):
        names, listed = _release(site, how)
    if how != QUICK and (not paths or any(_means_database(target_of(site, path)) for path in paths)):
        from vvmigrate.runs import tables  # not at the top: who looks quickly need not wait for Alembic

        found += tables.missing(site)
    return Comparison(len(targets) + len(names), found + listed)


def _means_database(target: Target) -> bool:
    return target == DATABASE or target.holds(DATABASE)


def chosen_by(site: Site, paths: list[str], recorded: drifts.Recorded) -> set[Target]:
    """The recorded paths that somebody means: those at and below a path, else the one that holds it.

    A path that leads through a recorded link means the link, and what it leads to.

    Raises:
        UsageError: there is none.
    """
    if not paths:
        return set(recorded)
    chosen: set[Target] = set()
    for path in paths:
        target = target_of(site, path)
        if not (found := _at(target, recorded)):
            raise UsageError(f"{path}: nothing is recorded there", hint="vvmigrate status", path=path)
        chosen |= found | _at(drifts.behind(recorded, target), recorded)
    return chosen


def _at(target: Target, recorded: Iterable[Target]) -> set[Target]:
    """What is recorded at and below a path, else the nearest above it."""
    below = {other for other in recorded if other == target or target.holds(other)}
    above = [other for other in recorded if other.holds(target)]
    return below or set(sorted(above, key=lambda other: len(other.name))[-1:])


def target_of(site: Site, path: str) -> Target:
    """A path as somebody types it, by area and name; links are not followed.

    Raises:
        UsageError: it lies neither in the home nor in the storage root.
    """
    areas = paths_of(site.session)
    tried = [os.path.normpath(os.path.join(site.call.folder, path))]
    if not os.path.isabs(path):
        tried += [os.path.normpath(os.path.join(areas[area], path)) for area in (ROOT, HOME)]
    inside: list[Target] = []
    for name in tried:
        for area in (ROOT, HOME):  # the storage root may lie below the home
            if name == areas[area] or name.startswith(areas[area] + "/"):
                inside.append(Target(area, name[len(areas[area]) + 1 :]))
                break
    known = site.ledger.recorded() if site.ledger is not None else {}
    for target in inside:
        if _at(target, known):
            return target
    if not inside:
        raise UsageError(f"{path}: neither in {areas[HOME]} nor in {areas[ROOT]}", path=path)
    return inside[0]


# ---- what is not compared as a whole ---------------------------------------------------------------------------------


def _keys(site: Site, recorded: drifts.Recorded, there: set[Target]) -> list[Drift]:
    """Required keys that `.env` lost: their line; or the value of one that is made once, and is nobody's to choose.

    Every other key, and every other value, is the user's right.
    """
    found: list[Drift] = []
    for target, (effect, step) in recorded.items():
        if "keys" not in effect.note or target not in there:
            continue
        with suppress(EnvFileError, OSError):
            template = site.template()
            document = Document.parse(site.session.host.read(target), name=FILE)
            for key in template.keys:
                value = document.get(key.name) if key.required and key.name in effect.note["keys"] else key.name
                if value is None or (not value and key.generate is not None):
                    lost = "no such key" if value is None else "no value"
                    found.append(Drift(target, "key", f"the required key {key.name}", lost, str(step["revision"])))
    return found


def _release(site: Site, how: str) -> tuple[list[str], list[Drift]]:
    """The release's files against the host's own list, if it is still the list of this release."""
    if site.version != site.line.head():
        return [], []  # another release was put there, and is not applied yet
    host = site.session.host
    files: dict[str, dict[str, Any]] = json.loads(host.read(SIGNATURE))["files"]
    found = []
    with Round(host) as around:
        for name, wanted in files.items():
            target = Target(HOME, name)
            seen = around.glance(target) if how == QUICK else around.entry(target)
            if seen.kind != "file":
                found.append(Drift(target, "release", "a file of the release", drifts.kind_of(seen), ""))
            elif seen.size_bytes != wanted["size_bytes"] or (seen.digest and seen.digest != wanted["sha256"]):
                found.append(Drift(target, "release", "as vv-signature.json lists it", "another content", ""))
    return list(files), found
