"""The canaries: every secret that a test's hosts have, looked for in everything that came out while the test ran.

Secrets are the generated ones, the chain's key, and in `.env` whatever is named like one. Looked through are what
processes printed, what commands reported and told, and the hosts' files: the database and the log, and every other file
that somebody but its owner may read.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

STATE = ".vvmigrate"
ALWAYS = ("orchestrator_db.sqlite", "bootstrap.log")
LARGEST_BYTES = 1 << 20  # what is larger is a model or a video
SHORTEST = 8
NAMED_LIKE_ONE = re.compile(
    rb"^\s*(?:export\s+)?\w*(?:SECRET|TOKEN|PASSWORD|WEBHOOK|CHAT_ID)\w*\s*=\s*['\"]?([^'\"\s#]+)", re.MULTILINE
)


class Watched(Protocol):
    """What is watched: a release folder and a storage root."""

    @property
    def home(self) -> Path:
        """The release folder."""

    @property
    def root(self) -> Path:
        """The storage root."""


@dataclass
class Witness:
    """What came out while a test ran, and what must not be in it."""

    hosts: list[Watched] = field(default_factory=list)
    said: list[tuple[str, bytes]] = field(default_factory=list)
    secrets: set[bytes] = field(default_factory=set)

    def hears(self, where: str, what: object) -> None:
        """Note something that came out: text, bytes, or plain values."""
        if isinstance(what, str):
            what = what.encode("utf-8", "surrogateescape")
        elif not isinstance(what, bytes):
            what = json.dumps(what, ensure_ascii=False, default=str).encode("utf-8", "surrogateescape")
        self.said.append((where, what))

    def knows(self, values: Mapping[str, str]) -> None:
        """Learn the values that somebody gave under the name of a secret."""
        for name, value in values.items():
            self._learn(f"{name}={value}".encode("utf-8", "surrogateescape"))

    def learn(self, host: Watched) -> None:
        """Learn a host's secrets, as they are by now."""
        state = host.root / STATE
        for path in (state / "key", state / "secrets"):
            self.secrets.update(re.findall(rb"[0-9a-f]{32,}", _read(path)))
        self._learn(_read(host.home / ".env"))

    def _learn(self, text: bytes) -> None:
        self.secrets.update(value for value in NAMED_LIKE_ONE.findall(text) if len(value) >= SHORTEST)

    def leaks(self) -> list[str]:
        """Name every place in which a secret stands; never the secret."""
        for host in self.hosts:
            self.learn(host)
        return [
            f"{where}: a secret of {len(secret)} characters"
            for where, what in (*self.said, *self._files())
            for secret in self.secrets
            if secret in what
        ]

    def _files(self) -> Iterator[tuple[str, bytes]]:
        for top in {path for host in self.hosts for path in (host.home, host.root)}:
            for folder, folders, names in os.walk(top):
                folders[:] = [name for name in folders if name not in (STATE, ".venv")]
                for path in (Path(folder) / name for name in names if not name.startswith(".env")):
                    if _is_looked_at(path):
                        yield str(path), _read(path)


def _is_looked_at(path: Path) -> bool:
    try:
        info = path.lstat()
    except OSError:
        return False
    if path.name.startswith(ALWAYS):
        return True
    return not path.is_symlink() and path.is_file() and bool(info.st_mode & 0o077) and info.st_size <= LARGEST_BYTES


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError:
        return b""


def heard(witness: Witness) -> Any:
    """`Popen.communicate`, heard by a witness: what any process prints, however a test runs it."""
    real = subprocess.Popen.communicate

    def communicate(process: Any, *arguments: Any, **options: Any) -> Any:
        printed = real(process, *arguments, **options)
        for name, text in zip(("stdout", "stderr"), printed, strict=True):
            if text:
                witness.hears(f"{name} of {process.args!r}", text)
        return printed

    return communicate
