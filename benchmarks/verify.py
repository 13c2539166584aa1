"""What `verify` costs beside bare hashlib over the same files, and what `verify --quick` costs beside a large model.

    python benchmarks/verify.py [--files 50000] [--size 16384] [--model-mb 1024] [--runs 3] [--scratch DIR]

The host is made by the real engine: one revision that installs so many assets. Both read files that the kernel has in
memory, in this process, in turn: medians; ratios are what counts. `verify` also compares kinds, modes and owners, and
reads the ledger.
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
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from vvmigrate.commands.opening import Call  # noqa: E402 - the checkout's own
from vvmigrate.commands.upgrade import upgrade  # noqa: E402
from vvmigrate.commands.verify import verify  # noqa: E402
from vvmigrate.report import Report  # noqa: E402

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


def bare(paths: list[Path]) -> None:
    """What cannot be left out: every byte through SHA-256."""
    for path in paths:
        with path.open("rb", buffering=0) as file:
            hashlib.file_digest(file, "sha256")


def checked(report: Report, code: int = 0) -> None:
    """A look that went as it should."""
    if report.exit_code != code:
        raise SystemExit(f"{report.command} ended with {report.exit_code}: {report.error}; {report.body}")


def medians(runs: int, **contenders: Callable[[], None]) -> dict[str, float]:
    """Median wall-clock seconds of each, taken in turn; the first round is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(runs + 1):
        for name, contender in contenders.items():
            begin = time.perf_counter()
            contender()
            if number:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


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
        paths = [path for top in (home, root) for path in sorted(top.rglob("*.bin"))]  # verify reads the release's too
        found = medians(
            opt.runs,
            verify=lambda: checked(verify(call(home, root, "verify"))),
            hashlib=lambda: bare(paths),
        )
        small, store = scratch / "small", scratch / "store"
        release(small, 0, 0)
        checked(upgrade(call(small, store, "upgrade", values={"DVR_IP": "10.0.0.1"})))
        quick = medians(opt.runs, small=lambda: checked(verify(call(small, store, "verify", quick=True))))
        enlarged(store, opt.model_mb << 20)
        quick |= medians(opt.runs, large=lambda: checked(verify(call(small, store, "verify", quick=True))))
    finally:
        shutil.rmtree(scratch)
    ratio = found["verify"] / found["hashlib"]
    rows = [
        (f"verify, {len(paths)} files of {opt.size} bytes", f"{found['verify']:.2f} s"),
        ("hashlib over the same files", f"{found['hashlib']:.2f} s"),
        (f"ratio (at most {FILES_LIMIT})", f"{ratio:.2f}"),
        ("verify --quick, a small model", f"{quick['small'] * 1000:.0f} ms"),
        (
            f"verify --quick, a model of {opt.model_mb} MB (at most {QUICK_LIMIT_MS:.0f} ms)",
            f"{quick['large'] * 1000:.0f} ms",
        ),
    ]
    print("| what | is |\n|---|---|")
    for row in rows:
        print(f"| {row[0]} | {row[1]} |")
    if opt.json:
        opt.json.write_text(json.dumps({"seconds": found, "quick_s": quick, "ratio": ratio}, indent=1))
    if ratio > FILES_LIMIT or quick["large"] * 1000 > QUICK_LIMIT_MS:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
