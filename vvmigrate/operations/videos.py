"""`op.import_processed_videos`: the lines of an older installation's log become rows, once; the log stays."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from alembic.operations import Operations
from sqlalchemy import Connection

from vvmigrate.engine.state import Proposal
from vvmigrate.errors import RefusedError
from vvmigrate.operations.base import Operation, Situation, root

LOG = "orchestrator_data/processed_videos.log"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@Operations.register_operation("import_processed_videos")
@dataclass(frozen=True)
class ImportProcessedVideos(Operation):
    """Videos that an older orchestrator processed, by SHA-256: they must not be processed again.

    Attributes:
        table: where they go; needs `sha256`, `file_name`, `status` and `first_seen`.
    """

    leaves_files: ClassVar[bool] = False  # its rows go with their table

    table: str = "processed_videos"
    found: list[str] = field(default_factory=list, compare=False, repr=False)

    @classmethod
    def import_processed_videos(cls, operations: Operations, table: str = "processed_videos") -> None:
        """Import `orchestrator_data/processed_videos.log` where there is one: a SHA-256 a line."""
        operations.invoke(cls(table))

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """See Operation."""
        return (self.table,), {}

    def propose(self, situation: Situation) -> Proposal:
        """Read the log; nothing of the host is changed."""
        self.found.clear()
        target = root(LOG)
        seen = situation.observer.entry(target)
        if not seen.exists:
            return Proposal(skipped=(f"{LOG}: no older installation's log",))
        if seen.kind != "file":
            raise RefusedError(f"{LOG}: expected a file, found a {seen.kind}", path=LOG)
        lines = situation.observer.read(target).decode("utf-8", "replace").split("\n")
        good: dict[str, None] = {}
        odd = []
        for number, line in enumerate(lines, 1):
            word = line.strip().lower()
            if _SHA256.fullmatch(word):
                good[word] = None
            elif word:
                odd.append(str(number))
        self.found.extend(good)
        warnings = (f"{LOG}: no SHA-256 in line {', '.join(odd[:5])}: left out",) if odd else ()
        statements = (self._statement(),) if self.found else ()
        skipped = (f"{LOG}: stays; {len(good)} videos imported",)
        return Proposal(skipped=skipped, warnings=warnings, statements=statements)

    def rows(self, connection: Connection) -> None:
        """Insert what is not there yet."""
        if not self.found:
            return
        moment = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        connection.exec_driver_sql(self._statement(), [(sha256, moment) for sha256 in self.found])

    def _statement(self) -> str:
        into = f"INSERT OR IGNORE INTO {self.table} (sha256, file_name, status, first_seen)"
        return f"{into} VALUES (?, '', 'processed', ?)"
