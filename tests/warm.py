"""Commands in forks of a warm interpreter: a real process each, but its half second of imports is paid once.

Run as a script this file is the server. For each request it forks, and the child becomes what `python -m MODULE` would
be: own environment, folder, file mode mask and standard streams, the module as `__main__`, and an interpreter that ends
by itself. What depends on how an interpreter starts is no case for it; `Warm.fits` says so.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar

STARTS_DIFFER = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")
LARGEST_REQUEST_BYTES = 1 << 17
PRELOADED = (
    *("alembic.command", "alembic.config", "alembic.script", "alembic.runtime.migration", "alembic.autogenerate"),
    *("sqlalchemy", "sqlalchemy.dialects.sqlite", "sqlite3", "logging.config", "difflib", "uuid"),
    *("rich.console", "rich.live", "rich.markup", "rich.progress", "rich.table", "rich.text"),
    *("click", "dotenv", "jsonschema", "requests", "nacl.signing", "getpass", "pwd", "grp"),
)


class Warm:
    """The client's end: one server for a test process, and another where processes are measured."""

    _servers: ClassVar[dict[tuple[int, bool], Warm]] = {}

    def __init__(self) -> None:
        """Start a server, with the environment as it is now."""
        self._started_with = _of_the_start(os.environ)
        self._user = os.geteuid(), os.getegid()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/", pass_fds=[theirs.fileno()],
                process_group=0,
            )  # fmt: skip
        self._socket = ours

    @classmethod
    def here(cls) -> Warm:
        """The server of this process; started when it is first wanted. A fork has one of its own."""
        key = os.getpid(), "COVERAGE_PROCESS_CONFIG" in os.environ
        if key not in cls._servers:
            cls._servers[key] = cls()
        return cls._servers[key]

    @classmethod
    def close_all(cls) -> None:
        """End the servers of this process, and wait for them."""
        for key in [key for key in cls._servers if key[0] == os.getpid()]:
            cls._servers.pop(key).close()

    def close(self) -> None:
        """End the server, and what it runs."""
        self._socket.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def fits(self, environ: Mapping[str, str]) -> bool:
        """Whether a fork is as good as a process that starts with this environment, and as this user."""
        return _of_the_start(environ) == self._started_with and self._user == (os.geteuid(), os.getegid())

    def run(
        self, module: str, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m module arguments` and wait for its end; `given` is its standard input.

        Raises:
            TimeoutError: It did not end within two minutes; the server has ended with it.
        """
        mask = os.umask(0)
        os.umask(mask)
        request = {"argv": [module, *arguments], "cwd": str(cwd), "env": dict(env), "umask": mask}
        with ExitStack() as stack:
            streams = [stack.enter_context(open(os.memfd_create(name), "w+b")) for name in ("in", "out", "err")]
            streams[0].write(given.encode("utf-8", "surrogateescape"))
            streams[0].seek(0)
            self._socket.settimeout(120)
            status = self._ask(json.dumps(request).encode(), [stream.fileno() for stream in streams])
            printed = [os.pread(stream.fileno(), os.fstat(stream.fileno()).st_size, 0) for stream in streams[1:]]
        out, err = (text.decode().replace("\r\n", "\n") for text in printed)
        return subprocess.CompletedProcess([module, *arguments], status, out, err)

    def _ask(self, request: bytes, streams: Sequence[int]) -> int:
        try:
            socket.send_fds(self._socket, [request], streams)
            return int(self._socket.recv(64))
        except BaseException:  # an answer that comes later would be taken for the next command's
            self._servers.pop(next(key for key, server in self._servers.items() if server is self), None)
            self.close()
            raise


def _of_the_start(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(STARTS_DIFFER)}


def _import_all() -> None:
    import vvmigrate

    for found in pkgutil.walk_packages(vvmigrate.__path__, "vvmigrate."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page of what was imported


def _next_child(asked: socket.socket) -> dict[str, Any]:
    """Serve; return in every child, with its request."""
    while True:
        message, streams, _, _ = socket.recv_fds(asked, LARGEST_REQUEST_BYTES, 3)
        if not message:
            os._exit(0)
        child = os.fork()
        if not child:
            asked.close()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            request: dict[str, Any] = json.loads(message)
            return request
        for stream in streams:
            os.close(stream)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with suppress(BrokenPipeError):
            asked.send(str(status).encode())


def _main() -> None:
    _import_all()
    request = _next_child(socket.socket(fileno=int(sys.argv[1])))
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    tempfile.tempdir = None
    os.umask(request["umask"])
    os.chdir(request["cwd"])
    sys.path[0] = request["cwd"]
    sys.argv = request["argv"]
    runpy.run_module(request["argv"][0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
