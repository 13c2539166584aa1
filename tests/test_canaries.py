"""The canaries sing: a secret that is planted anywhere is found, and every test's hosts are watched."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.canaries import Witness, heard
from tests.conftest import HostFolder

TOKEN = "tok-planted-canary-0123456789"


def secret(host: HostFolder) -> str:
    return (host.root / ".vvmigrate/secrets").read_text().split('"')[3]


def into_log(host: HostFolder) -> None:
    with (host.home / "logs/bootstrap.log").open("a") as log:
        log.write(secret(host))


def into_history(host: HostFolder) -> None:
    host.sql("UPDATE vv_step SET error = ?", f"could not set {TOKEN}")


def into_open_file(host: HostFolder) -> None:
    path = host.root / "summaries/note.txt"
    path.write_text((host.root / ".vvmigrate/key").read_text())
    path.chmod(0o640)


@pytest.fixture
def watched(host: HostFolder, monkeypatch: pytest.MonkeyPatch) -> HostFolder:
    """A host with a witness of its own, so that what is planted is not laid to this test's charge."""
    assert host.witness is not None
    host.witness.hosts.remove(host)
    witness = Witness([host])
    monkeypatch.setattr(HostFolder, "witness", witness)
    monkeypatch.setattr(subprocess.Popen, "communicate", heard(witness))
    return host


def leaks(host: HostFolder) -> list[str]:
    assert host.witness is not None
    return host.witness.leaks()


@pytest.mark.parametrize("plant", [into_log, into_history, into_open_file])
def test_a_secret_in_a_file_is_found(watched: HostFolder, plant: Callable[[HostFolder], None]) -> None:
    """In the log, in a row of the history, and in a file that others may read; never without having been planted."""
    watched.up(values={"TELEGRAM_BOT_TOKEN": TOKEN})
    assert leaks(watched) == []
    plant(watched)
    found = leaks(watched)
    assert len(found) == 1
    assert TOKEN not in found[0]


def test_a_secret_in_what_is_printed_or_reported_is_found(watched: HostFolder) -> None:
    """Whatever process prints it, and in whatever report or event it stands."""
    watched.up(values={"TELEGRAM_BOT_TOKEN": TOKEN})
    assert leaks(watched) == []
    print_it = [sys.executable, "-c", "import sys; sys.stderr.write(sys.stdin.read())"]
    subprocess.run(print_it, input=f"no such token: {secret(watched)}", capture_output=True, text=True, check=True)
    watched.call("upgrade", "head", storage_root=str(watched.home / TOKEN))
    places = {place.split(" of ")[0] for place in leaks(watched)}
    assert places == {"stderr", "report"}


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="a leak is planted, and fails the test that has it")
def test_a_test_that_leaks_fails(host: HostFolder) -> None:
    """Nothing in the test itself complains."""
    host.up()
    into_log(host)


def test_every_test_is_watched(host: HostFolder) -> None:
    """Without being asked for, a witness knows this test's host and its secrets, and hears what comes out."""
    host.up(values={"TELEGRAM_BOT_TOKEN": TOKEN})
    host.run("status")
    assert host.witness is not None
    assert host in host.witness.hosts
    assert host.witness.secrets >= {TOKEN.encode(), secret(host).encode()}
    assert any(where.startswith("report of upgrade") for where, _ in host.witness.said)
    assert any(where.startswith("stdout of") for where, _ in host.witness.said)
