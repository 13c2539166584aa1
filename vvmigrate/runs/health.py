"""The health check: a line for /bin/sh that says, by its exit code, whether a host is well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from vvmigrate.runs.forecast import Workplace
from vvmigrate.runs.opening import root_of
from vvmigrate.runs.shell import run_line
from vvmigrate.settings import Settings


@dataclass(frozen=True)
class HealthCheck:
    """What is asked, and for how long at most.

    Attributes:
        line: for /bin/sh; empty for none.
        always: it was asked for by this call, and runs also where nothing was to be done.
    """

    line: str
    longest_s: float
    always: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The release's, or this call's in its place."""
        asked = settings.verify_with
        return cls(asked or settings.health_check, settings.health_timeout_s, always=bool(asked))

    def run(self, place: Workplace, affects: Iterable[str]) -> tuple[dict[str, Any], str]:
        """Ask. The database is closed meanwhile, so that nothing of ours can be in anybody's way.

        Args:
            affects: what this run has changed.

        Returns:
            `command`, `exit_code` (None: no end of its own), `output`, `duration_s`; and why the host is not well.
        """
        environ = {
            **place.call.environ,
            "VV_HOME": str(place.settings.home),
            "VIDEO_STORAGE_ROOT": root_of(place.session),
            "VV_REVISION": place.version,
            "VV_AFFECTS": " ".join(sorted(affects)),
        }
        place.session.disconnect()
        try:
            ran = run_line(self.line, place.settings.home, environ, longest_s=self.longest_s)
        finally:
            place.session.reconnect()
        said: Mapping[str, Any] = {
            "command": self.line,
            "exit_code": ran.exit_code,
            "output": ran.output,
            "duration_s": ran.duration_s,
        }
        return dict(said), "" if ran.exit_code == 0 else f"health check failed: it {_end(ran.exit_code, ran.problem)}"


def _end(exit_code: int | None, problem: str) -> str:
    if exit_code is None:
        return problem
    return f"ended with {exit_code}" if exit_code > 0 else f"was ended by signal {-exit_code}"
