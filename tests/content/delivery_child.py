"""One delivery in a process of its own: for a test that kills it, or that measures its memory."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from vvmigrate.content.delivery.pace import Pace
from vvmigrate.content.delivery.pipeline import deliver
from vvmigrate.content.delivery.received import Progress
from vvmigrate.content.manifest import Artefact, Limits
from vvmigrate.files import Tree

FAILED = 3


def run(folder: str, what: Artefact, options: dict[str, Any], die_at: int | None) -> None:
    """Deliver into `slot` of a folder, which is swept before, as whoever owns it does.

    Args:
        folder: holds the partial file and the slot.
        what: the artefact.
        options: of `deliver`.
        die_at: which report of progress ends it all with SIGKILL; None for none.
    """
    reports = count(1)

    def progress(_: Progress) -> None:
        if next(reports) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with Tree.open(Path(folder)) as tree:
        (tree / "slot").remove_tree()
        pace = Pace(wait_s=0.01, stall_s=30)
        deliver(what, tree / "part", tree / "slot", release=tree, pace=pace, progress=progress, **options)


def memory(folder: str, what: Artefact, options: dict[str, Any]) -> int:
    """Deliver; how many bytes the process grew by at its largest, what it had to load for that included."""
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): VmHWM begins anew
    before = _status("VmRSS")
    run(folder, what, options, None)
    return _status("VmHWM") - before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name + ":"))


if __name__ == "__main__":
    place, artefact, how = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
    promised = Artefact(**{**artefact, "urls": tuple(artefact["urls"]), "limits": Limits()})
    print(memory(place, replace(promised, files=(), chunk_sha256=()), how))
