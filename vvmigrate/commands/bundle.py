"""`bundle create` and `bundle apply`: models in one file, for hosts without a network.

A bundle is an uncompressed tar: `index.json` for people, then the artefacts, each named by its SHA-256. Nothing in it
is believed: what counts is the manifest of the release that is installed where it is applied.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from vvmigrate.commands.fetch import PRESENT, check_room, described, open_folder, receive
from vvmigrate.content.delivery import download, tar
from vvmigrate.content.delivery.decompress import ByteStream
from vvmigrate.content.delivery.disk import naming_full_disk
from vvmigrate.content.store import STORE
from vvmigrate.engine.host import ROOT
from vvmigrate.engine.state import Target
from vvmigrate.errors import ArchiveError, ChecksumError, RefusedError, UsageError
from vvmigrate.files import CHUNK_BYTES, Place, Tree
from vvmigrate.operations import InstallModel, Situation, supply
from vvmigrate.operations.generation import generation_of, read_manifest
from vvmigrate.operations.supply import ModelDownload
from vvmigrate.report import Report
from vvmigrate.runs.opening import Call
from vvmigrate.runs.work import Run, add_nothing, carry_out

CREATE, APPLY = "create", "apply"
INDEX = "index.json"
INDEX_LIMIT_BYTES = 1 << 20
FILE_MODE = 0o644


def bundle(call: Call, action: str, file: str) -> Report:
    """Make a bundle of what the installed release needs, or take one in.

    Args:
        action: `create` or `apply`.
        file: the bundle, relative to the caller's folder.

    Returns:
        `file`, and `artefacts` with their state: `added`; or `received` and `present`.
    """
    work = {CREATE: _create, APPLY: _apply}[action]
    return carry_out(call.asking_nobody(), lambda run: work(run, call.folder / file), fill=add_nothing)


# ---- making one ------------------------------------------------------------------------------------------------------


def _create(run: Run, path: Path) -> None:
    """Bring together what is missing here, then write the bundle: whole, under its name, or not at all."""
    situation = run.place.situation(run.place.session.host)
    run.report.body |= {"file": str(path), "artefacts": []}
    with open_folder(path.parent) as folder:
        if (folder / path.name).stat() is not None:
            raise RefusedError(f"{path}: exists already", hint="move it away, or name another file", path=str(path))
        items = needed(run, situation)
        check_room(folder, sum(item.size_bytes + 2 * tar.BLOCK_BYTES for item in items) + INDEX_LIMIT_BYTES)
        members = [(item, _here(situation, item)) for item in items]
        _write(folder, path.name, members)
    for item, _ in members:
        entry = described(item) | {"state": "added"}
        run.report.body["artefacts"].append(entry)
        run.tell("artefact", **entry)


def needed(run: Run, situation: Situation) -> list[ModelDownload]:
    """What the installed release's revisions up to its head need: of each model the last version.

    Raises:
        ManifestError: a variant that was named is none.
    """
    place = run.place
    head = place.line.head()
    asked = place.asked(head).values() if head else ()
    last = {op.name: op for step in asked for op in step.operations if isinstance(op, InstallModel)}
    found: dict[str, ModelDownload] = {}
    for variant in place.call.options.get("variants") or (situation.variant,):
        for operation in last.values():
            of = replace(situation, variant=variant)
            artefact = operation.artefact(of)
            item = supply.wanted(of, operation.name, operation.version, variant, artefact, linked=False)
            found.setdefault(item.sha256, item)
    return [found[sha256] for sha256 in sorted(found)]


def _here(situation: Situation, item: ModelDownload) -> Place:
    """The artefact's bytes on this host: as they are installed, received earlier, or received now."""
    artefact = item.artefact
    if artefact.format == "file":
        name = f"{STORE}/{generation_of(item.model, item.version, artefact)}/{artefact.filename}"
        place = situation.host.place(Target(ROOT, name))
        if place.entry().digest == item.sha256:
            return place
    receive(situation, item)
    return supply.partial_place(situation, item.sha256)


def _write(folder: Tree, name: str, members: list[tuple[ModelDownload, Place]]) -> None:
    part = folder / (name + ".part")
    part.remove_file(missing_ok=True)
    index = json.dumps({"artefacts": [described(item) for item, _ in members]}, indent=1).encode() + b"\n"
    try:
        with (
            part.create(FILE_MODE) as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive,
        ):
            archive.addfile(_member(INDEX, len(index)), io.BytesIO(index))
            for item, place in members:
                with place.reader() as source:
                    archive.addfile(_member(item.sha256, item.size_bytes), source)
        part.move(folder / name)
    finally:
        part.remove_file(missing_ok=True)
    folder.fsync()


