"""What the upgrade of every boot costs, beside plain Alembic in the same run; and what looking costs.

    python benchmarks/noop.py [--runs 7] [--scratch DIR] [--json FILE]

Medians of whole processes, taken in turn, so that a busy moment meets all of them. Ratios are what counts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from vvmigrate.engine import recovery, vault  # noqa: E402
from vvmigrate.operations import MERGERS  # noqa: E402
from vvmigrate.runs.opening import Call  # noqa: E402 - the checkout's own

RELEASE = ("alembic.ini", "migrations", "model_manifest.json", ".env.example", "fallback")
REVISION = '''"""Revision {0}"""
from alembic import op
revision = "{0}"
down_revision = {1!r}
def upgrade():
    pass
def downgrade():
    op.revert()
'''
PLAIN_ENV = """
from alembic import context
from sqlalchemy import create_engine
engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
MANY, ENTRIES = 5000, 10_000
NOBODY = "nobody"
OWNED = f"no-op, {MANY} revisions, the application's database"
UNCACHED = "PYTHONDONTWRITEBYTECODE"
"""With it our package, which no installer compiled, would be compiled again by every process."""


def plain(folder: Path, revisions: int) -> list[str]:
    """A plain Alembic project at its head; its command."""
    versions = folder / "migrations/versions"
    versions.mkdir(parents=True)
    (folder / "alembic.ini").write_text(
        f"[alembic]\nscript_location = {folder}/migrations\nsqlalchemy.url = sqlite:///{folder}/db.sqlite\n"
        "path_separator = os\n"
    )
    (folder / "migrations/env.py").write_text(PLAIN_ENV)
    for number in range(1, revisions + 1):
        name = f"{number:04d}"
        (versions / f"{name}_r.py").write_text(
            REVISION.format(name, f"{number - 1:04d}" if number > 1 else None).replace("op.revert()", "pass")
        )
    command = [sys.executable, "-m", "alembic", "-c", str(folder / "alembic.ini")]
    subprocess.run([*command, "stamp", "head"], check=True, capture_output=True)
    return command


class Host:
    """A host at its head, with a release of so many revisions."""

    def __init__(
        self, folder: Path, revisions: int, entries: int = 0, model_bytes: int = 0, user: str | None = None
    ) -> None:
        """Bring it up; steps beyond the baseline's are written into the ledger as the engine writes them.

        Args:
            user: whose the storage and the database are, as where a system runs for real; else this process's.
        """
        self.home, self.root = folder / "home", folder / "storage"
        self.home.mkdir(parents=True)
        for name in RELEASE:
            source = REPOSITORY / name
            shutil.copytree(source, self.home / name) if source.is_dir() else shutil.copy2(source, self.home / name)
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("VV_", "VIDEO_"))},
            "VIDEO_STORAGE_ROOT": str(self.root), "VV_MODEL_VARIANT": "demo",
            **({"VV_APP_USER": user} if user else {}),
        }  # fmt: skip
        self.command = [sys.executable, "-m", "vvmigrate", "--home", str(self.home)]
        self.run("upgrade", "--set", "DVR_IP=10.0.0.1")
        if model_bytes:
            with (self.root / "models/larger.gguf").open("wb") as file:
                file.truncate(model_bytes)
        added = range(7, revisions + 1)
        for number in added:
            name = f"{number:04d}"
            path = self.home / f"migrations/versions/{name}_more.py"
            path.write_text(REVISION.format(name, f"{number - 1:04d}"))
        self._record([f"{number:04d}" for number in added], "applied")
        self._record(["0006"] * entries, "failed")
        self.run("upgrade")

    def run(self, *arguments: str) -> None:
        """Run a command, and expect it to succeed."""
        subprocess.run([*self.command, *arguments], check=True, capture_output=True, env=self.environ)

    def _record(self, revisions: list[str], result: str) -> None:
        if not revisions:
            return
        call = Call("upgrade", {"home": str(self.home)}, ["upgrade"], environ=self.environ, folder=self.home)
        _, session = call.write(MERGERS)
        with session:
            state, ledger = session.host.private, session.ledger
            ledger.connection.execute("BEGIN IMMEDIATE")
            version, step = ledger.version(), ledger.committed()[-1]
            for revision in revisions:
                before, version = version, revision if result == "applied" else version
                source = next((self.home / "migrations/versions").glob(f"{revision}_*.py")).read_bytes()
                sha256 = vault.keep_source(state, source) if result == "applied" else step["script_sha256"]
                row = {name: step[name] for name in step if name not in ("seq", "hash", "previous_hash")}
                row |= {"step_id": uuid.uuid4().hex, "revision": revision, "result": result, "script_sha256": sha256}
                row |= {"version_before": before, "version_after": version, "error": None if version else "no"}
                row.pop("effects_digest")
                ledger.append_step(row, ())
            ledger.connection.execute("UPDATE vv_version SET version_num = ?", (version,))
            ledger.connection.execute("COMMIT")
            vault.drop_anchor(state, ledger.head())
            recovery.recover(session)


