"""What a run wrote down of itself before it did anything, for whoever comes after a kill: read, and not believed."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

from vvmigrate.engine import vault
from vvmigrate.engine.contents import DECISION, RUN, move_away
from vvmigrate.engine.host import ROOT
from vvmigrate.engine.session import Session
from vvmigrate.errors import RefusedError, StateError

_STEP = frozenset(
    (
        *("step_id", "revision", "title", "direction", "started_at", "script_sha256", "digest_before", "notes"),
        *("run_id", "user", "host", "tool_version"),
    )
)
"""What the row of an attempt begins with."""


def left_run(session: Session) -> dict[str, Any] | None:
    """The run that did not come to its end: `run`, and `step`, which it was trying, or None; None where none was left.

    Raises:
        StateError: the file says something else.
    """
    return _read(session, RUN, "step", _STEP)


def left_decision(session: Session) -> dict[str, Any] | None:
    """What a person has decided: `run`, in which, and `move`, which may be empty; None where none was left.

    Raises:
        StateError: the file says something else.
    """
    return _read(session, DECISION, "move", frozenset(("old", "new")))


def check(session: Session) -> None:
    """See that whatever was left can be understood.

    Raises:
        StateError: it cannot.
    """
    left_run(session)
    left_decision(session)


def _read(session: Session, name: str, what: str, names: AbstractSet[str]) -> dict[str, Any] | None:
    state, why = session.host.state(ROOT), ""
    try:
        found = vault.read_json(state, name)
    except RefusedError as error:
        found, why = {}, f" ({error.message})"
    facts = session.run.keys()
    if found is None or (
        found.keys() == {"run", what} and _is_text(found["run"], facts) and _may_be(found[what], names)
    ):
        return found
    place = session.host.private / name
    raise StateError(
        f"{place.path}: expected what the last command was doing when it ended, found something else{why}",
        hint="use the vvmigrate that wrote it; or, if the history need not tell of that: "
        f"{move_away(place)} && vvmigrate recover",
        path=place.path,
    )


def _may_be(value: object, names: AbstractSet[str]) -> bool:
    return not value or _is_text(value, names)


def _is_text(value: object, names: AbstractSet[str]) -> bool:
    """Whether a value has these names, and nothing but text under them: it becomes a row."""
    return isinstance(value, dict) and value.keys() == names and all(isinstance(text, str) for text in value.values())
