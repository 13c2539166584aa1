"""What the crash tests share: the compiled shim, and the long tests that only ``--full`` runs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .scenario import Report
from .shim import build_shim, why_no_shim
from .tally import Tally


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


@pytest.fixture(scope="session", autouse=True)
def tally() -> Iterator[Tally]:
    """Count what the full set proves, and write it down as it goes; a point that is not proved is written down too."""
    counted, judge = Tally(), Report.assert_clean

    def assert_clean(report: Report) -> None:
        counted.note(os.environ.get("PYTEST_CURRENT_TEST", ""), report)
        judge(report)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Report, "assert_clean", assert_clean)
        yield counted


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the shim once; without a compiler nothing can be struck, and the test says so."""
    if why := why_no_shim():
        pytest.skip(why)
    return build_shim(tmp_path_factory.mktemp("shim"))
