"""Looking at the file system by descriptor; nothing here changes anything.

No component of a path is ever followed through a symbolic link, so that whoever may write in a tree cannot lead us
out of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, Self, TypeVar

from vvmigrate.errors import RefusedError
from vvmigrate.files.entry import ABSENT, Entry
from vvmigrate.files.folder import WALK, Folder, kind_of, leads_nowhere

Seen = TypeVar("Seen")


class Held(Protocol):
    """A directory that is held open; `Tree` is one."""

    path: Path
    descriptor: int


class Look:
    """A relative name below a tree, and every way to look at what stands there."""

    def __init__(self, tree: Held, name: str) -> None:
        """Nothing is looked at yet."""
        self.tree = tree
        self.name = name

    @property
    def path(self) -> str:
        """The absolute path, for people."""
        return os.path.join(self.tree.path, self.name)

    @property
    def parent(self) -> Self:
        """The directory that holds it."""
        return type(self)(self.tree, os.path.dirname(self.name))

    def __truediv__(self, name: str) -> Self:
        """A place further below."""
        return type(self)(self.tree, f"{self.name}/{name}" if self.name else name)

    @contextmanager
    def at(self) -> Iterator[tuple[int, str]]:
        """Descriptor of the parent directory and the last name; links on the way are refused."""
        parts = self.name.split("/") if self.name else ["."]
        if any(part in ("", "..") for part in parts) or "\0" in self.name:
            raise RefusedError(f"not a name below {self.tree.path}: {self.name!r}", path=self.name)
        top = here = self.tree.descriptor  # by the end the tree may be closed, and its number somebody else's
        try:
            for part in parts[:-1]:
                below = os.open(part, WALK, dir_fd=here)
                if here != top:
                    os.close(here)
                here = below
            yield here, parts[-1]
        except OSError as error:
            if error.filename in parts:
                error.filename = self.path  # the kernel was given a name relative to a descriptor
            raise
        finally:
            if here != top:
                os.close(here)

    # ---- looking -------------------------------------------------------------------------------------------------

    def _seen(self, how: Callable[[Folder, str], Seen], nothing: Seen) -> Seen:
        """Look from the directory that holds it; `nothing` where the way there is not made of directories."""
        with ExitStack() as stack:
            try:
                parent, name = stack.enter_context(self.at())
            except OSError as error:
                if leads_nowhere(error):
                    return nothing
                raise
            return how(Folder(parent, os.path.dirname(self.path)), name)

    def stat(self) -> os.stat_result | None:
        """`lstat`, or None where nothing stands or the way there is not made of directories."""
        return self._seen(Folder.stat, None)

    def identity(self) -> tuple[str, int]:
        """Kind and inode, without opening what stands here: a SQLite database must not be opened by us."""
        info = self.stat()
        return ("absent", 0) if info is None else (kind_of(info), info.st_ino)

    def entry(
        self, *, tree: bool = False, known: Mapping[str, str] | None = None, modes: Mapping[str, int] | None = None
    ) -> Entry:
        """Look at what stands here, with its content's digest.

        Args:
            tree: of a directory, also digest everything below it.
            known: SHA-256 in hex of files below it, by their names from here on: they are not read again.
            modes: permission bits that each kind below it is taken to have, whatever it has.

        Raises:
            OSError: it may not be read.
        """
        seen = self._seen(Folder.entry, ABSENT)
        if seen.kind != "dir" or not tree:
            return seen
        with self.folder() as folder:
            return seen._replace(digest=folder.digest(known or {}, modes or {}))

    def shape(self) -> str:
        """See `Folder.shape`; empty where no directory stands."""
        if self.identity()[0] != "dir":
            return ""
        with self.folder() as folder:
            return folder.shape()

    def glance(self) -> Entry:
        """Look at what stands here without reading its content: no digest."""
        return self._seen(Folder.glance, ABSENT)

    def forget(self) -> None:
        """Let the kernel drop what it has in memory of the files here and below, so that the disk is read again.

        Pages that were not written yet stay (posix_fadvise(2), POSIX_FADV_DONTNEED).
        """
        kind = self.identity()[0]
        if kind == "file":
            with self.reader() as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        elif kind == "dir":
            for name in self.names():
                (self / name).forget()

    def target(self) -> str:
        """Where the link here points."""
        with self.at() as (parent, name):
            return os.readlink(name, dir_fd=parent)

    @contextmanager
    def reader(self) -> Iterator[BinaryIO]:
        """Open a regular file for reading.

        Raises:
            OSError: missing, unreadable, a link (`ELOOP`), or not a regular file (`EINVAL`).
        """
        with self.at() as (parent, name):
            descriptor, _ = Folder(parent, os.path.dirname(self.path)).open_file(name)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            yield file

    def read(self, limit_bytes: int = 64 << 20) -> bytes:
        """The content of a regular file of at most `limit_bytes`."""
        with self.at() as (parent, name):
            return Folder(parent, os.path.dirname(self.path)).read(name, limit_bytes)

    def names(self) -> list[str]:
        """What a directory holds, sorted; empty where there is no directory."""
        try:
            with self.folder() as folder:
                return folder.names()
        except (FileNotFoundError, NotADirectoryError):
            return []

    @contextmanager
    def folder(self) -> Iterator[Folder]:
        """Hold the directory here open, to look at many of its entries."""
        with self.at() as (parent, name):
            descriptor = os.open(name, WALK, dir_fd=parent)
        try:
            yield Folder(descriptor, self.path)
        finally:
            os.close(descriptor)

    @contextmanager
    def directory(self) -> Iterator[int]:
        """Descriptor of the directory here."""
        with self.folder() as folder:
            yield folder.descriptor

    def mount(self) -> tuple[int, int]:
        """Device and mount of the directory here: a rename between two places works only where both agree.

        A bind mount has the same device and still refuses a rename (`EXDEV`), hence the mount id (proc(5), fdinfo).
        """
        with self.directory() as descriptor:
            with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as info:
                fields = dict(line.split(":", 1) for line in info)
            return os.fstat(descriptor).st_dev, int(fields["mnt_id"])
