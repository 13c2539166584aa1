"""Three releases, as the folders that they are delivered in.

1.0 is the baseline. 1.1 brings a new key, a renamed one, another model, another picture, a directory, and a column that
it fills in. 1.2 is the bad one: its model is the wrong one, and it drops a column with rows in it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.commands import models
from tests.conftest import RELEASE, HostFolder, copy_release
from tests.content.fault_server import FaultServer, good

MODEL_BYTES = 50_000_000
"""About the size that an edge device's line brings in a minute."""

DATA = {version: hashlib.shake_128(version.encode()).digest(MODEL_BYTES) for version in ("1.1.0", "1.2.0")}
PICTURE = b"\x89PNG the picture of 1.1" * 999

NEW_KEY = "\n# Seconds between two pictures of the mirror page.\n# @sensitive=false\nMIRROR_SECONDS=30\n"

KEYS = {"VV_LOG_LEVEL": "cda14d0b-763248e5", "MIRROR_SECONDS": "624b60c5-1a3f9d30"}
"""What autogenerate pins of them."""

SETTINGS_1_1 = f"""op.make_directories(["thumbnails"])
op.install_assets("fallback", "fallback", {{"placeholder.png": "{models.sha256(PICTURE)}"}})
op.merge_env({KEYS}, renamed={{"LOG_LEVEL": "VV_LOG_LEVEL"}})
op.write_signature()"""

COLUMN_1_1 = """op.add_column("processed_videos", sa.Column("source", sa.Text))
op.execute("UPDATE processed_videos SET source = 'dvr' WHERE source IS NULL")
op.write_signature()"""

MODELS = {
    version: f"""op.install_model("bitnet_summarizer", "{version}", sha256={{"demo": "{models.sha256(data)}"}})
op.write_signature()"""
    for version, data in DATA.items()
}

COLUMN_1_2 = """op.drop_column("processed_videos", "size_bytes")
op.write_signature()"""


@dataclass(frozen=True)
class Release:
    """A release, unpacked.

    Attributes:
        revision: its last one.
    """

    name: str
    folder: Path
    revision: str

    def install(self, host: HostFolder) -> None:
        """Put its files in the place of another release's, as a package manager does; outputs stay."""
        for name in RELEASE:
            there = host.home / name
            shutil.rmtree(there) if there.is_dir() else there.unlink(missing_ok=True)
            source = self.folder / name
            shutil.copytree(source, there) if source.is_dir() else shutil.copy2(source, there)


def make(folder: Path, server: FaultServer) -> dict[str, Release]:
    """The three releases, by name."""
    made = {}
    for name, build, revision in (("1.0", _first, "0006"), ("1.1", _second, "0009"), ("1.2", _third, "0011")):
        (folder / name).mkdir()
        work = copy_release(folder / name)
        if name != "1.0":
            before = made["1.1" if name == "1.2" else "1.0"]
            before.install(work)
        build(work, server)
        made[name] = Release(name, work.home, revision)
    return made


def _first(_work: HostFolder, _server: FaultServer) -> None:
    """The baseline, as it is."""


def _second(work: HostFolder, server: FaultServer) -> None:
    (work.home / "fallback/placeholder.png").write_bytes(PICTURE)
    template = work.home / ".env.example"
    text = template.read_text()
    assert "# How much is logged.\n" in text
    text = text.replace("# How much is logged.\n# ", "# How much is logged.\n# @was=LOG_LEVEL ")
    text = text.replace("\nLOG_LEVEL=", "\nVV_LOG_LEVEL=")
    template.write_text(text + NEW_KEY)
    _model(work, server, "1.1.0")
    _revision(work, "0007", "1.1", SETTINGS_1_1)
    _revision(work, "0008", "1.1", MODELS["1.1.0"])
    _revision(work, "0009", "1.1", COLUMN_1_1, 'op.revert()\nop.drop_column("processed_videos", "source")')


def _third(work: HostFolder, server: FaultServer) -> None:
    _model(work, server, "1.2.0")
    _revision(work, "0010", "1.2", MODELS["1.2.0"])
    back = 'op.revert()\nop.add_column("processed_videos", sa.Column("size_bytes", sa.Integer))'
    _revision(work, "0011", "1.2", COLUMN_1_2, back)


def _revision(work: HostFolder, number: str, release: str, up: str, down: str = "op.revert()") -> None:
    work.revision(number, up, down, imports=f'release = "{release}"')


def _model(work: HostFolder, server: FaultServer, version: str) -> None:
    models.release(work, version, DATA[version], server.url(f"/{version}", good(DATA[version])))


def model_in_use(host: HostFolder) -> str:
    """The version that services are told of."""
    told = json.loads((host.root / "models/.current_model_info.json").read_bytes())
    return str(told["models"]["bitnet_summarizer"]["model_version"])
