"""What is struck: every command that changes a host, each on a host that it has something to do on."""

import hashlib
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.commands import models
from tests.conftest import BASELINE, HostFolder

from . import dying
from .engine_check import Check, note_what_is_there
from .engine_host import (
    DATABASE,
    IGNORE,
    THEIRS,
    State,
    StepHarness,
    bring,
    host_folder,
    next_release,
    run,
    scenario,
    state_of,
)
from .mend_check import Mended, Pruned, Recovered
from .trees import Snapshots

REPOSITORY = Path(__file__).resolve().parents[2]
LINE = ("", *BASELINE)
TOP = BASELINE[-1]
NEXT = "0007"
#: An orchestrator that keeps the database open in WAL mode, and looks and writes into it now and then.
ORCHESTRATOR = f"""
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1] + "/storage/{DATABASE}", timeout=5, isolation_level=None)
db.execute("PRAGMA wal_autocheckpoint = 0")  # when the command does it must not depend on us
print(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0], flush=True)
while True:
    try:
        db.execute("INSERT INTO {THEIRS} SELECT coalesce(max(id), 0) + 1 FROM {THEIRS}")
    except sqlite3.Error:
        sys.exit()  # the power went
    time.sleep(0.01)
"""
COMPANION = [sys.executable, "-c", ORCHESTRATOR, "{root}"]


@dataclass(frozen=True)
class Case:
    """A command, and the versions that it leads through."""

    verb: str
    path: tuple[str, ...]

    @property
    def target(self) -> str:
        """The command's argument."""
        return self.path[-1] or "base"

    def __str__(self) -> str:
        """Return the test's name."""
        return f"{self.verb} {self.path[0] or 'base'}-{self.target}"

    def setup(self, root: Path) -> None:
        """Bring a host to the state before."""
        first = self.path[0]
        up_to = TOP if NEXT in self.path else first
        host = bring(root, *([("upgrade", up_to)] if up_to else []))
        if NEXT in self.path:
            next_release(host)
            if first == NEXT:
                run(host, "upgrade", NEXT)

    def wal(self, root: Path) -> None:
        """Bring a host to the state before, with the orchestrator's database in WAL mode."""
        self.setup(root)
        with closing(sqlite3.connect(root / "storage" / DATABASE)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"CREATE TABLE {THEIRS} (id INTEGER PRIMARY KEY)")

    def check(self, states: Mapping[str, State]) -> Check:
        """Return what must hold afterwards."""
        return Check(self.verb, self.target, self.path, states)

    def harness(self, shim: Path, states: Mapping[str, State] | None = None, **more: Any) -> StepHarness:
        """Return a harness for it; jobs and filesystem are the harness's, what else there is the scenario's."""
        own = {name: more.pop(name) for name in ("jobs", "filesystem") if name in more}
        setup = self.wal if "companion" in more else self.setup
        check = self.check(states or {})
        struck = scenario(setup, self.verb, self.target, check, between=note_what_is_there, **more)
        return StepHarness(struck, shim=shim, **own)

    def between(self, root: Path) -> Mapping[str, State]:
        """The states in the middle of it, as one step after the other makes them."""
        root.mkdir()
        self.setup(root)
        found = {}
        for version in self.path[1:-1]:
            run(host_folder(root), self.verb, version)
            fresh = self.verb == "upgrade" and not self.path[0]
            found[version] = state_of(Snapshots(IGNORE).take(root), root, root, fresh=fresh)
        return found


@dataclass(frozen=True)
class Repair(Case):
    """A repair of what one revision made: it leaves the version where it is.

    Attributes:
        what: what is damaged, and named to the command.
    """

    what: str = ""

    @property
    def target(self) -> str:
        """The command's argument."""
        return self.what

    def __str__(self) -> str:
        """Return the test's name."""
        return f"repair {self.what}"

    def setup(self, root: Path) -> None:
        """Bring a host to its last revision, and damage it."""
        damage(bring(root, ("upgrade", TOP)), self.what)

    def check(self, states: Mapping[str, State]) -> Check:
        """Return what must hold afterwards."""
        return Mended(self.verb, self.target, self.path, states)


def damage(host: HostFolder, what: str) -> None:
    """Do to a host what people and disks do."""
    if what == "input":
        (host.root / "input").rmdir()
        (host.root / "raw").chmod(0o700)
    elif what == "models":
        link = host.root / "models/bitnet_summarizer"
        with next(link.glob("*.gguf")).open("r+b") as file:
            file.truncate(1000)
        link.unlink()
        link.symlink_to("somewhere/else")
        (host.root / "models/.current_model_info.json").write_text("{}")
    elif what == "fallback":
        (host.root / "fallback/placeholder.png").write_bytes(b"painted over")
        (host.root / "fallback/loop_silencioso.mp4").unlink()
    elif what == ".env":
        (host.home / ".env").unlink()
    else:
        (host.home / what).write_text("{}")


