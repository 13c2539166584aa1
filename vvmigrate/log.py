"""The log of what commands changed: a JSON document a line, appended, never a secret in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from vvmigrate.engine.actor import now
from vvmigrate.files import Place, Tree


class Log:
    """An open log, or one that could not be opened and takes lines in silence."""

    def __init__(self, file: BinaryIO | None, run_id: str) -> None:
        """Write to this file, if there is one."""
        self._file = file
        self._run_id = run_id

    def write(self, event: str, **facts: Any) -> None:
        """Add a line."""
        if self._file is not None:
            line = {"at": now(), "run_id": self._run_id, "event": event, **facts}
            with suppress(OSError):  # the log must not stop what it tells of
                self._file.write(json.dumps(line, ensure_ascii=True, default=str).encode() + b"\n")


@contextmanager
def opened(path: Path | None, run_id: str) -> Iterator[tuple[Log, str | None]]:
    """Open the log for a command.

    Args:
        path: its file; the folder is made where it is missing.

    Yields:
        The log, and why it could not be opened, if it could not.
    """
    stack, file, why = ExitStack(), None, None
    try:
        if path is not None:
            file = stack.enter_context(_place(path, stack).append())
    except OSError as error:
        why = f"{path}: no log is written: {error.strerror}"
    try:
        yield Log(file, run_id), why
    finally:
        with suppress(OSError):  # nor may its end hide how the command ended
            stack.close()


def _place(path: Path, stack: ExitStack) -> Place:
    if not path.parent.exists():
        above = stack.enter_context(Tree.open(path.parent.parent))
        (above / path.parent.name).make_directory(0o755)
    folder = stack.enter_context(Tree.open(path.parent))
    return folder / path.name
