"""What the crash tests share: the compiled shim, and the long tests that only ``--full`` runs."""

import os
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

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


@pytest.fixture(autouse=True)
def seed_is_told(request: pytest.FixtureRequest) -> None:
    """A test's report carries its module's seed."""
    if seed := getattr(request.module, "SEED", None):
        request.node.user_properties.append(("seed", seed))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what the crash tests took, from which seeds, and why some were skipped: a proof that was not made is seen."""
    seconds, seeds, reasons = 0.0, set[str](), Counter[str]()
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if not isinstance(report, pytest.TestReport) or not report.nodeid.startswith("tests/crash/"):
            continue
        seconds += report.duration
        seeds |= {str(value) for name, value in report.user_properties if name == "seed"}
        if report.skipped and isinstance(report.longrepr, tuple):
            reasons[str(report.longrepr[2]).removeprefix("Skipped: ")] += 1
    if seconds:
        terminalreporter.section("crash safety")
        terminalreporter.line(f"{seconds:.0f} s of tests, seeds {', '.join(sorted(seeds))}")
        for reason, count in sorted(reasons.items()):
            terminalreporter.line(f"{count} skipped: {reason}")


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
