"""Strike a command at every state-changing call, in many ways, and prove that it recovers.

    python -m tests.crash.killpoints --setup CMD --run CMD --recover CMD [--check CMD] [options]

Modes: kill (SIGKILL before the call), after (SIGKILL right after it), torn (half of a write, then SIGKILL), short
(half of a write, reported as such), term (SIGTERM before it), errno:E (it fails with E, once), sticky:E (it and all
later ones fail with E; the recovery is first tried while that lasts), full:E (the same, but what is unlinked can be
used again), meddle (somebody else acts right before it), power (a file system of its own is shut down without
flushing before it).

With ENOSPC, sticky and full refuse only what needs space: writes, new names and inodes, extended attributes. They let
through unlink, rmdir, chmod, chown, truncate, fsync, an exchange, and a rename onto a name that exists: no disk is too
full for those. A rename to a new name is refused, because its directory may have to grow.

A point that is never reached is "missed", and as bad as a failure: nothing was proved there.
"""

import argparse
import os
import queue
import random
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from .power import LoopDisk, mounted, new_folder
from .scenario import Outcome, Report, Scenario, Strike, before_or_after
from .shim import Call, HarnessError, Mode, build_shim
from .worker import Rests, Worker

T = TypeVar("T")
#: What every command should be struck with; "meddle" and "power" want something of the scenario or the machine.
ALL_MODES: Final = (
    "kill", "after", "torn", "short", "term", "errno:ENOSPC", "errno:EIO", "errno:EACCES",
    "sticky:ENOSPC", "sticky:EIO", "sticky:EACCES", "full:ENOSPC",
)  # fmt: skip


