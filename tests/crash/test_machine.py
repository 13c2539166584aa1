"""Random sequences of upgrades, downgrades, kills, edits and new revisions, compared with a small model after each."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.conftest import HostFolder, copy_release
from vvmigrate.engine.ledger import COMMITTED

from . import dying
from .model_of_host import Asset, Model
from .power import new_folder

SEED = 20250104
KINDS = ("directories", "asset", "env", "table", "column")
MOST_REVISIONS = 7
NUMBERS = st.integers(0, 99)
CALLS = st.integers(30, 220)
FEWEST_STEPS = 800  # of four such tests
EDITS = ("nothing", "settings", "value", "asset", "delete", "file")


class Machine(RuleBasedStateMachine):
    """A host, and what it must be."""

    scratch: Path
    steps = 0
    kills: ClassVar[Counter[str]] = Counter()
    pruned = 0

    @initialize(kinds=st.permutations(KINDS))
    def begin(self, kinds: list[str]) -> None:
        """A release of one revision, a host that is up, and an orchestrator's own table."""
        self.folder = Path(tempfile.mkdtemp(dir=self.scratch))
        self.host, self.model, self.serial = new_release(self.folder), Model(), 0
        self.model.template = set(re.findall(r"^([A-Z_]+)=", self.template().read_text(), re.MULTILINE))
        self.host.up()
        self.model.go(1)
        self.host.sql("CREATE TABLE base (id INTEGER PRIMARY KEY)")
        self.host.sql("INSERT INTO base VALUES (1), (2), (3)")
        for kind in kinds[:4]:
            self.new_revision(kind)

    def teardown(self) -> None:
        """Remove the host."""
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    def template(self) -> Path:
        """The release's template of `.env`."""
        return self.host.home / ".env.example"

    def asset(self, revision: int) -> Path:
        """Where a revision's asset stands."""
        return self.host.root / f"fallback/asset_{revision}.txt"

    def fresh(self, word: str) -> str:
        """A word that was never used before."""
        self.serial += 1
        return f"{word}{self.serial}"

    # ---- commands ------------------------------------------------------------------------------------------------

    def _goal(self, number: int) -> tuple[str, str, int]:
        goal = number % (self.model.head + 1)
        goal = goal if goal != self.model.version else (goal + 3) % (self.model.head + 1)
        verb = "upgrade" if goal > self.model.version else "downgrade"
        return verb, f"{goal:04d}" if goal else "base", goal

    @rule(number=NUMBERS, prune=st.booleans())
    def go(self, number: int, prune: bool) -> None:
        """A command that nothing disturbs arrives; what no way back needs any more may go then, and nobody sees it."""
        verb, name, goal = self._goal(number)
        report = self.host.call(verb, name, release_hold=True)
        assert report.exit_code == 0, report.error
        self.model.go(goal)
        if prune:
            report = self.host.call("prune")
            assert report.exit_code == 0, report.error
            type(self).pruned += len(report.body["pruned"])

    @rule(
        number=NUMBERS,
        call=CALLS,
        again=st.none() | st.integers(1, 120),
        edit=st.sampled_from(EDITS),
        prune=st.sampled_from((False, False, True)),
    )
    def crash(self, number: int, call: int, again: int | None, edit: str, prune: bool) -> None:
        """A command is killed, somebody edits something, perhaps the recovery is killed too; then it is settled."""
        before = self.model.version
        verb, name, goal = ("prune", "", before) if prune else self._goal(number)
        killed = dying.crash_at_call(self.host, call, verb, *filter(None, [name]), release_hold=True)
        version, way = int(self.host.version() or 0), sorted((before, goal))
        assert way[0] <= version <= way[1]
        assert killed or version == goal
        self.kills[verb] += killed
        self.model.go(version)
        pending = (self.host.root / ".vvmigrate/journal").exists()
        self._edit(edit, number, pending=pending)
        if again is not None:
            dying.crash_at_call(self.host, again, "recover")
        dying.settled(self.host)

    # ---- people --------------------------------------------------------------------------------------------------

    @rule(what=st.sampled_from(EDITS), number=NUMBERS)
    def edit(self, what: str, number: int) -> None:
        """Somebody edits something between two commands."""
        self._edit(what, number, pending=False)

    def _edit(self, what: str, number: int, *, pending: bool) -> None:
        if what == "settings":
            self._save(f"MINE_{number % 3}")
        elif what == "value":
            self._save("KEY_ID")
            self.model.keys["KEY_ID"] = 0
        elif what in ("asset", "delete") and self.model.assets:
            self._edit_asset(sorted(self.model.assets)[number % len(self.model.assets)], what, pending=pending)
        elif what == "file":
            folder = sorted(self.model.directories())[number % len(self.model.directories())]
            if (self.host.root / folder).is_dir():
                name = f"{folder}/{self.fresh('theirs')}"
                self.model.files[name] = self.fresh("content ").encode()
                (self.host.root / name).write_bytes(self.model.files[name])
                self.model.standing.add(folder)

    def _save(self, key: str) -> None:
        """Save `.env` as an editor does, with one value of the user's."""
        value, path = self.fresh("value"), self.host.home / ".env"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        lines = [line for line in lines if not line.startswith(f"{key}=")]
        fresh = path.with_name("editor's.tmp")
        fresh.write_text("".join([*lines, f"{key}={value}\n"]))
        fresh.replace(path)
        self.model.mine[key] = value

    def _edit_asset(self, revision: int, what: str, *, pending: bool) -> None:
        path, asset = self.asset(revision), self.model.assets[revision]
        if what == "asset" and path.parent.is_dir():
            asset.now = self.fresh("painted ").encode()
            fresh = path.with_name("painter's.tmp")
            fresh.write_bytes(asset.now)
            fresh.replace(path)
            self.model.standing.add("fallback")
        elif what == "delete" and path.exists() and not pending:
            path.unlink()
            asset.now = None

    # ---- the orchestrator ----------------------------------------------------------------------------------------

    @rule(number=NUMBERS)
    def write_rows(self, number: int) -> None:
        """The orchestrator writes into whatever table and column it has."""
        for revision in self.model.of_kind("table", applied=True):
            self.model.rows.setdefault(revision, set()).add(number)
            self.host.sql(f"INSERT OR IGNORE INTO table_{revision} VALUES (?)", number)
        for revision in self.model.of_kind("column", applied=True):
            row = 1 + number % 3
            self.model.scores.setdefault(revision, {})[row] = number
            self.host.sql(f"UPDATE base SET column_{revision} = ? WHERE id = ?", number, row)

    # ---- the release ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.head < MOST_REVISIONS)
    @rule(kind=st.sampled_from(KINDS))
    def next_release(self, kind: str) -> None:
        """The release gets one more revision."""
        self.new_revision(kind)

    def new_revision(self, kind: str) -> None:
        """Write a revision, with its inputs."""
        number = self.model.head + 1
        self.model.kinds[number] = kind
        up, down = {
            "directories": (f"op.make_directories(['made_{number}'])", "op.revert()"),
            "asset": (f"op.install_assets('fallback', 'fallback', ['asset_{number}.txt'])", "op.revert()"),
            "env": ("op.merge_env()", "op.revert()"),
            "table": (
                f"op.create_table('table_{number}', sa.Column('id', sa.Integer, primary_key=True))",
                f"op.drop_table('table_{number}')",
            ),
            "column": (
                f"op.add_column('base', sa.Column('column_{number}', sa.Integer))",
                f"op.drop_column('base', 'column_{number}')",
            ),
        }[kind]
        if kind == "asset":
            self.model.assets[number] = Asset(b"")
            self._new_input(number)
        elif kind == "env":
            self.model.template.add(f"ADDED_{number}")
            with self.template().open("a") as file:
                file.write(f"\n# New in {number}.\n# @sensitive=false\nADDED_{number}=value\n")
        self.host.revision(f"{number:04d}", up, down)

    @rule(number=NUMBERS)
    def change_input(self, number: int) -> None:
        """The release brings another asset, for a revision that is not applied."""
        if waiting := self.model.of_kind("asset", applied=False):
            self._new_input(waiting[number % len(waiting)])

    def _new_input(self, revision: int) -> None:
        self.model.assets[revision].release = self.fresh("released ").encode()
        (self.host.home / f"fallback/asset_{revision}.txt").write_bytes(self.model.assets[revision].release)

    # ---- what must hold ------------------------------------------------------------------------------------------

    @invariant()
    def version_and_history_agree(self) -> None:
        """The version row, the steps that happened, the chain."""
        type(self).steps += 1
        assert int(self.host.version() or 0) == self.model.version
        entries = self.host.call("history", verify=True)
        assert entries.exit_code == 0, entries.error
        done = [(e["revision"], e["direction"]) for e in entries.body["entries"] if e["result"] in COMMITTED]
        assert [(int(revision), direction) for revision, direction in reversed(done)] == self.model.done

    @invariant()
    def files_are_as_they_must_be(self) -> None:
        """Directories, the user's files, assets."""
        root = self.host.root
        assert {name: (root / name).is_dir() for name in self.model.directories()} == self.model.directories()
        assert {name: (root / name).read_bytes() for name in self.model.files} == self.model.files
        for revision, asset in self.model.assets.items():
            path = self.asset(revision)
            assert (path.read_bytes() if path.exists() else None) == asset.now, revision

    @invariant()
    def settings_are_as_they_must_be(self) -> None:
        """The user's values, and exactly the keys that applied revisions added."""
        path = self.host.home / ".env"
        lines = [line.partition("=") for line in path.read_text().splitlines() if "=" in line] if path.exists() else []
        found = {name: value for name, _, value in lines if not name.startswith("#")}
        assert {key: found.get(key) for key in self.model.mine} == self.model.mine
        assert found.keys() == self.model.keys.keys() | self.model.mine.keys()

    @invariant()
    def rows_are_as_they_must_be(self) -> None:
        """Whatever the orchestrator wrote is there as soon as its table and column are."""
        for revision in self.model.of_kind("table", applied=True):
            rows = {row[0] for row in self.host.sql(f"SELECT id FROM table_{revision}")}
            assert rows == self.model.rows.get(revision, set())
        for revision in self.model.of_kind("column", applied=True):
            scores = self.host.sql(f"SELECT id, column_{revision} FROM base WHERE column_{revision} IS NOT NULL")
            assert dict(scores) == self.model.scores.get(revision, {})


