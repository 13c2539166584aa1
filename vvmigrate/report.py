"""What a command found or did, as plain values: the JSON document, from which the text for people is made too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vvmigrate import __version__
from vvmigrate.errors import VvmigrateError

SIGNALLED = 128


class Report:
    """A command's result.

    Attributes:
        command: the verb.
        exit_code: by the contract in docs/cli.md.
        error: what stopped it, if anything did.
        body: the verb's own keys, plain values only.
    """

    def __init__(self, command: str, body: dict[str, Any] | None = None) -> None:
        """Nothing went wrong yet."""
        self.command = command
        self.exit_code = 0
        self.error: VvmigrateError | None = None
        self.body = body if body is not None else {}

    def as_json(self) -> dict[str, Any]:
        """The document of `--json`."""
        return {
            "vvmigrate": __version__,
            "command": self.command,
            "exit_code": self.exit_code,
            "error": error_as_json(self.error),
            **self.body,
        }

    def fail(self, error: VvmigrateError, code: int | None = None) -> None:
        """Note what stopped the command; of two reasons the one with the higher code counts."""
        code = error.exit_code if code is None else code
        if self.error is None or code > self.exit_code:
            self.error = error
        self.raise_to(code)

    def raise_to(self, code: int) -> None:
        """Where two exit codes apply the higher wins; a signal's outranks them all."""
        self.exit_code = max(self.exit_code, code)


def error_as_json(error: VvmigrateError | None) -> dict[str, Any] | None:
    """The `error` of a document."""
    if error is None:
        return None
    return {"type": error.type, "message": error.message, "hint": error.hint, "path": error.path}


def listed(items: Any) -> list[dict[str, Any]]:
    """Named tuples, and what is one already, as dictionaries."""
    return [dict(item) if isinstance(item, Mapping) else item._asdict() for item in items]
