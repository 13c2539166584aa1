"""How long the way back to the model before takes: a whole `vvmigrate downgrade -1`, for a small and a large model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from artefact import Artefact
from web import Server

REPOSITORY = Path(__file__).resolve().parent.parent
RELEASE = ("alembic.ini", "migrations", "model_manifest.json", ".env.example", "fallback")
MODEL = "bitnet_summarizer"
_REVISION = f'''"""The next model."""
from alembic import op
revision = "{{number}}"
down_revision = "{{before}}"
def upgrade():
    op.install_model("{MODEL}", "1.1.0")
def downgrade():
    op.revert()
'''


def seconds(folder: Path, server: Server, artefacts: dict[str, Artefact], runs: int) -> list[float]:
    """Install a model and its successor, then go back and forth.

    Args:
        folder: for a host of its own, gone afterwards.
        server: serves the artefacts.
        artefacts: the raw file is the model, the .tar.gz its successor.
        runs: how often.

    Returns:
        The duration of each way back, from the start of the process to its end.
    """
    shutil.rmtree(folder, ignore_errors=True)
    home = folder / "home"
    home.mkdir(parents=True)
    for name in RELEASE:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(REPOSITORY / name, home / name)
    _release(home / "model_manifest.json", artefacts, server)
    last = max(path.name[:4] for path in (home / "migrations/versions").glob("0*.py"))
    number = f"{int(last) + 1:04d}"
    _call(home, "upgrade", "head")
    first = (folder / f"storage/models/{MODEL}").readlink()
    (home / f"migrations/versions/{number}_next.py").write_text(_REVISION.format(number=number, before=last))
    found = []
    for _ in range(runs):
        _call(home, "upgrade", "head")
        os.sync()
        found.append(_call(home, "downgrade", "-1", "--no-hold"))
        if (folder / f"storage/models/{MODEL}").readlink() != first:
            sys.exit("the switch back did not bring the first model")
    shutil.rmtree(folder)
    return found


def _release(path: Path, artefacts: dict[str, Artefact], server: Server) -> None:
    manifest: dict[str, Any] = json.loads(path.read_text())
    versions = manifest["models"][MODEL]
    for version, form in (("1.0.0", "file"), ("1.1.0", "tar.gz")):
        one = artefacts[form]
        variant = {
            "urls": [server.url(one.path)],
            "format": form,
            "size_bytes": one.size_bytes,
            "sha256": one.sha256,
            "content": "gguf",
        }
        entry = versions.setdefault(version, {"license": "MIT", "required": True, "variants": {}})
        entry["variants"]["bench"] = variant
    path.write_text(json.dumps(manifest))


def _call(home: Path, *arguments: str) -> float:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("VV_", "VIDEO_"))}
    environ |= {
        "VIDEO_STORAGE_ROOT": str(home.parent / "storage"),
        "VV_MODEL_VARIANT": "bench",
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [sys.executable, "-m", "vvmigrate", "--home", str(home), "-q", *arguments]
    begin = time.perf_counter()
    done = subprocess.run(command, env=environ, cwd=home, capture_output=True, text=True, check=False)
    passed = time.perf_counter() - begin
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}: exit {done.returncode}: {done.stderr[-500:]}{done.stdout[-500:]}")
    return passed
