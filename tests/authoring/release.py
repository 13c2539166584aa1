"""Changes to a release's inputs, as its author makes them; and the revision that answers them."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from tests.conftest import HostFolder
from vvmigrate.authoring import inputs
from vvmigrate.authoring.checkout import Checkout

NAME = "bitnet_summarizer"

TABLES = '''"""The orchestrator's tables."""
import sqlalchemy as sa

metadata = sa.MetaData()
videos = sa.Table(
    "processed_videos", metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("file_name", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.Integer),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("first_seen", sa.Text, nullable=False),
    sa.Column("finished", sa.Text),
    sa.Column("error", sa.Text),
    sa.Index("ix_processed_videos_status", "status"),
)
runs = sa.Table(
    "stage_runs", metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("video_sha256", sa.String(64), sa.ForeignKey("processed_videos.sha256"), nullable=False),
    sa.Column("stage", sa.String(16), nullable=False),
    sa.Column("started", sa.Text, nullable=False),
    sa.Column("finished", sa.Text),
    sa.Column("result", sa.String(16)),
    sa.Column("error", sa.Text),
    sa.Index("ix_stage_runs_video", "video_sha256", "stage"),
)
'''
"""What revision 0005 makes, as an orchestrator would declare it."""


def edit(path: Path, old: str, new: str) -> None:
    """Replace what must be there."""
    text = path.read_text()
    assert old in text, old
    path.write_text(text.replace(old, new))


def add_key(host: HostFolder, name: str, value: str = "", above: str = "# @sensitive=false") -> None:
    """A new paragraph at the end of the template."""
    path = host.home / ".env.example"
    path.write_text(f"{path.read_text()}\n# A new one.\n{above}\n{name}={value}\n")


def remove_key(host: HostFolder, name: str) -> None:
    """The key's paragraph goes."""
    path = host.home / ".env.example"
    paragraphs = path.read_text().split("\n\n")
    left = [text for text in paragraphs if not re.search(rf"^{name}=", text, re.MULTILINE)]
    assert len(left) == len(paragraphs) - 1
    path.write_text("\n\n".join(left).rstrip("\n") + "\n")


def rename_key(host: HostFolder, old: str, new: str, *, says: bool = False) -> None:
    """Another name for a key; `says` whether the template tells so."""
    edit(host.home / ".env.example", f"\n{old}=", f"\n# @was={old}\n{new}=" if says else f"\n{new}=")


def add_directory(host: HostFolder, name: str) -> None:
    """A directory more in alembic.ini."""
    edit(host.home / "alembic.ini", "\n    models\n", f"\n    models\n    {name}\n")


def add_version(host: HostFolder, version: str, data: bytes) -> None:
    """A version of the model, shipped with the release."""
    name = f"fallback/models/{version}.bin"
    (host.home / name).write_bytes(data)
    path = host.home / "model_manifest.json"
    found = json.loads(path.read_text())
    artefact = {
        "urls": [name],
        "format": "file",
        "filename": "model.bin",
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    found["models"][NAME][version] = {
        "license": "MIT",
        "required": True,
        "variants": {"demo": artefact, "full": artefact},
    }
    path.write_text(json.dumps(found))


def declare_tables(host: HostFolder, *changes: tuple[str, str], more: str = "") -> None:
    """Let the release declare its tables: those of the baseline, but for some changes."""
    text = TABLES
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    (host.home / "orchestrator").mkdir(exist_ok=True)
    (host.home / "orchestrator/__init__.py").touch()
    (host.home / "orchestrator/tables.py").write_text(text + more)
    ini = host.home / "alembic.ini"
    if "\nmetadata" not in ini.read_text():
        edit(ini, "\ndirectories =", "\nmetadata = orchestrator.tables:metadata\ndirectories =")


def differences(host: HostFolder) -> list[str]:
    """What no revision covers, a line each."""
    with Checkout.open(host.home) as checkout:
        return [str(difference) for difference in inputs.uncovered(checkout)]


def write(host: HostFolder, title: str = "next release", **options: Any) -> str:
    """Write the next revision by --autogenerate; its source."""
    report = host.call("revision", title, autogenerate=True, **options)
    assert (report.exit_code, report.error) == (0, None)
    return Path(report.body["path"]).read_text()
