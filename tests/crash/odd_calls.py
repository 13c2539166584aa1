"""Small programs for the shim's own tests: every kind of call that it claims to see, and one that it cannot see."""

import contextlib
import ctypes
import os
import sys
from pathlib import Path
from typing import Final

NOREPLACE: Final = 1
EXCHANGE: Final = 2
SYS_RENAMEAT2: Final = {"x86_64": 316, "aarch64": 276}


def setup(root: Path) -> None:
    """Make something to act upon, in two directories that can be swapped."""
    for name in ("a", "b"):
        (root / name / "deep").mkdir(parents=True)
        (root / name / "deep/file").write_text(name)
    (root / "old").write_bytes(b"0123456789" * 10)


def everything(root: Path) -> None:
    """Make each kind of call at least once."""
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    _renames(libc, here, root)
    _contents(libc, here, root)
    _inodes(here, root)
    os.fsync(here)
    libc.syncfs(here)
    os.close(here)


def _renames(libc: ctypes.CDLL, here: int, root: Path) -> None:
    # Exchange of whole directories, then a call below the new name: the subtree has moved along.
    assert libc.renameat2(here, b"a", here, b"b", EXCHANGE) == 0
    (root / "a/deep/file").write_text("was b")
    assert libc.renameat2(here, b"old", here, b"a", NOREPLACE) == -1  # refused: changes nothing
    assert libc.renameat2(here, b"a", here, b"c", NOREPLACE) == 0
    number = SYS_RENAMEAT2[os.uname().machine]
    assert libc.syscall(number, here, b"b", here, b"c", EXCHANGE) == 0
    # Different kinds, across directories.
    assert libc.renameat2(here, b"old", here, b"b/deep/file", EXCHANGE) == 0
    os.rename("c", "d", src_dir_fd=here, dst_dir_fd=here)
    os.replace(root / "d/deep/file", root / "d/file")
    os.rmdir("d/deep", dir_fd=here)


def _contents(libc: ctypes.CDLL, here: int, root: Path) -> None:
    # Built without a name, then linked: one with /proc, one by descriptor.
    for no, name in enumerate(("linked", "linked2")):
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640, dir_fd=here)
        os.write(fd, b"nameless %d" % no)
        os.fdatasync(fd)
        if no:
            assert libc.linkat(fd, b"", here, name.encode(), 0x1000) == 0
        else:
            os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=here, follow_symlinks=True)
        os.pwrite(fd, b"more", 20)
        os.close(fd)
    with (root / "linked").open("rb") as source, (root / "copy").open("wb") as target:
        os.sendfile(target.fileno(), source.fileno(), 0, 8)
        os.copy_file_range(source.fileno(), target.fileno(), 5, 0, 4)
        os.writev(target.fileno(), [b"one", b"two"])
        libc.sync_file_range(target.fileno(), ctypes.c_int64(0), ctypes.c_int64(0), 7)
        os.posix_fallocate(target.fileno(), 0, 100)
        os.ftruncate(target.fileno(), 90)
    os.truncate(root / "copy", 80)
    fd = os.open(root / "copy", os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"appended")
    os.close(fd)
    os.close(os.open(root / "linked2", os.O_WRONLY | os.O_TRUNC))


def _inodes(here: int, root: Path) -> None:
    os.symlink("copy", "link", dir_fd=here)
    os.link("copy", "twin", src_dir_fd=here, dst_dir_fd=here)
    os.chmod(root / "link", 0o600)  # follows
    fd = os.open(root / "twin", os.O_RDONLY)
    os.fchmod(fd, 0o604)
    if os.geteuid() == 0:
        os.fchown(fd, 12, 34)
        os.chown("link", 56, -1, dir_fd=here, follow_symlinks=False)
    with contextlib.suppress(OSError):  # a file system without them
        os.setxattr(fd, "user.kept", b"1")
        os.setxattr(root / "copy", "user.gone", b"2")
        os.removexattr(fd, "user.gone")
    os.close(fd)
    os.mkfifo(root / "pipe", 0o620)
    os.mkdir("tree", 0o710, dir_fd=here)
    for name in ("one", "two"):
        (root / "tree" / name).write_text(name)
    os.unlink("tree/one", dir_fd=here)
    os.utime(root / "tree")


def bypass(root: Path) -> None:
    """Look renameat2 up in libc itself, where no preloaded library is asked."""
    (root / "seen").write_text("seen")
    assert ctypes.CDLL("libc.so.6").renameat2(-100, bytes(root / "a"), -100, bytes(root / "z"), NOREPLACE) == 0


def moody(root: Path) -> None:
    """Make other calls in every run."""
    (root / str(os.getpid())).write_text("here")


def recover(root: Path) -> None:
    """Settle nothing: these programs are only recorded."""


def main() -> int:
    """Run one of them: ``everything ROOT``."""
    programs = {f.__name__: f for f in (everything, bypass, moody, recover)}
    programs[sys.argv[1]](Path(sys.argv[2]))
    return 0
