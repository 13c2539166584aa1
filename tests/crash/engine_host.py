"""A host of this release for the crash tests: how it is brought to a revision, and what must hold after a strike."""

import hashlib
import json
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.conftest import HostFolder, copy_release
from vvmigrate.engine.ledger import COMMITTED

from .killpoints import Harness
from .scenario import Outcome, Scenario
from .shim import Call, HarnessError
from .trees import Entry, Snapshot, differences

#: Alembic's `op` is one for a process: setups and checks of two workers must not meet in it.
ALEMBIC: Final = threading.Lock()
APP: Final = "vvmigrate.cli:main"
PLANTED: Final = "tests.crash.planted:main"
PRELOAD: Final = (
    "alembic", "alembic.command", "alembic.ddl.sqlite", "click", "jsonschema", "requests", "rich._emoji_codes",
    "rich.console", "rich.progress", "sqlalchemy", "sqlalchemy.dialects.sqlite", "vvmigrate.commands.adopt",
    "vvmigrate.commands.downgrade",
    "vvmigrate.commands.inspect", "vvmigrate.commands.plan", "vvmigrate.commands.prune", "vvmigrate.commands.recover",
    "vvmigrate.commands.repair", "vvmigrate.commands.upgrade", "vvmigrate.text",
)  # fmt: skip
#: The log, and of the state directories all but what a way back is made of: `undo` and `sources`.
IGNORE: Final = ("logs", "*/.vvmigrate/[!us]*", "*/.vvmigrate/s[!o]*")
DATABASE: Final = "orchestrator_data/orchestrator_db.sqlite"
#: A table into which somebody writes all the while: how many rows came to be is another matter in every run.
THEIRS: Final = "theirs"
#: What the engine itself makes before the first step, and no downgrade removes.
MADE_BY_ENGINE: Final = ("storage", "storage/orchestrator_data")
SOURCES: Final = "storage/.vvmigrate/sources/"
IMAGES: Final = re.compile(r"((?:home|storage)/\.vvmigrate/undo/)([0-9a-f]{32})")
#: The state directories themselves: the next command makes those that are missing.
STATE_FOLDERS: Final = re.compile(r"(home|storage)/\.vvmigrate(/undo|/sources)?")
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
    """A host's state: what people and programs see of it, and what its way back is made of.

    Attributes:
        tree: Files, and before-images; the folder of these is called after their step's place among those that
            happened, since its id is another one in every run.
        tables: The orchestrator's tables.
        sources: What is recorded of revisions, under names that are digests: an attempt that failed may add to it.
    """

    tree: Snapshot
    tables: tuple[str, ...]
    sources: Snapshot

    def unlike(self, other: "State") -> list[str]:
        """What differs, the most telling first."""
        paths = differences(self.tree, other.tree)
        shown = [f"{p} {_shown(self.tree.get(p))} against {_shown(other.tree.get(p))}" for p in paths]
        lost = sorted(f"{p} is lost or damaged" for p, entry in self.sources.items() if other.sources.get(p) != entry)
        return [*shown, *lost, *sorted(set(self.tables) ^ set(other.tables))]


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
    secret, database = secrets_in(folder).get("HMAC_SECRET_KEY", ""), folder / "storage" / DATABASE
    places = _places_of_steps(database)
    tree, sources = {}, {}
    for path, entry in snapshot.items():
        if path.startswith(SOURCES):
            content = TIMES.sub(rb'"\1": ""', entry.content)
            told = content != entry.content  # when it was made: each run has another text, and another name for it
            name = f"{SOURCES}{hashlib.sha256(content).hexdigest()}{Path(path).suffix}" if told else path
            sources[name] = entry._replace(content=content)
        elif path.startswith(("home", "storage")) and not path.startswith("storage/" + DATABASE):
            if STATE_FOLDERS.fullmatch(path) or (fresh and path in MADE_BY_ENGINE):
                continue
            content = TIMES.sub(rb'"\1": ""', entry.content).replace(os.fsencode(root), b"{root}")
            name = IMAGES.sub(lambda found: found[1] + places.get(found[2], found[2]), path)
            tree[name] = entry._replace(content=content.replace(secret.encode(), b"{secret}") if secret else content)
    return State(tree, tuple(tables_of(database)), sources)


@contextmanager
def _looked_at(database: Path) -> Iterator[sqlite3.Connection]:
    """A copy that is only looked at must not be opened for writing: SQLite would tidy its side files away."""
    alone = not database.with_name(database.name + "-wal").exists()
    uri = f"file:{database}?mode=ro" + ("&immutable=1" if alone else "")
    with closing(sqlite3.connect(uri, uri=True)) as db:
        yield db


def _places_of_steps(database: Path) -> dict[str, str]:
    """Each step that happened, and its place among them."""
    if not database.exists():
        return {}
    with _looked_at(database) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'vv_step'").fetchone():
            return {}  # an older tool's
        rows = db.execute("SELECT step_id, result FROM vv_step ORDER BY seq").fetchall()
    happened = [step_id for step_id, result in rows if result in COMMITTED]
    return {step_id: f"step {place}" for place, step_id in enumerate(happened, 1)}


def tables_of(database: Path) -> list[str]:
    """The orchestrator's tables with all their rows, and what is kept of it, a line each."""
    if not database.exists():
        return ["journal mode delete"]  # as in the one that the engine makes before the first step
    with _looked_at(database) as db:
        mode = "wal" if _header(database)[18:19] == b"\2" else "delete"
        found = [f"journal mode {mode}"]
        for kind, name, sql in db.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall():
            plain = re.sub(r"vv_kept_[0-9a-f]{8}_", "vv_kept_#_", f"{kind} {name} {sql}")
            if name.startswith(("vv_", "sqlite_autoindex_vv_")) and not name.startswith("vv_kept_"):
                continue
            found.append(plain)
            if name == THEIRS:
                ids = [row[0] for row in db.execute(f'SELECT id FROM "{name}" ORDER BY id')]
                found.append(
                    f"rows of {name} are missing" if ids != list(range(1, len(ids) + 1)) else f"{name} is whole"
                )
            elif kind == "table":
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
    bug: str = "",
    **more: Any,
) -> Scenario:
    """A command on a host, struck, with `recover` as the next command; what is more goes to the scenario.

    Args:
        bug: one of `planted.BUGS`, planted in both commands.
    """
    env = {"VIDEO_STORAGE_ROOT": "{root}/storage", "VV_MODEL_VARIANT": "demo", **({"BUG": bug} if bug else {})}
    return Scenario(
        setup, [verb, *filter(None, [target]), "--home", "{root}/home"], ["recover", "--home", "{root}/home"],
        check, app=PLANTED if bug else APP, preload=PRELOAD, ignore=IGNORE, env=env, **more,
    )  # fmt: skip
