"""What a fork of the warm interpreter does is what a process of its own would do."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.conftest import HostFolder, copy_release


@pytest.mark.parametrize("arguments", ["status", "--json heads", "upgrade --frobnicate"])
def test_a_fork_says_what_a_process_of_its_own_says(host: HostFolder, arguments: str) -> None:
    """The same words on the same streams, and the same exit code."""
    fork, own = (host.run(*arguments.split(), within=within) for within in ((), ("env",)))
    assert (fork.returncode, fork.stdout, fork.stderr) == (own.returncode, own.stdout, own.stderr)


def test_a_fork_that_is_killed_says_so_and_the_next_one_works(bare: HostFolder) -> None:
    """Its end is a process's end: kill -9 takes it and nothing else, and what it left is for the next one to settle."""
    bare.up()
    bare.revision("0002", "os.kill(os.getpid(), 9)", imports="import os")
    assert bare.run("upgrade").returncode == -signal.SIGKILL
    assert bare.run("recover").returncode == 0


def test_a_fork_has_its_own_folder_mask_and_input(bare: HostFolder) -> None:
    """It works in the home, makes files with the caller's mask, and reads what it is given."""
    bare.up()
    bare.revision(
        "0002",
        "for line in sys.stdin:\n    print(os.getcwd(), oct(os.umask(0)), line.strip(), file=sys.stderr)",
        imports="import os, sys",
    )
    mask = os.umask(0o027)
    try:
        done = bare.run("upgrade", input="a word\n")
    finally:
        os.umask(mask)
    assert f"{bare.home} 0o27 a word" in done.stderr


LOOKS = (
    *(
        "verify",
        "verify --deep",
        "verify --quick",
        "doctor",
        "status",
        "plan",
        "plan +1",
        "history -v",
        "current",
        "heads",
    ),
    *("show 0005", "prune --dry-run", "check", "why storage/fallback/placeholder.png", "downgrade 0004 --plan"),
)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> HostFolder:
    """A host that lacks a table and a file."""
    host = copy_release(tmp_path_factory.mktemp("damaged"))
    host.up(values={"DVR_IP": "192.168.1.20"})
    host.sql("DROP TABLE stage_runs")
    (host.root / "fallback/placeholder.png").unlink()
    return host


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_says_the_same_whatever_was_imported_before(damaged: HostFolder, look: str) -> None:
    """A process of its own imports only what its verb asks for, a fork has it all: what they see is the same."""
    told = []
    for within in ((), ("env",)):
        done = damaged.run("--json", *look.split(), within=within)
        document = json.loads(done.stdout)
        document.pop("disk", None)  # what is free changes with whatever else works on this machine
        told.append((done.returncode, document, done.stderr))
    assert told[0] == told[1]
    if look in ("verify", "verify --deep", "doctor"):
        assert "stage_runs" in str(told[1])
