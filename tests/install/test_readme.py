"""Every command of the README is run, in its order, and what it prints is what the README says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.install.conftest import Clone, clone_to
from tests.transcript import blocks, printed_as_told, sessions

TEXT = (REPOSITORY / "README.md").read_text()


def typed(prompt: str) -> list[tuple[str, str]]:
    """(command, what it prints) of all transcripts in which commands stand behind this prompt."""
    transcripts = [block.text for block in blocks(TEXT) if block.language == "console"]
    return [(said.command, said.told) for text in transcripts for said in sessions(text, re.escape(prompt))]


def test_a_user_who_types_what_the_readme_says_sees_what_it_says(clone: Clone) -> None:
    """From a fresh clone to a host, history, a downgrade, an upgrade, and away again."""
    commands = typed("$")
    assert {"./install.sh --demo", "./install.sh --uninstall"} <= {command for command, _ in commands}
    for command, told in commands:
        done = clone.run(
            "sh", "-c", f"{command} --wheels '{clone.wheels}'" if command.startswith("./inst") else command
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert printed_as_told(told, done.stdout), (command, told, done.stdout)


def test_the_tests_command_is_the_one_that_is_run_for_every_change() -> None:
    """`./run_tests.sh` exists, may be executed, and is what continuous integration calls."""
    assert "`./run_tests.sh`" in TEXT
    assert os.access(REPOSITORY / "run_tests.sh", os.X_OK)
    assert "./run_tests.sh" in (REPOSITORY / ".ci/run").read_text()


PRIVATE_MACHINE = """
set -e
mount -t tmpfs none "$1"
for folder in /etc /usr/local; do
    name=$(echo $folder | tr / -)
    mkdir -p "$1/$name-upper" "$1/$name-work"
    mount -t overlay overlay -o "lowerdir=$folder,upperdir=$1/$name-upper,workdir=$1/$name-work" $folder
done
mount -t tmpfs none /opt
cp -a "$2" /opt/vv-video-ai-system
chown -R root:root /opt/vv-video-ai-system && chmod 755 /opt /opt/vv-video-ai-system
cd /opt/vv-video-ai-system
shift 2
eval "$@"
stat -c '%U %G' /opt/videos/input .env
cd / && env -i /usr/local/bin/vvmigrate current
"""


def _private_machines_work() -> bool:
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("useradd"):
        return False
    probe = (
        "mount -t tmpfs none /mnt && mkdir /mnt/u /mnt/w && "
        "mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w /etc"
    )
    return subprocess.run(["unshare", "-m", "sh", "-c", probe], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _private_machines_work(), reason="needs root, useradd, and overlays in a mount namespace")
def test_root_who_types_what_the_readme_says_has_a_host_for_the_application(tmp_path: Path, wheels: Path) -> None:
    """On a machine of its own (an overlay): users are made, the command is on the path, files belong to them."""
    [(command, told)] = typed("#")
    clone = clone_to(tmp_path / "release", wheels)
    clone.environ |= {"VV_MODEL_VARIANT": "demo"}
    (tmp_path / "machine").mkdir()
    done = clone.run("unshare", "-m", "bash", "-c", PRIVATE_MACHINE, "machine", str(tmp_path / "machine"),
                     str(clone.home), f"{command} --wheels '{wheels}'")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-3:] == ["app_user app_group", "app_user app_group", "0006 (head) Installation signature"]
    if not Path("/run/systemd/system").is_dir():
        told = re.sub("^units installed: .*", "no units installed: systemd does not run here", told, flags=re.MULTILINE)
    assert printed_as_told(told, "\n".join(lines[:-3]))
