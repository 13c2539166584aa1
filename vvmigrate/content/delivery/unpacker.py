"""Writing what an archive holds: plain files and directories below one directory of ours, and nothing else.

Names are judged as they stand in the archive, and refused, never repaired: what an archive says and what stands on the
disk afterwards must be the same thing. Limits are counted while writing, never taken from headers alone.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from vvmigrate.content.manifest_rules import path_faults
from vvmigrate.content.strict_json import shown
from vvmigrate.errors import ArchiveError, ChecksumError
from vvmigrate.files import WriteBehind

if TYPE_CHECKING:
    from vvmigrate.content.manifest import Artefact, InstalledFile
    from vvmigrate.files import Owner, Place

FILE_MODE, DIRECTORY_MODE = 0o644, 0o755
_SPECIAL_BITS = 0o7000


class Unpacker:
    """One archive on its way into a directory."""

    def __init__(self, artefact: Artefact, target: Place, owner: Owner | None) -> None:
        """Make the target; nothing may stand there."""
        self._artefact = artefact
        self._target = target
        self._owner = owner
        self._limits = artefact.limits
        self._allowed_bytes = min(self._limits.max_bytes, self._limits.max_ratio * artefact.size_bytes)
        self._expected: dict[str, InstalledFile] = {file.name: file for file in artefact.files}
        self._spelling: dict[str, str] = {}
        self._directories: dict[str, bool] = {}  # name → whether the archive itself lists it
        self.digests: dict[str, str] = {}  # of every file that was written, by name
        self.written_bytes = 0
        target.make_directory(DIRECTORY_MODE, owner)

    def directory(self, raw_name: str, mode: int) -> None:
        """Make a directory that the archive lists.

        Raises:
            ArchiveError: its name or mode is refused.
        """
        if raw_name in (".", "./"):
            return
        name = _plain(raw_name.removesuffix("/"), mode)
        if self._directories.get(name):
            raise ArchiveError(f"{shown(name)} is there twice")
        self._make_directories(name)
        self._directories[name] = True

    def file(self, raw_name: str, mode: int, size_bytes: int, data: Iterable[bytes | memoryview]) -> None:
        """Write a file; `data` gives exactly `size_bytes`, or raises.

        Raises:
            ArchiveError: its name, mode or size is refused.
            ChecksumError: it is not what the manifest says.
        """
        name = _plain(raw_name, mode)
        expected = self._expected.get(name)
        if self._expected and (expected is None or expected.size_bytes != size_bytes):
            what = "is not in the manifest" if expected is None else f"has not {expected.size_bytes} bytes"
            raise ChecksumError(f"{shown(name)} ({size_bytes} bytes) {what}")
        self._check_room(name, size_bytes)
        self._make_directories(name.rpartition("/")[0])
        self._claim(name)
        if name in self.digests or name in self._directories:
            raise ArchiveError(f"{shown(name)} is there twice")
        self.digests[name] = found = self._write(name, data)
        if expected and found != expected.sha256:
            raise ChecksumError(f"{shown(name)}: SHA-256 is {found} instead of {expected.sha256}")

    def _write(self, name: str, data: Iterable[bytes | memoryview]) -> str:
        digest = hashlib.sha256()
        with (self._target / name).create(FILE_MODE, self._owner) as file:
            behind = WriteBehind(file)
            for piece in data:
                self.written_bytes += len(piece)
                self._check_room(name, 0)
                digest.update(piece)
                file.write(piece)
                behind.wrote(len(piece))
        return digest.hexdigest()

    def finish(self) -> Mapping[str, str]:
        """Make every directory durable, deepest first.

        Returns:
            SHA-256 in hex of each file, by its name.

        Raises:
            ArchiveError: there is not one file.
            ChecksumError: a file of the manifest is missing.
        """
        missing = sorted(self._expected.keys() - self.digests.keys())
        if missing:
            raise ChecksumError(f"{shown(missing[0])} is missing, and {len(missing) - 1} more of the manifest's files")
        if not self.digests:
            raise ArchiveError("there is no file in it")
        for name in sorted(self._directories, key=lambda name: (-name.count("/"), name)):
            (self._target / name).fsync()
        self._target.fsync()
        return self.digests

    def _make_directories(self, name: str) -> None:
        parts = name.split("/") if name else []
        for end in range(1, len(parts) + 1):
            here = "/".join(parts[:end])
            if here in self._directories:
                continue
            self._claim(here)
            if here in self.digests:
                raise ArchiveError(f"{shown(here)} is a file and cannot be a folder too")
            self._directories[here] = False
            (self._target / here).make_directory(DIRECTORY_MODE, self._owner)

    def _claim(self, name: str) -> None:
        """Refuse a second spelling of a name, one too many, and one too deep."""
        # Composed before folding and after: casefold() can take a composed letter apart.
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        other = self._spelling.setdefault(folded, name)
        if other != name:
            raise ArchiveError(f"{shown(name)} differs from {shown(other)} only in letter case or form of accents")
        if len(self._spelling) > self._limits.max_files:
            raise ArchiveError(f"more than {self._limits.max_files} files and folders")
        if name.count("/") >= self._limits.max_depth:
            raise ArchiveError(f"{shown(name)} lies deeper than {self._limits.max_depth}")

    def _check_room(self, name: str, size_bytes: int) -> None:
        if self.written_bytes + size_bytes > self._allowed_bytes:
            raise ArchiveError(
                f"{shown(name)}: the content grows over {self._allowed_bytes} bytes "
                f"(at most {self._limits.max_bytes}, and {self._limits.max_ratio} times the download)"
            )


def _plain(raw_name: str, mode: int) -> str:
    """Return the name, without the `./` that `tar -C folder .` puts before every one."""
    name = raw_name.removeprefix("./")
    for fault in path_faults(name):
        raise ArchiveError(f"the name {shown(raw_name)} is refused: {fault}")
    if mode & _SPECIAL_BITS:
        raise ArchiveError(f"{shown(name)} has the mode {mode:o}: set-user-id, set-group-id and sticky are refused")
    return name
