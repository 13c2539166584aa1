"""A folder that is held open while its entries are looked at: each costs one open, however deep the folder lies.

What is told of a file and what is read of it come from the same descriptor, so that of a file which is replaced
meanwhile everything is told of the same one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from vvmigrate.errors import RefusedError
from vvmigrate.files.entry import ABSENT, Entry

CHUNK_BYTES = 1 << 20
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
WALK = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

LIMIT_BYTES = 64 << 20

_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}
_AT_ONCE_BYTES = 256 << 10  # a file below this is one read; a larger one goes through file_digest's buffer


def leads_nowhere(error: OSError) -> bool:
    """Whether a path could not be walked because a part of it is missing, or is no directory: a link is none."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def kind_of(info: os.stat_result) -> str:
    """The kind of what a stat tells of, as entries name it."""
    return _KINDS.get(stat.S_IFMT(info.st_mode), "other")


class Folder:
    """An open directory, and every way to look at what stands right below it. Its names have one component.

    Attributes:
        path: for people.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        """It is somebody else's, who closes it."""
        self.descriptor = descriptor
        self.path = path

    @contextmanager
    def below(self, name: str) -> Iterator[Folder]:
        """Hold a directory in it open."""
        descriptor = self._open(name, WALK)
        try:
            yield Folder(descriptor, os.path.join(self.path, name))
        finally:
            os.close(descriptor)

    def names(self) -> list[str]:
        """What it holds, sorted."""
        return sorted(os.listdir(self.descriptor))

    def stat(self, name: str) -> os.stat_result | None:
        """`lstat`, or None where nothing stands."""
        try:
            return os.stat(self._right_below(name), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._told(error, name) from None

    def glance(self, name: str) -> Entry:
        """Look at what stands there without opening it: no digest."""
        info = self.stat(name)
        if info is None:
            return ABSENT
        if stat.S_ISLNK(info.st_mode):
            return Entry("link", 0, info.st_uid, info.st_gid, target=os.readlink(name, dir_fd=self.descriptor))
        return _entry(info)

    def entry(self, name: str) -> Entry:
        """Look at what stands there, with a file's digest.

        Raises:
            OSError: it is a file that may not be read.
        """
        try:
            descriptor = self._open(name, READ)
        except OSError:
            seen = self.glance(name)  # nothing, a link, a socket, a directory that may be seen and not read
            if seen.kind == "file":
                raise
            return seen
        try:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                return _entry(info)
            size_bytes, digest = _content(descriptor, info.st_size)
        finally:
            os.close(descriptor)
        return Entry("file", stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, size_bytes, digest)

    def digest(self, known: Mapping[str, str], modes: Mapping[str, int], above: str = "") -> str:
        """The digest of everything below it. See `Look.entry`.

        Args:
            above: what the names in `known` begin with here.
        """
        digest = hashlib.sha256()
        for name in self.names():
            sha256 = known.get(above + name)
            inner = self.glance(name) if sha256 else self.entry(name)
            if inner.kind == "dir":
                with self.below(name) as folder:
                    inner = inner._replace(digest=folder.digest(known, modes, f"{above}{name}/"))
            elif inner.kind == "file" and sha256:
                inner = inner._replace(digest=sha256)
            mode = modes.get(inner.kind, inner.mode)
            line = f"{name!r} {inner.kind} {mode:o} {inner.digest} {inner.target!r}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def shape(self) -> str:
        """A digest of everything below it but contents: names, kinds, modes, sizes, and where links lead."""
        digest = hashlib.sha256()
        for name in self.names():
            inner = self.glance(name)
            content = str(inner.size_bytes)
            if inner.kind == "dir":
                with self.below(name) as folder:
                    content = folder.shape()
            line = f"{name!r} {inner.kind} {inner.mode:o} {content} {inner.target!r}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def open_file(self, name: str) -> tuple[int, os.stat_result]:
        """Descriptor of a regular file, for reading, and what is told of it.

        Raises:
            OSError: missing, unreadable, a link (`ELOOP`), or not a regular file (`EINVAL`).
        """
        descriptor = self._open(name, READ)
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", os.path.join(self.path, name))
        return descriptor, info

    def read(self, name: str, limit_bytes: int = LIMIT_BYTES) -> bytes:
        """The content of a regular file of at most `limit_bytes`."""
        return self.told_and_read(name, limit_bytes)[1]

    def told_and_read(self, name: str, limit_bytes: int = LIMIT_BYTES) -> tuple[os.stat_result, bytes]:
        """What is told of a regular file of at most `limit_bytes`, and its content."""
        descriptor, info = self.open_file(name)
        try:
            # One byte more than it has is asked for. Where fewer come it has shrunk, or its disk is bad there, which
            # only the next read tells; where more come it has grown, or tells no size.
            data = os.read(descriptor, min(info.st_size, limit_bytes) + 1)
            while info.st_size != len(data) <= limit_bytes and (more := os.read(descriptor, CHUNK_BYTES)):
                data += more
        except OSError as error:
            raise self._told(error, name) from None
        finally:
            os.close(descriptor)
        if len(data) > limit_bytes:
            raise OSError(errno.EFBIG, f"larger than {limit_bytes} bytes", os.path.join(self.path, name))
        return info, data

    def _right_below(self, name: str) -> str:
        if name == ".." or "/" in name or "\0" in name:
            raise RefusedError(f"not a name right below {self.path}: {name!r}", path=name)
        return name

    def _open(self, name: str, flags: int) -> int:
        try:
            return os.open(self._right_below(name), flags, dir_fd=self.descriptor)
        except OSError as error:
            raise self._told(error, name) from None

    def _told(self, error: OSError, name: str) -> OSError:
        error.filename = os.path.join(self.path, name)  # the kernel was given a name relative to a descriptor
        return error


def _entry(info: os.stat_result) -> Entry:
    kind = kind_of(info)
    return Entry(
        kind, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, size_bytes=info.st_size if kind == "file" else 0
    )


def _content(descriptor: int, size_bytes: int) -> tuple[int, str]:
    """Bytes and SHA-256 of an open file that had so many bytes a moment ago."""
    if size_bytes < _AT_ONCE_BYTES:
        data = os.read(descriptor, size_bytes + 1)
        if len(data) == size_bytes:  # asked for one more, so this was the end
            return size_bytes, hashlib.sha256(data).hexdigest()
        os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()
