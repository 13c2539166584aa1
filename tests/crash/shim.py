"""Build the preloaded shim, arm it, and read what it recorded."""

import errno
import mmap
import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote

SOURCE: Final = Path(__file__).with_name("shim.c")
#: The order is that of the enum in shim.c.
MODES: Final = ("count", "kill", "after", "torn", "short", "errno", "sticky", "full", "term", "power", "meddle")
#: Calls whose bytes can be halved.
HALVABLE: Final = frozenset({"write", "pwrite", "pwrite64", "sendfile", "sendfile64", "copy_file_range"})
#: Calls that a full disk never refuses; an exchange and the opening of a file that is there are more of them.
SPACELESS: Final = frozenset({
    "fsync", "fdatasync", "syncfs", "unlink", "unlinkat", "rmdir", "remove", "truncate", "truncate64", "ftruncate",
    "ftruncate64", "chmod", "fchmod", "fchmodat", "chown", "lchown", "fchown", "fchownat", "futimens", "utimensat",
})  # fmt: skip
RENAME_EXCHANGE: Final = 2
#: Faults that last beyond the process that met them first.
LASTING: Final = frozenset({"sticky", "full"})
#: How the kernel shows a file without a name: by O_TMPFILE, or unlinked while open.
NAMELESS: Final = re.compile(r"#\d+ \(deleted\)|/proc/\d+/fd/\d+")


class HarnessError(Exception):
    """The harness itself cannot go on: a broken scenario, a shim that sees nothing, a mount that is gone."""


@dataclass(frozen=True)
class Mode:
    """One kind of fault.

    Attributes:
        label: How people write it: ``kill``, ``errno:EIO``, ``sticky:ENOSPC``.
        kind: The part before the colon, one of MODES.
        error: The errno for errno, sticky and full, else 0.
    """

    label: str
    kind: str
    error: int = 0

    @classmethod
    def parse(cls, label: str) -> Self:
        """Read a mode as people write it.

        Raises:
            HarnessError: The kind or the error's name is unknown, or an error is missing or not wanted.
        """
        kind, _, name = label.partition(":")
        wants = kind in ("errno", "sticky", "full")
        error = getattr(errno, name, 0) if name else 0
        if kind not in MODES[1:] or wants != bool(error) or (name and not error):
            msg = f"unknown mode {label!r}: one of {', '.join(MODES[1:])}; errno, sticky and full want :ENAME"
            raise HarnessError(msg)
        return cls(label, kind, error)

    @property
    def number(self) -> int:
        """The shim's number of this kind."""
        return MODES.index(self.kind)

    def tells(self, call: "Call") -> bool:
        """Whether striking this call can differ from striking the next one.

        Nothing but a write can be halved; and a disk that is full from a call on which needs no space refuses nothing
        before the next call which does: that one is the point.
        """
        if self.kind in ("torn", "short"):
            return call.name in HALVABLE
        return not (self.kind == "sticky" and self.error == errno.ENOSPC and call.needs_no_space)


@dataclass(frozen=True)
class Call:
    """One recorded call: what shim.c describes at its top; inode, mode and owner are those after the call."""

    n: int
    name: str
    result: int
    argument: int
    fresh: bool
    inode: int
    mode: int
    uid: int
    gid: int
    path: str
    other: str
    data: bytes

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read one line of a record."""
        n, name, result, argument, fresh, inode, mode, uid, gid, path, other, data = line.split("\t")
        return cls(
            int(n), name, int(result), int(argument), fresh == "1", int(inode), int(mode, 8), int(uid), int(gid),
            unquote(path, errors="surrogateescape"), unquote(other, errors="surrogateescape"), bytes.fromhex(data),
        )  # fmt: skip

    @property
    def needs_no_space(self) -> bool:
        """Whether it went well, and would on a full disk."""
        there = self.name.startswith("open") and not self.fresh
        exchange = self.name == "renameat2" and self.argument == RENAME_EXCHANGE
        return self.result >= 0 and (self.name in SPACELESS or there or exchange)

    def about(self, root: Path) -> str:
        """Return the call as people read it, with paths below ``root`` made short."""
        flags = f" flags={self.argument}" if self.name == "renameat2" else ""
        short = " ".join(p.replace(str(root), ".") for p in (self.path, self.other) if p)
        short = NAMELESS.sub("#nameless", short)  # its number is another in every run
        return f"{self.name} {short}{flags}"


def read_record(path: Path) -> list[Call]:
    """Read the record of a run; a run that changed nothing leaves none.

    Raises:
        HarnessError: Two threads changed something at the same time: the order of the calls is then not the same in
            every run, and a point means nothing.
    """
    lines = path.read_text("utf-8", "surrogateescape").splitlines() if path.exists() else []
    calls = [Call.parse(line) for line in lines]
    if [c.n for c in calls] != list(range(1, len(calls) + 1)):
        msg = "calls were made by several threads or processes at once: points would differ from run to run"
        raise HarnessError(msg)
    return calls


def why_no_shim() -> str:
    """Return why the shim cannot be built here, or an empty string."""
    return "" if shutil.which("gcc") else "gcc is missing (apt-get install gcc libc6-dev): no call can be struck"


def build_shim(folder: Path) -> Path:
    """Compile the shim into a folder that nobody else can write, and return its path.

    Raises:
        HarnessError: There is no compiler, or it refuses.
    """
    if why := why_no_shim():
        raise HarnessError(why)
    target = folder / "shim.so"
    # The macros put a guard and what it guards on one line: that warning has nothing to say here.
    flags = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-misleading-indentation", "-Wno-array-parameter", "-Werror")
    gcc = subprocess.run(
        ["gcc", *flags, "-shared", "-fPIC", "-o", target, SOURCE, "-ldl"], capture_output=True, text=True, check=False
    )
    if gcc.returncode:
        msg = f"gcc refuses shim.c:\n{gcc.stderr}"
        raise HarnessError(msg)
    return target


class Counter:
    """The mapped file through which all processes of a run count their calls together."""

    LAYOUT: Final = struct.Struct("iiq")

    def __init__(self, path: Path) -> None:
        """Make the file and map it."""
        self.path = path
        path.write_bytes(bytes(self.LAYOUT.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), self.LAYOUT.size)

    def reset(self) -> None:
        """Start again at zero."""
        self._map[:] = bytes(self.LAYOUT.size)

    @property
    def hit(self) -> int:
        """The call that was struck; 0 when the run never came to it.

        Raises:
            HarnessError: The shim could not do what it was told (no power to cut, a command that failed).
        """
        hit = int(self.LAYOUT.unpack(self._map[:])[1])
        if hit < 0:
            name = errno.errorcode.get(-hit, hit)
            msg = f"the shim could not strike: {name} (power: not ext4 or xfs? meddle: the command failed?)"
            raise HarnessError(msg)
        return hit


def arming(
    counter: Path, root: Path, record: Path | None, n: int, mode: Mode | None, *, data: bool
) -> Sequence[str | int]:
    """Return the arguments of the shim's ``kp_arm``; with n = 0 it only counts."""
    number, error = (mode.number, mode.error) if mode else (0, 0)
    return [str(counter), str(root), str(record or ""), n, number, error, int(data)]
