"""`verify`: whether this host is what was recorded; and the comparison that status, repair and doctor begin with."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vvmigrate.commands.named import SIGNATURE, Listed, chosen_by, listed, meant_by
from vvmigrate.commands.remedy import way
from vvmigrate.content.env.document import Document
from vvmigrate.content.env.template import FILE
from vvmigrate.engine import drift as drifts
from vvmigrate.engine import old
from vvmigrate.engine.drift import CONTENT, DEEP, QUICK, Drift
from vvmigrate.engine.effects import SHAPE, TREE
from vvmigrate.engine.host import HOME
from vvmigrate.engine.ledger import Ledger
from vvmigrate.engine.round import Round
from vvmigrate.engine.session import DATABASE
from vvmigrate.engine.state import Target
from vvmigrate.errors import EnvFileError, UsageError
from vvmigrate.report import Report
from vvmigrate.runs.looking import FINDINGS, looking
from vvmigrate.runs.opening import Call
from vvmigrate.runs.site import Site, open_site


@dataclass(frozen=True)
class Comparison:
    """What was looked at, and what differs.

    Attributes:
        checked: how many recorded paths, and files of the release, those that this user may not look at too.
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


def as_json(site: Site, found: Sequence[Drift]) -> list[dict[str, Any]]:
    """Drift as reports show it."""
    of_paths: dict[Target, list[Drift]] = {}
    for item in found:
        of_paths.setdefault(item.target, []).append(item)
    return [
        {
            "path": (path := site.session.host.path(item.target)),
            "kind": item.kind,
            "expected": item.expected,
            "actual": item.actual,
            "revision": item.revision,
            "remedy": way(path, of_paths[item.target]),
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
    files, targets = listed(site, recorded), drifts.managed(recorded, host, site.cannot_see)
    schema = how != QUICK and (
        not paths or any(_means_database(target) for path in paths for target in meant_by(site, path, recorded, files))
    )
    if paths:
        chosen = chosen_by(site, paths, recorded, files)
        files = {target: file for target, file in files.items() if target in chosen}
        targets = [target for target in targets if target in chosen]
    trees = trees_of(site.ledger, recorded, SHAPE if how == QUICK else TREE)

    def progress(done: int, total: int) -> None:
        site.call.listener("progress", phase="verify", done=done, total=total)

    found = drifts.find(host, recorded, trees, targets, how, progress, site.cannot_see)
    gone = {item.target for item in found if item.kind == "kind"}
    found += _keys(site, recorded, set(targets) - gone)
    if SIGNATURE not in targets or any(item.target == SIGNATURE for item in found):
        files = {}
    found += _release(site, files, recorded[SIGNATURE][1] if files else {}, how)
    if schema:
        from vvmigrate.runs import tables  # not at the top: who looks quickly need not wait for Alembic

        found += tables.missing(site)
    return Comparison(len(targets) + len(files), found)


def trees_of(ledger: Ledger, recorded: drifts.Recorded, noted: str = TREE) -> dict[Target, str]:
    """What was noted of each directory that we placed as a whole."""
    found = {target: str(effect.note[noted]) for target, (effect, _) in recorded.items() if noted in effect.note}
    return old.placed_trees(ledger, noted) | found


def _means_database(target: Target) -> bool:
    return target == DATABASE or target.holds(DATABASE)


# ---- what is not compared as a whole ---------------------------------------------------------------------------------


def _keys(site: Site, recorded: drifts.Recorded, there: set[Target]) -> list[Drift]:
    """Required keys that `.env` lost: their line; or the value of one that is made once, and is nobody's to choose.

    Every other key, and every other value, is the user's right.
    """
    found: list[Drift] = []
    host = site.session.host
    for target, (effect, step) in recorded.items():
        if "keys" not in effect.note or target not in there:
            continue
        link = host.glance(Target(HOME, FILE))
        if target.name != FILE and os.path.normpath(link.target) != target.name:
            actual = f"{FILE} is {drifts.kind_of(link)}"
            found.append(Drift(target, drifts.WAY, f"{FILE} leads here", actual, str(step["revision"])))
        with suppress(EnvFileError, OSError), site.unseeing():
            template = site.template()
            document = Document.parse(host.read(target), name=FILE)
            for key in template.keys:
                value = document.get(key.name) if key.required and key.name in effect.note["keys"] else key.name
                if value is None or (not value and key.generate is not None):
                    lost = "no such key" if value is None else "no value"
                    found.append(Drift(target, "key", f"the required key {key.name}", lost, str(step["revision"])))
    return found


def _release(site: Site, wanted: Listed, step: Mapping[str, Any], how: str) -> Iterator[Drift]:
    """Files of the release against the host's own list, which is as a step recorded it."""
    with Round(site.session.host) as around:
        for target, file in wanted.items():
            try:
                seen = drifts.quickly(around, target, step) if how == QUICK else around.entry(target)
            except PermissionError as error:
                site.cannot_see(error)
                continue
            if seen.kind != "file":
                yield Drift(target, "release", "a file of the release", drifts.kind_of(seen), "")
            elif seen.size_bytes != file["size_bytes"] or (seen.digest and seen.digest != file["sha256"]):
                yield Drift(target, "release", "as vv-signature.json lists it", "another content", "")
