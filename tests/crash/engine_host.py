"""A host of this release for the crash tests: how it is brought to a revision, and what must hold after a strike."""

import json
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.conftest import HostFolder, copy_release

from .killpoints import Harness
from .scenario import Outcome, Scenario
from .shim import Call, HarnessError
from .trees import Entry, Snapshot, differences

#: Alembic's `op` is one for a process: setups and checks of two workers must not meet in it.
ALEMBIC: Final = threading.Lock()
APP: Final = "vvmigrate.cli:main"
PRELOAD: Final = (
    "alembic", "alembic.command", "alembic.ddl.sqlite", "click", "jsonschema", "requests", "rich._emoji_codes",
    "rich.console", "rich.progress", "sqlalchemy", "sqlalchemy.dialects.sqlite", "vvmigrate.commands.adopt",
    "vvmigrate.commands.downgrade",
    "vvmigrate.commands.inspect", "vvmigrate.commands.plan", "vvmigrate.commands.prune", "vvmigrate.commands.recover",
    "vvmigrate.commands.repair", "vvmigrate.commands.upgrade", "vvmigrate.text",
)  # fmt: skip
IGNORE: Final = ("logs", ".vvmigrate")
DATABASE: Final = "orchestrator_data/orchestrator_db.sqlite"
#: What the engine itself makes before the first step, and no downgrade removes.
MADE_BY_ENGINE: Final = ("storage", "storage/orchestrator_data")
TIMES: Final = re.compile(rb'"(created_at|installed_at)": "[^"]*"')
IDENTIFIER: Final = re.compile(r"[0-9a-f]{32}")
CONTENT_SHOWN: Final = 60


def host_folder(root: Path) -> HostFolder:
    """The host in a worker's root."""
    return HostFolder(root / "home", root / "storage")


def new_host(root: Path) -> HostFolder:
    """Put the release into a worker's root; no storage root yet."""
    return copy_release(root)


def bring(root: Path, *commands: Sequence[str]) -> HostFolder:
    """Put a host into a worker's root and run commands on it."""
    host = new_host(root)
    for verb, target in commands:
        run(host, verb, target)
    return host


def run(host: HostFolder, verb: str, *arguments: str) -> None:
    """Run a command in this process, and expect it to succeed."""
    with ALEMBIC:
        report = host.call(verb, *arguments)
    if report.exit_code:
        msg = f"{verb} {' '.join(arguments)} exits {report.exit_code}: {report.error}"
        raise HarnessError(msg)


# ---- what a host is --------------------------------------------------------------------------------------------------


def next_release(host: HostFolder) -> None:
    """Let a release follow that replaces an asset, merges a changed template and drops a column with rows."""
    for n in range(30):
        row = (f"{n:064x}", f"video {n}.mp4", n, "done", "2025-01-01")
        host.sql(
            "INSERT INTO processed_videos (sha256, file_name, size_bytes, status, first_seen) VALUES (?,?,?,?,?)", *row
        )
    (host.home / "fallback/placeholder.png").write_bytes(b"another picture" * 999)
    template = (host.home / ".env.example").read_text("utf-8").replace("KEY_ID=key-1", "KEY_ID=key-2")
    (host.home / ".env.example").write_text(template + "\n# New.\n# @sensitive=false\nNEW_KEY=new\n", "utf-8")
    host.revision(
        "0007",
        'op.install_assets("fallback", "fallback", ["placeholder.png"])\nop.merge_env()\n'
        'op.drop_column("processed_videos", "size_bytes")',
        'op.revert()\nop.add_column("processed_videos", sa.Column("size_bytes", sa.Integer))',
    )


@dataclass(frozen=True)
class State:
    """A host's state as people and programs see it: files, and the orchestrator's tables."""

    tree: Snapshot
    tables: tuple[str, ...]

    def unlike(self, other: "State") -> list[str]:
        """What differs, the most telling first."""
        paths = differences(self.tree, other.tree)
        shown = [f"{p} {_shown(self.tree.get(p))} against {_shown(other.tree.get(p))}" for p in paths]
        return [*shown, *sorted(set(self.tables) ^ set(other.tables))]


