"""Models that tests release: bytes, where they can be had, and the revision that installs them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from tests.conftest import HostFolder

NAME = "bitnet_summarizer"
SIZE = 600_001  # not a multiple of a block, and more than one
DATA = hashlib.shake_128(b"a model").digest(SIZE)
NEWER = hashlib.shake_128(b"a newer model").digest(SIZE)

MODELS = {version: hashlib.shake_128(version.encode()).digest(50_001) for version in ("2.0.0", "3.0.0", "4.0.0")}
"""Three versions of one model, the oldest first."""


def sha256(data: bytes) -> str:
    """Its SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def archive(data: bytes) -> bytes:
    """The bytes as the one file of a .tar.gz."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("model.bin")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def release(
    host: HostFolder,
    version: str,
    data: bytes,
    *urls: str,
    name: str = NAME,
    variant: str = "demo",
    required: bool = True,
    **more: Any,
) -> str:
    """Add a version of a model (or a variant of it) to the release's manifest.

    Returns:
        Its SHA-256.
    """
    path = host.home / "model_manifest.json"
    found = json.loads(path.read_text())
    versions = found["models"].setdefault(name, {})
    entry = versions.setdefault(version, {"license": "MIT", "required": required, "variants": {}})
    entry["variants"][variant] = {
        "urls": list(urls),
        "format": "file",
        "filename": "model.bin",
        "size_bytes": len(data),
        "sha256": sha256(data),
        **more,
    }
    path.write_text(json.dumps(found))
    return sha256(data)


def install(host: HostFolder, revision: str, version: str, name: str = NAME) -> None:
    """Add a revision that installs a version of a model."""
    host.revision(revision, f'op.install_model("{name}", "{version}")')


def received(host: HostFolder) -> dict[str, bytes]:
    """What lies among the received files: the bytes by the SHA-256 that they are received under."""
    folder = host.root / ".vvmigrate/downloads"
    return {path.name.removesuffix(".partial"): path.read_bytes() for path in folder.glob("*.partial")}


def current(host: HostFolder) -> bytes | None:
    """The bytes of the current model; None where there is none."""
    path = host.root / f"models/{NAME}/model.bin"
    return path.read_bytes() if path.exists() else None


def generations(host: HostFolder) -> list[str]:
    """The versions in the store."""
    return sorted(path.name.split("-")[1] for path in Path(host.root / "models/.store").glob("*") if path.is_dir())
