"""What the crash tests share: the compiled shim, and the long tests that only ``--full`` runs."""

from pathlib import Path

import pytest

from .shim import build_shim, why_no_shim


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "full: takes minutes; runs with --full only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the long tests, visibly, unless they are asked for."""
    if config.getoption("--full", default=False):
        return
    here = Path(__file__).parent
    for item in items:
        if item.get_closest_marker("full") and here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="long: runs with --full"))


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the shim once; without a compiler nothing can be struck, and the test says so."""
    if why := why_no_shim():
        pytest.skip(why)
    return build_shim(tmp_path_factory.mktemp("shim"))
