"""Which paths somebody means by what they type: recorded ones, and files of the release that the host's list names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from vvmigrate.content import signature
from vvmigrate.engine import drift as drifts
from vvmigrate.engine.host import HOME, ROOT
from vvmigrate.engine.state import Target
from vvmigrate.errors import UsageError
from vvmigrate.runs.opening import paths_of
from vvmigrate.runs.site import Site

SIGNATURE = Target(HOME, signature.NAME)
Listed = dict[Target, Mapping[str, Any]]
"""What the host's list says of each file of the release."""


def chosen_by(site: Site, paths: list[str], recorded: drifts.Recorded, files: Listed) -> set[Target]:
    """The paths that somebody means: those at and below each path, else the nearest above it.

    A path that leads through a recorded link means the link, and what it leads to. The host's list of the release's
    files means all of them, and one of them the list too.

    Args:
        files: see `listed`.

    Raises:
        UsageError: there is none.
    """
    known = {*recorded, *files}
    chosen: set[Target] = set()
    for path in paths:
        targets = meant_by(site, path, recorded, files)
        if not any(found := [_at(target, known) for target in targets]):
            raise UsageError(f"{path}: nothing is recorded there", hint="vvmigrate status", path=path)
        chosen = chosen.union(*found, *(_at(drifts.behind(recorded, target), recorded) for target in targets))
    if SIGNATURE in chosen:
        chosen |= files.keys()
    elif chosen & files.keys():
        chosen.add(SIGNATURE)
    return chosen


def listed(site: Site, recorded: drifts.Recorded) -> Listed:
    """The host's list of this release's files; empty where it cannot be read, or is another release's."""
    if SIGNATURE not in recorded or site.version != site.line.head():
        return {}  # between unpacking a release and the upgrade it is the list of the release before
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError), site.unseeing():
        files = json.loads(site.session.host.read(SIGNATURE))["files"]
        return {Target(HOME, name): dict(file) for name, file in files.items()}
    return {}


def meant_by(site: Site, path: str, *known: Iterable[Target]) -> tuple[Target, ...]:
    """A path as somebody types it, and with it the tree that lies at or below it, if there is one.

    Raises:
        UsageError: see `target_of`.
    """
    return _with_inner(site, target_of(site, path, *known))


def target_of(site: Site, path: str, *known: Iterable[Target]) -> Target:
    """A path as somebody types it, by area and name; links are not followed.

    Args:
        known: where a name may be meant in both trees, the first of these that knows one of them decides.

    Raises:
        UsageError: it lies neither in the home nor in the storage root.
    """
    areas = paths_of(site.session)
    tried = [os.path.normpath(os.path.join(site.call.folder, path))]
    if not os.path.isabs(path):
        tried += [os.path.normpath(os.path.join(areas[area], path)) for area in (ROOT, HOME)]
    inside: list[Target] = []
    for name in tried:
        for area in sorted((ROOT, HOME), key=lambda area: -len(areas[area])):  # one may lie below the other
            if name == areas[area] or name.startswith(areas[area] + "/"):
                inside.append(Target(area, name[len(areas[area]) + 1 :]))
                break
    for targets in known:  # the release has a file of the same name as an asset in the root
        for target in inside:
            if any(_at(meant, targets) for meant in _with_inner(site, target)):
                return target
    if not inside:
        raise UsageError(f"{path}: neither in {areas[HOME]} nor in {areas[ROOT]}", path=path)
    return inside[0]


def _with_inner(site: Site, target: Target) -> tuple[Target, ...]:
    """A path, and the other tree where that lies below it."""
    areas, path = paths_of(site.session), site.session.host.path(target).rstrip("/")
    inner = (area for area in (ROOT, HOME) if area != target.area and areas[area].startswith(f"{path}/"))
    return (target, *(Target(area, "") for area in inner))


def _at(target: Target, known: Iterable[Target]) -> set[Target]:
    """What is known at and below a path, else the nearest above it."""
    below = {other for other in known if other == target or target.holds(other)}
    above = [other for other in known if other.holds(target)]
    return below or set(sorted(above, key=lambda other: len(other.name))[-1:])
