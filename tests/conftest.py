"""A host for every test: a copy of the release, a storage root, and every way to call the tool."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.canaries import Witness, heard
from tests.warm import Warm
from vvmigrate.commands import (
    adopt,
    bundle,
    check,
    confirm,
    doctor,
    downgrade,
    fetch,
    history,
    inspect,
    plan,
    prune,
    recover,
    rehearse,
    repair,
    revision,
    sign,
    status,
    upgrade,
    verify,
    why,
)
from vvmigrate.report import Report
from vvmigrate.runs.opening import Call

REPOSITORY = Path(__file__).resolve().parent.parent
RELEASE = ("alembic.ini", "migrations", "model_manifest.json", ".env.example", "fallback")
WITNESS = pytest.StashKey[Witness]()
PATCHED = pytest.StashKey[pytest.MonkeyPatch]()
BASELINE = ("0001", "0002", "0003", "0004", "0005", "0006")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", default=False, help="also what takes minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    for item in items:
        if item.get_closest_marker("full"):  # a keyword is also the name of any folder above
            item.add_marker(pytest.mark.skip(reason="takes minutes: only with --full"))


def pytest_unconfigure() -> None:
    """What was kept warm ends."""
    Warm.close_all()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """A witness for each test, before its hosts are made."""
    HostFolder.witness = item.stash[WITNESS] = witness = Witness()
    item.stash[PATCHED] = patched = pytest.MonkeyPatch()
    patched.setattr(subprocess.Popen, "communicate", heard(witness))
    yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """No secret value in stdout, stderr, log, history or JSON, whatever a test does: it fails where one stands."""
    yield
    assert not (found := item.stash[WITNESS].leaks()), found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """What a test had belongs to no other."""
    yield
    HostFolder.witness = None
    item.stash[PATCHED].undo()


@pytest.fixture(autouse=True)
def processes_are_measured_where_it_pays(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring a process costs half as much again as running it: two files exercise all that only processes run."""
    if request.path.name not in ("test_command_line.py", "test_alembic.py"):
        for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
            monkeypatch.delenv(name, raising=False)


