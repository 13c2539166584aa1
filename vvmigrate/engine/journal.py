"""The journal: what a step is about to make visible, durable before the first rename.

Its bytes are specified in docs/crash-safety.md. Reading it trusts nothing: format, checksum, ledger id and every name
are checked before any of them is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from vvmigrate.engine import state as st
from vvmigrate.engine.contents import describe
from vvmigrate.engine.effects import Effect
from vvmigrate.engine.host import HOME, ROOT
from vvmigrate.errors import StateError
from vvmigrate.files import Place, Tree

FORMAT = 1
NAME = "journal"
ACTIONS = frozenset(
    {
        st.ADOPT,
        st.ATTRIBUTES,
        st.MAKE_DIRECTORY,
        st.PLACE_FILE,
        st.PLACE_TREE,
        st.REMOVE_DIRECTORY,
        st.REMOVE_FILE,
        st.SWITCH_LINK,
    }
)


class Journal(NamedTuple):
    """One step's effects, and the place in the history at which it was to happen.

    Attributes:
        head: hash at the end of the chain when the step began; the database must still be there for an undo.
        step: the row of the history that the step is to write, for the *interrupted* row if it does not.
    """

    ledger_id: str
    run_id: str
    step_id: str
    head: str
    version_before: str
    version_after: str
    step: Mapping[str, Any]
    effects: tuple[Effect, ...]

    def to_bytes(self) -> bytes:
        """One line of JSON, then the SHA-256 of that line in hex."""
        body = self._asdict() | {"format": FORMAT, "effects": [effect.as_json() for effect in self.effects]}
        line = json.dumps(body, sort_keys=True, ensure_ascii=True).encode()
        return line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, path: str) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            StateError: damaged, of another format, or with names that lead out of their trees.
        """
        line, _, rest = data.partition(b"\n")
        if rest.strip() != hashlib.sha256(line).hexdigest().encode():
            raise _unreadable(path, "its checksum does not match its content")
        try:
            body = json.loads(line)
            if body.pop("format") != FORMAT:
                raise _unreadable(path, "it has another format: a newer vvmigrate wrote it")
            body["effects"] = tuple(Effect.from_json(effect) for effect in body["effects"])
            journal = cls(**{**body, "step": {**body["step"]}})
            for effect in journal.effects:
                if why := _impossible(effect):
                    raise _unreadable(path, why)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _unreadable(path, f"its content is not a journal's: {error!r}") from error
        return journal

    def seal(self, state: Tree) -> None:
        """Make the journal durable; from here on a crash is undone or finished."""
        (state / NAME).replace(self.to_bytes())


def _impossible(effect: Effect) -> str:
    """Why no journal of ours says this; empty if one might."""
    area, _, mount = effect.store.partition(":")
    names = [effect.target.name, *filter(None, (effect.slot, mount))]
    if effect.target.area not in (HOME, ROOT) or area not in (HOME, ROOT, "") or not all(map(_is_relative, names)):
        return f"it names a path that is not below its tree: {names!r}"
    return "" if effect.action in ACTIONS else f"it has an unknown effect: {effect.action!r}"


def _is_relative(name: str) -> bool:
    return bool(name) and all(part not in ("", ".", "..") for part in name.split("/")) and "\0" not in name


def _unreadable(path: str, why: str) -> StateError:
    return StateError(
        f"journal {path} cannot be trusted: {why}",
        hint="nothing was touched; keep a copy of the state directory and ask whoever maintains the release",
        path=path,
    )


def pending(state: Tree | None) -> Place | None:
    """Where a journal waits for recovery, if one does."""
    if state is None or (state / NAME).stat() is None:
        return None
    return state / NAME


def read(state: Tree, ledger_id: str) -> Journal | None:
    """The journal that waits, checked.

    Raises:
        StateError: it is damaged, belongs to another ledger, or others may have written it.
    """
    place = pending(state)
    if place is None:
        return None
    info = place.stat()
    if info is None or not stat.S_ISREG(info.st_mode) or info.st_mode & 0o077 or info.st_uid != os.geteuid():
        raise _unreadable(place.path, f"expected a file of user {os.geteuid()} with mode 0600, found {describe(info)}")
    journal = Journal.from_bytes(place.read(), place.path)
    if journal.ledger_id != ledger_id:
        raise _unreadable(place.path, f"it belongs to ledger {journal.ledger_id}, this host's is {ledger_id}")
    return journal


def remove(state: Tree) -> None:
    """The step is settled: no journal, durably."""
    (state / NAME).remove_file(missing_ok=True)
    state.fsync()
