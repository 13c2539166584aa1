"""Progress for people: a bar on a terminal of 80 columns, a line every ten seconds elsewhere."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass, field

import pytest
from rich.console import Console

from tests.commands.models import DATA, install, release
from tests.conftest import HostFolder
from tests.content.fault_server import FaultServer, good
from vvmigrate.progress import Meter, span

TOTAL = 1_187_801_280
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@dataclass
class Show:
    """A meter, its clock, and what it has shown."""

    terminal: bool
    now: float = 100.0
    file: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        """Let the meter see this clock."""
        console = Console(file=self.file, width=80, force_terminal=self.terminal, no_color=True)
        self.meter = Meter(console, lambda: self.now)

    def at(self, seconds: float, phase: str, done: int) -> None:
        """It is told after so many seconds."""
        self.now = 100.0 + seconds
        self.meter.show(phase, done, TOTAL)

    def lines(self) -> list[str]:
        """Every line that was shown, without the terminal's control sequences."""
        return [line for line in re.split(r"[\r\n]+", _CONTROL.sub("", self.file.getvalue())) if line.strip()]


@pytest.fixture
def bar() -> Show:
    """On a terminal."""
    return Show(terminal=True)


@pytest.fixture
def log() -> Show:
    """In a pipe."""
    return Show(terminal=False)


def test_a_bar_says_phase_bytes_rate_and_time_left(bar: Show) -> None:
    """All of it on one line of 80 columns, and taken away when it is over."""
    for second in range(11):
        bar.at(second, "download", second * 100_000_000)
    last = bar.lines()[-1]
    assert re.search(r"download .*1\.0/1\.2 GB +100\.0 MB/s +0:00:0\d", last), last
    assert max(map(len, bar.lines())) <= 80
    bar.meter.end()
    assert bar.file.getvalue().endswith("\x1b[2K")


def test_a_bar_goes_on_where_an_earlier_run_stopped(bar: Show) -> None:
    """What was there already is done, and does not count into the rate."""
    bar.at(0, "download", 1_000_000_000)
    assert "1.0/1.2 GB" in bar.lines()[-1]
    for second in range(1, 5):
        bar.at(second, "download", 1_000_000_000 + second * 1_000_000)
    assert "1.0 MB/s" in bar.lines()[-1]


def test_each_phase_has_its_bar(bar: Show) -> None:
    """Verify, download and extract are told apart; one that begins again begins again."""
    bar.at(0, "verify", 500_000_000)
    bar.at(1, "download", 600_000_000)
    bar.at(2, "extract", 100_000_000)
    assert [line.split()[0] for line in bar.lines()[-3:]] == ["verify", "download", "extract"]
    bar.at(3, "download", 0)
    assert "0.0/1.2 GB" in bar.lines()[-2]


def test_a_bar_is_not_drawn_for_every_block(bar: Show) -> None:
    """Ten thousand blocks in a second are a few drawings."""
    for number in range(10_000):
        bar.at(number / 10_000, "download", number)
    assert len(bar.lines()) < 20


def test_elsewhere_a_line_comes_every_ten_seconds(log: Show) -> None:
    """The first after ten seconds, so that what is short says nothing."""
    for second in range(35):
        log.at(second, "download", second * 10_000_000)
    assert log.lines() == [
        "    download: 95.4 MB of 1.1 GB, 9.5 MB/s, 2 min left",
        "    download: 190.7 MB of 1.1 GB, 9.5 MB/s, 2 min left",
        "    download: 286.1 MB of 1.1 GB, 9.5 MB/s, 89 s left",
    ]


def test_a_line_after_a_resume_counts_only_what_came_now(log: Show) -> None:
    """The rate is that of this run; a server that says nothing has none, and no time left."""
    log.at(0, "download", 1_000_000_000)
    log.at(10, "download", 1_010_000_000)
    log.at(20, "download", 1_010_000_000)
    assert log.lines() == [
        "    download: 963.2 MB of 1.1 GB, 976.6 kB/s, 3 min left",
        "    download: 963.2 MB of 1.1 GB, 0 bytes/s",
    ]


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (89, "89 s"), (100, "2 min"), (7200, "2.0 h")])
def test_a_time_is_said_as_people_say_it(seconds: float, text: str) -> None:
    """No digits that nobody needs."""
    assert span(seconds) == text


def test_json_has_standard_output_for_itself(bare: HostFolder, server: FaultServer) -> None:
    """Whatever is shown of progress, the document is alone."""
    release(bare, "2.0.0", DATA, server.url("/model", good(DATA)))
    install(bare, "0002", "2.0.0")
    done = bare.run("--json", "--color", "always", "upgrade")
    assert json.loads(done.stdout)["exit_code"] == 0
    assert "download" in done.stderr
