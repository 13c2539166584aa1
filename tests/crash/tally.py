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
KINDS = {
    "every_fault": "faults",
    "every_kill": "faults",
    "every_second_crash": "second crash",
    "every_power_loss_by_the_rules": "power loss, by the rules",
    "every_real_power_cut": "power cut, real",
}
STEP = re.compile(r"(upgrade|downgrade|adopt) \w+-\w+|repair [\w.-]+|prune all")
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
        """Put the rows into the page, between its marks; those of an earlier day stay where no new ones are."""
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
    where = re.search(r"\b(ext4|xfs)\b", test)
    kind += f", {where[0]}" if where else ""
    return step[0], kind + (", beside an orchestrator" if "beside_an_orchestrator" in test else "")


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
        if STEP.fullmatch(words[0]) and len(words) == HEAD.partition("\n")[0].count("|") - 1:
            yield (words[0], words[1]), line