def _shown(entry: Entry | None) -> str:
    if entry is None:
        return "missing"
    return f"{entry.mode:o} {entry.uid}:{entry.gid} {len(entry.content)} B {entry.content[-CONTENT_SHOWN:]!r}"


def state_of(snapshot: Snapshot, folder: Path, root: Path, *, fresh: bool = False) -> State:
    """The state in a snapshot.

    Args:
        snapshot: Of the folder.
        folder: The worker's root or one of its copies.
        root: The worker's root: its path stands in files, and counts as one word.
        fresh: Leave out what the engine makes before the first step.
    """
    secret = secrets_in(folder).get("HMAC_SECRET_KEY", "")
    tree = {}
    for path, entry in snapshot.items():
        if path.startswith(("home", "storage")) and not path.startswith("storage/" + DATABASE):
            if fresh and path in MADE_BY_ENGINE:
                continue
            content = TIMES.sub(rb'"\1": ""', entry.content).replace(os.fsencode(root), b"{root}")
            tree[path] = entry._replace(content=content.replace(secret.encode(), b"{secret}") if secret else content)
    return State(tree, tuple(tables_of(folder / "storage" / DATABASE)))


def tables_of(database: Path) -> list[str]:
    """The orchestrator's tables with all their rows, and what is kept of it, a line each."""
    if not database.exists():
        return ["journal mode delete"]  # as in the one that the engine makes before the first step
    # A copy that is only looked at must not be opened for writing: SQLite would tidy its side files away.
    alone = not database.with_name(database.name + "-wal").exists()
    uri = f"file:{database}?mode=ro" + ("&immutable=1" if alone else "")
    with closing(sqlite3.connect(uri, uri=True)) as db:
        mode = "wal" if _header(database)[18:19] == b"\2" else "delete"
        found = [f"journal mode {mode}"]
        for kind, name, sql in db.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall():
            plain = re.sub(r"vv_kept_[0-9a-f]{8}_", "vv_kept_#_", f"{kind} {name} {sql}")
            if name.startswith(("vv_", "sqlite_autoindex_vv_")) and not name.startswith("vv_kept_"):
                continue
            found.append(plain)
            if kind == "table":
                rows = sorted(map(repr, db.execute(f'SELECT * FROM "{name}"').fetchall()))
                found += [f"{plain.split(' ')[1]} {row}" for row in rows]
    return found


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(100)


def secrets_in(folder: Path) -> dict[str, str]:
    """The generated secrets of the host in a folder."""
    path = folder / "storage/.vvmigrate/secrets"
    found: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found


# ---- striking --------------------------------------------------------------------------------------------------------


class StepHarness(Harness):
    """A harness whose calls are compared without the random names of steps."""

    def _compare(self) -> None:
        lists = [self.names(w.calls, w.root) for w in self.workers]
        for other in lists[1:]:
            if other != lists[0]:
                at = next((i for i, (a, b) in enumerate(zip(lists[0], other, strict=False)) if a != b), -1)
                msg = f"the calls differ from run to run, first at {at}: {lists[0][at]} against {other[at]}"
                raise HarnessError(msg)

    def names(self, calls: Sequence[Call], root: Path) -> list[str]:
        """Return the calls without what is random."""
        return [IDENTIFIER.sub("#", c.about(root)) for c in calls]


def scenario(
    setup: Callable[[Path], None],
    verb: str,
    target: str,
    check: Callable[[Outcome], str],
    **more: Any,
) -> Scenario:
    """A command on a host, struck, with `recover` as the next command; what is more goes to the scenario."""
    return Scenario(
        setup, [verb, *filter(None, [target]), "--home", "{root}/home"], ["recover", "--home", "{root}/home"],
        check, app=APP, preload=PRELOAD, ignore=IGNORE,
        env={"VIDEO_STORAGE_ROOT": "{root}/storage", "VV_MODEL_VARIANT": "demo"}, **more,
    )  # fmt: skip
