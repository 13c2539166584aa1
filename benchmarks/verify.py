"""What `verify` costs beside bare hashlib over the same files, and what `verify --quick` costs beside a large model.

    python benchmarks/verify.py [--files 50000] [--size 16384] [--model-mb 1024] [--runs 3] [--scratch DIR]

The host is made by the real engine: one revision that installs so many assets. Each is a function of this process and
reads files that the kernel has in memory, in turn: medians; ratios are what counts, of CPU time too, since a busy
machine spoils the wall clock. Bare hashlib is the example of its documentation, for every file that a walk finds; the
same with one `read()` a file, which is quicker for small files, is shown beside it. `verify` also compares kinds, modes
and owners, and reads the ledger. It reads each asset twice: in the release's folder, and where it was installed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from vvmigrate.commands.upgrade import upgrade  # noqa: E402
from vvmigrate.commands.verify import verify  # noqa: E402
from vvmigrate.report import Report  # noqa: E402
from vvmigrate.runs.opening import Call  # noqa: E402 - the checkout's own

RELEASE = ("alembic.ini", "migrations", "model_manifest.json", ".env.example", "fallback")
REVISION = '''"""Many assets"""
from alembic import op
revision = "0007"
down_revision = "0006"
def upgrade():
    op.make_directories(["many"])
    op.install_assets("many", "many")
def downgrade():
    op.revert()
'''
FILES_LIMIT, QUICK_LIMIT_MS = 1.1, 50.0


class Spent(NamedTuple):
    """What one run took."""

    wall_s: float
    cpu_s: float


def release(home: Path, files: int, size_bytes: int) -> None:
    """A release with many assets of pseudo-random content."""
    home.mkdir(parents=True)
    for name in RELEASE:
        source = REPOSITORY / name
        shutil.copytree(source, home / name) if source.is_dir() else shutil.copy2(source, home / name)
    (home / "many").mkdir()
    for number in range(files):
        seed = number.to_bytes(8, "big")
        (home / f"many/{number:05d}.bin").write_bytes(hashlib.shake_128(seed).digest(size_bytes))
    if files:
        (home / "migrations/versions/0007_many.py").write_text(REVISION)


def enlarged(root: Path, model_bytes: int) -> None:
    """A sparse file of a model's size, in the place of the small one."""
    model = next((root / "models/.store").glob("*/*.gguf"))
    with model.open("r+b") as file:
        file.truncate(model_bytes)


def call(home: Path, root: Path, verb: str, **options: object) -> Call:
    """A call of a verb on the host."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("VV_", "VIDEO_"))}
    environ |= {"VIDEO_STORAGE_ROOT": str(root), "VV_MODEL_VARIANT": "demo"}
    return Call(verb, {"home": str(home), **options}, [verb], environ=environ, folder=home)


def found_below(tops: tuple[Path, ...]) -> Iterator[str]:
    """The assets, as a program that hashes them has to find them."""
    for top in tops:
        for folder, _, names in os.walk(top):
            yield from (os.path.join(folder, name) for name in names if name.endswith(".bin"))


def bare(*tops: Path) -> None:
    """What cannot be left out: every file found, opened, and through SHA-256."""
    for path in found_below(tops):
        with open(path, "rb") as file:
            hashlib.file_digest(file, "sha256").hexdigest()


def whole(*tops: Path) -> None:
    """The same with all of a file in memory at once."""
    for path in found_below(tops):
        with open(path, "rb") as file:
            hashlib.sha256(file.read()).hexdigest()


def checked(report: Report, code: int = 0) -> None:
    """A look that went as it should."""
    if report.exit_code != code:
        raise SystemExit(f"{report.command} ended with {report.exit_code}: {report.error}; {report.body}")


def medians(runs: int, **contenders: Callable[[], None]) -> dict[str, Spent]:
    """Medians of each, taken in turn; the first round is not counted."""
    spent: dict[str, list[Spent]] = {name: [] for name in contenders}
    for number in range(runs + 1):
        for name, contender in contenders.items():
            wall, cpu = time.perf_counter(), time.process_time()
            contender()
            if number:
                spent[name].append(Spent(time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: Spent(statistics.median(one.wall_s for one in all_), statistics.median(one.cpu_s for one in all_))
        for name, all_ in spent.items()
    }


def main() -> None:
    """Measure, and print a table; exit with 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=16_384)
    parser.add_argument("--model-mb", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--json", type=Path)
    opt = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="verify.", dir=opt.scratch))
    try:
        home, root = scratch / "home", scratch / "storage"
        release(home, opt.files, opt.size)
        checked(upgrade(call(home, root, "upgrade", values={"DVR_IP": "10.0.0.1"})))
        found = medians(
            opt.runs,
            verify=lambda: checked(verify(call(home, root, "verify"))),
            bare=lambda: bare(home, root),
            whole=lambda: whole(home, root),
        )
        small, store = scratch / "small", scratch / "store"
        release(small, 0, 0)
        checked(upgrade(call(small, store, "upgrade", values={"DVR_IP": "10.0.0.1"})))
        quick = medians(opt.runs, small=lambda: checked(verify(call(small, store, "verify", quick=True))))
        enlarged(store, opt.model_mb << 20)
        quick |= medians(opt.runs, large=lambda: checked(verify(call(small, store, "verify", quick=True))))
    finally:
        shutil.rmtree(scratch)
    ratio = found["verify"].wall_s / found["bare"].wall_s
    report(opt, found, quick)
    if opt.json:
        figures = {name: one._asdict() for name, one in (found | quick).items()}
        opt.json.write_text(json.dumps(figures | {"ratio": ratio}, indent=1))
    if ratio > FILES_LIMIT or quick["large"].wall_s * 1000 > QUICK_LIMIT_MS:
        raise SystemExit(1)


def report(opt: argparse.Namespace, found: dict[str, Spent], quick: dict[str, Spent]) -> None:
    """Print the table."""
    names = {
        "verify": f"verify, 2 x {opt.files} files of {opt.size} bytes",
        "bare": "walk, open, hashlib.file_digest",
        "whole": "walk, open, read, hashlib.sha256",
    }
    print("| what | wall s | CPU s | verify is, wall | CPU |\n|---|---:|---:|---:|---:|")
    ours = found["verify"]
    for name, one in found.items():
        ratios = f"{ours.wall_s / one.wall_s:.2f} | {ours.cpu_s / one.cpu_s:.2f}" if name != "verify" else " | "
        print(f"| {names[name]} | {one.wall_s:.2f} | {one.cpu_s:.2f} | {ratios} |")
    print(
        f"\nAt most {FILES_LIMIT} times hashlib.file_digest. A look at a model of {opt.model_mb} MB may take", end=" "
    )
    print(f"{QUICK_LIMIT_MS:.0f} ms.\n\n| verify --quick | wall ms | CPU ms |\n|---|---:|---:|")
    for name, size in (("small", "a small model"), ("large", f"a model of {opt.model_mb} MB")):
        print(f"| {size} | {quick[name].wall_s * 1000:.0f} | {quick[name].cpu_s * 1000:.0f} |")


if __name__ == "__main__":
    main()
