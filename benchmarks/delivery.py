"""How fast a model is delivered: against each physical stage alone, and side by side with what people use instead.

    python benchmarks/delivery.py [--size-mb 805] [--runs 5] [--scratch DIR] [--json FILE] [--page FILE] [--only WORD]

It makes a model, serves it with nginx on loopback, and brings it again and again: ours and the peers in turn, each run
in a process of its own. It prints medians, and the targets with what was measured. Peers that are Python packages are
installed into the scratch folder; programs are used where they are there, and named where they are not.

Needs nginx, and room for about ten times the model. As root also `ip` and `tc`, for a line of 1 Gbit/s.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import artefact
import contenders
import report
import switch
import web
from contenders import Contender, FailedError, Run, Surroundings
from report import Key, Results, shown
from rich.console import Console

MB = 1_000_000
MEMORY_SIZES_MB = (1, 100)
MEMORY_RUNS = 3
WIDTH = 120  # of what is printed into a file
LIBRARIES = ("requests", "urllib3", "isal", "backports.zstd")
ROOM = 10  # the model in three forms, what is received and installed, a host with two models


class Benchmark:
    """One run of everything."""

    def __init__(self, around: Surroundings, arguments: argparse.Namespace, console: Console) -> None:
        """Make what is to be delivered."""
        self.around = around
        self.root = around.scratch / "served"
        self.sizes = {size: artefact.make(self.root, size) for size in (arguments.size_mb, *MEMORY_SIZES_MB)}
        self.artefacts = self.sizes[arguments.size_mb]
        self.runs: int = arguments.runs
        self.only: str = arguments.only
        self.console = console
        self.results = Results()

    def everything(self) -> Results:
        """Measure all."""
        raw = self.artefacts["file"]
        site = web.Site(self.around.scratch, self.root, raw.path.parent, raw.sha256)
        stages, ours = contenders.stages(self.artefacts), contenders.ours(self.artefacts)
        with web.serving(site) as server:
            self.in_turn([*stages, *contenders.everyone(self.artefacts, self.around)], server, self.results.runs)
            if not self.only:
                self.memory(server)
                self.switch_back(server)
        with web.serving_at_a_gigabit(site) as server:
            self.results.line = server.line
            slow = [one for one in (*ours, *stages) if one.name in (contenders.OURS, contenders.NETWORK)]
            self.in_turn(slow, server, self.results.gigabit)
        return self.results

    def in_turn(self, several: Sequence[Contender], server: web.Server, into: dict[Key, list[Run]]) -> None:
        """Run all of them, then all of them again: what disturbs the machine meets each alike."""
        wanted = [one for one in several if self.only in f"{one.name} {one.artefact.format}"]
        for number in range(self.runs):
            for one in wanted:
                label = f"{one.name}, {shown(one.artefact.format)}"
                if one.missing:
                    self.results.skipped[label] = one.missing
                if label in self.results.skipped:
                    continue
                self._say(f"run {number + 1}: {label}")
                key = (one.name, one.artefact.format)
                try:
                    into[key].append(contenders.run(one, server, self.around.scratch, check=number == 0))
                except FailedError as error:
                    into.pop(key, None)
                    self.results.skipped[label] = str(error)

    def memory(self, server: web.Server) -> None:
        """By how much a process grows that delivers, for models of several sizes."""
        for size, artefacts in self.sizes.items():
            for one in contenders.ours(artefacts):
                if one.name == contenders.OURS:
                    name = f"{shown(one.artefact.format)} of {size} MB"
                    self._say(f"memory: {name}")
                    several = [
                        contenders.run(one, server, self.around.scratch, check=False)
                        for _ in range(min(MEMORY_RUNS, self.runs))
                    ]
                    self.results.added_bytes[name] = [run.said["added_bytes"] for run in several]

    def switch_back(self, server: web.Server) -> None:
        """The way back to the model before."""
        for size in sorted({MEMORY_SIZES_MB[0], max(self.sizes)}):
            name, folder = f"model of {size} MB", self.around.scratch / "host"
            self._say(f"switch back: {name}")
            self.results.switch_s[name] = switch.seconds(folder, server, self.sizes[size], self.runs)

    def _say(self, text: str) -> None:
        self.console.print(text, style="dim", highlight=False)


def show(results: Results, console: Console) -> None:
    """Print the tables, the targets last."""
    for grid in reversed(report.grids(results)):
        console.print(grid.rich())
    for what, why in results.skipped.items():
        console.print(f"skipped: {what}: {why}", highlight=False, markup=False)


# ---- surroundings ----------------------------------------------------------------------------------------------------


def machine(folder: Path) -> dict[str, Any]:
    """What it runs on; no name of it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "file_system": _file_system(folder),
        "load_before": os.getloadavg()[0],
        "libraries": {name: _version(name) for name in LIBRARIES},
        "peers": list(contenders.PEERS),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _file_system(folder: Path) -> str:
    """The type of the file system that holds a folder: of the mounts above it, the deepest."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    above = [mount for mount in mounts if folder.is_relative_to(mount[1])]
    return max(above, key=lambda mount: len(mount[1]))[2] if above else "unknown"


@contextmanager
def scratch_folder(given: Path | None, size_mb: int) -> Iterator[Path]:
    """The folder for everything; a temporary one is gone afterwards."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vvbench-") as temporary:
        folder = (given or Path(temporary)).resolve()
        room = shutil.disk_usage(folder).free
        if room < ROOM * size_mb * MB:
            sys.exit(f"{folder}: {ROOM * size_mb} MB are needed, {room // MB} MB are free; name another: --scratch DIR")
        try:
            yield folder
        finally:
            for name in ("out", "host"):
                shutil.rmtree(folder / name, ignore_errors=True)


def main() -> int:
    """Run, print, and say by the exit code whether every target that was measured is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-mb", type=int, default=805, help="of the model, in millions of bytes")
    parser.add_argument("--runs", type=int, default=5, help="of each, in turn")
    parser.add_argument("--scratch", type=Path, help="what is made is kept here for the next run")
    parser.add_argument("--json", type=Path, help="every single run, the targets and the machine")
    parser.add_argument("--page", type=Path, help="a page whose results these replace: docs/benchmarks.md")
    parser.add_argument("--only", default="", help="contenders whose name and format contain this")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    with scratch_folder(arguments.scratch, arguments.size_mb) as scratch:
        about = {**machine(scratch), "runs": arguments.runs, "size_mb": arguments.size_mb}
        peers, why_not = contenders.install_peers(scratch)
        benchmark = Benchmark(Surroundings(scratch, peers, why_not), arguments, console)
        try:
            results = benchmark.everything()
        except web.MissingError as error:
            console.print(f"skipped: everything: {error}", highlight=False)
            return 3
    console.print(about, highlight=False)
    show(results, console)
    if arguments.json:
        arguments.json.write_text(json.dumps(report.as_json(results, about), indent=1) + "\n", encoding="utf-8")
    if arguments.page:
        report.write_page(arguments.page, results, about)
    return 1 if any(verdict.met is False for verdict in results.verdicts()) else 0


if __name__ == "__main__":
    sys.exit(main())
