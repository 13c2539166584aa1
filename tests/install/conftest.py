"""A clone of the release, as somebody finds it who has never seen it, and libraries to install without a network."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, HostFolder

LEFT_OUT = ".git", ".venv*", "__pycache__", "storage", ".vvmigrate", ".env", "vv-signature.json", "logs", ".*_cache"


@dataclass
class Clone:
    """A release that nobody has installed yet."""

    home: Path
    wheels: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Be watched by the test's witness."""
        if HostFolder.witness is not None:
            HostFolder.witness.hosts.append(self)

    @property
    def root(self) -> Path:
        """The storage root that install.sh is told, or its default."""
        return Path(self.environ.get("VIDEO_STORAGE_ROOT") or self.home / "storage")

    def environment(self) -> dict[str, str]:
        """An empty home directory, and nothing that the caller's own environment could help with."""
        quick = {"PIP_NO_COMPILE": "1"}  # half of pip's time, and not what is tried here
        return {"PATH": os.environ["PATH"], "HOME": str(self.home.parent / "nobody's home"), **quick, **self.environ}

    def install(self, *options: str, wheels: bool = True) -> subprocess.CompletedProcess[str]:
        """Run install.sh to its end."""
        return self.run("./install.sh", *options, *(("--wheels", str(self.wheels)) if wheels else ()))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone."""
        return subprocess.run(
            command, cwd=self.home, env=self.environment(), capture_output=True, text=True, check=False, timeout=300
        )

    def tool(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the installed command, as its user does."""
        return self.run(".venv/bin/vvmigrate", *arguments)

    @property
    def log(self) -> str:
        """What install.sh wrote down."""
        return (self.home / "logs/install.log").read_text()


def clone_to(folder: Path, wheels: Path) -> Clone:
    """Copy the release's files, and nothing that a run leaves."""
    shutil.copytree(REPOSITORY, folder, ignore=shutil.ignore_patterns(*LEFT_OUT, "*.egg-info"))
    return Clone(folder, wheels)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The libraries of requirements.lock as files: fetched once a machine, with their hashes checked."""
    wanted = hashlib.sha256((REPOSITORY / "requirements.lock").read_bytes()).hexdigest()[:12]
    folder = tmp_path_factory.getbasetemp().parent / f"vv-wheels-{wanted}"
    with open(f"{folder}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            fresh = tmp_path_factory.mktemp("wheels")
            download(fresh, ["--require-hashes", "--requirement", str(REPOSITORY / "requirements.lock")])
            fresh.rename(folder)
    return folder


def download(folder: Path, what: Sequence[str]) -> None:
    """Let pip download."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--dest", folder, *what],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, re.sub(r"https?://\S+", "URL", done.stderr)


@pytest.fixture
def clone(tmp_path: Path, wheels: Path) -> Clone:
    """On a path with spaces and other signs that shells love."""
    return clone_to(tmp_path / "a $HOME for videos", wheels)
