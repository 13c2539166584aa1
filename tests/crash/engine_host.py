"""A host of this release for the crash tests: how it is brought to a revision, and what must hold after a strike."""

import hashlib
import json
import os
import re
import shutil
import sqlite3
import stat
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

from tests.conftest import RELEASE, REPOSITORY, HostFolder
from vvmigrate.engine.ledger import COMMITTED, Head, Ledger

from .killpoints import Harness
from .scenario import Outcome, Scenario
from .shim import Call, HarnessError
from .trees import Entry, Snapshot, differences

#: Alembic's `op` is one for a process: setups and checks of two workers must not meet in it.
ALEMBIC: Final = threading.Lock()
APP: Final = "vvmigrate.cli:main"
PRELOAD: Final = (
    "alembic", "alembic.command", "alembic.ddl.sqlite", "click", "jsonschema", "requests", "rich.console",
    "rich.progress", "sqlalchemy", "sqlalchemy.dialects.sqlite", "vvmigrate.commands.downgrade",
    "vvmigrate.commands.inspect", "vvmigrate.commands.recover", "vvmigrate.commands.upgrade", "vvmigrate.text",
)  # fmt: skip
DATABASE: Final = "orchestrator_data/orchestrator_db.sqlite"
#: What the engine itself makes before the first step, and no downgrade removes.
MADE_BY_ENGINE: Final = ("storage", "storage/orchestrator_data")
STATE_FILES: Final = frozenset(
    {"lock", "ledger_id", "key", "anchor", "reserve", "secrets", "sources", "staging", "undo", "downloads"}
)
#: A file that a crash left beside the one it was to replace; the next replacement begins by removing it.
HALF_WRITTEN: Final = frozenset({"ledger_id.new", "key.new", "anchor.new", "secrets.new", "run.new", "journal.new"})
#: What the run file and the secrets said when the struck command had just ended: between strike and recovery.
SEEN: Final = ".seen"
TIMES: Final = re.compile(rb'"(created_at|installed_at)": "[^"]*"')
IDENTIFIER: Final = re.compile(r"[0-9a-f]{32}")
#: Every so manieth point is brought to the state after by running the command again.
AGAIN_EVERY: Final = 5
CONTENT_SHOWN: Final = 60


def host_folder(root: Path) -> HostFolder:
    """The host in a worker's root."""
    return HostFolder(root / "home", root / "storage")


def new_host(root: Path) -> HostFolder:
    """Put the release into a worker's root; no storage root yet."""
    home = root / "home"
    home.mkdir(mode=0o755)
    for name in RELEASE:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, home / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, home / name)
    return host_folder(root)


def bring(root: Path, *commands: Sequence[str]) -> HostFolder:
    """Put a host into a worker's root and run commands on it."""
    host = new_host(root)
    for verb, target in commands:
        run(host, verb, target)
    return host


def run(host: HostFolder, verb: str, target: str) -> None:
    """Run a command in this process, and expect it to succeed."""
    with ALEMBIC:
        report = host.call(verb, target)
    if report.exit_code:
        msg = f"{verb} {target} exits {report.exit_code}: {report.error}"
        raise HarnessError(msg)


# ---- what a host is --------------------------------------------------------------------------------------------------


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
        return []
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


def note_what_is_there(root: Path) -> None:
    """Between strike and recovery: write down what the check cannot see any more when the recovery is done."""
    private = root / "storage/.vvmigrate"
    run_file = private / "run"
    step = json.loads(run_file.read_text("utf-8"))["step"] if run_file.exists() else None
    seen = {"step_id": step["step_id"] if step else "", "secrets": secrets_in(root)}
    (root / SEEN).write_text(json.dumps(seen), "utf-8")


# ---- what must hold --------------------------------------------------------------------------------------------------


