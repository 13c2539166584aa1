"""What a full run proved, counted by step and kind, and written where people read it."""

import os
import platform
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from .scenario import Report

PAGE = Path(__file__).resolve().parents[2] / "docs/crash-safety.md"
BEGIN, END = "<!-- proof: written by ./run_tests.sh --full -->", "<!-- end of proof -->"
KINDS = {
    "every_fault": "faults",
    "every_kill": "faults",
    "every_second_crash": "second crash",
    "every_power_loss_by_the_rules": "power loss, by the rules",
    "every_real_power_cut": "power cut, real",
}


@dataclass
class Tally:
    """Points by step and kind."""

    counts: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)

    def note(self, test: str, report: Report) -> None:
        """Count a report of the full set.

        Args:
            test: the test's name with its parameters.
            report: what came of it.
        """
        kind = next((kind for part, kind in KINDS.items() if part in test), None)
        step = re.search(r"(upgrade|downgrade) \w+-\w+|repair [\w.-]+|prune all", test)
        if kind is None or step is None:
            return
        cell = self.counts.setdefault((step[0], kind), Counter())
        for counter in report.counts().values():
            cell.update(counter)
        cell["recoveries struck"] += report.recrashes

    def write(self, page: Path = PAGE) -> None:
        """Put the table into the page, between its marks."""
        before, _, rest = page.read_text("utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        page.write_text(f"{before}{BEGIN}\n\n{self.table()}\n{END}{after}", "utf-8")

    def table(self) -> str:
        """The table, with the day and the machine."""
        day = datetime.now(UTC).date().isoformat()
        machine = f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release().split('-')[0]}"
        head = "| step | kind | tried | survived | missed | failed | recoveries struck |\n|---|---|---|---|---|---|---|"
        return f"{day}, {machine}, Python {platform.python_version()}:\n\n" + "\n".join([head, *self._lines()]) + "\n"

    def _lines(self) -> Iterable[str]:
        for (step, kind), cell in sorted(self.counts.items()):
            tried = cell["survived"] + cell["missed"] + cell["failed"]
            figures = (tried, cell["survived"], cell["missed"], cell["failed"], cell["recoveries struck"])
            yield f"| {step} | {kind} | {' | '.join(map(str, figures))} |"
