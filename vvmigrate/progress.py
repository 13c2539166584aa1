"""How far a long transfer is: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

LINE_EVERY_S = 10.0
_DRAW_EVERY_S = 0.1
_UNITS = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB"))


def amount(size_bytes: float) -> str:
    """A size as people say it."""
    for unit, name in _UNITS:
        if size_bytes >= unit:
            return f"{size_bytes / unit:.1f} {name}"
    return f"{size_bytes:.0f} bytes"


def span(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Meter:
    """Shows the phases of a transfer as they are told.

    What earlier runs did counts as done from the start, and not into the rate.

    Args:
        console: where it shows.
        clock: seconds that only go forward.
    """

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        """Nothing is shown before the first word of progress."""
        self._console = console
        self._clock = clock
        self._bars: Any = None
        self._drawn = 0.0
        self._phase = ""
        self._since = self._from = 0.0

    def show(self, phase: str, done: int, total: int) -> None:
        """Show how far a phase is."""
        if self._console.is_terminal:
            self._draw(phase, done, total)
        else:
            self._tell(phase, done, total)

    def end(self) -> None:
        """The transfer is over: take the bars away, and forget how fast it was."""
        self._phase = ""
        self.clear()

    def clear(self) -> None:
        """Take the bars away, for what is printed now; the next word of progress draws them again."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    # ---- a bar ---------------------------------------------------------------------------------------------------

    def _draw(self, phase: str, done: int, total: int) -> None:
        if self._bars is None:
            self._bars = self._begin()
        known = {task.description: task for task in self._bars.tasks}
        if phase not in known:
            self._bars.add_task(phase, total=total, completed=done)
            self._drawn = 0.0
        elif done < known[phase].completed:  # the same phase of another transfer, or one that begins again
            self._bars.reset(known[phase].id, total=total, completed=done)
        else:
            self._bars.update(known[phase].id, completed=done)
        now = self._clock()
        if not self._drawn or now - self._drawn >= _DRAW_EVERY_S or done == total:
            self._drawn = now
            self._bars.refresh()

    def _begin(self) -> Any:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        bars = Progress(
            TextColumn("    {task.description:<8}"),
            BarColumn(20),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            auto_refresh=False,
            get_time=self._clock,
        )
        bars.start()
        return bars

    # ---- lines ---------------------------------------------------------------------------------------------------

    def _tell(self, phase: str, done: int, total: int) -> None:
        now = self._clock()
        if phase != self._phase or done < self._from:
            self._phase, self._since, self._from = phase, now, done
        passed = now - self._since
        if passed < LINE_EVERY_S:
            return
        rate = (done - self._from) / passed
        left = f", {span((total - done) / rate)} left" if rate else ""
        line = f"    {phase}: {amount(done)} of {amount(total)}, {amount(rate)}/s{left}"
        self._console.print(line, soft_wrap=True)
        self._since, self._from = now, done
