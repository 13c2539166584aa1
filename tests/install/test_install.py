"""install.sh, as a new user meets it: from nothing to a host that works, again, interrupted, offline, and away."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.conftest import BASELINE
from tests.install.conftest import Clone, clone_to

NOBODY = 65534
COMMANDS = 140  # of install.sh's own, in a first run; measured by the test of its interruptions


def says(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The exit code, and what is read on the terminal."""
    assert done.returncode == code, done.stdout + done.stderr
    for word in words:
        assert word in done.stdout + done.stderr


def is_up(clone: Clone) -> None:
    """The host is at the last revision, is healthy but for what only a person can say, and knows itself."""
    status = clone.tool("status", "--json")
    body = json.loads(status.stdout)
    assert (body["revision"], body["pending"], body["drift"]) == (BASELINE[-1], [], [])
    assert body["required_missing"] == ["DVR_IP"]
    assert (clone.home / "storage/fallback/loop_silencioso.mp4").is_file()


# ---- from nothing ----------------------------------------------------------------------------------------------------


@pytest.mark.full  # the first steps are those of the README, which are tried at every change
def test_the_demo_is_a_whole_host_and_stays_one(clone: Clone) -> None:
    """One command; every later one finds the host again without a word; a second run has nothing to do; and away."""
    says(clone.install("--demo"), 0, "applied", "DVR_IP has no value", "vvmigrate upgrade head --set DVR_IP", "done.")
    is_up(clone)
    says(clone.tool("history"), 0, "0006")
    again = clone.install("--demo")
    says(again, 0, "nothing to do")
    assert "installing libraries" not in again.stdout
    says(clone.tool("upgrade", "head", "--set", "DVR_IP=10.0.0.5"), 0)
    assert "WARNING" not in clone.install("--demo").stderr
    says(clone.tool("downgrade", "-1"), 0)
    says(clone.install("--demo"), 3, "held", "--release-hold")
    says(clone.tool("upgrade", "head", "--release-hold"), 0)
    says(clone.tool("downgrade", "base"), 0)
    says(clone.install("--uninstall"), 0, "Data stays")
    assert not (clone.home / ".venv").exists()
    assert (clone.home / "storage/orchestrator_data/orchestrator_db.sqlite").is_file()


def test_a_host_of_the_old_bootstrap_is_taken_over(clone: Clone) -> None:
    """Its directories, its settings and its database stay as they are; what is missing is added, with a warning."""
    old = clone.home / "storage/orchestrator_data"
    old.mkdir(parents=True)
    (old / "processed_videos.log").write_text("ab" * 32 + "\n")
    (clone.home / "storage/input").mkdir()
    (clone.home / "storage/input/mine.mp4").write_bytes(b"video")
    (clone.home / ".env").write_text("DVR_IP=192.168.7.7\nMINE='keep me'\n")
    (clone.home / ".env").chmod(0o600)
    says(clone.install("--demo"), 0, "HMAC_SECRET_KEY was missing and is added", "done.")
    assert (clone.home / "storage/input/mine.mp4").read_bytes() == b"video"
    text = (clone.home / ".env").read_text()
    assert {"DVR_IP=192.168.7.7", "MINE='keep me'"} <= set(text.splitlines())
    assert "HMAC_SECRET_KEY=" in text
    assert json.loads(clone.tool("status", "--json").stdout)["required_missing"] == []