def new_release(folder: Path) -> HostFolder:
    """A release of one revision, and no host yet."""
    return copy_release(folder, "000[2-9]*", "models")


@pytest.fixture
def scratch() -> Iterator[Path]:
    """In memory: what is tried here is no power loss."""
    folder = new_folder("machine")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("number", [0, *(pytest.param(n, marks=pytest.mark.full) for n in range(1, 4))])
def test_no_sequence_of_events_breaks_the_promise(
    scratch: Path, number: int, pytestconfig: pytest.Config, record_property: Callable[[str, object], None]
) -> None:
    """Some two hundred events, thousands with --full; VV_SEED=N tries others."""
    first, full = int(os.environ.get("VV_SEED", SEED)) + number, pytestconfig.getoption("--full")
    examples, length = (40, 40) if full else (8, 25)
    Machine.scratch, Machine.steps, Machine.kills, Machine.pruned = scratch, 0, Counter(), 0
    print(f"seed {first}")
    record_property("seed", first)
    run_state_machine_as_test(
        seed(first)(Machine),
        settings=settings(
            max_examples=examples, stateful_step_count=length, deadline=None, database=None, print_blob=False,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate],
        ),
    )  # fmt: skip
    print(f"{Machine.steps} states of a host, killed: {dict(Machine.kills)}, {Machine.pruned} things pruned")
    assert all(Machine.kills[verb] for verb in ("upgrade", "downgrade", "prune"))
    assert Machine.pruned > 0
    assert Machine.steps >= (FEWEST_STEPS if full else 100)
