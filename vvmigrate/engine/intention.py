"""What a run promised to take back, durable before its first step: whoever comes next carries it out.

It outlives the run that made it, so it lies in a file of its own, in the home's state directory, where a unit of
systemd can see that it is there. Time is counted from the kernel's boot, sleep included, never by the wall clock.
"""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple, Self, get_type_hints

from vvmigrate.engine import vault
from vvmigrate.engine.host import HOME, STATE, Host
from vvmigrate.engine.session import Session
from vvmigrate.engine.state import Target
from vvmigrate.errors import RefusedError, StateError
from vvmigrate.files import Tree

NAME = "intention"
FORMAT = 1
STEPPING, CHECKING, WAITING, REVERTING = "stepping", "checking", "waiting", "reverting"
STATES = (STEPPING, CHECKING, WAITING, REVERTING)
LONGEST_S = 1e9
"""No machine is up for longer, and nobody waits for longer."""


class Moment(NamedTuple):
    """A point in time that needs no clock with a date.

    Attributes:
        boot_id: which boot of this machine.
        uptime_s: seconds since it, those asleep included.
    """

    boot_id: str
    uptime_s: float

    @classmethod
    def of(cls, session: Session) -> Self:
        """Now (clock_gettime(2), CLOCK_BOOTTIME)."""
        return cls(str(session.run["boot_id"]), time.clock_gettime(time.CLOCK_BOOTTIME))


class Verdict(NamedTuple):
    """Why a run is taken back, and whether what it applied may return by itself."""

    reason: str
    hold: bool


class Intention(NamedTuple):
    """A run that is to be taken back unless it ends well.

    Attributes:
        state: STEPPING, CHECKING (its health check runs), WAITING (for a confirm), or REVERTING.
        within_s: how long it waits for a confirm; 0 for not at all.
        boot_id, since_s: the moment from which it waits.
        reason, hold: once it is REVERTING.
    """

    run_id: str
    user: str
    started_at: str
    state: str = STEPPING
    within_s: float = 0.0
    boot_id: str = ""
    since_s: float = 0.0
    reason: str = ""
    hold: bool = False

    @property
    def who(self) -> str:
        """The run, as people are told of it."""
        return f"the run of {self.user} at {self.started_at}"

    @property
    def ended_by(self) -> str:
        """The id of the history's row that says that a person has ended it; the row decides, not the file."""
        return f"{self.run_id}.confirm"

    def left_s(self, now: Moment) -> float:
        """How much longer it waits for a confirm: not at all after another boot, since nobody can tell how long."""
        if now.boot_id != self.boot_id or now.uptime_s < self.since_s:
            return 0.0
        return max(0.0, self.since_s + self.within_s - now.uptime_s)

    def due(self, now: Moment) -> Verdict | None:
        """Why the run has to be taken back by whoever finds this, its own process being gone; None if it may wait.

        A run that was cut short in its steps was judged by nobody, and may be tried again. One whose check never came
        to its end may have taken the machine with it.
        """
        if self.state == STEPPING:
            return Verdict("the run was interrupted", hold=False)
        if self.state == CHECKING:
            return Verdict("health check failed: it never came to its end", hold=True)
        if self.state == REVERTING:
            return Verdict(self.reason, self.hold)
        if self.left_s(now):
            return None
        rebooted = now.boot_id != self.boot_id or now.uptime_s < self.since_s
        what = "before the machine was started again" if rebooted else f"within {self.within_s:.0f} s"
        return Verdict(f"not confirmed {what}", hold=True)


_TYPES = get_type_hints(Intention)
_KINDS: dict[str, Any] = {name: int | float if kind is float else kind for name, kind in _TYPES.items()}


def read(host: Host) -> Intention | None:
    """The intention that stands, if one does and this user may see it.

    Raises:
        StateError: it cannot be understood.
    """
    state = host.state(HOME)
    try:
        found = vault.read_json(state, NAME)
        return _understood(found) if found is not None else None
    except (RefusedError, ValueError, KeyError, TypeError) as error:
        path = host.path(Target(HOME, f"{STATE}/{NAME}"))
        raise StateError(
            f"{path}: says that a run is to be taken back, but not in words of this vvmigrate: {error}",
            hint="use the vvmigrate that wrote it; or: vvmigrate confirm --yes, which ends the promise and keeps the "
            "host as it is, and then vvmigrate downgrade REVISION, if the run is to go",
            path=path,
        ) from error


def _understood(found: dict[str, Any]) -> Intention:
    """What a file says.

    Raises:
        ValueError, KeyError, TypeError: it is none of ours, or a value is not of its kind.
    """
    if found.pop("format") != FORMAT or found["state"] not in STATES:
        raise ValueError("another format")
    for name, value in found.items():
        kind = _KINDS[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{name}: {value!r}")
        if isinstance(value, float | int) and not 0 <= value <= LONGEST_S:
            raise ValueError(f"{name}: {value!r}")
    return Intention(**found)


def write(host: Host, intention: Intention) -> None:
    """Make an intention durable, in place of the one that stood."""
    (_state(host) / NAME).replace(json.dumps({"format": FORMAT, **intention._asdict()}).encode())


def drop(host: Host) -> None:
    """Nothing is to be taken back any more, durably."""
    state = _state(host)
    (state / NAME).remove_file(missing_ok=True)
    state.fsync()


def _state(host: Host) -> Tree:
    state = host.state(HOME)
    if state is None:
        raise StateError("the home has no state directory that this user may use")
    return state
