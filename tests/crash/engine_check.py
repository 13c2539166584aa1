"""What must hold of a host after a strike and its recovery: files, tables, version, history and secrets agree."""

import hashlib
import json
import os
import sqlite3
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from vvmigrate.engine.ledger import COMMITTED, Ledger
from vvmigrate.engine.rows import Head
from vvmigrate.report import SIGNALLED

from .engine_host import DATABASE, IGNORE, State, host_folder, run, secrets_in, state_of
from .scenario import Outcome
from .shim import HarnessError
from .trees import Snapshot, Snapshots

STATE_FILES: Final = frozenset(
    {"lock", "ledger_id", "key", "anchor", "reserve", "secrets", "sources", "staging", "undo", "downloads", "settled"}
)
HOME_STATE_FILES: Final = frozenset({"lock", "root", "staging", "undo"})
#: A file that a crash left beside the one it was to replace; the next replacement begins by removing it.
HALF_WRITTEN: Final = frozenset(
    f"{name}.new" for name in ("root", "ledger_id", "key", "anchor", "secrets", "run", "journal", "settled")
)
#: Exit codes of docs/cli.md.
REFUSED: Final = 6
NEEDS_A_PERSON: Final = 4
#: Modes after which nothing of the struck command says anything any more.
KILLS: Final = frozenset({"kill", "after", "torn", "power"})
#: What the run file and the secrets said when the struck command had just ended: between strike and recovery.
SEEN: Final = ".seen"
#: Every so manieth point is brought to the state after by running the command again.
AGAIN_EVERY: Final = 5


def note_what_is_there(root: Path) -> None:
    """Between strike and recovery: write down what the check cannot see any more when the recovery is done."""
    private = root / "storage/.vvmigrate"
    run_file = private / "run"
    step = json.loads(run_file.read_text("utf-8"))["step"] if run_file.exists() else None
    seen = {"step_id": step["step_id"] if step else "", "secrets": secrets_in(root)}
    (root / SEEN).write_text(json.dumps(seen), "utf-8")


class Side(NamedTuple):
    """How far a host has come.

    Attributes:
        done: How many of the command's steps happened.
        name: The same for people.
        why: What is not as it must be there; empty if nothing.
    """

    done: int
    name: str
    why: str = ""


