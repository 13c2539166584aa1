"""`fetch`: download what `upgrade` or `repair` would download, verified, and change nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vvmigrate.commands.repair import foreseen
from vvmigrate.commands.upgrade import ahead, say_that_it_waits, wanted
from vvmigrate.commands.verify import compare
from vvmigrate.content.delivery import download
from vvmigrate.content.manifest_rules import default_filename
from vvmigrate.content.store import MODELS
from vvmigrate.engine.host import ROOT
from vvmigrate.engine.preflight import room_at
from vvmigrate.engine.state import Download, Target
from vvmigrate.errors import RefusedError, VvmigrateError
from vvmigrate.files import Tree
from vvmigrate.operations import Situation, supply
from vvmigrate.operations.supply import ModelDownload
from vvmigrate.report import Report
from vvmigrate.runs.forecast import Workplace
from vvmigrate.runs.opening import Call
from vvmigrate.runs.pending import split_at_hold
from vvmigrate.runs.work import Run, add_nothing, carry_out

PRESENT, FETCHED = "present", "fetched"
FILE_MODE = 0o644


def fetch(call: Call, target: str = "head") -> Report:
    """Download for a later `upgrade --offline` or `repair --offline`, or (`--to`) into a folder that is a mirror.

    Args:
        target: a revision in Alembic's syntax.

    Returns:
        `artefacts`: what is there now, and where.
    """
    return carry_out(call.asking_nobody(), lambda run: _fetch(run, target), fill=add_nothing)


def _fetch(run: Run, target: str) -> None:
    place, run.brings = run.place, True
    found = run.report.body["artefacts"] = []
    wanted = _wanted(place, target)
    situation = place.situation(place.session.host)
    if named := place.call.options.get("to"):
        with open_folder(place.call.folder / named) as folder:
            _check_names(wanted)
            check_room(folder, sum(item.size_bytes for item in wanted if (folder / _name(item)).stat() is None))
            found.extend(_tell(run, item, *_into(situation, item, folder)) for item in wanted)
        return
    missing = [item for item in wanted if not supply.is_received(situation, item.artefact)]
    check_room(
        place.session.host.private,
        sum(item.size_bytes - supply.already(situation, item.artefact) for item in missing),
    )
    found.extend(_tell(run, item, *receive(situation, item)) for item in wanted)


def _wanted(place: Workplace, target: str) -> list[ModelDownload]:
    """What `upgrade` would download, and what `repair` would.

    Raises:
        VvmigrateError: an upgrade would be refused, or a revision fails.
    """
    revisions, _, _ = split_at_hold(place, wanted(place, target))
    forecasts = ahead(place, revisions)
    for forecast in forecasts:
        if forecast.error is not None and forecast.retry:
            say_that_it_waits(place, forecast, forecast.error)
        elif forecast.error is not None:
            raise forecast.error
    items = [item for forecast in forecasts for item in forecast.proposal.downloads]
    try:
        items += lost(place)
    except VvmigrateError as error:
        place.call.listener("warning", text=f"what a repair would download cannot be told: {error.message}")
    return list({item.sha256: item for item in items if isinstance(item, ModelDownload)}.values())


def lost(place: Workplace) -> list[Download]:
    """What a repair would download: models of applied revisions that are gone or damaged on this host.

    Raises:
        VvmigrateError: it cannot be told.
    """
    models = Target(ROOT, MODELS)
    if place.ledger is None or not any(map(models.holds, place.ledger.recorded())):
        return []
    forecasts = foreseen(place, compare(place, [place.session.host.path(models)]).drift, [])
    for error in filter(None, (forecast.error for forecast in forecasts)):
        raise error
    return [item for forecast in forecasts for item in forecast.proposal.downloads]


def receive(situation: Situation, item: ModelDownload) -> tuple[str, str, str]:
    """Bring one artefact to where the next upgrade looks for it.

    Returns:
        Its path, where it came from, and `present` or `fetched`.

    Raises:
        ChecksumError, DeliveryError, RefusedError: see `download.fetch`.
    """
    place = supply.partial_place(situation, item.sha256)
    if supply.is_received(situation, item.artefact):
        return place.path, "", PRESENT
    return place.path, supply.receive(situation, item.artefact, place), FETCHED


def _into(situation: Situation, item: ModelDownload, folder: Tree) -> tuple[str, str, str]:
    """Bring one artefact into a folder, under the name by which a mirror is asked for it."""
    place = folder / _name(item)
    seen = place.entry()
    if seen.exists:
        if seen.digest == item.sha256:
            return place.path, "", PRESENT
        raise RefusedError(
            f"{place.path}: expected {item}, SHA-256 {item.sha256}, found "
            f"{f'a file with SHA-256 {seen.digest}' if seen.kind == 'file' else f'a {seen.kind}'}",
            hint="move it away, or name another folder",
            path=place.path,
        )
    here = supply.is_received(situation, item.artefact)
    first = (Path(supply.partial_place(situation, item.sha256).path).as_uri(),) if here else ()
    partial = folder / (_name(item) + supply.RECEIVED)
    source = supply.receive(situation, item.artefact, partial, first=first)
    partial.set_attributes(FILE_MODE, None)
    partial.move(place)
    download.discard(partial)
    folder.fsync()
    return place.path, source, FETCHED


def _name(item: ModelDownload) -> str:
    return default_filename(item.artefact.urls[0])


def open_folder(path: Path) -> Tree:
    """Open a folder that a person named; links on the way to it are theirs.

    Raises:
        RefusedError: it is not there, or may not be read.
    """
    try:
        return Tree.open(path.resolve())
    except OSError as error:
        raise RefusedError(f"{path}: {error.strerror}", hint=f"mkdir -p {path}", path=str(path)) from error


def _check_names(wanted: Iterable[ModelDownload]) -> None:
    names: dict[str, ModelDownload] = {}
    for item in wanted:
        other = names.setdefault(_name(item), item)
        if other is not item:
            raise RefusedError(
                f"{item} and {other} are both called {_name(item)}: one folder cannot be a mirror of both",
                hint="vvmigrate bundle create FILE",
            )


def check_room(folder: Tree, size_bytes: int) -> None:
    """See that a folder's disk can take so many bytes.

    Raises:
        RefusedError: it cannot; with the figures.
    """
    _, need = room_at(folder)
    need.received_bytes = size_bytes
    need.check()


def _tell(run: Run, item: ModelDownload, path: str, source: str, state: str) -> dict[str, Any]:
    entry = described(item) | {"source": source or None, "path": path, "state": state}
    run.tell("artefact", **entry)
    return entry


def described(item: ModelDownload) -> dict[str, Any]:
    """An artefact as reports name it."""
    names = ("model", "version", "variant", "sha256", "size_bytes")
    return {name: getattr(item, name) for name in names}
