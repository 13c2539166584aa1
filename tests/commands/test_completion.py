"""Tab completes commands, options and revisions, in each shell that people use."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import BASELINE, HostFolder


def offered(host: HostFolder, shell: str, *words: str) -> list[str]:
    """What is offered for the last of these words, by click's protocol."""
    variables = {"_VVMIGRATE_COMPLETE": f"{shell}_complete", "COMP_WORDS": " ".join(["vvmigrate", *words])}
    variables |= {"COMP_CWORD": str(len(words))}
    done = host.run(environ=variables)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line]


def test_commands_are_offered(host: HostFolder) -> None:
    """The beginning of a command is enough."""
    assert offered(host, "bash", "hist") == ["plain,history"]


@pytest.mark.parametrize("verb", ["upgrade", "downgrade", "plan", "show", "fetch"])
def test_revisions_are_offered_with_their_titles(host: HostFolder, verb: str) -> None:
    """What the release has, and the words for it; also before the host exists."""
    found = offered(host, "zsh", verb, "000")
    assert found[0::3] == ["plain"] * len(BASELINE)
    assert found[1::3] == list(BASELINE)
    assert found[2::3][:2] == ["Storage directories", "BitNet model"]
    assert offered(host, "bash", verb, "he") == ["plain,head"]


def test_nothing_of_the_release_is_run(host: HostFolder) -> None:
    """A revision that does not import is offered like any other."""
    (host.home / "migrations/versions/0007_bad.py").write_text('"""Bad"""\nrevision = "0007"\nraise SystemExit(9)\n')
    assert offered(host, "bash", "upgrade", "0007") == ["plain,0007"]


def test_outside_of_a_release_only_words_are_offered(host: HostFolder, tmp_path: Path) -> None:
    """And no error is written into somebody's command line."""
    host.home = tmp_path / "nowhere"
    host.home.mkdir()
    assert offered(host, "bash", "upgrade", "") == ["plain,head", "plain,base", "plain,+1", "plain,-1"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_itself_accepts_the_script(host: HostFolder, shell: str, tmp_path: Path) -> None:
    """`vvmigrate completion SHELL` prints what the shell reads without complaint."""
    done = host.run("completion", shell)
    assert done.returncode == 0
    assert "_VVMIGRATE_COMPLETE" in done.stdout
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text(done.stdout)
    checked = subprocess.run([shell, "-n", script], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