def _member(name: str, size_bytes: int) -> tarfile.TarInfo:
    """A header that says nothing of who made it and when: the same artefacts make the same bundle."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size_bytes, FILE_MODE, 0
    return member


# ---- taking one in ---------------------------------------------------------------------------------------------------


def _apply(run: Run, path: Path) -> None:
    """Take every member in that the installed release's manifest names; one that it does not name ends it."""
    if run.place.call.options.get("variants"):
        raise UsageError("bundle apply takes what is in the bundle: --variant is for bundle create")
    situation = run.place.situation(run.place.session.host)
    run.brings = True
    run.report.body |= {"file": str(path), "artefacts": []}
    known = _known(situation)
    with open_folder(path.parent) as folder, _reading(folder / path.name) as file:
        check_room(situation.host.private, _missing_bytes(situation, known, file))
        try:
            _take_all(run, situation, known, file)
        except ArchiveError as error:
            hint = "nothing of it was installed; copy the bundle again, or make it with this release"
            raise ArchiveError(f"{path}: {error.message}", hint=hint, path=str(path)) from error


@contextmanager
def _reading(place: Place) -> Iterator[BinaryIO]:
    with ExitStack() as stack:
        try:
            file = stack.enter_context(place.reader())
        except OSError as error:
            hint = "vvmigrate bundle create FILE, on a host with a network"
            raise RefusedError(f"{place.path}: {error.strerror}", hint=hint, path=place.path) from error
        yield file


def _known(situation: Situation) -> dict[str, ModelDownload]:
    """Every artefact that the installed release's manifest names, by SHA-256."""
    return {
        artefact.sha256: supply.wanted(situation, model, version, variant, artefact, linked=False)
        for model, version, variant, artefact in read_manifest(situation).artefacts()
    }


def _missing_bytes(situation: Situation, known: Mapping[str, ModelDownload], file: BinaryIO) -> int:
    """At most so many bytes will be taken in."""
    missing = sum(
        item.size_bytes for item in known.values() if supply.already(situation, item.artefact) != item.size_bytes
    )
    return min(os.fstat(file.fileno()).st_size, missing)


def _take_all(run: Run, situation: Situation, known: Mapping[str, ModelDownload], file: BinaryIO) -> None:
    seen: set[str] = set()
    for member in tar.members(ByteStream(iter(partial(file.read, CHUNK_BYTES), b""), os.fstat(file.fileno()).st_size)):
        if member.name in seen or member.is_directory:
            raise ArchiveError(f"{member.name!r} stands in it twice, or is a directory, which is refused")
        seen.add(member.name)
        if member.name == INDEX and member.size_bytes <= INDEX_LIMIT_BYTES:
            continue  # for people: nothing is decided by it
        item = known.get(member.name)
        if item is None:
            raise ArchiveError(f"it holds {member.name[:80]!r}, which the installed release's manifest does not name")
        if member.size_bytes != item.size_bytes:
            raise ChecksumError(f"{item}: expected {item.size_bytes:,} bytes, found {member.size_bytes:,}")
        path, state = _take(run, situation, item, member)
        entry = described(item) | {"path": path, "state": state}
        run.report.body["artefacts"].append(entry)
        run.tell("artefact", **entry)


def _take(run: Run, situation: Situation, item: ModelDownload, member: tar.Member) -> tuple[str, str]:
    """Copy one artefact out of sight, and let it take its place once its SHA-256 is right."""
    place = supply.partial_place(situation, item.sha256)
    if supply.is_received(situation, item.artefact):
        return place.path, PRESENT
    fresh = situation.host.private / f"staging/{item.sha256}"  # swept by whoever comes after a kill
    digest, done = hashlib.sha256(), 0
    try:
        with (
            naming_full_disk(fresh, lambda: f"{done} of {item.size_bytes} bytes were copied"),
            fresh.create(0o600) as file,
        ):
            for piece in member.data:
                file.write(piece)
                digest.update(piece)
                done += len(piece)
                run.place.call.listener("progress", phase="copy", done=done, total=item.size_bytes)
        if digest.hexdigest() != item.sha256:
            raise ChecksumError(
                f"{item}: expected SHA-256 {item.sha256}, found {digest.hexdigest()}",
                hint="the bundle is damaged, or was made by somebody else: copy it again",
            )
        download.discard(place)
        fresh.move(place)
    finally:
        fresh.remove_file(missing_ok=True)
    place.parent.fsync()
    return place.path, "received"