@dataclass
class HostFolder:
    """A release folder and a storage root in a folder of their own.

    `call` runs a verb in this process and returns its report; `run` starts a real process.
    """

    home: Path
    root: Path
    environ: dict[str, str] = field(default_factory=dict)
    witness: ClassVar[Witness | None] = None

    def __post_init__(self) -> None:
        """Be watched by the test's witness."""
        if self.witness is not None:
            self.witness.hosts.append(self)

    @property
    def database(self) -> Path:
        return self.root / "orchestrator_data/orchestrator_db.sqlite"

    def environment(self, **more: str) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("VV_", "VIDEO_"))}
        return {**clean, "VIDEO_STORAGE_ROOT": str(self.root), "VV_MODEL_VARIANT": "demo", **self.environ, **more}

    def call(
        self, verb: str, *arguments: str, told: list[tuple[str, dict[str, Any]]] | None = None, **options: Any
    ) -> Report:
        """Run a verb in this process; `told` collects the events that a screen would show."""

        def listen(event: str, **facts: Any) -> None:
            if told is not None:
                told.append((event, facts))
            if self.witness is not None and event != "progress":
                self.witness.hears(f"told by {verb}", facts)

        ask = options.pop("ask", None)
        call = Call(
            verb,
            {"home": str(self.home), **options},
            [verb, *arguments],
            environ=self.environment(),
            folder=self.home,
            listener=listen,
            ask=ask,
        )
        verbs: dict[str, Callable[..., Report]] = {
            "adopt": adopt.adopt,
            "upgrade": upgrade.upgrade,
            "downgrade": downgrade.downgrade,
            "bundle": bundle.bundle,
            "check": check.check,
            "confirm": confirm.confirm,
            "doctor": doctor.doctor,
            "fetch": fetch.fetch,
            "prune": prune.prune,
            "recover": recover.recover,
            "rehearse": rehearse.rehearse,
            "repair": lambda call, *paths: repair.repair(call, paths),
            "revision": revision.revision,
            "why": why.why,
            "verify": lambda call, *paths: verify.verify(call, paths),
            "plan": plan.plan,
            "plan down": lambda call, target: plan.plan(call, target, down=True),
            "history": history.history,
            "current": inspect.current,
            "heads": inspect.heads,
            "show": inspect.show,
            "status": status.status,
            "keygen": sign.keygen,
            "sign": sign.sign,
        }
        report = verbs[verb](call, *arguments)
        if self.witness is not None:
            self.witness.knows(options.get("values", {}))
            self.witness.learn(self)
            self.witness.hears(f"report of {verb}", report.as_json())
        return report

    def up(self, target: str = "head", **options: Any) -> Report:
        """Upgrade, and expect it to succeed."""
        report = self.call("upgrade", target, **options)
        assert (report.exit_code, report.error) == (0, None)
        return report

    def down(self, target: str, **options: Any) -> Report:
        """Downgrade, and expect it to succeed."""
        report = self.call("downgrade", target, **options)
        assert (report.exit_code, report.error) == (0, None)
        return report

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "vvmigrate", "--home", str(self.home), *arguments]

    def run(
        self, *arguments: str, environ: dict[str, str] | None = None, within: Sequence[str] = (), **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line as a real process, in the home; `within` is a command that runs it.

        A plain run is a fork of a warm interpreter; one that is run by a command or has options of its own is not.
        """
        if not within and options.keys() <= {"input"}:
            return self.module("vvmigrate", "--home", str(self.home), *arguments, environ=environ, **options)
        options.setdefault("stdin", subprocess.DEVNULL)
        return self._start([*within, *self.command(*arguments)], self.environment(**(environ or {})), **options)

    def module(
        self, name: str, *arguments: str, environ: dict[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m name` in the home; `input` is what it reads."""
        environment, warm = self.environment(**(environ or {})), Warm.here()
        if not warm.fits(environment):
            return self._start([sys.executable, "-m", name, *arguments], environment, **{"input": "", **options})
        done = warm.run(name, arguments, cwd=self.home, env=environment, given=options.get("input", ""))
        if self.witness is not None:
            self.witness.hears(f"stdout of {done.args!r}", done.stdout)
            self.witness.hears(f"stderr of {done.args!r}", done.stderr)
        return done

    def _start(
        self, command: Sequence[str], environment: dict[str, str], **options: Any
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **options,
        )

    def json(self, *arguments: str, **options: Any) -> dict[str, Any]:
        """Run with --json; the document."""
        done = self.run("--json", *arguments, **options)
        document: dict[str, Any] = json.loads(done.stdout)
        assert document["exit_code"] == done.returncode
        return document

    # ---- the release ---------------------------------------------------------------------------------------------

    def revision(
        self, number: str, up: str, down: str = "op.revert()", follows: str | None = None, imports: str = ""
    ) -> Path:
        """Add a revision to the release; `up` and `down` are the bodies of its functions."""
        before = follows if follows is not None else f"{int(number) - 1:04d}"
        lines = [
            f'"""Test revision {number}"""',
            "import sqlalchemy as sa",
            "from alembic import op",
            imports,
            f'revision = "{number}"',
            f"down_revision = {before!r}",
            "def upgrade():",
            *("    " + line for line in up.splitlines()),
            "def downgrade():",
            *("    " + line for line in down.splitlines()),
        ]
        path = self.home / f"migrations/versions/{number}_test.py"
        path.write_text("\n".join(lines) + "\n")
        return path

    # ---- the host ------------------------------------------------------------------------------------------------

    def tree(self) -> dict[str, tuple[str, int, bytes]]:
        """What stands below home and storage root: kind, mode and content, but for logs, database and state."""
        found = {}
        for top in (self.home, self.root):
            for folder, folders, files in os.walk(top):
                folders[:] = [name for name in folders if name not in (".vvmigrate", "logs", "__pycache__")]
                for name in folders + files:
                    path = Path(folder) / name
                    if path.name.startswith("orchestrator_db.sqlite"):
                        continue
                    info = path.lstat()
                    kind = "link" if path.is_symlink() else "dir" if path.is_dir() else "file"
                    content = (
                        os.readlink(path).encode() if kind == "link" else path.read_bytes() if kind == "file" else b""
                    )
                    found[f"{top.name}/{path.relative_to(top)}"] = (kind, info.st_mode & 0o7777, content)
        return found

    def sql(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Run a statement on the orchestrator's database, as the orchestrator would."""
        with closing(sqlite3.connect(self.database, timeout=30)) as connection, connection:
            return connection.execute(statement, arguments).fetchall()

    def history(self) -> list[tuple[str, str, str]]:
        """(revision, direction, result) of every attempt, oldest first."""
        entries = self.call("history").body["entries"]
        return [(entry["revision"], entry["direction"], entry["result"]) for entry in reversed(entries)]

    def version(self) -> str:
        """The version row; empty at base, or without a database."""
        if not self.database.exists():
            return ""
        rows = self.sql("SELECT version_num FROM vv_version")
        return str(rows[0][0]) if rows else ""


def copy_release(folder: Path, *without: str) -> HostFolder:
    """A fresh host in a folder: a copy of the release but for some names, no storage root yet."""
    home = folder / "home"
    home.mkdir(mode=0o755)
    for name in RELEASE:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, home / name, ignore=shutil.ignore_patterns("__pycache__", *without))
        else:
            shutil.copy2(source, home / name)
    return HostFolder(home, folder / "storage")


@pytest.fixture
def host(tmp_path: Path) -> HostFolder:
    """A fresh host: a copy of the release, no storage root yet."""
    return copy_release(tmp_path)


@pytest.fixture
def bare(host: HostFolder) -> HostFolder:
    """A host whose release has only the first revision: for tests that bring their own."""
    for path in (host.home / "migrations/versions").glob("0*.py"):
        if not path.name.startswith("0001"):
            path.unlink()
    return host
