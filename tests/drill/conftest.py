"""What the drill's tests share: the releases, and the server that has their models."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.content.fault_server import FaultServer, serving
from tests.drill.releases import Release, make


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    """Where the models can be had, while it runs."""
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory, server: FaultServer) -> dict[str, Release]:
    """The three releases."""
    return make(tmp_path_factory.mktemp("releases"), server)