@dataclass
class Check:
    """Judges a host after strike and recovery: files, tables, version, history and state directory agree.

    Attributes:
        verb: `upgrade` or `downgrade`.
        target: Its argument.
        path: The versions that the command leads through, the one it starts at first; base is empty.
        states: What the host is at the versions in the middle, for a command of several steps.
        secret_is_made: Whether the command makes a secret that the state before has not.
    """

    verb: str
    target: str
    path: Sequence[str]
    states: Mapping[str, State] = field(default_factory=dict)
    again_every: int = AGAIN_EVERY
    counts: Counter[str] = field(default_factory=Counter)
    _known: dict[tuple[int, int], State] = field(default_factory=dict)
    _number: "count[int]" = field(default_factory=count)

    def __call__(self, outcome: Outcome) -> str:
        """Return what is wrong, or nothing."""
        if "unforeseen:" in outcome.output or "Traceback" in outcome.output:
            return "an error that nobody foresaw"
        version, why = self._sides(outcome)
        found = why or state_directory(outcome.root) or self._secrets(outcome) or self._history(outcome, version)
        if not found and next(self._number) % self.again_every == 0:
            found = self._again(outcome)
        self.counts[f"at {version or 'base'}"] += 1
        return found

    def _fresh(self) -> bool:
        return not self.path[0] and self.verb == "upgrade"

    def _state(self, snapshot: Snapshot, folder: Path, root: Path) -> State:
        key = (id(snapshot), id(root))
        if key not in self._known:
            self._known[key] = state_of(snapshot, folder, root, fresh=self._fresh())
        return self._known[key]

    def _sides(self, outcome: Outcome) -> tuple[str, str]:
        """The version that the host is at, and what is not as it is there."""
        with opened(outcome.root) as (_, ledger):
            version = ledger.version()
        if version not in self.path:
            return version, f"version row at {version or 'base'}, which is not on the way"
        if version == self.path[0]:
            expected = self._state(outcome.before_tree, outcome.before, outcome.root)
        elif version == self.path[-1]:
            expected = self._state(outcome.after_tree, outcome.after, outcome.root)
        else:
            expected = self.states[version]
        now = state_of(outcome.now_tree, outcome.root, outcome.root, fresh=self._fresh())
        unlike = expected.unlike(now)
        if not unlike and not expected.tables and outcome.run_exit == 0:
            return version, ""
        if unlike == now_tables_of_engine(expected, now):
            unlike = []
        if unlike:
            return version, f"at {version or 'base'}, but: {'; '.join(unlike[:4])}"
        if outcome.run_exit == 0 and version != self.path[-1]:
            return version, f"exit 0, but the host is at {version or 'base'}"
        return version, ""

    def _history(self, outcome: Outcome, version: str) -> str:
        """History, version row and anchor agree; what was begun is in it; what happened is in it once, in order."""
        with opened(outcome.root) as (private, ledger):
            if problems := ledger.problems():
                return f"history: {problems[0]}"
            head = ledger.head()
            steps, kept = ledger.rows("vv_step"), ledger.rows("vv_kept")
            runs = {row["run_id"] for row in ledger.rows("vv_run")}
        anchor = json.loads((private / "anchor").read_text("utf-8")) if (private / "anchor").exists() else vars(Head())
        if anchor != vars(head):
            return f"the anchor says {anchor}, the chain ends at {head}"
        before = self._rows_before(outcome)
        new = steps[before:]
        done = [s for s in new if s["result"] in COMMITTED]
        way = self.path[: self.path.index(version) + 1]
        if [s["version_after"] for s in done] != list(way[1:]):
            return f"at {version or 'base'}, but the history has {[(s['revision'], s['result']) for s in done]}"
        if steps and not all(a["version_after"] == b["version_before"] for a, b in zip(steps, steps[1:], strict=False)):
            return "the versions in the history do not follow each other"
        if wrong := {s["result"] for s in new if s not in done} - {"failed", "interrupted"}:
            return f"results in the history: {wrong}"
        if len(new) - len(done) > 1:
            return "one attempt has several rows"
        if outcome.run_exit == 1 and not any(s["result"] == "failed" for s in new):
            return "exit 1, but no failed attempt is in the history"
        if any(s["run_id"] not in runs for s in new):
            return "a step's run is not in the history"
        committed = {s["step_id"] for s in steps if s["result"] in COMMITTED}
        if any(row["step_id"] not in committed for row in kept):
            return "rows are kept for a step that did not happen"
        if alien := [n for n in os.listdir(private / "undo") if n not in committed]:
            return f"before-images of a step that did not happen: {alien}"
        seen = _seen(outcome.root)
        if seen["step_id"] and seen["step_id"] not in {s["step_id"] for s in steps}:
            return "an attempt was begun, and the history does not know it"
        return ""

    def _rows_before(self, outcome: Outcome) -> int:
        path = outcome.before / "storage" / DATABASE
        if not path.exists():
            return 0
        with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM vv_step").fetchone()[0])

    def _secrets(self, outcome: Outcome) -> str:
        """A secret that was written once never gets another value."""
        now = secrets_in(outcome.root)
        for known in (secrets_in(outcome.before), _seen(outcome.root)["secrets"]):
            if {k: now.get(k) for k in known} != known:
                return "a generated secret was changed or lost"
        return ""

    def _again(self, outcome: Outcome) -> str:
        """The same command once more reaches exactly the state after."""
        host = host_folder(outcome.root)
        known = secrets_in(outcome.root)
        try:
            run(host, self.verb, self.target)
        except HarnessError as error:
            return f"once more: {error}"
        from .trees import Snapshots

        snapshot = Snapshots(IGNORE).take(outcome.root)
        now = state_of(snapshot, outcome.root, outcome.root, fresh=self._fresh())
        after = self._state(outcome.after_tree, outcome.after, outcome.root)
        if unlike := after.unlike(now):
            return f"once more: {'; '.join(unlike[:4])}"
        made = secrets_in(outcome.root)
        if {k: made.get(k) for k in known} != known:
            return "once more: a generated secret got another value"
        return state_directory(outcome.root)


