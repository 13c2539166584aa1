"""A model's delivery as part of an upgrade: two at once, one that is killed, and servers that have another file."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.commands import models
from tests.conftest import HostFolder
from tests.content.fault_server import Act, FaultServer, Reply, Request, good

WAIT_S = 60
LARGE = 9 << 20  # more than is handled without threads
PIECE_BYTES = 64 << 10
DATA = random.Random(1).randbytes(LARGE)


@dataclass
class Gate:
    """An act that stands still until it is opened."""

    then: Act
    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def __call__(self, reply: Reply, request: Request) -> None:
        """Say that somebody asks; answer when the gate opens."""
        self.reached.set()
        self.opened.wait(WAIT_S)
        self.then(reply, request)


@contextmanager
def upgrading(host: HostFolder, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A process that upgrades while the block runs, and has ended after it."""
    command = host.command("--json", *options, "upgrade", "head")
    with subprocess.Popen(
        command, env=host.environment(), cwd=host.home, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.wait(WAIT_S)


def test_two_upgrades_download_once(bare: HostFolder, server: FaultServer) -> None:
    """While one downloads a second exits 5 and names it; one that waits finds all done; the server is asked once."""
    gate = Gate(good(models.DATA))
    models.release(bare, "2.0.0", models.DATA, server.url("/model", gate))
    models.install(bare, "0002", "2.0.0")
    with upgrading(bare) as first:
        try:
            assert gate.reached.wait(WAIT_S)
            refused = bare.json("upgrade", "head")
            assert refused["exit_code"] == 5
            assert f"process {first.pid}" in refused["error"]["message"]
            with upgrading(bare, "--lock-timeout", str(WAIT_S)) as waiting:
                gate.opened.set()
                said = json.loads(waiting.communicate(timeout=WAIT_S)[0])
            assert (said["exit_code"], said["steps"]) == (0, [])
        finally:
            gate.opened.set()
    assert first.returncode == 0
    assert models.current(bare) == models.DATA
    assert len(server.requests) == 1


@pytest.mark.parametrize("form", ["file", "tar.gz"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 4))])
def test_a_killed_download_shows_nothing_and_goes_on(
    bare: HostFolder, server: FaultServer, form: str, seed: int
) -> None:
    """kill -9 somewhere in nine megabytes: no part of a model is visible, and the next run fetches only the rest."""
    packed = DATA if form == "file" else models.archive(DATA)
    at = random.Random(seed).randrange(len(packed))
    victims: list[subprocess.Popen[str]] = []
    started = threading.Event()

    def dying(reply: Reply, _: Request) -> None:
        reply.head("200 OK", {"Content-Length": len(packed), "ETag": '"one"'})
        for here in range(0, len(packed), PIECE_BYTES):
            if here <= at < here + PIECE_BYTES:
                started.wait(WAIT_S)
                victims[0].kill()
            reply.send(packed[here : here + PIECE_BYTES])

    bare.up("0001")
    more: dict[str, Any] = {} if form == "file" else {"format": form, "filename": "model.tar.gz"}
    models.release(bare, "2.0.0", packed, server.url("/model", dying, good(packed)), **more)
    models.install(bare, "0002", "2.0.0")
    before = bare.tree()
    with upgrading(bare) as process:
        victims.append(process)
        started.set()
    assert process.returncode == -signal.SIGKILL
    assert bare.tree() == before
    held = sum(len(data) for data in models.received(bare).values())
    bare.up()
    assert models.current(bare) == DATA
    assert [request.start for request in server.requests] == [0, held]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: models.NEWER,
        lambda data: data[:300_000] + models.NEWER[300_000:],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:1000] + bytes([data[1000] ^ 1]) + data[1001:],
    ],
    ids=["another", "half another", "shorter", "longer", "one bit"],
)
def test_a_server_with_another_file_of_that_name(
    bare: HostFolder, server: FaultServer, damage: Callable[[bytes], bytes]
) -> None:
    """Exit 7 with both sums or sizes, the model from before stays current; once the file is right it is installed."""
    newest = os.urandom(models.SIZE)
    models.release(bare, "1.1.0", models.DATA, server.url("/one", good(models.DATA)))
    models.install(bare, "0002", "1.1.0")
    bare.up()
    models.release(bare, "2.0.0", newest, server.url("/two", good(damage(newest))))
    models.install(bare, "0003", "2.0.0")
    before = bare.tree()
    report = bare.call("upgrade", "head")
    assert report.exit_code == 7
    assert report.error is not None
    assert "instead of" in report.error.message
    assert bare.tree() == before
    assert models.current(bare) == models.DATA
    server.url("/two", good(newest))
    bare.up()
    assert models.current(bare) == newest
