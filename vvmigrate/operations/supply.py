"""How an artefact comes to this host: what was received already, who may be asked for the rest, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from vvmigrate.content import manifest
from vvmigrate.content.delivery import download, pipeline
from vvmigrate.content.delivery.http import HttpSettings, shown
from vvmigrate.content.delivery.pace import Pace
from vvmigrate.content.manifest import Artefact
from vvmigrate.content.manifest_rules import default_filename
from vvmigrate.engine.host import ROOT
from vvmigrate.errors import RefusedError
from vvmigrate.files import Owner, Place, Tree
from vvmigrate.operations.base import Situation

RETRY_S = 300.0  # a boot that tries a degraded step again does not wait longer than that
RECEIVED = ".partial"
BRINGS = "vvmigrate bundle apply FILE; or, with a network: vvmigrate fetch"
"""What brings an artefact for those who may not ask the network."""


class ModelDownload(NamedTuple):
    """An artefact of the manifest that a step must fetch (`state.Download`), and what it is of."""

    url: str
    size_bytes: int
    sha256: str
    room_bytes: int
    network_bytes: int
    model: str
    version: str
    variant: str
    artefact: Artefact

    def __str__(self) -> str:
        """Name, version and variant, as people know it."""
        return f"{self.model} {self.version} ({self.variant})"


def wanted(
    situation: Situation, model: str, version: str, variant: str, artefact: Artefact, *, linked: bool
) -> ModelDownload:
    """What a step must fetch.

    Args:
        linked: whether the received file becomes the installed one, and takes no room beside it.
    """
    url = artefact.urls[0]
    takes_room = situation.settings.resume and not linked
    lacking = max(artefact.size_bytes - already(situation, artefact), 0)
    return ModelDownload(
        url if manifest.is_relative(url) else shown(url),
        artefact.size_bytes,
        artefact.sha256,
        room_bytes=lacking if takes_room else 0,
        network_bytes=0 if _is_a_file(situation, artefact) else lacking,
        model=model,
        version=version,
        variant=variant,
        artefact=artefact,
    )


def partial_place(situation: Situation, sha256: str) -> Place:
    """Where an artefact's bytes are kept until the step that needs them is committed."""
    return situation.host.private / f"downloads/{sha256}{RECEIVED}"


def is_received(situation: Situation, artefact: Artefact) -> bool:
    """Whether the artefact was received whole; its bytes are hashed once a run."""
    if already(situation, artefact) != artefact.size_bytes:
        return False
    known: set[str] = situation.memory.setdefault("received", set())
    if artefact.sha256 not in known and partial_place(situation, artefact.sha256).entry().digest == artefact.sha256:
        known.add(artefact.sha256)
    return artefact.sha256 in known


def already(situation: Situation, artefact: Artefact) -> int:
    """How many of the artefact's bytes were received."""
    info = partial_place(situation, artefact.sha256).stat() if situation.host.state(ROOT) is not None else None
    return info.st_size if info is not None else 0


# ---- sources ---------------------------------------------------------------------------------------------------------


def sources(situation: Situation, artefact: Artefact) -> tuple[str, ...]:
    """Whoever may be asked, in order: the mirror, then what the manifest names; offline only what is on this host.

    Raises:
        RefusedError: the mirror is of a kind that is not known.
    """
    mirror = situation.settings.mirror
    found = (_mirrored(mirror, default_filename(artefact.urls[0])), *artefact.urls) if mirror else artefact.urls
    return tuple(url for url in found if _is_local(url)) if situation.settings.offline else found


def _mirrored(mirror: str, name: str) -> str:
    prefix = mirror.rstrip("/")
    if mirror.startswith("/"):
        return (Path(prefix or "/") / name).as_uri()
    try:
        scheme = urlsplit(mirror).scheme
    except ValueError:
        scheme = ""
    if scheme not in ("http", "https", "file"):
        hint = "use https:, http:, file:, or a folder such as /media/stick"
        raise RefusedError("VV_MODEL_MIRROR is not a source that can be used", hint=hint)
    return f"{prefix}/{quote(name)}"


