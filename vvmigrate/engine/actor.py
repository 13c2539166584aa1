"""Who acts, when and where: the facts that every row of the history carries."""

from __future__ import annotations

import json
import os
import pwd
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from vvmigrate import __version__


def now() -> str:
    """The time in UTC, ISO 8601 with Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def who_runs(command: str, arguments: list[str]) -> dict[str, Any]:
    """Who, where, with what: the facts that every row of the history carries.

    Args:
        arguments: as they are to be recorded, secrets masked.
    """
    uid = os.geteuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    boot_id = ""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        boot_id = file.read().strip()
    return {
        "run_id": os.urandom(16).hex(),
        "command": command,
        "arguments": json.dumps(arguments),
        "user": user,
        "sudo_user": os.environ.get("SUDO_USER", ""),
        "host": os.uname().nodename,
        "boot_id": boot_id,
        "tool_version": __version__,
        "started_at": now(),
    }
