"""Servers and desks for the tests of fetch()."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.content.delivery_desk import Desk
from tests.content.fault_server import FaultServer, serving
from vvmigrate.content.delivery.download import HttpSettings, Pace
from vvmigrate.files import Tree


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk whose reads give up after half a second of silence."""
    (tmp_path / "downloads").mkdir()
    (tmp_path / "release").mkdir()
    with Tree.open(tmp_path / "downloads") as tree, Tree.open(tmp_path / "release") as release:
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
