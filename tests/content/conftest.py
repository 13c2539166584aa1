"""Servers and desks for the tests of fetch()."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trustme
from hypothesis import settings

from tests.content.delivery_desk import Desk
from tests.content.fault_server import FaultServer, serving
from vvmigrate.content.delivery.download import HttpSettings, Pace
from vvmigrate.files import Tree

MEMORY = "/dev/shm"


def pytest_configure(config: pytest.Config) -> None:
    """How many examples a property is tried with: many with --full."""
    settings.register_profile("quick", max_examples=100, deadline=None)
    settings.register_profile("full", max_examples=1000, deadline=None)
    settings.load_profile("full" if config.getoption("--full") else "quick")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk whose reads give up after half a second of silence."""
    yield from _desk(tmp_path)


@pytest.fixture
def patient() -> Iterator[Desk]:
    """A desk for hundreds of deliveries: in memory where that can be had, as each of them waits for the disk; it loses
    little time with a silent server, and none by a machine that is busy.
    """
    with TemporaryDirectory(prefix="vv-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        for desk in _desk(Path(folder)):
            desk.pace = replace(desk.pace, stall_s=0.2, rounds=6)
            yield desk


def _desk(folder: Path) -> Iterator[Desk]:
    (folder / "downloads").mkdir()
    (folder / "release").mkdir()
    with Tree.open(folder / "downloads") as tree, Tree.open(folder / "release") as release:
        yield Desk(tree, release, pace=Pace(clock=lambda: 0.0, connect_s=5, stall_s=0.5, rounds=2))


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A server that speaks plain HTTP."""
    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority that nobody trusts yet."""
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA, desk: Desk, tmp_path: Path) -> Iterator[FaultServer]:
    """A server that speaks TLS, and a desk that trusts it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    desk.settings = HttpSettings(ca_bundle=str(bundle))
    with serving(context) as running:
        yield running