@pytest.mark.full  # what the README says of production is tried at every change
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it is root who gives things away")
def test_root_installs_for_the_application(clone: Clone, tmp_path: Path) -> None:
    """A command on the path that knows release and user; what the services need belongs to them; away again."""
    tmp_path.chmod(0o755)
    nobody = pwd.getpwnam("nobody")
    group = subprocess.run(["id", "-gn", "nobody"], capture_output=True, text=True, check=True).stdout.strip()
    bin_folder = tmp_path / "bin"
    clone.environ["VV_MODEL_VARIANT"] = "demo"
    options = ["--bin", str(bin_folder), "--no-systemd", "--app-user", "nobody", "--app-group", group]
    options += ["--storage-root", str(tmp_path / "videos")]
    says(clone.install(*options), 0, "no units installed: as asked", "done. Where it stands: vvmigrate status")
    assert (tmp_path / "videos/input").stat().st_uid == nobody.pw_uid
    assert (clone.home / ".env").stat().st_uid == nobody.pw_uid
    elsewhere = subprocess.run(
        [bin_folder / "vvmigrate", "status", "--json"], cwd="/", env={}, capture_output=True, text=True, check=False
    )
    assert json.loads(elsewhere.stdout)["home"] == str(clone.home)
    says(clone.install("--uninstall", "--bin", str(bin_folder)), 0)
    assert not (bin_folder / "vvmigrate").exists()


SYSTEM_PATH = "/usr/bin:/bin"
CAN_DO_WITHOUT_ROOT = os.geteuid() == 0 and shutil.which("setpriv") and not subprocess.run(
    ["python3", "-c", "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"], env={"PATH": SYSTEM_PATH},
    capture_output=True, check=False,
).returncode  # fmt: skip


@pytest.mark.skipif(not CAN_DO_WITHOUT_ROOT, reason="needs root to stop being root, setpriv, and the system's Python")
def test_somebody_who_is_not_root_installs_for_themselves(wheels: Path) -> None:
    """With the system's Python and an empty home directory: a host that is theirs, and no word of other users."""
    with tempfile.TemporaryDirectory() as top:
        clone = clone_to(Path(top) / "release", Path(top) / "wheels")
        shutil.copytree(wheels, clone.wheels)
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", top], check=True)
        user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        clone.environ["PATH"] = SYSTEM_PATH
        done = clone.run(*user, "./install.sh", "--demo", "--wheels", str(clone.wheels))
        says(done, 0, "done.")
        assert "VV_APP_USER" not in done.stderr
        status = clone.run(*user, ".venv/bin/vvmigrate", "status", "--json")
        assert json.loads(status.stdout)["revision"] == BASELINE[-1]
        says(clone.run(*user, ".venv/bin/vvmigrate", "downgrade", "base"), 0)
        says(clone.run(*user, "./install.sh", "--uninstall"), 0)


def test_another_releases_command_is_not_taken_away(clone: Clone, tmp_path: Path) -> None:
    """Uninstalling removes the command only if it is this release's."""
    theirs = tmp_path / "vvmigrate"
    theirs.write_text("#!/bin/sh\nexec python -I -m vvmigrate --home '/somewhere/else' \"$@\"\n")
    says(clone.install("--uninstall", "--bin", str(tmp_path)), 0)
    assert theirs.exists()


# ---- what may go wrong -----------------------------------------------------------------------------------------------


def test_without_an_index_it_says_so_and_changes_nothing(clone: Clone) -> None:
    """Exit 6, one line of reason and the next action; no host was begun."""
    clone.environ |= {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull}
    done = clone.install("--demo", wheels=False)
    says(done, 6, "the package index cannot be reached", "--wheels DIR")
    assert not (clone.home / "storage").exists()
    assert "Traceback" not in done.stderr


def test_a_library_that_is_not_the_locked_one_is_refused(clone: Clone) -> None:
    """The SHA-256 in the lock decides, not the name of a file."""
    lock = clone.home / "requirements.lock"
    before, click, after = re.split(r"(^click==.*?# via)", lock.read_text(), maxsplit=1, flags=re.MULTILINE | re.DOTALL)
    lock.write_text(before + re.sub(r"sha256:\w+", "sha256:" + "0" * 64, click) + after)
    says(clone.install("--demo"), 6, "SHA-256")


