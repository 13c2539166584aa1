"""A release's author, for tests: a key of theirs, and a host that trusts it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import HostFolder
from vvmigrate.content.minisign import SecretKey


@dataclass
class Author:
    """Whoever makes releases.

    Attributes:
        key: the secret key's file, without a password.
    """

    key: Path

    @classmethod
    def make(cls, folder: Path) -> Author:
        folder.mkdir(parents=True)
        (folder / "release.key").write_bytes(SecretKey.make().file(None))
        return cls(folder / "release.key")

    @property
    def public(self) -> str:
        """The key as VV_TRUSTED_KEYS has it."""
        return SecretKey.parse(self.key.read_bytes(), None).public().text()

    def sign(self, host: HostFolder) -> None:
        """Sign the release as it is now."""
        report = host.call("sign", str(self.key))
        assert (report.exit_code, report.error) == (0, None)


def trusting(host: HostFolder, *authors: Author) -> None:
    """From now on the host takes releases of these only."""
    host.environ["VV_TRUSTED_KEYS"] = " ".join(author.public for author in authors)


def keep_release(host: HostFolder, name: str) -> Path:
    """Put the installed release away, to be installed again later."""
    kept = host.home.parent / name
    shutil.copytree(host.home, kept, ignore=shutil.ignore_patterns(".vvmigrate", "logs", ".env", "vv-signature.json"))
    return kept


def install(host: HostFolder, kept: Path) -> None:
    """Put a release in the place of the installed one, as an installer does."""
    for path in host.home.iterdir():
        if path.name not in (".vvmigrate", "logs", ".env", "vv-signature.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(kept, host.home, dirs_exist_ok=True)
