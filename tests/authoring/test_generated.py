"""Generated changes to a release's inputs: each is answered by a revision that covers it, and goes back exactly."""

from __future__ import annotations

import hashlib
import itertools
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from tests.authoring.release import (
    NAME,
    add_directory,
    add_key,
    add_version,
    declare_tables,
    differences,
    edit,
    remove_key,
    rename_key,
    write,
)
from tests.conftest import HostFolder, copy_release

INPUTS = ("alembic.ini", "migrations", "model_manifest.json", ".env.example", "fallback", "orchestrator")
FREE = ("LOG_LEVEL", "YOLO_MODEL_VERSION", "KEY_ID", "PROMPT_FILE_PATH", "GRAFANA_PORT", "PROMETHEUS_PORT", "DVR_IP")
VALUES = ("", "plain", "'with blanks'", '"two words"', "7", "/a/path", "'#no comment'")
ABOVE = ("# @sensitive=false", "# @required", "# @sensitive @generate=hex(16)", "# @sensitive", "# @public")
COLUMN = '    sa.Column("size_bytes", sa.Integer),\n'
TYPES = ("sa.Integer", "sa.Text", "sa.String(20)", "sa.Float", "sa.Boolean", "sa.DateTime")


class Author:
    """Somebody who changes a release's inputs at random.

    Attributes:
        answers: what only the author knows: `renamed` and `removed`.
        holds: checks of the host, once it has the release.
    """

    def __init__(self, host: HostFolder, seed: int) -> None:
        """The same seed makes the same changes."""
        self.host, self.random = host, random.Random(seed)
        self.answers: dict[str, list[str]] = {"renamed": [], "removed": []}
        self.holds: list[Callable[[], bool]] = []
        self._free = self.random.sample(FREE, len(FREE))
        self._number = itertools.count(1)

    def work(self) -> None:
        """Up to six changes; of tables at most one, since they are one file."""
        kinds = [self.new_key, self.other_default, self.key_gone, self.new_name, self.new_asset, self.other_asset]
        kinds += [self.asset_gone, self.directory, self.version]
        chosen = self.random.sample(kinds, self.random.randint(1, 5))
        if self.random.random() < 0.5:
            chosen.append(self.tables)
        for kind in chosen:
            kind()

    def env(self) -> dict[str, str | None]:
        return dict(dotenv_values(self.host.home / ".env", interpolate=False))

    # ---- keys ----------------------------------------------------------------------------------------------------

    def new_key(self) -> None:
        name = f"NEW_{next(self._number)}"
        add_key(self.host, name, self.random.choice(VALUES), self.random.choice(ABOVE))
        self.holds.append(lambda: name in self.env())

    def other_default(self) -> None:
        name = self._free.pop()
        before = self.env()[name]
        template = self.host.home / ".env.example"
        line = next(line for line in template.read_text().splitlines() if line.startswith(f"{name}="))
        edit(template, f"\n{line}\n", f"\n{name}=other{self.random.randint(0, 99)}\n")
        self.holds.append(lambda: self.env()[name] == before)

    def key_gone(self) -> None:
        name = self._free.pop()
        remove_key(self.host, name)
        self.answers["removed"].append(name)

    def new_name(self) -> None:
        old, says = self._free.pop(), self.random.random() < 0.5
        before, new = self.env()[old], f"{old}_RENAMED"
        rename_key(self.host, old, new, says=says)
        if not says:
            self.answers["renamed"].append(f"{old}={new}")
        self.holds.append(lambda: self.env().get(new) == before and old not in self.env())

    # ---- files ---------------------------------------------------------------------------------------------------

    def _asset(self, name: str) -> None:
        data = self.random.randbytes(self.random.randint(0, 5000))
        (self.host.home / "fallback" / name).write_bytes(data)
        self.holds.append(lambda: (self.host.root / "fallback" / name).read_bytes() == data)

    def new_asset(self) -> None:
        self._asset(self.random.choice(["night.png", "a b.png", "ünï.mp4", "UPPER.TXT", "x'y.png"]))

    def other_asset(self) -> None:
        self._asset("placeholder.png")

    def asset_gone(self) -> None:
        (self.host.home / "fallback/loop_silencioso.mp4").unlink()
        self.holds.append(lambda: not (self.host.root / "fallback/loop_silencioso.mp4").exists())

    def directory(self) -> None:
        name = "/".join(self.random.sample(["faces", "known", "night", "input", "2025"], self.random.randint(1, 3)))
        if (self.host.root / name).exists():
            name += "/below"
        add_directory(self.host, name)
        self.holds.append((self.host.root / name).is_dir)

    def version(self) -> None:
        data = self.random.randbytes(3000)
        add_version(self.host, f"1.{self.random.randint(1, 20)}.0", data)
        self.holds.append(lambda: (self.host.root / f"models/{NAME}/model.bin").read_bytes() == data)

    # ---- tables --------------------------------------------------------------------------------------------------

    def tables(self) -> None:
        kind, of = (
            self.random.choice(["column", "default", "gone", "index", "table", "type"]),
            self.random.choice(TYPES),
        )
        column = f'    sa.Column("added", {of}),\n'
        changes: dict[str, tuple[tuple[str, str], ...]] = {
            "column": ((COLUMN, COLUMN + column),),
            "default": ((COLUMN, COLUMN + '    sa.Column("added", sa.Text, server_default="x", nullable=False),\n'),),
            "gone": ((COLUMN, ""),),
            "index": ((COLUMN, COLUMN + '    sa.Index("ix_added", "file_name", "size_bytes"),\n'),),
            "type": ((COLUMN, COLUMN.replace("sa.Integer", "sa.Text")),),
        }
        table = f'sa.Table("added", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("x", {of}))\n'
        declare_tables(self.host, *changes.get(kind, ()), more=table if kind == "table" else "")