@dataclass
class Check:
    """Judges a host after strike and recovery: files, tables, version, history and state directory agree.

    Attributes:
        verb: The command.
        target: Its argument, if it has one.
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
        side = self._side(outcome)
        found = side.why or state_directory(outcome.root) or self._secrets(outcome) or self._history(outcome, side)
        if not found and next(self._number) % self.again_every == 0:
            found = self._again(outcome)
        self.counts[side.name] += 1
        return found

    def _fresh(self) -> bool:
        return not self.path[0] and self.verb == "upgrade"

    def _state(self, snapshot: Snapshot, folder: Path, root: Path) -> State:
        key = (id(snapshot), id(root))
        if key not in self._known:
            self._known[key] = state_of(snapshot, folder, root, fresh=self._fresh())
        return self._known[key]

    def _side(self, outcome: Outcome) -> Side:
        """How far the host has come, and what is not as it is there."""
        with opened(outcome.root) as (_, ledger):
            version = ledger.version()
        name = f"at {version or 'base'}"
        if version not in self.path:
            return Side(0, name, f"version row {name}, which is not on the way")
        if version == self.path[0]:
            expected = self._state(outcome.before_tree, outcome.before, outcome.root)
        elif version == self.path[-1]:
            expected = self._state(outcome.after_tree, outcome.after, outcome.root)
        else:
            expected = self.states[version]
        done = self.path.index(version)
        now = state_of(outcome.now_tree, outcome.root, outcome.root, fresh=self._fresh())
        if unlike := expected.unlike(now):
            return Side(done, name, f"{name}, but: {'; '.join(unlike[:4])}")
        early = outcome.run_exit == 0 and version != self.path[-1]
        return Side(done, name, f"exit 0, but the host is {name}" if early else "")

    def _history(self, outcome: Outcome, side: Side) -> str:
        """History, version row and anchor agree; what was begun is in it; what happened is in it once, in order."""
        with opened(outcome.root) as (private, ledger):
            if problems := ledger.problems():
                return f"history: {problems[0]}"
            head, steps, kept = ledger.head(), ledger.rows("vv_step"), ledger.rows("vv_kept")
            runs = {row["run_id"] for row in ledger.rows("vv_run")}
        anchor = (
            json.loads((private / "anchor").read_text("utf-8")) if (private / "anchor").exists() else Head()._asdict()
        )
        new = steps[self._rows_before(outcome) :]
        done = [s for s in new if s["result"] in COMMITTED]
        others = [s["result"] for s in new if s not in done]
        committed = {s["step_id"] for s in steps if s["result"] in COMMITTED}
        way = list(self.path[1 : side.done + 1])
        begun = _seen(outcome.root)["step_id"]
        rules = {
            f"the anchor says {anchor}, the chain ends at {head}": anchor == head._asdict(),
            f"{side.name}, but the history has {[(s['revision'], s['result']) for s in done]}": way
            == [s["version_after"] for s in done],
            "the versions in the history do not follow each other": all(
                one["version_after"] == two["version_before"] for one, two in pairwise(steps)
            ),
            f"results in the history: {others}": not others or others in (["failed"], ["interrupted"]),
            "exit 1, but no failed attempt is in the history": outcome.run_exit != 1 or "failed" in others,
            "exit 6, refused before the first write, but a step is in the history": outcome.run_exit != REFUSED
            or not done,
            f"all steps are in the history, but the exit code is {outcome.run_exit}": len(done) < len(self.path) - 1
            or not done
            or outcome.run_exit in (0, NEEDS_A_PERSON)
            or _by_signal(outcome.run_exit),
            f"killed, but the history says {others}": outcome.mode not in KILLS or others in ([], ["interrupted"]),
            "a step's run is not in the history": all(s["run_id"] in runs for s in new),
            "rows are kept for a step that did not happen": all(row["step_id"] in committed for row in kept),
            "there are before-images of a step that did not happen": committed.issuperset(os.listdir(private / "undo")),
            "an attempt was begun, and the history does not know it": not begun
            or begun in {s["step_id"] for s in steps},
        }
        return next((text for text, holds in rules.items() if not holds), "")

    def _rows_before(self, outcome: Outcome) -> int:
        path = outcome.before / "storage" / DATABASE
        if not path.exists():
            return 0
        with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'vv_step'").fetchone():
                return 0  # an older tool's
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
            run(host, self.verb, *filter(None, [self.target]))
        except HarnessError as error:
            return f"once more: {error}"
        now = state_of(Snapshots(IGNORE).take(outcome.root), outcome.root, outcome.root, fresh=self._fresh())
        after = self._state(outcome.after_tree, outcome.after, outcome.root)
        if unlike := after.unlike(now):
            return f"once more: {'; '.join(unlike[:4])}"
        made = secrets_in(outcome.root)
        if {k: made.get(k) for k in known} != known:
            return "once more: a generated secret got another value"
        return state_directory(outcome.root)


def _by_signal(exit_status: int) -> bool:
    return exit_status < 0 or exit_status > SIGNALLED


def _seen(root: Path) -> dict[str, Any]:
    path = root / SEEN
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {"step_id": "", "secrets": {}}
    return found


@contextmanager
def opened(root: Path) -> Iterator[tuple[Path, Ledger]]:
    """The state directory and the ledger of the host in a worker's root."""
    private = root / "storage/.vvmigrate"
    key = bytes.fromhex((private / "key").read_text("ascii"))
    with closing(sqlite3.connect(f"file:{root / 'storage' / DATABASE}?mode=rw", uri=True)) as db:
        yield private, Ledger(db, key)


def state_directory(root: Path) -> str:
    """Nothing waits, nothing is staged, nothing lies about, and nothing there is anybody else's to read."""
    private, home = root / "storage/.vvmigrate", root / "home/.vvmigrate"
    names, home_names, folders = set(os.listdir(private)), set(os.listdir(home)), (private, home)
    staged = [name for folder in folders for name in os.listdir(folder / "staging")]
    readable = [p.name for folder in folders for p in folder.iterdir() if stat.S_IMODE(p.lstat().st_mode) & 0o077]
    sources = [p for p in (private / "sources").iterdir() if p.suffix in (".py", ".txt")]
    damaged = [p.name for p in sources if hashlib.sha256(p.read_bytes()).hexdigest() != p.stem]
    rules = {
        "after the recovery there still is": names & {"journal", "run"},
        "in the state directory lies": names - STATE_FILES - HALF_WRITTEN,
        "in the home's state directory lies": home_names - HOME_STATE_FILES - HALF_WRITTEN,
        "in the state directory is missing": {"ledger_id", "key", "sources", "staging", "undo"} - names,
        "left in staging": staged,
        "others may read": readable,
        "a damaged source": damaged,
    }
    return next((f"{text}: {', '.join(sorted(found))}" for text, found in rules.items() if found), "")