def now_tables_of_engine(expected: State, now: State) -> list[str]:
    """What differs where the state before had no database at all, and the recovery made one."""
    return ["journal mode delete"] if not expected.tables and now.tables == ("journal mode delete",) else []


IGNORE: Final = ("logs", ".vvmigrate")


def _seen(root: Path) -> dict[str, Any]:
    path = root / SEEN
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {"step_id": "", "secrets": {}}
    return found


class opened:  # noqa: N801 - a context manager, used as one
    """The state directory and the ledger of the host in a worker's root."""

    def __init__(self, root: Path) -> None:
        """Nothing is opened before the block."""
        self._private = root / "storage/.vvmigrate"
        self._path = root / "storage" / DATABASE

    def __enter__(self) -> tuple[Path, Ledger]:
        """Open it."""
        key = bytes.fromhex((self._private / "key").read_text("ascii")) if (self._private / "key").exists() else None
        self._db = sqlite3.connect(f"file:{self._path}?mode=rw", uri=True, isolation_level=None)
        return self._private, Ledger(self._db, key)

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._db.close()


def state_directory(root: Path) -> str:
    """Nothing waits, nothing is staged, and nothing lies about in the state directories."""
    private = root / "storage/.vvmigrate"
    names = set(os.listdir(private))
    if waiting := names & {"journal", "run"}:
        return f"after the recovery there still is {', '.join(sorted(waiting))}"
    if alien := names - STATE_FILES - HALF_WRITTEN:
        return f"in the state directory: {', '.join(sorted(alien))}"
    if missing := {"ledger_id", "key", "sources", "staging", "undo"} - names:
        return f"missing in the state directory: {', '.join(sorted(missing))}"
    for folder in (private, root / "home/.vvmigrate"):
        for path in sorted(folder.iterdir()):
            mode = stat.S_IMODE(path.lstat().st_mode)
            if mode & 0o077:
                return f"{path.name} in the state directory has mode {mode:04o}"
        if left := os.listdir(folder / "staging"):
            return f"left in staging: {', '.join(left)}"
    for source in (private / "sources").iterdir():
        if source.suffix == ".py" and hashlib.sha256(source.read_bytes()).hexdigest() != source.stem:
            return f"a damaged source: {source.name}"
    return ""


# ---- striking --------------------------------------------------------------------------------------------------------


class StepHarness(Harness):
    """A harness whose calls are compared without the random names of steps."""

    def _compare(self) -> None:
        lists = [self._names(w.calls, w.root) for w in self.workers]
        for other in lists[1:]:
            if other != lists[0]:
                at = next((i for i, (a, b) in enumerate(zip(lists[0], other, strict=False)) if a != b), -1)
                msg = f"the calls differ from run to run, first at {at}: {lists[0][at]} against {other[at]}"
                raise HarnessError(msg)

    @staticmethod
    def _names(calls: Sequence[Call], root: Path) -> list[str]:
        return [IDENTIFIER.sub("#", c.about(root)) for c in calls]


def scenario(
    setup: Callable[[Path], None],
    verb: str,
    target: str,
    path: Sequence[str],
    states: Mapping[str, State] | None = None,
    **more: Any,  # noqa: ANN401
) -> Scenario:
    """A command on a host, struck, with `recover` as the next command; what is more goes to the scenario."""
    return Scenario(
        setup, [verb, target, "--home", "{root}/home"], ["recover", "--home", "{root}/home"],
        Check(verb, target, path, states or {}), app=APP, preload=PRELOAD, ignore=IGNORE, between=note_what_is_there,
        env={"VIDEO_STORAGE_ROOT": "{root}/storage", "VV_MODEL_VARIANT": "demo"}, **more,
    )  # fmt: skip