def _is_local(url: str) -> bool:
    return manifest.is_relative(url) or urlsplit(url).scheme == "file"


def is_here(situation: Situation, artefact: Artefact) -> bool:
    """Whether the artefact can be had without a network: received, or in a file of its size on this host."""
    return is_received(situation, artefact) or _is_a_file(situation, artefact)


def _is_a_file(situation: Situation, artefact: Artefact) -> bool:
    """Whether a file of its size, of the release or of this host, is among its sources."""
    local = (url for url in sources(situation, artefact) if _is_local(url))
    return any(_size_of(situation, url) == artefact.size_bytes for url in local)


def _size_of(situation: Situation, url: str) -> int | None:
    """The size of a file that a source names; None where it is none. The bytes are judged when they are taken."""
    if manifest.is_relative(url):
        seen = (situation.release() / url).glance()
        return seen.size_bytes if seen.kind == "file" else None
    path = Path(unquote(urlsplit(url).path))
    try:
        with Tree.open(path.parent.resolve()) as folder:
            seen = (folder / path.name).glance()
    except OSError:
        return None
    return seen.size_bytes if seen.kind == "file" else None


def not_here(item: ModelDownload) -> RefusedError:
    """The error for an artefact that would need the network, which nobody may ask."""
    return RefusedError(
        f"{item}: {item.size_bytes:,} bytes with SHA-256 {item.sha256} are not on this host, and --offline asks nobody",
        hint=BRINGS,
    )


# ---- bringing it -----------------------------------------------------------------------------------------------------


def receive(situation: Situation, artefact: Artefact, place: Place, *, first: tuple[str, ...] = ()) -> str:
    """Bring an artefact's bytes, verified and durable, into a file.

    Args:
        first: files of this host that are asked before every source.

    Returns:
        Where they came from.

    Raises:
        ChecksumError, DeliveryError, RefusedError: see `download.fetch`.
    """
    source = download.fetch(
        replace(artefact, urls=(*first, *sources(situation, artefact))),
        place,
        release=situation.release(),
        settings=web(situation),
        pace=pace(situation),
        progress=_progress(situation),
    )
    with place.append():
        pass  # an archive's bytes are the kernel's to write when it likes, until this
    return source


def install(
    situation: Situation, artefact: Artefact, target: Place, owner: Owner | None
) -> tuple[str, Mapping[str, str]]:
    """Bring an artefact into the directory that it is installed as.

    Returns:
        Where it came from, and the SHA-256 of each file.

    Raises:
        ArchiveError, ChecksumError, DeliveryError, RefusedError: see `pipeline.deliver`.
    """
    partial = partial_place(situation, artefact.sha256)
    keep = situation.settings.resume or is_received(situation, artefact)
    try:
        done = pipeline.deliver(
            replace(artefact, urls=sources(situation, artefact)),
            partial,
            target,
            release=situation.release(),
            owner=owner,
            settings=web(situation),
            pace=pace(situation),
            keep=keep,
            progress=_progress(situation),
        )
    finally:
        if not keep:
            download.discard(partial)
    return done.source, done.digests


def web(situation: Situation) -> HttpSettings:
    """Proxies, certificates and tokens, as the settings have them."""
    settings = situation.settings
    proxies = {name: url for name, url in settings.proxies.items() if name != "no"}
    return HttpSettings(proxies, settings.proxies.get("no", ""), settings.ca_bundle or None, dict(settings.tokens))


def pace(situation: Situation) -> Pace:
    """How long to try: all deliveries of a run share one deadline; without a setting only a retry has one."""
    allowed = situation.settings.delivery_timeout_s
    if allowed is None:
        allowed = RETRY_S if situation.retry else 0.0
    if not allowed:
        return Pace()
    patient = Pace()
    deadline = situation.memory.setdefault("delivery_deadline", patient.clock() + allowed)
    return replace(patient, deadline=deadline)


def _progress(situation: Situation) -> Callable[[download.Progress], None]:
    listener = situation.progress
    if listener is None:
        return lambda _: None
    return lambda p: listener(p.phase, p.done_bytes, p.total_bytes)
