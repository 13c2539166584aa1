"""The units that install.sh puts into place, as systemd runs them: at boot, while a confirm is awaited, power gone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import BASELINE, HostFolder
from tests.install.conftest import clone_to
from tests.install.machine import PATH, Machine, why_not

pytestmark = pytest.mark.full  # a minute of waiting for the watch among them

UPGRADE, CONFIRM = "vvmigrate-upgrade.service", "vvmigrate-confirm.service"
WAIT_FOR_IT = ("docker", "containerd", "vv-orchestrator", "cron")
NOTES = f"""[Service]
Type=oneshot
ExecStart=/bin/sh -c 'systemctl is-active {UPGRADE} >/opt/%N; true'
[Install]
WantedBy=multi-user.target
"""
MAKES = 'op.make_directories(["seventh"])'
HANGS = f"""{MAKES}
if os.path.exists("/opt/hangs") and os.path.exists("/opt/videos/.vvmigrate/journal"):
    with open("/opt/hangs", "w") as hangs:
        hangs.write("in its step")
    open("/opt/hangs").read()
"""


@dataclass
class Device:
    """A machine on which ./install.sh has run."""

    machine: Machine
    name: str = "vv-video-ai-system"

    def __post_init__(self) -> None:
        """Its release and its storage root, as this machine sees them."""
        self.opt = self.machine.disk / "opt"
        self.host = HostFolder(self.opt / self.name, self.opt / "videos")

    def status(self) -> dict[str, Any]:
        """What `vvmigrate status` says there."""
        document: dict[str, Any] = json.loads(self.machine.run("vvmigrate", "status", "--json").stdout)
        return document

    def history(self, count: int) -> list[tuple[str, str, str]]:
        """The last attempts there, oldest first."""
        entries = json.loads(self.machine.run("vvmigrate", "history", "--json").stdout)["entries"]
        return [(entry["revision"], entry["direction"], entry["result"]) for entry in reversed(entries[:count])]

    def journal(self, unit: str) -> str:
        """What systemd's journal has of a unit since the last boot."""
        return self.machine.says(f"journalctl --boot --no-pager --unit {unit}")

    def ended(self, unit: str) -> tuple[str, str]:
        """How systemd calls the last run of a unit, and its exit code."""
        said = self.machine.says(f"systemctl show --value --property Result --property ExecMainStatus {unit}")
        result, code = sorted(said.split(), reverse=True)
        return result, code

    def seen(self) -> dict[str, str]:
        """What each service saw of the upgrade when it was started; noted once, and taken away."""
        paths = [self.opt / name for name in WAIT_FOR_IT]
        seen = {path.name: path.read_text().strip() for path in paths if path.exists()}
        for name in seen:
            (self.opt / name).unlink()
        return seen

    def install(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ./install.sh there, without a package index."""
        libraries = ("--wheels", "/opt/libraries", "--python", os.path.realpath(sys.executable))
        return self.machine.run(f"/opt/{self.name}/install.sh", *words, *libraries, PIP_NO_COMPILE="1", **environment)

    def reboot(self) -> str:
        """Switch it off, as one does, and on again."""
        self.machine.switch_off()
        return self.machine.boot()


def all_saw(state: str) -> dict[str, str]:
    return dict.fromkeys(WAIT_FOR_IT, state)


def install(device: Device, wheels: Path) -> None:
    """What the README says of production; and services that the upgrade comes before."""
    clone_to(device.host.home, wheels)
    shutil.copytree(wheels, device.opt / "libraries")
    for name in WAIT_FOR_IT:
        (device.machine.disk / f"etc/systemd/system/{name}.service").write_text(NOTES)
    device.machine.boot()
    done = device.install("--storage-root", "/opt/videos", VV_MODEL_VARIANT="demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "units installed: vvmigrate-confirm.service" in done.stdout
    timers = device.machine.says("systemctl is-active vvmigrate-confirm.timer vvmigrate-verify.timer")
    assert timers.split() == ["active", "active"]  # not only after the next boot
    assert device.machine.run("systemctl", "enable", *WAIT_FOR_IT).returncode == 0


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Machine:
    """The disk of a machine that was switched off after the installation."""
    folder = tmp_path_factory.mktemp("machines")
    if why := why_not(folder):
        pytest.skip(why)
    machine = Machine.make(folder / "installed")
    try:
        install(Device(machine), wheels)
        machine.switch_off()
    finally:
        machine.cut_power()
    return machine


@pytest.fixture
def device(installed: Machine, tmp_path: Path) -> Iterator[Device]:
    """A machine of the test's own, switched off."""
    machine = installed.copy(tmp_path / "machine")
    yield Device(machine)
    machine.cut_power()


# ---- at boot ---------------------------------------------------------------------------------------------------------


def test_at_boot_the_host_is_looked_at_before_its_services_start(device: Device) -> None:
    """With nothing to do all units are well, and each service that is ordered behind the upgrade finds it done."""
    assert device.machine.boot() == "running"
    assert device.ended(UPGRADE) == ("success", "0")
    assert "nothing to do: at 0006" in device.journal(UPGRADE)
    assert device.seen() == all_saw("active")
    assert device.status()["revision"] == BASELINE[-1]


def test_a_release_that_was_put_there_is_applied_at_the_next_boot(device: Device) -> None:
    """Before the services start; and one that was taken back stays away at every boot, which is no failure."""
    device.host.revision("0007", MAKES)
    assert device.machine.boot() == "running"
    assert device.seen() == all_saw("active")
    assert "from 0006 to 0007" in device.journal(UPGRADE)
    assert (device.host.root / "seventh").is_dir()
    assert device.machine.run("vvmigrate", "downgrade", "-1", "--reason", "flickers").returncode == 0
    assert device.reboot() == "running"
    assert device.ended(UPGRADE) == ("success", "3")
    assert "flickers" in device.journal(UPGRADE)
    assert not (device.host.root / "seventh").exists()


def test_an_upgrade_that_fails_makes_the_unit_fail(device: Device) -> None:
    """The journal says why and what to do, the host is as it was, and the services start all the same."""
    device.host.revision("0007", f"{MAKES}\nraise ValueError('no such camera')")
    before = device.host.tree()
    assert device.machine.boot() == "degraded"
    assert device.ended(UPGRADE) == ("exit-code", "1")
    for words in ("error: revision 0007: ValueError: no such camera", "look at /opt/vv-video-ai-system/migrations"):
        assert words in device.journal(UPGRADE)
    assert device.machine.says("systemctl --failed --plain --no-legend --no-pager").split()[0] == UPGRADE
    assert device.host.tree() == before
    assert device.seen() == all_saw("failed")
    device.host.revision("0007", MAKES)
    assert device.reboot() == "running"
    assert device.status()["revision"] == "0007"


LATE = """[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'read word </opt/late && [ $word = here ]'
"""
FSTAB = "/opt/disk /opt/videos none bind,nofail,x-systemd.requires=late.service,x-systemd.after=late.service\n"


@pytest.mark.parametrize("comes", [True, False], ids=["comes", "never comes"])
def test_the_upgrade_waits_for_the_disk_of_the_storage_root(device: Device, *, comes: bool) -> None:
    """Also for one without which the machine boots (nofail); if it does not come, the journal says what is missing."""
    device.host.root.rename(device.opt / "disk")
    device.host.root.mkdir()
    (device.machine.disk / "etc/fstab").write_text(FSTAB)
    (device.machine.disk / "etc/systemd/system/late.service").write_text(LATE)
    os.mkfifo(device.opt / "late")
    device.machine.switch_on()
    device.machine.sees("Reached target getty.target")
    assert device.machine.says(f"systemctl is-active {UPGRADE}") == "inactive"
    device.machine.waits_for(f"echo {'here' if comes else 'lost'} >/opt/late")
    assert device.machine.comes_up() == ("running" if comes else "degraded")
    assert device.ended(UPGRADE) == (("success", "0") if comes else ("exit-code", "6"))
    assert ("is its disk not mounted?" in device.journal(UPGRADE)) is not comes
    assert device.seen() == all_saw("active" if comes else "failed")


# ---- an upgrade that waits to be confirmed ---------------------------------------------------------------------------


def test_a_power_cut_takes_back_what_nobody_had_confirmed(device: Device) -> None:
    """At the next boot, before the services start; it is held, so that it does not come back at the boot after."""
    device.machine.boot()
    before = device.host.tree()
    device.host.revision("0007", MAKES)
    assert device.machine.run("vvmigrate", "upgrade", "head", "--confirm-within", "1h").returncode == 0
    assert (device.host.root / "seventh").is_dir()
    device.seen()
    device.machine.cut_power()
    assert device.machine.boot() == "running"
    assert device.ended(UPGRADE) == ("success", "3")
    assert "not confirmed before the machine was started again" in device.journal(UPGRADE)
    assert device.seen() == all_saw("active")
    (device.host.home / "migrations/versions/0007_test.py").unlink()
    assert device.host.tree() == before
    assert device.history(2) == [("0007", "up", "applied"), ("0007", "down", "reverted")]


def test_what_was_confirmed_stays_after_a_power_cut(device: Device) -> None:
    """Nothing is taken back, and nothing watches any more."""
    device.machine.boot()
    device.host.revision("0007", MAKES)
    assert device.machine.run("vvmigrate", "upgrade", "head", "--confirm-within", "1h").returncode == 0
    assert device.machine.run("vvmigrate", "confirm").returncode == 0
    device.machine.cut_power()
    assert device.machine.boot() == "running"
    assert "nothing to do: at 0007" in device.journal(UPGRADE)
    assert device.status()["confirm"] is None


def test_the_watch_takes_back_what_was_not_confirmed_in_time(device: Device) -> None:
    """Nobody does anything: within a minute after its time it is gone, and held, and the unit that did it is well."""
    device.machine.boot()
    device.host.revision("0007", MAKES)
    assert device.machine.run("vvmigrate", "upgrade", "head", "--confirm-within", "1s").returncode == 0
    device.machine.sees(f"Finished {CONFIRM}")
    assert device.ended(CONFIRM) == ("success", "0")
    assert "is being taken back: not confirmed within 1 s" in device.journal(CONFIRM)
    assert not (device.host.root / "seventh").exists()
    status = device.status()
    assert (status["revision"], status["confirm"]) == ("0006", None)
    assert [hold["revision"] for hold in status["held"]] == ["0007"]


# ---- in the middle of a step -----------------------------------------------------------------------------------------


def hangs_at_boot(device: Device) -> None:
    """Switch it on; the upgrade at boot does not come to the end of its step."""
    os.mkfifo(device.opt / "hangs")
    device.host.revision("0007", HANGS, imports="import os")
    device.machine.switch_on()
    assert device.machine.waits_for("cat /opt/hangs") == "in its step"
    assert device.machine.says(f"systemctl is-active {UPGRADE}") == "activating"
    assert device.seen() == {}


def test_a_power_cut_in_a_step_is_settled_at_the_next_boot(device: Device) -> None:
    """Half a step is undone, and then done as a whole, before the services start."""
    hangs_at_boot(device)
    device.machine.cut_power()
    (device.opt / "hangs").unlink()
    assert device.machine.boot() == "running"
    assert device.history(2) == [("0007", "up", "interrupted"), ("0007", "up", "applied")]
    assert device.seen() == all_saw("active")


def test_whoever_switches_the_machine_off_in_a_step_finds_it_undone(device: Device) -> None:
    """systemd's stop waits until the step is undone: no crash is left to be settled."""
    before = device.host.tree()
    hangs_at_boot(device)
    device.machine.switch_off()
    assert not (device.host.root / ".vvmigrate/journal").exists()
    (device.host.home / "migrations/versions/0007_test.py").unlink()
    assert device.host.tree() == before
    assert device.machine.boot() == "running"
    assert "nothing to do: at 0006" in device.journal(UPGRADE)


# ---- every day, and away ---------------------------------------------------------------------------------------------


def test_the_daily_look_fails_where_something_is_gone(device: Device) -> None:
    """The journal names it, and the command that mends it; after that the unit is well again."""
    device.machine.boot()
    look = ("systemctl", "start", "vvmigrate-verify.service")
    assert device.machine.run("vvmigrate", "upgrade", "head", "--set", "DVR_IP=10.0.0.4").returncode == 0
    assert device.machine.run(*look).returncode == 0
    (device.host.root / "fallback/placeholder.png").unlink()
    assert device.machine.run(*look).returncode == 1
    for words in ("/opt/videos/fallback/placeholder.png", "vvmigrate repair"):
        assert words in device.journal(look[-1])
    assert device.machine.run("vvmigrate", "repair").returncode == 0
    assert device.machine.run(*look).returncode == 0


@pytest.mark.parametrize("word", ["daemon-reload", "enable"])
def test_a_systemd_that_does_not_take_the_units_is_no_success(device: Device, word: str) -> None:
    """install.sh ends with 1, says what failed and why, and what stands; run again it ends well."""
    device.machine.boot()
    broken = device.opt / "bin/systemctl"
    broken.parent.mkdir()
    broken.write_text(f"#!/bin/sh\n[ $1 != {word} ] && exec /bin/systemctl $@\necho No bus; exit 1\n")
    broken.chmod(0o755)
    done = device.install(PATH=f"/opt/bin:{PATH}")
    assert done.returncode == 1
    assert f"the host is up, but nothing watches it: systemctl {word}" in done.stderr
    assert "failed: No bus\n" in done.stderr
    assert device.install().returncode == 0


def test_a_release_in_a_folder_of_any_name_is_watched_and_goes_away_again(tmp_path: Path, wheels: Path) -> None:
    """Signs that mean something to sed or systemd mean nothing in a folder's name; no unit is left behind."""
    if why := why_not(tmp_path):
        pytest.skip(why)
    device = Device(Machine.make(tmp_path / "machine"), "50% off & more|less")
    try:
        install(device, wheels)
        device.host.revision("0007", MAKES)
        assert device.machine.run("vvmigrate", "upgrade", "head", "--confirm-within", "1s").returncode == 0
        device.machine.sees(f"Finished {CONFIRM}")
        assert device.status()["revision"] == "0006"
        assert device.reboot() == "running"
        assert device.install("--uninstall").returncode == 0
        assert "vvmigrate" not in device.machine.says("systemctl list-units --all; systemctl list-unit-files")
        assert device.reboot() == "running"
        assert device.seen() == all_saw("inactive")
    finally:
        device.machine.cut_power()
