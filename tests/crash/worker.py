"""One private root in which a scenario is run, struck and judged; workers stand side by side."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Final

from . import trees
from .forkserver import TIMED_OUT, ForkServer, Idle
from .power import LoopDisk
from .scenario import TAIL_LINES, Command, Outcome, Scenario, Strike, Verdict
from .shim import LASTING, Call, Counter, HarnessError, Mode, arming, read_record

IDLE: Final = Idle()


class Rests:
    """Which calls of a recovery are still worth a strike, of all recoveries of one command.

    Recoveries from neighbouring points do the same but for their first calls. A call after which the same is left to
    do, call by call and on the same paths, and which comes after the same one, counts as the same point as one that was
    struck before: by its calls the recovery has come to the same place in the protocol (the disks are not compared).
    So the first recovery that comes there is struck, and in the end every call of every recovery has been.
    """

    def __init__(self, names: Callable[[Sequence[Call], Path], list[str]], step: int = 1) -> None:
        """Nothing was struck yet.

        Args:
            names: The calls as they are the same in every run.
            step: Take every so many of the calls that are new.
        """
        self._names, self._step = names, step
        self._seen: set[tuple[str, ...]] = set()
        self._lock = threading.Lock()

    def new(self, calls: Sequence[Call], root: Path) -> list[Call]:
        """Return the calls of a recovery after which there is something to do that no recovery had to do before."""
        names = [
            f"{name} {call.argument} {call.result < 0}"
            for name, call in zip(self._names(calls, root), calls, strict=True)
        ]
        rests = [tuple(names[max(0, at - 1) :]) for at in range(len(names))]
        with self._lock:
            before = len(self._seen)
            new = [call for call, rest in zip(calls, rests, strict=True) if rest not in self._seen]
            self._seen.update(rests)
        return new[before % self._step :: self._step]


class Worker:
    """Holds a root, its state before and after, and a fork server if the scenario names an application."""

    def __init__(self, scenario: Scenario, shim: Path, folder: Path, disk: LoopDisk | None = None) -> None:
        """Make the state before, run once cleanly, and keep the state after.

        Args:
            scenario: What is struck.
            shim: The compiled shim.
            folder: The worker's own scratch directory; it exists and is empty.
            disk: A file system of its own that holds the root, for the mode "power".

        Raises:
            HarnessError: The setup, the clean run or the fork server fails.
        """
        self.scenario, self.disk, self._shim = scenario, disk, shim
        folder = folder.resolve()
        self.root = (disk.path if disk else folder) / "root"
        self.before, self.after, self._crashed = folder / "before", folder / "after", folder / "crashed"
        self._out, self._log = folder / "output", folder / "record"
        self._snapshots = trees.Snapshots(scenario.ignore)
        self._counter = Counter(folder / "counter")
        self._env = self._environment()
        self._server: ForkServer | None = None
        self.root.mkdir()
        if scenario.app:
            try:
                self._server = self._warm(scenario.app, folder / "server")
            except RuntimeError as error:
                raise HarnessError(str(error)) from error
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _environment(self) -> dict[str, str]:
        path = [str(p) for p in self.scenario.import_path]
        env = {
            **os.environ,
            # Sets and compiled files must not make the calls differ from run to run.
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join([*path, *(p for p in sys.path if p)]),
            "KP_ROOT": str(self.root),
            "KP_MEDDLE": self._fill(self.scenario.meddle),
        }
        return env | {k: self._fill(v) for k, v in self.scenario.env.items()}

    def _warm(self, app: str, log: Path) -> ForkServer:
        scenario = self.scenario
        self._key = (self._shim, app, bool(self.disk), *scenario.preload, *scenario.import_path)  # env: a command's own
        return IDLE.take(self._key, lambda: ForkServer(self._shim, app, scenario.preload, self._env, log))

    def _fill(self, text: str) -> str:
        return text.replace("{root}", str(self.root))

    def _prepare(self) -> None:
        setup = self.scenario.setup
        if callable(setup):
            setup(self.root)
        elif (status := self._program([self._fill(a) for a in setup], {})) != 0:
            msg = f"the setup fails with {status}:\n{self.output()}"
            raise HarnessError(msg)
        trees.copy(self.root, self.before)
        self.calls = self.record()
        trees.copy(self.root, self.after)
        # Of a copy: where a transaction was cut short, SQLite rolls back for whoever looks.
        trees.copy(self.before, self._crashed)
        self._before_tree, self._after_tree = self._snapshots.take(self._crashed), self._snapshots.take(self.after)
        if not self.calls or self._before_tree == self._after_tree:
            msg = "the clean run changes nothing, or nothing that the shim sees"
            raise HarnessError(msg)

    def close(self) -> None:
        """Leave the fork server to the next worker."""
        if self._server:
            IDLE.put(self._key, self._server)
            self._server = None

    # ---- running ---------------------------------------------------------------------------------------------------

    def execute(
        self, command: Command, n: int = 0, mode: Mode | None = None, *, record: Path | None = None, data: bool = False
    ) -> int:
        """Run a command under the shim, struck at call n; returns its exit status.

        Raises:
            HarnessError: It runs longer than the scenario allows.
        """
        self._counter.reset()
        arm = arming(self._counter.path, self.root, record, n, mode, data=data)
        env = {"LD_PRELOAD": str(self._shim), "KP_ARM": "|".join(str(a) or "-" for a in arm)}
        argv = [self._fill(a) for a in command]
        if not self._server:
            return self._program(argv, env)
        status = self._server.run(
            {
                "env": self._env | env,
                "cwd": str(self.root),
                "out": str(self._out),
                "argv": ["app", *argv],
                "arm": arm,
                "limit_s": self.scenario.limit_s,
            }
        )
        if status == TIMED_OUT:
            msg = f"{' '.join(argv)} runs longer than {self.scenario.limit_s} s:\n{self.output()}"
            raise HarnessError(msg)
        return status

    def _program(self, argv: Sequence[str], env: dict[str, str]) -> int:
        with self._out.open("ab") as out:
            try:
                process = subprocess.Popen(
                    argv, cwd=self.root, env=self._env | env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                    start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                msg = f"{' '.join(argv)} cannot be run: {error}"
                raise HarnessError(msg) from error
            try:
                return process.wait(self.scenario.limit_s)
            except subprocess.TimeoutExpired:
                msg = f"{' '.join(argv)} runs longer than {self.scenario.limit_s} s:\n{self.output()}"
                raise HarnessError(msg) from None
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def output(self) -> str:
        """Return what was printed since the point began."""
        return self._out.read_text("utf-8", "replace") if self._out.exists() else ""

    def record(self, command: Command | None = None, *, data: bool = False) -> list[Call]:
        """Run a command unstruck and return its calls; the scenario's own command must succeed."""
        self._log.unlink(missing_ok=True)
        with self._companion():
            status = self.execute(command or self.scenario.run, record=self._log, data=data)
        if command is None and status != 0:
            msg = f"the clean run fails with {status}:\n{self.output()}"
            raise HarnessError(msg)
        return read_record(self._log)

    @contextlib.contextmanager
    def _companion(self) -> Iterator[None]:
        if self.scenario.companion is None:
            yield
            return
        argv = [self._fill(a) for a in self.scenario.companion]
        process = subprocess.Popen(argv, cwd=self.root, env=self._env, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                msg = f"the companion {' '.join(argv)} did not say that it is ready"
                raise HarnessError(msg)
            yield
        finally:
            process.kill()
            process.communicate()

    # ---- striking --------------------------------------------------------------------------------------------------

    def _blow(self, command: Command, n: int, mode: Mode) -> tuple[int, int]:
        """Run a command struck at call n, with all that the mode brings; returns exit status and the call hit."""
        if mode.kind == "meddle" and not self.scenario.meddle:
            msg = "the mode meddle wants somebody: Scenario(meddle=...)"
            raise HarnessError(msg)
        if mode.kind == "power":
            if self.disk is None:
                msg = "the mode power wants a file system of its own: Harness(filesystem='ext4')"
                raise HarnessError(msg)
            self.disk.flush()  # the state before is on the disk
        with self._companion():
            status = self.execute(command, n, mode)
        hit = self._counter.hit
        if mode.kind == "power" and self.disk:
            self.disk.power_cycle()
        if mode.kind in LASTING and hit:
            self.execute(self.scenario.recover, 1, mode)  # somebody tries again while the disk is still full
        return status, hit

    def strike(self, n: int, mode: Mode, recrash: Sequence[Mode] = (), rests: Rests | None = None) -> Strike:
        """Restore the state before, strike call n, recover and judge.

        Args:
            n: The call, counted from 1.
            mode: What happens at it.
            recrash: Modes in which the recovery is struck in its turn.
            rests: Says at which of its calls.
        """
        self.restore(self.before)
        status, hit = self._blow(self.scenario.run, n, mode)
        if not hit:
            return self._result(n, mode.label, "missed", "the run never came to this call")
        if self.scenario.between:
            self.scenario.between(self.root)
        if not recrash or rests is None:
            return self._verdict(n, mode.label, self.judge(status, mode.label))
        trees.copy(self.root, self._crashed)
        self._log.unlink(missing_ok=True)
        why, tried = self.judge(status, mode.label, record=self._log), 0
        for call, second in product([] if why else rests.new(read_record(self._log), self.root), recrash):
            if why or not second.tells(call):
                continue
            self.restore(self._crashed)
            _, hit = self._blow(self.scenario.recover, call.n, second)
            tried += 1
            bad = self.judge(status, mode.label) if hit else "never reached"
            why = f"{second.label} at call {call.n} of the recovery: {bad}" if bad else ""
        return self._verdict(n, mode.label, why, tried)

    def restore(self, tree: Path) -> None:
        """Make the root what one of the kept trees is, and forget what was printed."""
        self._out.write_bytes(b"")
        trees.copy(tree, self.root)

    def judge(self, run_exit: int, mode: str, *, record: Path | None = None) -> str:
        """Run the recovery and the scenario's check; returns what is wrong, or an empty string."""
        recover_exit = self.execute(self.scenario.recover, record=record)
        if recover_exit not in self.scenario.recover_exits:
            return f"the recovery exits {recover_exit}"
        try:
            now = self._snapshots.take(self.root)
        except sqlite3.DatabaseError as error:
            return f"database: {error}"
        return self.scenario.check(
            Outcome(
                self.root, self.before, self.after, now, self._before_tree, self._after_tree,
                run_exit, recover_exit, mode, self.output(),
            )
        )  # fmt: skip

    def _verdict(self, n: int, mode: str, why: str, recrashes: int = 0) -> Strike:
        return self._result(n, mode, "failed" if why else "survived", why, recrashes)

    def _result(self, n: int, mode: str, verdict: Verdict, why: str, recrashes: int = 0) -> Strike:
        call = self.calls[n - 1].about(self.root) if 0 < n <= len(self.calls) else "start"
        tail = "" if verdict == "survived" else " | ".join(self.output().strip().splitlines()[-TAIL_LINES:])
        return Strike(n, mode, call, verdict, why, tail, recrashes)

    def try_state(self, n: int, profile: str, why: str, *, last: bool) -> Strike:
        """Judge a root that was built from outside; after the last call the command has said that it succeeded."""
        self._out.write_bytes(b"")
        if self.scenario.between:
            self.scenario.between(self.root)
        bad = self.judge(0 if last else -signal.SIGKILL, profile)
        return self._verdict(n, profile, f"{why} -> {bad}" if bad else "")
