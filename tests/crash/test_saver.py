"""Somebody saves at any access, again and again, and the command is killed in between: no newest save is lost."""

from __future__ import annotations

import multiprocessing
import random
import shutil
from collections.abc import Iterator
from itertools import product
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HostFolder

from . import dying, trees
from .engine_host import StepHarness
from .people import holders
from .power import new_folder
from .saving import SAVES, Saving

SEED = 20250102
MOST_SAVES = 1_000_000
ASSET = "fallback/placeholder.png"
#: How many saves in a row, and whether the command is killed right after them.
BURSTS = ((1, False), (2, False), (5, False), (1, True), (2, True), (3, True))


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory: what is tried here is no power loss."""
    folder = new_folder("saver")
    (folder / "host").mkdir()
    yield folder / "host"
    shutil.rmtree(folder)


class Saver:
    """Somebody who edits `.env`: each save has a number, and is the file as it stands with that number in it."""

    def __init__(self, host: HostFolder) -> None:
        """No save yet."""
        self.path = host.home / ".env"
        self.count = host.home.parent.parent / "saves"  # outlives a process that is killed

    def __call__(self) -> None:
        """Save once more."""
        number = self.last + 1
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.is_file() else []
        fresh = self.path.with_name("editor's.tmp")
        fresh.write_bytes(b"".join(line for line in lines if b"MINE=" not in line) + b"MINE=%d\n" % number)
        fresh.replace(self.path)
        self.count.write_text(str(number))

    @property
    def last(self) -> int:
        """The number of the newest save; 0 before the first."""
        return int(self.count.read_text()) if self.count.exists() else 0


def prepared(host: HostFolder) -> HostFolder:
    """A host whose next revision changes `.env` alone."""
    host.up()
    (host.home / ".env").write_bytes(b"OLD='theirs'\nLOG_LEVEL=DEBUG\n")
    host.revision("0002", "op.merge_env()")
    return host


def numbers(names: list[str], seed: int, *, full: bool) -> list[int]:
    """All accesses with --full; else some of those near `.env` or its slot."""
    if full:
        return list(range(1, len(names) + 1))
    near = [
        n for n, name in enumerate(names, 1) if name == ".env" or "/0" in name or name.endswith(("journal", "undo"))
    ]
    return sorted(random.Random(seed).sample(near, 6))


@pytest.mark.parametrize("verb", ["upgrade", "downgrade"])
def test_the_newest_save_is_never_lost(bare: HostFolder, verb: str, pytestconfig: pytest.Config) -> None:
    """Saves right before each access, one or several in a row, with and without a kill: the newest one stands."""
    host, saver = prepared(bare), Saver(bare)
    if verb == "downgrade":
        host.up()
    command = (verb, "head") if verb == "upgrade" else (verb, "-1")
    before = host.home.parent.parent / "before"
    trees.copy(host.home.parent, before)
    with dying.at_calls({}) as seen:
        host.call(*command)
    print(f"seed {SEED}, {len(seen)} accesses")
    deaths = []
    for number in numbers(seen, SEED, full=pytestconfig.getoption("--full")):
        for burst, killed in BURSTS:
            trees.copy(before, host.home.parent)
            saver.count.unlink(missing_ok=True)
            acts = {number + n: saver for n in range(burst)}
            if killed:
                deaths.append(dying.crash_at_call(host, number + burst, *command, acts=acts))
            else:
                with dying.at_calls(acts):
                    host.call(*command)
            dying.settled(host)
            what = f"{verb}: {burst} saves at access {number}, killed: {killed}"
            the_users_stand(host, saver, what)
            if host.version() == "0001":
                assert b"ORCHESTRATOR_INTERVAL" not in (host.home / ".env").read_bytes(), what
    mostly(deaths)


def mostly(deaths: list[bool]) -> None:
    """Commands that were to be killed were: one that ends before proves nothing of a kill."""
    print(f"{sum(deaths)} of {len(deaths)} killed")
    assert sum(deaths) > len(deaths) / 2


def the_users_stand(host: HostFolder, saver: Saver, what: str) -> None:
    """The newest save and all that was the user's stand in `.env`."""
    text = (host.home / ".env").read_bytes()
    assert b"OLD='theirs'" in text, what
    assert b"LOG_LEVEL=DEBUG" in text, what
    if saver.last:
        assert b"MINE=%d\n" % saver.last in text, (what, saver.last, text, holders(host, b"MINE="))


