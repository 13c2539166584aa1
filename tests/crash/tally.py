"""What the full set proved, counted by step and kind, and written where people read it: a row as soon as it is proved.

A full run takes more than an hour. One that is cut short leaves the rows that it came to, and the next one the others;
so each row carries its day.
"""

import os
import platform
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from .scenario import Report

PAGE = Path(__file__).resolve().parents[2] / "docs/crash-safety.md"
BEGIN, END = "<!-- proof: written by ./run_tests.sh --full -->", "<!-- end of proof -->"
HEAD = """| step | kind | tried | survived | missed | failed | recoveries struck | day |
|---|---|---|---|---|---|---|---|
"""
#: By a part of the test's name, what it does.
KINDS = {
    "every_fault": "faults",
    "every_kill": "every kill, faults a sample",
    "every_second_crash": "second kill, second faults a sample",
    "kills_of_the_recovery_of_a_fault": "faults a sample, then a kill",
    "every_power_loss_by_the_rules": "power loss, by the rules",
    "every_real_power_cut[ext4": "power cut, real, ext4",
    "every_real_power_cut[xfs": "power cut, real, xfs",
    "every_real_power_cut_beside_an_orchestrator[ext4": "power cut, real, ext4, beside an orchestrator",
    "every_real_power_cut_beside_an_orchestrator[xfs": "power cut, real, xfs, beside an orchestrator",
}
STEP = re.compile(r"(recover )?(upgrade|downgrade|adopt) \w+-\w+|repair [\w.-]+|prune all")
Row = tuple[str, str]


@dataclass
class Tally:
    """Points by step and kind, and the page that shows them."""

    page: Path = PAGE
    counts: dict[Row, Counter[str]] = field(default_factory=dict)

    def note(self, test: str, report: Report) -> None:
        """Count a report of the full set, and write it down.

        Args:
            test: the test's name with its parameters.
            report: what came of it.
        """
        row = row_of(test)
        if row is None:
            return
        cell = self.counts.setdefault(row, Counter())
        for counter in report.counts().values():
            cell.update(counter)
        cell["recoveries struck"] += report.recrashes
        self.write()

    def write(self) -> None:
        """Put the rows into the page, between its marks; those of an earlier day stay where no new ones are.

        A row of a kind that no test of the full set fills is nobody's to prove again: it goes.
        """
        before, _, rest = self.page.read_text("utf-8").partition(BEGIN)
        old, _, after = rest.partition(END)
        rows = {**dict(_rows_in(old)), **{row: _line(row, cell) for row, cell in self.counts.items()}}
        table = HEAD + "".join(f"{line}\n" for _, line in sorted(rows.items()))
        self.page.write_text(f"{before}{BEGIN}\n\n{machine()}\n\n{table}\n{END}{after}", "utf-8")


def row_of(test: str) -> Row | None:
    """The row that a test of the full set fills; None for any other test."""
    kind = next((kind for part, kind in KINDS.items() if f"survives_{part}" in test), None)
    step = STEP.search(test)
    if kind is None or step is None:
        return None
    return step[0], kind


def machine() -> str:
    """What the last rows were proved on."""
    system = f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {platform.machine()}, {system}."


def _line(row: Row, cell: Mapping[str, int]) -> str:
    tried = cell["survived"] + cell["missed"] + cell["failed"]
    figures = (tried, cell["survived"], cell["missed"], cell["failed"], cell["recoveries struck"])
    day = datetime.now(UTC).date().isoformat()
    return f"| {' | '.join(map(str, (*row, *figures, day)))} |"


def _rows_in(table: str) -> Iterable[tuple[Row, str]]:
    for line in table.splitlines():
        words = [word.strip() for word in line.strip("|").split("|")]
        if len(words) == HEAD.partition("\n")[0].count("|") - 1 and words[1] in KINDS.values():
            yield (words[0], words[1]), line
