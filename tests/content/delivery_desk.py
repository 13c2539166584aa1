"""What the tests of fetch() and deliver() stand on: bytes that are promised, and a desk at which they are fetched."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from backports import zstd

from tests.content.archive_corpus import library_tar
from tests.content.zip_corpus import library_zip
from vvmigrate.content.delivery.download import HttpSettings, Pace, Progress, fetch
from vvmigrate.content.delivery.pipeline import Delivered, deliver
from vvmigrate.content.manifest import Artefact
from vvmigrate.errors import ArchiveError, ChecksumError, DeliveryError

if TYPE_CHECKING:
    from vvmigrate.files import Place, Tree

# Not a multiple of the block of 256 KiB, and two blocks long, so that there is progress to be made.
SIZE = 600_001
DATA = hashlib.shake_128(b"the promised bytes").digest(SIZE)
OTHER = hashlib.shake_128(b"other bytes of the same size").digest(SIZE)


both_paths = pytest.mark.parametrize("threaded", [False, True], ids=["serial", "threaded"])


@dataclass(frozen=True)
class Form:
    """One model in one format.

    Attributes:
        format: as in the manifest.
        data: the artefact's bytes.
        other: a sound artefact of the same size in which another model is.
        files: what must stand in the installed folder.
    """

    format: Any
    data: bytes
    other: bytes
    files: dict[str, bytes]

    def artefact(self, *urls: str, chunk_bytes: int | None = None) -> Artefact:
        """What the manifest promises, with the SHA-256 of every `chunk_bytes` if it knows them."""
        step = chunk_bytes or len(self.data)
        parts = [hashlib.sha256(self.data[at : at + step]).hexdigest() for at in range(0, len(self.data), step)]
        digest = hashlib.sha256(self.data).hexdigest()
        whole = Artefact(urls, self.format, "model.gguf", len(self.data), digest)
        return replace(whole, chunk_sha256=tuple(parts), chunk_bytes=chunk_bytes) if chunk_bytes else whole


PACKERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "file": lambda files: files["model.gguf"],
    "tar.gz": lambda files: gzip.compress(library_tar(files, tarfile.PAX_FORMAT, folders=("sub",)), mtime=0),
    "tar.zst": lambda files: zstd.compress(library_tar(files, tarfile.PAX_FORMAT, folders=("sub",))),
    "zip": library_zip,
}


def form_of(packer: str, size_bytes: int) -> Form:
    """A model of about so many bytes, which hardly compress, in a format."""
    pack, files = PACKERS[packer], _files(b"the promised bytes", size_bytes)
    data = pack(files)
    others = (pack(_files(b"other bytes %d" % number, size_bytes)) for number in count())
    other = next(other for other in others if len(other) == len(data))  # compressed, sizes differ by a byte or two
    return Form(packer, data, other, {"model.gguf": data} if packer == "file" else files)


def _files(seed: bytes, size_bytes: int) -> dict[str, bytes]:
    return {"model.gguf": hashlib.shake_128(seed).digest(size_bytes), "sub/licence.txt": b"MIT"}


FORMS = {packer: form_of(packer, SIZE) for packer in PACKERS}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def artefact(*urls: str, data: bytes = DATA) -> Artefact:
    """What the manifest promises."""
    return Artefact(urls, "file", "model.gguf", len(data), hashlib.sha256(data).hexdigest())


@dataclass
class Desk:
    """A directory, a release, and a fetch or delivery whose clock stands still and whose waits are noted."""

    tree: Tree
    release: Tree
    waits: list[float] = field(default_factory=list)
    seen: list[Progress] = field(default_factory=list)
    settings: HttpSettings = field(default_factory=HttpSettings)
    pace: Pace = field(default_factory=Pace)
    mirror: str | None = None

    @property
    def partial(self) -> Place:
        """Where the bytes go."""
        return self.tree / "model.part"

    @property
    def slot(self) -> Place:
        """Where a delivery puts what is installed."""
        return self.tree / "slot"

    def fetch(self, what: Artefact, *, threaded: bool = False) -> str:
        """Fetch with everything that stands here."""
        return fetch(
            what,
            self.partial,
            release=self.release,
            mirror=self.mirror,
            settings=self.settings,
            pace=replace(self.pace, sleep=self.waits.append),
            progress=self.seen.append,
            threaded=threaded,
        )

    def deliver(self, what: Artefact, *, threaded: bool, keep: bool = True) -> Delivered:
        """Deliver with everything that stands here, after sweeping what an earlier delivery left in the slot."""
        self.slot.remove_tree()
        return deliver(
            what,
            self.partial,
            self.slot,
            release=self.release,
            mirror=self.mirror,
            settings=self.settings,
            pace=replace(self.pace, sleep=self.waits.append),
            keep=keep,
            progress=self.seen.append,
            serial_below_bytes=0 if threaded else 1 << 60,
        )

    def outcome(
        self, form: Form, what: Artefact, *, threaded: bool, keep: bool = True
    ) -> DeliveryError | ChecksumError | ArchiveError | None:
        """Deliver: None is the right files and no others, an error is one that a person can use; all else fails."""
        try:
            self.deliver(what, threaded=threaded, keep=keep)
        except (DeliveryError, ChecksumError, ArchiveError) as error:
            return error
        assert self.installed() == form.files
        return None

    def installed(self) -> dict[str, bytes]:
        """Every file that was delivered, and what it holds."""
        top = self.tree.path / self.slot.name
        return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}

    def held(self) -> bytes:
        """What the partial file holds."""
        return self.partial.read()

    def left_over(self, data: bytes, *, of: bytes = DATA, source: str = "", etag: str = "") -> None:
        """Leave what an earlier run received of an artefact."""
        self.partial.write(data)
        meta = {"sha256": hashlib.sha256(of).hexdigest(), "source": source, "etag": etag}
        (self.tree / "model.part.meta").write(json.dumps(meta).encode())