# ---- a process that saves in a loop ----------------------------------------------------------------------------------


def keep_saving(env: Saver, asset: Path, stop: Event) -> None:
    """Save both files again and again, as fast as it goes, until told to stop; the last number stands in both."""
    while not stop.is_set() and env.last < MOST_SAVES:
        env()
        fresh = asset.with_name("painter's.tmp")
        fresh.write_bytes(b"picture %d\n" % env.last)
        fresh.replace(asset)


@pytest.mark.parametrize("killed", [False, True], ids=["alive", "killed"])
def test_a_process_that_saves_in_a_loop_loses_nothing(
    bare: HostFolder, killed: bool, pytestconfig: pytest.Config
) -> None:
    """Up and down and up again while somebody saves: the last save of both files is found, in place or named."""
    host, saver, stop = prepared(bare), Saver(bare), multiprocessing.Event()
    host.revision("0003", "op.install_assets('fallback', 'fallback', ['placeholder.png'])")
    process = multiprocessing.get_context("fork").Process(
        target=keep_saving, args=(saver, host.root / ASSET, stop), daemon=True
    )
    process.start()
    said, deaths, choose = [], [], random.Random(SEED)
    for _ in range(100 if pytestconfig.getoption("--full") else 10):
        for verb, target in (("upgrade", "head"), ("downgrade", "0001")):
            if killed:
                number = min(choose.randint(20, 250), choose.randint(20, 250))  # many a command meets a save, and ends
                deaths.append(dying.crash_at_call(host, number, verb, target, release_hold=True))
            report = host.call("recover") if killed else host.call(verb, target, release_hold=True)
            assert report.exit_code in (0, 1), report.error
            said.append(str(report.as_json()))
    stop.set()
    process.join()
    assert process.exitcode == 0
    if killed:
        mostly(deaths)
    print(f"seed {SEED}, {saver.last} saves, {len(said)} commands, {sum('Conflict' in text for text in said)} met one")
    said.append(str(host.down("0001").as_json()))
    dying.settled(host)
    # A save that was begun before a way down and ended after it brings back what that took out: the user's right.
    the_users_stand(host, saver, f"after {len(said)} commands")
    found = holders(host, b"picture %d\n" % saver.last)
    assert found, f"the last picture is lost after {len(said)} commands"
    assert any(path == str(host.root / ASSET) or any(path in text for text in said) for path in found), found


# ---- with the harness: at every call that changes anything -----------------------------------------------------------


def savings() -> list[Any]:
    """All of them with --full; else all of settings, and of each other name one."""
    found = []
    grid = product(enumerate(SAVES), enumerate(product(("meddle", "kill"), ("upgrade", "downgrade"))))
    for (i, name), (j, (mode, verb)) in grid:
        marks = () if name == ".env" or (i - j) % 4 == 1 else pytest.mark.full
        found.append(pytest.param(name, mode, verb, marks=marks, id=f"{Path(name).name}-{mode}-{verb}"))
    return found


@pytest.mark.parametrize(("name", "mode", "verb"), savings())
def test_a_save_at_any_call_is_kept(shim: Path, name: str, mode: str, verb: str, pytestconfig: pytest.Config) -> None:
    """Right before any call that changes the disk, or between a kill there and the recovery, somebody saves."""
    sample = 0 if pytestconfig.getoption("--full") else 12
    with StepHarness(Saving(name, verb).scenario(between=mode == "kill"), shim=shim, jobs=1) as harness:
        harness.strike([mode], sample=sample, seed=SEED).assert_clean()
