"""How long a bad release takes to go back: a whole `vvmigrate downgrade head` with the package before it, offline.

    python benchmarks/way_back.py [--runs 5] [--scratch DIR] [--json FILE]

The three releases of the drill (tests/drill): a model of 50 MB, and a dropped column with rows in it. The orchestrator
writes all the while, and no server is in reach.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from tests.conftest import HostFolder  # noqa: E402 - the checkout's own
from tests.content.fault_server import serving  # noqa: E402
from tests.drill import orchestrator  # noqa: E402
from tests.drill.releases import Release, make  # noqa: E402

AT_MOST_S = 2.0


def main() -> None:
    """Measure, print a table, and exit with 1 if the way back takes too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--json", type=Path)
    opt = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="way_back.", dir=opt.scratch) as name:
        scratch = Path(name)
        host = HostFolder(scratch / "home", scratch / "storage", {"PYTHONDONTWRITEBYTECODE": ""})
        host.home.mkdir(mode=0o755)
        (scratch / "releases").mkdir()
        with serving() as server:
            releases = make(scratch / "releases", server)
            for release in ("1.0", "1.1", "1.2"):
                releases[release].install(host)
                _call(host, "upgrade", "head")
        seconds = _measured(host, releases, opt.runs)
    median = statistics.median(seconds)
    print("| what | seconds | worst | at most |\n|---|---|---|---|")
    print(f"| 1.2 back to 1.1, offline, with 1.1's package | {median:.2f} | {max(seconds):.2f} | {AT_MOST_S} |")
    if opt.json:
        opt.json.write_text(json.dumps({"seconds": seconds}))
    sys.exit(median > AT_MOST_S)


def _measured(host: HostFolder, releases: dict[str, Release], runs: int) -> list[float]:
    command = [sys.executable, orchestrator.__file__, str(host.database), str(host.root.parent / "journal")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as working:
        assert working.stdout is not None
        working.stdout.readline()
        found = []
        for _ in range(runs):
            releases["1.1"].install(host)
            found.append(_call(host, "downgrade", "head", "--no-hold"))
            releases["1.2"].install(host)
            _call(host, "upgrade", "head")
        working.communicate()
    return found


def _call(host: HostFolder, *arguments: str) -> float:
    begin = time.perf_counter()
    done = host.run(*arguments)
    passed = time.perf_counter() - begin
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}: exit {done.returncode}: {done.stderr[-500:]}{done.stdout[-500:]}")
    return passed


if __name__ == "__main__":
    main()
