"""What a revision's code does, written down act by act, so that it can be done again without the code.

An act is a list of plain values whose first is its kind. What `vvmigrate.engine.way_back` can replay:

    ["sql", statement, parameters, many]             as it reached SQLite
    ["create_table", name, statement, indexes, lenient]
    ["create_index", name, table, statement, lenient]
    ["drop_table", name, lenient]                    its rows are kept
    ["drop_column", table, column]                   its values are kept
    ["keep_column", table, column]                   of a table that is rebuilt
    ["return_column", table, column]                 kept values come back at the end of the step
    ["expect_columns", table, names]                 a table that is rebuilt must be the one that was rehearsed
    ["host", operation, fields]                      a host operation, by the name of its class
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from vvmigrate.engine.guard import NUMBER
from vvmigrate.errors import StateError

Act = list[Any]
FORMAT = 1
_LOOKS = ("SELECT", "PRAGMA", "EXPLAIN")
_HEX = "vv:hex"


class Acts:
    """What is being done; what an act does inside is part of it."""

    def __init__(self) -> None:
        """Nothing is written down before `writing`."""
        self.done: list[Act] = []
        self._inside = 1

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write down what happens in the block."""
        self.done, self._inside = [], 0
        try:
            yield
        finally:
            self._inside = 1

    @contextmanager
    def one(self, kind: str, *facts: Any) -> Iterator[None]:
        """The block is one act, whatever it does."""
        if not self._inside:
            self.done.append([kind, *facts])
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    def statement(self, text: str, parameters: Any, *, many: bool) -> None:
        """A statement that reaches SQLite; one that only looks is no act."""
        words = text.split(None, 1)
        looks = not words or (words[0].upper() in _LOOKS and NUMBER not in text.lower())
        if not self._inside and not looks:
            values = [_plain(row) for row in parameters] if many else _plain(parameters)
            self.done.append(["sql", text, values, many])


def _plain(row: Any) -> Any:
    """The values of one run of a statement: by position, or by name."""
    return dict(row) if isinstance(row, Mapping) else list(row or ())


def as_bytes(acts: list[Act]) -> bytes:
    """The record of some acts: JSON, with a format number that only grows when an old reader must stop.

    Raises:
        TypeError: an act holds what is no plain value.
    """
    return json.dumps({"format": FORMAT, "acts": acts}, sort_keys=True, default=_bytes_as_json).encode() + b"\n"


def from_bytes(data: bytes) -> list[Act]:
    """The acts of a record.

    Raises:
        StateError: a later vvmigrate wrote it in a way that this one does not know.
    """
    record = json.loads(data, object_hook=_bytes_from_json)
    if record["format"] > FORMAT:
        raise StateError(
            f"the recorded way back has format {record['format']}, this vvmigrate knows {FORMAT}",
            hint="install the release that the revision belongs to, then the same command",
        )
    return list(record["acts"])


def _bytes_as_json(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return {_HEX: bytes(value).hex()}
    raise TypeError(f"{type(value).__name__} is no plain value")


def _bytes_from_json(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value[_HEX]) if value.keys() == {_HEX} else value
