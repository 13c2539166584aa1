"""What the benchmark has measured, as tables: for a terminal, and as the results in docs/benchmarks.md."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import targets
from contenders import Run
from rich.table import Table

MB = 1_000_000
FORMATS = ("tar.gz", "tar.zst", "file")
RESULTS = "## Results\n"
_MET = {True: "met", False: "**missed**", None: "not measured"}
Key: TypeAlias = tuple[str, str]


@dataclass
class Results:
    """All that was measured.

    Attributes:
        runs: at full speed, by contender and format.
        gigabit: at 1 Gbit/s.
        added_bytes: memory of a delivery, by its name.
        switch_s: the way back, by the size of the model.
        skipped: what did not run, and why.
        line: how 1 Gbit/s was made.
    """

    runs: dict[Key, list[Run]] = field(default_factory=lambda: defaultdict(list))
    gigabit: dict[Key, list[Run]] = field(default_factory=lambda: defaultdict(list))
    added_bytes: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    switch_s: dict[str, list[float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    line: str = ""

    def verdicts(self) -> list[targets.Verdict]:
        """The targets with what was measured."""
        return targets.verdicts(
            medians(self.runs),
            medians(self.gigabit),
            {name: max(values) for name, values in self.added_bytes.items()},
            {name: statistics.median(values) for name, values in self.switch_s.items()},
        )


@dataclass(frozen=True)
class Grid:
    """A table; its first column is text, the others are figures."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def rich(self) -> Table:
        """For a terminal."""
        table = Table(title=self.title, title_justify="left")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*(cell.replace("**", "") for cell in row))
        return table

    def markdown(self) -> str:
        """For a page."""
        rule = ("---", *("---:" for _ in self.columns[1:]))
        rows = [self.columns, rule, *self.rows]
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        return "\n".join([f"### {self.title}", "", *lines, ""])


def medians(runs: Mapping[Key, Sequence[Run]]) -> dict[Key, float]:
    """Median seconds of each contender."""
    return {key: statistics.median(run.seconds for run in several) for key, several in runs.items()}


def shown(form: str) -> str:
    """A format as it is called in tables."""
    return "raw" if form == "file" else form


def grids(results: Results) -> list[Grid]:
    """Every table."""
    forms = tuple(map(shown, FORMATS))
    slowest = (targets.slowest_stage(medians(results.runs), form) for form in FORMATS)
    last = ("slowest stage alone", *(f"{value:.2f}" if value else "" for value in slowest))
    seconds = [*_seconds(results.runs), last]
    memory = [
        (name, f"{_median(run.peak_bytes for run in runs) / MB:.0f}", f"{_median(run.cpu_s for run in runs):.2f}")
        for name, runs in ((f"{key[0]}, {shown(key[1])}", runs) for key, runs in results.runs.items())
    ]
    judged = [
        (one.name, one.limit, "" if one.measured is None else f"{one.measured:.2f} {one.unit}", _MET[one.met])
        for one in results.verdicts()
    ]
    return [
        Grid("Targets", ("", "must be", "is", ""), judged),
        Grid("Seconds: median (least to most)", ("", *forms), seconds),
        Grid(f"Seconds at 1 Gbit/s: {results.line}", ("", *forms), _seconds(results.gigabit)),
        Grid("Memory of the largest process, and CPU time of all", ("", "MB", "CPU s"), memory),
    ]


def _seconds(runs: Mapping[Key, Sequence[Run]]) -> list[tuple[str, ...]]:
    names = dict.fromkeys(name for name, _ in runs)
    return [(name, *(_cell(runs.get((name, form), [])) for form in FORMATS)) for name in names]


def _cell(runs: Sequence[Run]) -> str:
    seconds = [run.seconds for run in runs]
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})" if seconds else ""


def _median(values: Any) -> float:
    return float(statistics.median(values))


def write_page(path: Path, results: Results, about: Mapping[str, Any]) -> None:
    """Put these results in the place of a page's older ones: everything behind its heading "Results"."""
    kept, heading, _ = path.read_text(encoding="utf-8").partition(RESULTS)
    libraries = ", ".join(f"{name} {version}" for name, version in about["libraries"].items())
    told = (
        f"{about['at'][:10]}, {about['cores']} cores of {about['cpu']}, {about['memory_bytes'] / 1e9:.0f} GB, "
        f"{about['file_system']}, Linux {about['kernel']}, Python {about['python']}, {libraries}; peers: "
        f"{', '.join(about['peers'])}; {about['runs']} runs. Load of the machine before: {about['load_before']:.1f}."
    )
    skipped = [f"- skipped: {what}: {why}" for what, why in results.skipped.items()]
    lines = [kept + heading, told, "", *(grid.markdown() for grid in grids(results)), *skipped]
    path.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def as_json(results: Results, about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything, with every single run."""
    return {
        **about,
        "series": [_series(key, runs) for key, runs in results.runs.items()],
        "gigabit": {"line": results.line, "runs": [_series(key, runs) for key, runs in results.gigabit.items()]},
        "memory_added_bytes": dict(results.added_bytes),
        "switch_back_s": results.switch_s,
        "targets": [asdict(verdict) for verdict in results.verdicts()],
        "skipped": results.skipped,
    }


def _series(key: Key, runs: Sequence[Run]) -> dict[str, Any]:
    median = statistics.median(run.seconds for run in runs)
    return {"name": key[0], "format": key[1], "median_s": median, "runs": [asdict(run) for run in runs]}
