"""What the tests of fetch() stand on: bytes that are promised, and a desk at which they are fetched."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vvmigrate.content.delivery.download import HttpSettings, Pace, Progress, fetch
from vvmigrate.content.manifest import Artefact

if TYPE_CHECKING:
    from vvmigrate.files import Place, Tree

# Not a multiple of the block of 256 KiB, and two blocks long, so that there is progress to be made.
SIZE = 600_001
DATA = hashlib.shake_128(b"the promised bytes").digest(SIZE)
OTHER = hashlib.shake_128(b"other bytes of the same size").digest(SIZE)


def artefact(*urls: str, data: bytes = DATA) -> Artefact:
    """What the manifest promises."""
    return Artefact(urls, "file", "model.gguf", len(data), hashlib.sha256(data).hexdigest())


@dataclass
class Desk:
    """A directory, a release and a fetch whose clock stands still and whose waits are noted."""

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

    def fetch(self, what: Artefact) -> str:
        """Fetch with everything that stands here."""
        return fetch(
            what,
            self.partial,
            release=self.release,
            mirror=self.mirror,
            settings=self.settings,
            pace=replace(self.pace, sleep=self.waits.append),
            progress=self.seen.append,
        )

    def held(self) -> bytes:
        """What the partial file holds."""
        return self.partial.read()

    def left_over(self, data: bytes, *, source: str = "", etag: str = "") -> None:
        """Leave what an earlier run received."""
        self.partial.write(data)
        meta = {"sha256": hashlib.sha256(DATA).hexdigest(), "source": source, "etag": etag}
        (self.tree / "model.part.meta").write(json.dumps(meta).encode())
