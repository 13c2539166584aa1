"""Run an application in forks of a warm interpreter: its imports are paid once, not at every point.

Run as a script this file is the server: it imports the application under the preloaded, still unarmed shim, and for
every line of JSON on its standard input forks, arms the shim in the child, and calls the application's function. It
imports nothing of this package, so that nothing of it lies in the application's way.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

TIMED_OUT = -signal.SIGALRM


class ForkServer:
    """The client's end. One server belongs to one worker: it runs one command at a time."""

    def __init__(self, shim: Path, app: str, preload: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        """Start the server and wait until the application is imported.

        Args:
            shim: The compiled shim.
            app: ``package.module:function``; the function reads sys.argv and returns an exit status or None. Importing
                the module must start no thread, open no database, and not depend on the environment.
            preload: Further modules to import before the first fork.
            env: The server's environment; each command brings its own.
            log: Where the server's errors go.

        Raises:
            RuntimeError: The application cannot be imported.
        """
        with log.open("ab") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(shim), app, *preload],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True,
                env={**env, "LD_PRELOAD": str(shim)},
            )  # fmt: skip
        if self._answer() != "ready":
            self.close()
            msg = f"the fork server did not start:\n{log.read_text('utf-8', 'replace')[-2000:]}"
            raise RuntimeError(msg)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def run(self, request: Mapping[str, Any]) -> int:
        """Run one command in a fork; returns its exit status, negative for a signal.

        Raises:
            RuntimeError: The server itself died.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        if not (answer := self._answer()):
            msg = "the fork server died"
            raise RuntimeError(msg)
        return int(answer)

    @property
    def alive(self) -> bool:
        """Whether it can run another command."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the server and wait for it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()


class Idle:
    """Servers whose worker has ended, for the next one that wants the same: the imports cost more than a small test."""

    MOST = 4

    def __init__(self) -> None:
        """None yet."""
        self._servers: list[tuple[object, ForkServer]] = []
        self._lock = threading.Lock()

    def take(self, key: object, start: Callable[[], ForkServer]) -> ForkServer:
        """Return an idle server with this key, or start one."""
        with self._lock:
            at = next((at for at, (known, _) in enumerate(self._servers) if known == key), None)
            found = None if at is None else self._servers.pop(at)[1]
        return found or start()

    def put(self, key: object, server: ForkServer) -> None:
        """Keep a server, if it lives; the one that was idle for longest ends if there are too many."""
        with self._lock:
            self._servers += [(key, server)] if server.alive else []
            ended = self._servers.pop(0)[1] if len(self._servers) > self.MOST else None
        if ended:
            ended.close()


def _child(request: dict[str, Any], shim: ctypes.CDLL, function: Callable[[], object]) -> NoReturn:
    """Become the application: own session (a strike kills the group), own environment, armed shim."""
    os.setsid()
    signal.alarm(request["limit_s"])
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    out = os.open(request["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    sys.argv = request["argv"]
    status: object = 1
    try:
        shim.kp_arm(*(a.encode() if isinstance(a, str) else a for a in request["arm"]))
        status = function() or 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    except BaseException:  # noqa: BLE001 - the traceback is the report, the status says that there is one
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status if isinstance(status, int) else 1)


def _serve(shim_path: str, app: str, preload: Sequence[str]) -> None:
    shim = ctypes.CDLL(shim_path)
    module, _, name = app.partition(":")
    for each in preload:
        importlib.import_module(each)
    function = getattr(importlib.import_module(module), name)
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page of what was imported
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            _child(json.loads(line), shim, function)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what the command left running must not reach into the next point
        print(status, flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], sys.argv[3:])
