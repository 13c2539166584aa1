"""A line of the release, or of whoever calls, for /bin/sh: to its end or to a time, and the tail of what it printed."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vvmigrate.engine.signals import put_off

TAIL_BYTES = 4096
PIPE_BYTES = 1 << 16
"""All that a pipe holds (pipe(7))."""

GRACE_S = 1.0
"""How long a process group has to end after SIGTERM, before SIGKILL."""

_GATE = 'read -r go && exec /bin/sh -c "$1" </dev/null'
"""Nothing begins before it can be ended: a signal may come to us while it is being started."""


@dataclass(frozen=True)
class Ran:
    """What became of it.

    Attributes:
        exit_code: negative for a signal; None where it had no end of its own.
        output: the last that it printed, on both streams.
        problem: why it had none.
    """

    exit_code: int | None
    output: str
    duration_s: float
    problem: str = ""


def run_line(line: str, folder: Path, environ: Mapping[str, str], *, longest_s: float) -> Ran:
    """Run a line in a process group of its own, which is ended whole when its time is over, or ours.

    What it leaves in the background is not waited for. What it prints is kept to its last 4096 bytes.

    Args:
        folder: its working directory.
        environ: all of its environment.
        longest_s: how long it may take.
    """
    started = time.monotonic()
    try:
        process = subprocess.Popen(  # noqa: S603 - from alembic.ini, trusted like the revisions beside it, or the caller's
            ["/bin/sh", "-c", _GATE, "sh", line], cwd=folder, env=dict(environ), process_group=0,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        return Ran(None, "", 0.0, f"could not be run: {error}")
    handle, tail, gate, stream = os.pidfd_open(process.pid), bytearray(), *_pipes(process)
    try:
        with suppress(BrokenPipeError):
            gate.write(b"\n")
            gate.close()
        ended = _listen(stream, handle, tail, started + longest_s)
        if not ended:
            _end_group(process, handle)
    except BaseException:  # a signal asks us to end: so does whatever the line began
        _end_group(process, handle)
        raise
    finally:
        stream.close()
        os.close(handle)
    took = round(time.monotonic() - started, 3)
    code, problem = (process.wait(), "") if ended else (None, f"took longer than {longest_s:g} s")
    return Ran(code, tail.decode("utf-8", "replace").strip(), took, problem)


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """The gate, and what is printed."""
    if process.stdin is None or process.stdout is None:
        raise AssertionError("it was started with pipes")
    os.set_blocking(process.stdout.fileno(), False)
    return process.stdin, process.stdout


def _listen(stream: IO[bytes], handle: int, tail: bytearray, deadline: float) -> bool:
    """Collect the tail until the process has ended; whether it did in time. It is not reaped yet."""
    with selectors.DefaultSelector() as selector:
        selector.register(handle, selectors.EVENT_READ)
        selector.register(stream, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            ready = {key.fd for key, _ in selector.select(left)}
            if stream.fileno() in ready and not _read(stream, tail):
                selector.unregister(stream)
            if handle in ready:
                _read(stream, tail)  # what was still in the pipe; whoever writes on in the background is not heard
                return True
    return False


def _read(stream: IO[bytes], tail: bytearray) -> bool:
    """Read what is there; whether there was anything."""
    with suppress(BlockingIOError):
        data = os.read(stream.fileno(), PIPE_BYTES)
        tail += data
        del tail[:-TAIL_BYTES]
        return bool(data)
    return False


def _end_group(process: subprocess.Popen[bytes], handle: int) -> None:
    """End the whole group. Its first process is reaped last: until then nobody else can have the group's number."""
    with put_off():
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with selectors.DefaultSelector() as selector:
            selector.register(handle, selectors.EVENT_READ)
            selector.select(GRACE_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
