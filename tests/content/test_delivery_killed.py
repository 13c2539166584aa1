"""kill -9 while an artefact is delivered: it goes on where it was, and ends with the right files.

The moments are drawn by a seed, and told in bytes that the server has sent, or in reports of progress; never in time.
"""

from __future__ import annotations

import multiprocessing
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from tests.content import delivery_child
from tests.content.delivery_desk import PACKERS, Form, form_of
from tests.content.fault_server import Act, FaultServer, Reply, Request, good, serving
from vvmigrate.content.delivery.received import BLOCK_BYTES

ROUNDS, ROUNDS_IN_FULL, MOST_KILLS = 20, 200, 3
SIZE = 6_000_000  # more than the buffers of both sockets hold, so that what is sent says where the client is
PIECE_BYTES = 64 << 10
WITHOUT_THREADS = 1 << 60


@pytest.fixture(scope="module")
def forms() -> dict[str, Form]:
    """The model in every format, large enough to be killed in the middle."""
    return {packer: form_of(packer, SIZE) for packer in PACKERS}


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that begin in milliseconds, as what they need is loaded already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.content.delivery_child", "requests", "isal.isal_zlib", "backports.zstd"])
    return context


@dataclass
class Round:
    """One artefact, some kills, and what came of it."""

    server: FaultServer
    processes: ForkServerContext
    folder: Path
    form: Form
    options: dict[str, Any]

    def once(self, *, byte: int | None = None, report: int | None = None) -> int:
        """Deliver in a process that is killed when a byte has left the server, at a report, or not at all.

        Returns:
            Its exit code.
        """
        data = self.form.data
        what = self.form.artefact(self.server.url("/model", good(data)))
        arguments = (str(self.folder), what, self.options, report)
        child = self.processes.Process(target=delivery_child.run, args=arguments)
        started = threading.Event()

        def kill() -> None:
            started.wait()  # the process may ask before whoever starts it knows its number
            child.kill()

        if byte is not None:
            self.server.acts["/model"] = [dying(data, byte, kill)]
        child.start()
        started.set()
        child.join()
        assert child.exitcode is not None
        return child.exitcode

    def held(self) -> int:
        """The size of what was received."""
        part = self.folder / "part"
        return part.stat().st_size if part.exists() else 0

    def installed(self) -> dict[str, bytes]:
        """Every file that was delivered, and what it holds."""
        slot = self.folder / "slot"
        return {str(path.relative_to(slot)): path.read_bytes() for path in slot.rglob("*") if path.is_file()}


def dying(data: bytes, at: int, kill: Callable[[], None]) -> Act:
    """Serve as `good` does, and kill the client when the byte at `at` of the artefact has left."""

    def act(reply: Reply, request: Request) -> None:
        start = request.start
        span = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        status = "206 Partial Content" if start else "200 OK"
        reply.head(status, {"Content-Length": len(data) - start, "ETag": '"one"', **span})
        for here in range(start, len(data), PIECE_BYTES):
            if start <= at < here:
                kill()
            reply.send(data[here : here + PIECE_BYTES])
        kill()

    return act


def one_round(this: Round, chance: random.Random) -> str:
    """Kill some times at random moments, then let it end; what happened, in words for whoever must repeat it."""
    story, size = [], len(this.form.data)
    for _ in range(chance.randint(1, MOST_KILLS)):
        before, asked = this.held(), len(this.server.requests)
        # A block is reported when it came, and without threads again when it is unpacked.
        most = size // BLOCK_BYTES * (2 if this.options["serial_below_bytes"] else 1)
        if chance.random() < 0.5 and before < size:
            moment = {"byte": chance.randrange(before, size)}
        else:
            moment = {"report": chance.randint(1, most)}
        code = this.once(**moment)
        story.append(f"{moment}: exit {code}")
        assert code in (-signal.SIGKILL, 0), story
        check_resumed(this, before, asked, story)
        if code == 0:
            return ", ".join(story)
    before, asked = this.held(), len(this.server.requests)
    assert this.once() == 0, story
    check_resumed(this, before, asked, story)
    return ", ".join(story)


def check_resumed(this: Round, before: int, asked: int, story: list[str]) -> None:
    """What is there is not fetched again: at most one request, for what is missing."""
    starts = [request.start for request in this.server.requests[asked:]]
    assert starts in ([], [before]), (story, starts, before)


@pytest.mark.parametrize(
    "seeds",
    [
        *(range(seed, seed + 1) for seed in range(ROUNDS)),
        pytest.param(range(ROUNDS, ROUNDS_IN_FULL), marks=pytest.mark.full),
    ],
    ids=lambda seeds: f"{seeds.start} to {seeds[-1]}",
)
def test_killed_at_random_moments(
    processes: ForkServerContext, forms: dict[str, Form], tmp_path: Path, seeds: range
) -> None:
    """However often and whenever it is killed: the next run goes on, the files are right, nothing is fetched twice."""
    for seed in seeds:
        chance = random.Random(seed)
        form = forms[chance.choice(sorted(forms))]
        options = {"keep": chance.random() < 0.75, "serial_below_bytes": chance.choice([0, 0, WITHOUT_THREADS])}
        folder = tmp_path / str(seed)
        folder.mkdir()
        with serving() as server:
            this = Round(server, processes, folder, form, options)
            print(f"seed {seed}, {form.format}, {options}: {one_round(this, chance)}")
        assert this.installed() == form.files
