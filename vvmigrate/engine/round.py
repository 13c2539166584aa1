"""A round of looks at many targets: the folder of the last one is held open for the next."""

from __future__ import annotations

import os
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from vvmigrate.engine.host import Host
from vvmigrate.engine.state import Target
from vvmigrate.files import ABSENT, Entry, Folder, leads_nowhere


class Round:
    """Looks at targets one after the other; in an order where neighbours follow each other it is as fast as can be.

    Args:
        host: it is only looked at.
    """

    def __init__(self, host: Host) -> None:
        """Nothing is open yet."""
        self._host = host
        self._above: tuple[str, str] | None = None
        self._folder: Folder | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Close with the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the last folder."""
        self._open.close()

    def entry(self, target: Target) -> Entry:
        """What stands at a target. See `Look.entry`."""
        folder, name = self._at(target)
        return folder.entry(name) if folder is not None else ABSENT

    def glance(self, target: Target) -> Entry:
        """What stands at a target, without reading its content."""
        folder, name = self._at(target)
        return folder.glance(name) if folder is not None else ABSENT

    def stat(self, target: Target) -> os.stat_result | None:
        """`lstat` of a target, or None where nothing stands."""
        folder, name = self._at(target)
        return folder.stat(name) if folder is not None else None

    def _at(self, target: Target) -> tuple[Folder | None, str]:
        above, _, name = target.name.rpartition("/")
        if (target.area, above) != self._above:
            self._hold(Target(target.area, above))
        return self._folder, name or "."

    def _hold(self, above: Target) -> None:
        self._open.close()
        self._folder, self._above = None, (above.area, above.name)
        if self._host.tree(above.area) is None:
            return
        try:
            self._folder = self._open.enter_context(self._host.place(above).folder())
        except OSError as error:
            if not leads_nowhere(error):
                self._above = None  # whoever goes on is told the same of its neighbours, not that nothing is there
                raise