def medians(commands: dict[str, list[str]], runs: int, environs: dict[str, dict[str, str]]) -> dict[str, float]:
    """Median wall-clock seconds of each, taken in turn; the first round is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, command in commands.items():
            begin = time.perf_counter()
            done = subprocess.run(command, capture_output=True, env=environs.get(name), check=False)
            passed = time.perf_counter() - begin
            if done.returncode not in (0, 3):
                raise SystemExit(f"{name} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
            if number:
                seconds[name].append(passed)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--json", type=Path)
    opt = parser.parse_args()
    os.environ.pop(UNCACHED, None)
    scratch = Path(tempfile.mkdtemp(prefix="noop.", dir=opt.scratch))
    scratch.chmod(0o755)  # the application's user must come to its database
    try:
        few, many = plain(scratch / "few", 6), plain(scratch / "many", MANY)
        small = Host(scratch / "h6", 6)
        large = Host(scratch / "h6-large", 6, model_bytes=1 << 30)
        thousands = Host(scratch / "h5000", MANY)
        long = Host(scratch / "h-history", 6, entries=ENTRIES)
        owned = Host(scratch / "h5000-owned", MANY, user=NOBODY) if os.geteuid() == 0 else None
        hosts = {"no-op, 6 revisions": (small, "upgrade"), "no-op, 1 GB model": (large, "upgrade"),
                 f"no-op, {MANY} revisions": (thousands, "upgrade"), "--help": (small, "--help"),
                 f"history, {ENTRIES} entries": (long, "history"), "status": (small, "status")}  # fmt: skip
        hosts |= {OWNED: (owned, "upgrade")} if owned is not None else {}
        commands = {
            name: [*host.command, verb, *(["head"] if verb == "upgrade" else [])]
            for name, (host, verb) in hosts.items()
        }
        environs = {name: host.environ for name, (host, _) in hosts.items()}
        commands |= {
            "alembic upgrade, 6": [*few, "upgrade", "head"],
            "alembic upgrade, 5000": [*many, "upgrade", "head"],
            "alembic current": [*few, "current"],
        }
        found = medians(commands, opt.runs, environs)
    finally:
        shutil.rmtree(scratch)
    pairs = [
        ("no-op, 6 revisions", "alembic upgrade, 6", 0.15),
        (f"no-op, {MANY} revisions", "alembic upgrade, 5000", 0.10),
        ("no-op, 1 GB model", "no-op, 6 revisions", 1.1),
        ("--help", "alembic current", 0.5),
        (f"history, {ENTRIES} entries", "alembic current", 0.5),
        ("status", "alembic current", 0.5),
    ]
    if OWNED in found:
        pairs.append((OWNED, "alembic upgrade, 5000", 0.15))
    else:
        print(f"{OWNED}: not measured, only root gives files away")
    rows = [
        {"what": a, "against": b, "seconds": round(found[a], 3), "ratio": round(found[a] / found[b], 3), "target": t}
        for a, b, t in pairs
    ]
    print("| what | against | seconds | ratio | at most |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['what']} | {row['against']} | {row['seconds']} | {row['ratio']} | {row['target']} |")
    if opt.json:
        opt.json.write_text(json.dumps({"seconds": found, "ratios": rows}, indent=1))


if __name__ == "__main__":
    main()