def orchestrators(host: HostFolder) -> dict[str, Any]:
    """Columns and rows of the orchestrator's tables, columns in the order of their names; and its indexes."""
    found: dict[str, Any] = {}
    for (name,) in host.sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'vv_%'"):
        columns = sorted(row[1:] for row in host.sql(f"PRAGMA table_xinfo({name})"))
        found[name] = columns, sorted(host.sql(f"SELECT {', '.join(row[0] for row in columns)} FROM {name}"))
    found["indexes"] = host.sql("SELECT name, tbl_name FROM sqlite_master WHERE name LIKE 'ix_%' ORDER BY name")
    return found


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> HostFolder:
    """A host with the baseline, some videos, and an orchestrator that declares its tables."""
    host = copy_release(tmp_path_factory.mktemp("settled"))
    declare_tables(host)
    host.up(values={"DVR_IP": "192.168.1.20", "KEY_ID": "mine"})
    for n in range(5):
        host.sql("INSERT INTO processed_videos VALUES (?, 'x.mp4', ?, 'done', 'now', NULL, NULL)", f"{n:064x}", n)
        host.sql("INSERT INTO stage_runs VALUES (?, ?, 'scan', 'now', NULL, 'good', NULL)", n, f"{n:064x}")
    return host


@pytest.fixture
def host(settled: HostFolder) -> Iterator[HostFolder]:
    """The same; afterwards its inputs are what they were."""
    aside = settled.home.parent / "aside"
    shutil.rmtree(aside, ignore_errors=True)
    for name in INPUTS:
        source = settled.home / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, _made(aside / name))
    yield settled
    for name in INPUTS:
        place = settled.home / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        shutil.move(aside / name, place)


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


SEEDS = [pytest.param(seed, marks=() if seed < 10 else (pytest.mark.full,)) for seed in range(100)]


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_changed_is_covered_by_its_revision_and_taken_back(host: HostFolder, seed: int) -> None:
    """Applied: nothing differs, and the host has it all. Taken back: the digest, every byte and every row return."""
    digest, rows = host.call("status").body["state_digest"], orchestrators(host)
    storage = {path: facts for path, facts in host.tree().items() if not path.startswith("home/")}
    env = (host.home / ".env").read_bytes()
    assert differences(host) == []
    author = Author(host, seed)
    author.work()
    seen = differences(host)
    assert seen or not author.holds
    if not seen:
        return
    source = write(host, **author.answers)
    assert all(f"# {line}\n" in source for line in seen if "new key" not in line and "gone" not in line)
    host.up()
    assert differences(host) == []
    assert host.call("check").body["findings"] == []
    assert all(check() for check in author.holds), source
    assert host.call("verify").exit_code == 0
    host.down("-1", no_hold=True)
    after = {path: facts for path, facts in host.tree().items() if not path.startswith("home/")}
    lasting = {path for path in after.keys() - storage.keys() if "/models/.store" in path}
    assert {path: facts for path, facts in after.items() if path not in lasting} == storage
    assert ((host.home / ".env").read_bytes(), orchestrators(host)) == (env, rows)
    assert host.call("status").body["state_digest"] == digest


def test_the_generator_makes_different_changes(host: HostFolder) -> None:
    """The same seed makes the same changes, another one others: a failure can be had again by its seed."""

    def made(seed: int) -> str:
        random_author = Author(host, seed)
        kinds = ("new_key", "other_default", "key_gone", "new_name", "new_asset", "other_asset")
        chosen: list[str] = []
        for kind in (*kinds, "asset_gone", "directory", "version", "tables"):
            setattr(random_author, kind, lambda kind=kind: chosen.append(kind))
        random_author.work()
        return hashlib.sha256(repr(chosen).encode()).hexdigest()

    assert [made(seed) for seed in range(20)] == [made(seed) for seed in range(20)]
    assert len({made(seed) for seed in range(20)}) > 15
