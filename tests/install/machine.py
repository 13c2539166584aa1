"""A machine that runs systemd, made of this one: its programs, and a disk, a boot and a network namespace of its own.

Its root is this machine's, read-only; /etc, /var and /usr/local are overlays whose changes lie on its disk, and /opt is
the disk's own folder. What the distribution's packages have enabled here is not enabled there. Each boot has a boot id
of its own, and nothing there can load modules, set the clock or change the kernel's parameters.

A power cut here ends all that runs there at once, but this machine's kernel goes on, and writes what it was given.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SYSTEMD = "/usr/lib/systemd/systemd"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LAYERS = ("etc", "var", "usr/local")
PATIENCE_S = 120
NEEDED = ("unshare", "nsenter", "setpriv", "pivot_root", "useradd", SYSTEMD)

INTO_ITS_GROUP = 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"'
NAMESPACES = ("unshare", "--mount", "--uts", "--ipc", "--net", "--cgroup", "--pid", "--fork", "--kill-child")
START = """
set -e
disk=$1 root=$1/root
shift
mount --bind / $root
mount -o remount,bind,ro $root
for layer in etc var usr/local; do
    mount -t overlay overlay -o "lowerdir=/$layer,upperdir=$disk/$layer,workdir=$disk/work/$layer" $root/$layer
done
mount --bind $disk/opt $root/opt
for folder in run tmp mnt; do mount -t tmpfs -o mode=755 none $root/$folder; done
chmod 1777 $root/tmp

mount -t proc proc $root/proc
mount --bind $root/proc/sys $root/proc/sys
mount -o remount,bind,ro $root/proc/sys
mount --bind $disk/boot_id $root/proc/sys/kernel/random/boot_id
mount -t sysfs -o ro sysfs $root/sys
mount -t cgroup2 none $root/sys/fs/cgroup
mount -t tmpfs -o mode=755 none $root/dev
mkdir $root/dev/shm $root/dev/pts
for device in null zero full random urandom tty; do
    touch $root/dev/$device
    mount --bind /dev/$device $root/dev/$device
done

cd $root
pivot_root . .
umount -l .
hostname vv-device
exec "$@"
"""
FIRST = """
set -e
rm -rf /etc/systemd/system /etc/rc?.d /var/log/journal
mkdir /etc/systemd/system
: >/etc/fstab
echo vv-device >/etc/hostname
echo 0123456789abcdef0123456789abcdef >/etc/machine-id
"""


@dataclass
class Machine:
    """It is switched off until `boot`; its disk outlives it."""

    disk: Path
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def make(cls, disk: Path) -> Machine:
        """A machine that was never switched on."""
        for folder in (*LAYERS, *(f"work/{layer}" for layer in LAYERS), "opt", "root"):
            (disk / folder).mkdir(parents=True)
            (disk / folder).chmod(0o755)
        machine = cls(disk)
        machine._boot_id()
        done = subprocess.run(
            [*NAMESPACES, "bash", "-c", START, "machine", disk, "bash", "-c", FIRST],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise OSError(done.stderr)
        return machine

    def copy(self, disk: Path) -> Machine:
        """Another machine with a copy of this one's disk."""
        subprocess.run(["cp", "-a", self.disk, disk], check=True)
        return Machine(disk)

    @property
    def group(self) -> Path:
        """Its control group here."""
        return unified_groups() / f"vv-machine-{os.getpid()}-{self.disk.name}"

    def switch_on(self) -> None:
        """Do not wait for anything. It does not outlive whoever has switched it on."""
        self._boot_id()
        self.group.mkdir()
        with open(self.disk / "console", "ab") as console:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", "sh", "-c", INTO_ITS_GROUP, "sh", self.group,
                 *NAMESPACES, "bash", "-c", START, "machine", self.disk,
                 "setpriv", "--bounding-set=-sys_module,-sys_time,-sys_rawio,-syslog",
                 "env", "-i", "container=other", f"PATH={PATH}", SYSTEMD],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
            )  # fmt: skip

    def boot(self) -> str:
        """Switch it on, and wait."""
        self.switch_on()
        return self.comes_up()

    def comes_up(self) -> str:
        """Wait until systemd has nothing left to start; how it then calls the machine's state."""
        return self.waits_for("systemctl is-system-running --wait | grep -xE 'running|degraded'")

    def _boot_id(self) -> None:
        (self.disk / "boot_id").write_text(f"{uuid.uuid4()}\n")

    @property
    def first(self) -> int:
        """The process here that is the first one there; ValueError before it is systemd."""
        pid = self._child()
        if Path(f"/proc/{pid}/comm").read_text() != "systemd\n":
            raise ValueError(pid)
        return pid

    def _child(self) -> int:
        assert self.process is not None
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text())

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command there, as somebody who has logged in."""
        words = [f"PATH={PATH}", *(f"{name}={value}" for name, value in environment.items())]
        return subprocess.run(
            ["nsenter", "--target", str(self.first), "--all", "--wd=/", "env", "-i", *words, *command],
            capture_output=True, text=True, timeout=PATIENCE_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def says(self, command: str) -> str:
        """What a line for a shell prints there, whatever its exit code."""
        done = self.run("sh", "-c", command)
        return (done.stdout + done.stderr).strip()

    def waits_for(self, line: str) -> str:
        """Run a line of bash there, again and again until it succeeds; what it prints then."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, (self.disk / "console").read_text()
            with suppress(ValueError, FileNotFoundError):  # it has not begun yet
                done = self.run("bash", "-c", line)
                if done.returncode == 0:
                    return done.stdout.strip()
        raise AssertionError(f"{line!r} failed to its end; still to be done:\n{self.says('systemctl list-jobs')}")

    def sees(self, words: str) -> None:
        """Wait until words are in the journal of this boot."""
        self.waits_for("journalctl --boot --quiet --lines 1 | grep -q .")  # else nothing is followed
        self.waits_for(f"grep -qm1 '{words}' < <(journalctl --boot --follow --lines all)")

    def switch_off(self) -> None:
        """As a person does, who asks for it: every unit is stopped first."""
        assert self.process is not None
        self.run("systemctl", "poweroff")
        self.process.wait(PATIENCE_S)
        self._is_off()

    def cut_power(self) -> None:
        """Nothing there runs on, not for a moment; nothing to do where it is off."""
        if self.process is not None:
            with suppress(ValueError, FileNotFoundError, ProcessLookupError):
                os.kill(self._child(), signal.SIGKILL)
            self.process.wait(PATIENCE_S)
            self._is_off()

    def _is_off(self) -> None:
        self.process = None
        for folder, _, _ in os.walk(self.group, topdown=False):
            os.rmdir(folder)


def unified_groups() -> Path:
    """Where control groups of version 2 are mounted."""
    with open("/proc/mounts", encoding="utf-8") as file:
        for line in file:
            _, folder, kind, *_ = line.split()
            if kind == "cgroup2":
                return Path(folder)
    raise OSError("no control groups of version 2 are mounted")


def why_not(folder: Path) -> str:
    """Why no such machine can be made in a folder, or does not come up as it is; nothing if it does."""
    if os.geteuid():
        return "needs root"
    if missing := [name for name in NEEDED if not shutil.which(name)]:
        return f"needs {', '.join(missing)}"
    try:
        machine = Machine.make(folder / "tried")
        try:
            if machine.boot() != "running":
                return f"systemd fails here without us: {machine.says('systemctl --failed --plain --no-legend')}"
        finally:
            machine.cut_power()
    except (OSError, AssertionError, subprocess.TimeoutExpired) as error:
        return f"needs namespaces, overlays and control groups of version 2: {error}"
    return ""