def test_an_old_python_is_not_enough(clone: Clone, tmp_path: Path) -> None:
    """It says what is needed, what was found, and how to get it."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        (tools / name).write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\nexit 1\n')
        (tools / name).chmod(0o755)
    clone.environ["PATH"] = f"{tools}:{os.environ['PATH']}"
    says(clone.install("--demo"), 6, "3.11 or newer", "found Python 3.9.2", "apt-get install")


@pytest.mark.parametrize("words", [["--bogus"], ["--home"], ["--app-user", ""]], ids=" ".join)
def test_a_wrong_option_is_usage(clone: Clone, words: list[str]) -> None:
    """Exit 2, and where to read on."""
    says(clone.install(*words, wheels=False), 2, "--help")


def test_a_download_of_the_script_that_breaks_off_runs_nothing(clone: Clone) -> None:
    """`curl | sudo bash` with half a script: nothing was begun."""
    script = (clone.home / "install.sh").read_bytes()
    for cut in range(200, len(script) - 20, 997):
        subprocess.run(["bash", "-s", "--", "--demo"], input=script[:cut], cwd=clone.home, env=clone.environment(),
                       capture_output=True, check=False)  # fmt: skip
    assert not (clone.home / "logs").exists()
    assert not (clone.home / ".venv").exists()


@pytest.mark.full
def test_from_a_pipe_it_installs_the_release_that_it_is_told(clone: Clone) -> None:
    """Read from standard input it has no folder of its own: `--home` names the release, or it says where it looked."""
    script = (clone.home / "install.sh").read_bytes()
    told = ["--demo", "--home", str(clone.home), "--wheels", str(clone.wheels)]
    done = subprocess.run(["bash", "-s", "--", *told], input=script, cwd="/", env=clone.environment(), check=False,
                          capture_output=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    is_up(clone)
    lost = subprocess.run(["bash", "-s", "--", "--home", "/nowhere"], input=script, cwd="/", env=clone.environment(),
                          capture_output=True, text=False, check=False)  # fmt: skip
    assert lost.returncode == 6
    assert b"no release there" in lost.stderr


# ---- interrupted -----------------------------------------------------------------------------------------------------


def killed_at(clone: Clone, number: int) -> bool:
    """Run install.sh and kill it, and whatever it started, before its `number`-th command; whether it came so far."""
    trap = clone.home.parent / "trap"
    trap.write_text(
        "set -T\nvv_left=" + str(number) + "\n"
        "trap '[ $BASHPID != $$ ] || [ $((--vv_left)) -gt 0 ] || kill -9 0' DEBUG\n"
    )
    process = subprocess.Popen(
        ["./install.sh", "--demo", "--wheels", str(clone.wheels)], cwd=clone.home, start_new_session=True,
        env={**clone.environment(), "BASH_ENV": str(trap)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return process.wait(300) == -signal.SIGKILL


def killed_when(clone: Clone, path: str) -> None:
    """Run install.sh and kill it, and whatever it started, as soon as a file of the libraries is there."""
    process = subprocess.Popen(
        ["./install.sh", "--demo", "--wheels", str(clone.wheels)], cwd=clone.home, start_new_session=True,
        env=clone.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and not list(clone.home.glob(path)):
        os.sched_yield()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.full) for part in range(1, 10))])
def test_killed_anywhere_and_run_again_it_ends_well(clone: Clone, part: int) -> None:
    """Five of fifty moments in each part, each on what the one before has left; then one run, and all is well."""
    reached = [killed_at(clone, 3 + (part + 10 * turn) * COMMANDS // 50) for turn in range(5)]
    assert any(reached)
    says(clone.install("--demo"), 0)
    is_up(clone)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(".venv/lib/*/site-packages/alembic/__init__.py", marks=pytest.mark.full),
        pytest.param(".venv/pyvenv.cfg", marks=pytest.mark.full),
        pytest.param(".venv/lib/*/site-packages/vvmigrate.pth", marks=pytest.mark.full),
        pytest.param(".vvmigrate/root", marks=pytest.mark.full),
    ],
)
def test_killed_while_libraries_are_written_and_run_again_it_ends_well(clone: Clone, path: str) -> None:
    """Half a library is never taken for a whole one."""
    killed_when(clone, path)
    says(clone.install("--demo"), 0)
    is_up(clone)