class Harness:
    """Strikes one scenario with several workers; a context manager."""

    def __init__(
        self, scenario: Scenario, *, shim: Path | None = None, jobs: int | None = None, filesystem: str | None = None
    ) -> None:
        """Prepare a harness; nothing happens before it is entered.

        Args:
            scenario: What is struck.
            shim: The compiled shim, if the caller has one; else it is built.
            jobs: Workers side by side; default: one a CPU.
            filesystem: ext4 or xfs: each worker gets a loop device of its own, as the mode "power" wants it.
        """
        self.scenario, self._shim, self._filesystem = scenario, shim, filesystem
        self.jobs = jobs or os.cpu_count() or 1
        self._stack = ExitStack()
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        """Start the workers.

        Raises:
            HarnessError: The scenario is broken, or two workers recorded different calls.
        """
        with ExitStack() as stack:
            scratch = new_folder("work")
            stack.callback(shutil.rmtree, scratch, ignore_errors=True)
            shim = self._shim or build_shim(scratch)
            folders = [scratch / f"w{no}" for no in range(self.jobs)]
            disks = [stack.enter_context(mounted(self._filesystem)) if self._filesystem else None for _ in folders]

            def start(folder: Path, disk: LoopDisk | None) -> Worker:
                folder.mkdir()
                worker = Worker(self.scenario, shim, folder, disk)
                stack.callback(worker.close)
                return worker

            with ThreadPoolExecutor(self.jobs) as pool:
                self.workers = list(pool.map(start, folders, disks))
            self._compare()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End the workers and remove what they left."""
        self._stack.close()

    def _compare(self) -> None:
        """Two runs that make different calls have no common points."""
        lists = [self.names(w.calls, w.root) for w in self.workers]
        again = self.workers[0]
        again.restore(again.before)
        lists.append(self.names(again.record(), again.root))
        for other in lists[1:]:
            if other != lists[0]:
                at = next((i for i, (a, b) in enumerate(zip(lists[0], other, strict=False)) if a != b), None)
                a, b = (lists[0][at], other[at]) if at is not None else (len(lists[0]), len(other))
                msg = f"the calls differ from run to run, first at {at}: {a} against {b}"
                raise HarnessError(msg)

    def names(self, calls: Sequence[Call], root: Path) -> list[str]:
        """Return the calls as they are the same in every run."""
        return [c.about(root) for c in calls]

    @property
    def calls(self) -> Sequence[Call]:
        """The state-changing calls of a clean run."""
        return self.workers[0].calls

    def listing(self) -> str:
        """Return the calls as people read them."""
        root = self.workers[0].root
        return "\n".join(f"{c.n:>4} {c.about(root)}" for c in self.calls)

    def strike(
        self, modes: Iterable[str] = ALL_MODES, *, points: Iterable[int] | None = None, sample: int = 0, seed: int = 0,
        thin: bool = False, recrash: Iterable[str] = (), recrash_step: int = 1, stop_early: bool = False,
    ) -> Report:  # fmt: skip
        """Strike the command.

        Args:
            modes: In which ways; see the top of this file.
            points: At which calls, counted from 1; default: all.
            sample: At most so many points a mode, drawn with the seed; 0: all.
            seed: Of the sample; the report names it.
            thin: Of a run of equal calls on one file take the first two and the last.
            recrash: Modes in which the recovery is struck in its turn, at each call that has a new rest; see `Rests`.
            recrash_step: Take every so many of them.
            stop_early: End at the first point that is not proved.
        """
        seconds = [Mode.parse(m) for m in recrash]
        numbers = list(points) if points is not None else [c.n for c in self.calls]
        numbers = [n for n in numbers if not (thin and self._dull(n))]
        todo: list[tuple[int, Mode]] = []
        for mode in map(Mode.parse, modes):
            mine = [n for n in numbers if n > len(self.calls) or mode.tells(self.calls[n - 1])]
            chosen = random.Random(f"{seed} {mode.label}").sample(mine, min(sample or len(mine), len(mine)))
            todo += [(n, mode) for n in sorted(chosen)]
        rests = Rests(self.names, recrash_step)
        return self.spread(
            todo, lambda w, job: w.strike(job[0], job[1], seconds, rests), seed=seed, stop_early=stop_early
        )

    def _dull(self, n: int) -> bool:
        def same(m: int) -> bool:
            here, there = self.calls[n - 1], self.calls[m - 1] if 0 < m <= len(self.calls) else None
            return there is not None and (here.name, here.path) == (there.name, there.path)

        return same(n - 1) and same(n - 2) and same(n + 1)

    def spread(
        self, todo: Sequence[T], one: Callable[[Worker, T], Strike], *, seed: int = 0, stop_early: bool = False
    ) -> Report:
        """Have the workers do all jobs, each on a worker of its own; the order of the results is that of the jobs."""
        free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        stop = threading.Event()
        for worker in self.workers:
            free.put(worker)

        def on_a_worker(job: T) -> Strike | None:
            if stop.is_set():
                return None
            worker = free.get()
            try:
                result = one(worker, job)
            except BaseException:
                stop.set()
                raise
            finally:
                free.put(worker)
            if stop_early and result.verdict != "survived":
                stop.set()
            return result

        start = time.monotonic()
        with ThreadPoolExecutor(len(self.workers)) as pool:
            results = [r for r in pool.map(on_a_worker, todo) if r is not None]
        return Report(results, len(self.calls), time.monotonic() - start, len(self.workers), seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("setup", "run", "recover"):
        parser.add_argument(f"--{name}", required=True, type=shlex.split, help="a command; {root} stands for the root")
    parser.add_argument("--check", help="a shell line that must exit 0; sees $KP_BEFORE, $KP_AFTER, $KP_RC")
    parser.add_argument("--modes", default="kill,after,torn,errno:ENOSPC,errno:EIO,sticky:ENOSPC")
    parser.add_argument("--points", default="", help="e.g. 3-9,40 (default: all)")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--thin", action="store_true")
    parser.add_argument("--ignore", action="append", default=[], help="a glob that the comparison leaves out")
    parser.add_argument("--recrash", default="", help="modes in which the recovery is struck")
    parser.add_argument("--meddle", default="", help="the shell line of the mode meddle")
    parser.add_argument("--fork", metavar="MODULE:FUNCTION", help="run in forks of a warm interpreter")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--filesystem", choices=("ext4", "xfs"), help="a loop device of its own for each worker")
    parser.add_argument("--states", choices=("posix", "journaled"), help="replay the legal states of a power loss")
    parser.add_argument("--list", action="store_true", help="only list the points")
    return parser


def _shell_check(line: str, outcome: Outcome) -> str:
    env = {
        **os.environ, "KP_ROOT": str(outcome.root), "KP_BEFORE": str(outcome.before), "KP_AFTER": str(outcome.after),
        "KP_RC": str(outcome.run_exit),
    }  # fmt: skip
    done = subprocess.run(["sh", "-c", line], env=env, cwd=outcome.root, capture_output=True, text=True, check=False)
    return f"the check exits {done.returncode}: {done.stdout[-200:]}{done.stderr[-200:]}" if done.returncode else ""


def _points(text: str) -> list[int] | None:
    ends = [part.split("-") for part in text.split(",") if part]
    return [n for e in ends for n in range(int(e[0]), int(e[-1]) + 1)] or None


def main() -> int:
    """Run the command line; returns 1 when a point failed or was missed, 2 when nothing could be struck."""
    opt = _parser().parse_args()
    try:
        report = _strike(opt)
    except HarnessError as error:
        print(f"killpoints: {error}", file=sys.stderr)
        return 2
    if report is None:
        return 0
    print("\n".join([*map(str, report.failures), report.summary()]))
    return int(bool(report.failures) or not report.strikes)


def _strike(opt: argparse.Namespace) -> Report | None:
    check = (lambda outcome: _shell_check(opt.check, outcome)) if opt.check else before_or_after
    scenario = Scenario(opt.setup, opt.run, opt.recover, check, app=opt.fork, ignore=opt.ignore, meddle=opt.meddle)
    with Harness(scenario, jobs=opt.jobs, filesystem=opt.filesystem) as harness:
        if opt.list:
            print(harness.listing())
            return None
        if opt.states:
            from .crashstates import explore

            return explore(harness, opt.states, seed=opt.seed)
        return harness.strike(
            opt.modes.split(","), points=_points(opt.points), sample=opt.sample, seed=opt.seed, thin=opt.thin,
            recrash=[m for m in opt.recrash.split(",") if m],
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