@dataclass(frozen=True)
class Prune(Case):
    """Pruning generations, a received file and before-images; no step, but each of these goes as a whole."""

    @property
    def target(self) -> str:
        """The command has no argument."""
        return ""

    def __str__(self) -> str:
        """Return the test's name."""
        return "prune all"

    def setup(self, root: Path) -> None:
        """Bring a host through three models, a revision that was taken back, and a download that nobody needs."""
        host = bring(root, ("upgrade", TOP))
        ini = host.home / "alembic.ini"
        ini.write_text(ini.read_text().replace("[vvmigrate]\n", "[vvmigrate]\nkeep_releases = 0\n"))
        for revision, version in (("0007", "1.1.0"), ("0008", "1.2.0")):
            data = hashlib.shake_128(version.encode()).digest(9001)
            (host.home / f"fallback/models/{version}").write_bytes(data)
            models.release(host, version, data, f"fallback/models/{version}")
            models.install(host, revision, version)
            run(host, "upgrade", revision)
        (host.home / "fallback/placeholder.png").write_bytes(b"another picture" * 999)
        host.revision("0009", 'op.install_assets("fallback", "fallback", ["placeholder.png"])')
        run(host, "upgrade", "0009")
        run(host, "downgrade", "0008")
        received = host.root / f".vvmigrate/downloads/{'0' * 64}.partial"
        received.write_bytes(b"half a model")
        received.chmod(0o600)

    def check(self, states: Mapping[str, State]) -> Check:
        """Return what must hold afterwards."""
        return Pruned(self.verb, self.target, self.path, states)


@dataclass(frozen=True)
class Adopt(Case):
    """Taking over a host that an older tool set up, revision after revision."""

    def setup(self, root: Path) -> None:
        """Bring a host to its last revision, and let it forget that it was vvmigrate who did it."""
        forget(bring(root, ("upgrade", TOP)))
        if first := self.path[0]:
            run(host_folder(root), "adopt", first)


def forget(host: HostFolder) -> None:
    """Leave of a host what bootstrap.py would have made: a folder with the model, an older list of it, no ledger."""
    link = host.root / "models/bitnet_summarizer"
    model = link.resolve()
    link.unlink()
    model.rename(link)
    (host.root / "models/.current_model_info.json").write_text('{"version": "1.0.0", "checksum": "sha256:0000"}')
    for folder in (host.root / "models/.store", host.root / ".vvmigrate", host.home / ".vvmigrate"):
        shutil.rmtree(folder)
    (host.home / "vv-signature.json").unlink()
    env = host.home / ".env"
    env.write_text(re.sub(r"(?m)^(HMAC_SECRET_KEY)=.*", rf"\1={'0a' * 32}", env.read_text("utf-8")), "utf-8")
    for (name,) in host.sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'vv\\_%' ESCAPE '\\'"):
        host.sql(f"DROP TABLE {name}")
    host.sql("INSERT INTO processed_videos (sha256, file_name, size_bytes, status, first_seen) VALUES (1, 2, 3, 4, 5)")


def die(root: str, verb: str, *target: str) -> None:
    """Run a step on the host of a worker's root, and be killed with all published, before its COMMIT."""
    with dying.at(dying.WRITTEN, dying.die):
        host_folder(Path(root)).call(verb, *target)


@dataclass(frozen=True)
class Recover(Case):
    """The recovery is the command that is struck: of a step that was killed with all published, before its COMMIT.

    Attributes:
        killed: the step.
    """

    killed: Case

    @property
    def target(self) -> str:
        """The command has no argument."""
        return ""

    def __str__(self) -> str:
        """Return the test's name."""
        return f"recover {self.killed}"

    def setup(self, root: Path) -> None:
        """Bring a host to the state before the step, and kill the step."""
        self.killed.setup(root)
        # In a process of its own: a fork would inherit whatever lock of SQLite's another worker's thread holds.
        command = f"import sys; from {__name__} import die; die(*sys.argv[1:])"
        words = filter(None, [str(root), self.killed.verb, self.killed.target])
        done = subprocess.run([sys.executable, "-c", command, *words], cwd=REPOSITORY, capture_output=True, check=False)
        if done.returncode != -signal.SIGKILL:
            raise AssertionError(f"{self.killed} was not killed: {done.returncode}, {done.stderr.decode()[-2000:]}")

    def check(self, states: Mapping[str, State]) -> Check:
        """Return what must hold afterwards."""
        return Recovered(self.verb, self.target, self.path[:1], states)


UP = [Case("upgrade", pair) for pair in pairwise(LINE)] + [Case("upgrade", (TOP, NEXT))]
DOWN = [Case("downgrade", (case.path[1], case.path[0])) for case in UP]
REPAIRS = [Repair("repair", (TOP, TOP), what) for what in ("input", "models", "fallback", ".env", "vv-signature.json")]
ADOPTED = LINE[:-1]  # not the signature, which no older tool wrote
ADOPT = Adopt("adopt", ADOPTED[1:3])  # the model: what changes a host most
PRUNE = Prune("prune", ("0008", "0008"))
RECOVERIES = [Recover("recover", case.path, case) for case in (*UP, *DOWN)]
EVERY: list[Case] = [*UP, *DOWN, *REPAIRS, PRUNE]
WHOLE = [Case("upgrade", LINE), Case("downgrade", LINE[::-1]), Adopt("adopt", ADOPTED)]
