"""Recovery of a step that had been committed, and of one whose database may not be written: met nowhere else."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.commands.proof import nothing_changes, says
from tests.conftest import HostFolder

from . import dying

SEED = 20250105


@pytest.fixture
def committed(bare: HostFolder) -> HostFolder:
    """A host whose second step was killed right after COMMIT: its journal waits to be finished."""
    bare.up()
    bare.revision("0002", "op.make_directories(['made'])\nop.merge_env()")
    dying.crash(bare, dying.COMMITTED, "upgrade")
    return bare


def finished(host: HostFolder) -> None:
    """Recovery finishes what had been committed, and takes nothing back."""
    dying.settled(host)
    assert host.history()[-1] == ("0002", "up", "applied")
    assert (host.root / "made").is_dir()
    assert b"ORCHESTRATOR_INTERVAL=" in (host.home / ".env").read_bytes()


@pytest.mark.parametrize("how", ["cut", "flipped"])
def test_a_damaged_journal_of_a_committed_step_is_refused(committed: HostFolder, how: str) -> None:
    """Even where only tidying is left to do: exit 4, nothing touched; with the right bytes back it is finished."""
    journal = committed.root / ".vvmigrate/journal"
    right, choose = journal.read_bytes(), random.Random(SEED)
    for _ in range(10):
        place = choose.randrange(len(right) - 2)
        damaged = right[:place] if how == "cut" else right[:place] + bytes([right[place] ^ 4]) + right[place + 1 :]
        journal.write_bytes(damaged)
        with nothing_changes(committed):
            says(committed.call("recover"), 4, "cannot be trusted")
    print(f"seed {SEED}")
    journal.write_bytes(right)
    finished(committed)


@contextmanager
def immutable(path: Path) -> Iterator[None]:
    """In this block not even root writes there."""
    if os.geteuid() != 0 or subprocess.run(["chattr", "+i", path], capture_output=True, check=False).returncode:
        pytest.skip("needs root, and a file system with immutable files")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


@pytest.mark.parametrize("verb", ["recover", "upgrade", "downgrade"])
@pytest.mark.parametrize("what", ["orchestrator_data/orchestrator_db.sqlite", "orchestrator_data"])
def test_a_database_that_may_not_be_written_keeps_the_journal_waiting(bare: HostFolder, what: str, verb: str) -> None:
    """Nothing is touched until the row of the killed attempt can be written; then it is undone."""
    bare.up()
    before = bare.tree()
    bare.revision("0002", "op.make_directories(['made'])\nop.merge_env()")
    dying.crash(bare, dying.WRITTEN, "upgrade")
    bare.sql("SELECT 1 FROM sqlite_master")  # the orchestrator looked, and SQLite has rolled back
    with immutable(bare.root / what), nothing_changes(bare):
        report = bare.call(verb, *(["base"] if verb == "downgrade" else []))
    says(report, 6, str(bare.root / what))
    dying.settled(bare)
    assert {path: found for path, found in bare.tree().items() if "migrations" not in path} == {
        path: found for path, found in before.items() if "migrations" not in path
    }
    assert bare.history()[-1] == ("0002", "up", "interrupted")
