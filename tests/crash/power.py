"""Real power cuts: file systems on loop devices that are shut down without flushing, then mounted again."""

import contextlib
import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

#: Smallest sizes that mkfs accepts, with some room.
SIZES_MB: Final = {"ext4": 64, "xfs": 320}
BUSY_TRIES: Final = 50
PREFIX: Final = "vv-crash-"
CLONE_NEWNS: Final = 0x20000


def why_not(filesystem: str) -> str:
    """Return why the power of such a file system cannot be cut here, or an empty string."""
    if filesystem not in SIZES_MB:
        return f"{filesystem}: only {' and '.join(SIZES_MB)} can be shut down without flushing"
    if os.geteuid() != 0:
        return f"{filesystem}: mounting needs root"
    missing = [tool for tool in (f"mkfs.{filesystem}", "losetup", "mount", "umount") if not shutil.which(tool)]
    if missing:
        return f"{filesystem}: {', '.join(missing)} missing"
    try:
        with mounted(filesystem):
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", b"") or b""
        return f"{filesystem}: cannot be mounted here: {error} {detail.decode('utf-8', 'replace').strip()}"


def _run(*command: str | os.PathLike[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True).stdout.decode().strip()


@dataclass(frozen=True)
class LoopDisk:
    """A mounted file system of its own. Get one from ``mounted``."""

    path: Path
    device: str
    filesystem: str

    def flush(self) -> None:
        """Bring everything to the disk: what a later power cut must find."""
        _run("sync", "-f", self.path)  # this file system only: os.sync would wait for every disk of the machine

    def power_cycle(self) -> None:
        """Mount again what is on the device; nothing may be open on it any more."""
        for left in reversed(range(BUSY_TRIES)):
            try:
                _run("umount", self.path)
                break
            except subprocess.CalledProcessError:
                if not left:
                    raise
                time.sleep(0.02)  # a process that was killed is still letting go
        _run("mount", self.device, self.path)


@cache
def _apart() -> None:
    """From now on mount where nobody sees it (unshare(2): this thread, and what it starts).

    Else whoever makes a mount namespace of their own meanwhile gets a copy of our disk's mount, which keeps the file
    system alive and shut down after our umount.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    _run("mount", "--make-rprivate", "/")


@contextlib.contextmanager
def mounted(filesystem: str, size_mb: int | None = None) -> Iterator[LoopDisk]:
    """Make and mount a file system of its own; whatever happens it is gone afterwards.

    Args:
        filesystem: ext4 or xfs.
        size_mb: Its size in MiB; a small ext4 is also the honest way to a full disk.

    Raises:
        subprocess.CalledProcessError: A tool refuses; its words are in stderr.
    """
    _apart()
    folder = new_folder("disk")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        image, path = folder / "image", folder / "mnt"
        path.mkdir()
        with image.open("wb") as file:
            file.truncate((size_mb or SIZES_MB[filesystem]) << 20)
        _run(f"mkfs.{filesystem}", "-q", image)
        device = _run("losetup", "-f", "--show", image)
        stack.callback(_run, "losetup", "-d", device)
        _run("mount", device, path)
        stack.callback(_unmount, path)
        yield LoopDisk(path, device, filesystem)


def _unmount(path: Path) -> None:
    # A test that failed in the middle may have left it unmounted, or shut down, or left somebody on it.
    subprocess.run(["umount", path], check=False, capture_output=True)
    if os.path.ismount(path):
        _run("umount", "-l", path)


def new_folder(kind: str) -> Path:
    """Make a scratch directory, in memory where possible; its name tells whose it is.

    Memory is some fifty times faster than a disk for this, and a strike does not need the disk.
    """
    scratch = Path("/dev/shm")
    if not os.access(scratch, os.W_OK):
        scratch = Path(tempfile.gettempdir())
    sweep(scratch)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}.{os.getpid()}.", dir=scratch))


def _is_stale(folder: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):  # another process tidies up at the same time
        return folder.lstat().st_uid == os.geteuid() and not Path("/proc", folder.name.split(".")[1]).exists()
    return False


def sweep(scratch: Path) -> Sequence[Path]:
    """Remove what processes left that were killed before they could; returns what was removed."""
    stale = [folder for folder in scratch.glob(f"{PREFIX}*.*.*") if _is_stale(folder)]
    for folder in stale:
        if (image := folder / "image").exists():
            _unmount(folder / "mnt")
            for line in _run("losetup", "-nO", "NAME", "-j", image).splitlines():
                _run("losetup", "-d", line)
        shutil.rmtree(folder, ignore_errors=True)
    return stale
