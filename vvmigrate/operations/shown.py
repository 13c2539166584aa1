"""What a change comes to in the lines of a text, for people: a unified diff, in which no secret stands."""

from __future__ import annotations

import difflib
import hashlib
import stat
from contextlib import suppress

from vvmigrate.content.env.mask import masked_diff
from vvmigrate.content.env.template import Template
from vvmigrate.engine.state import Change
from vvmigrate.errors import EnvFileError
from vvmigrate.operations.base import Situation
from vvmigrate.operations.env_file import MERGE, read_template

READABLE_BYTES, READABLE_LINES = 256 << 10, 5000
"""Some 1,000 files of `vv-signature.json`. Nobody reads a longer diff, and the time for one grows with the square."""


def difference(change: Change, situation: Situation) -> str:
    """The unified diff of what a change finds at a path, as the steps before it will leave it, and what it leaves.

    Returns:
        Empty where one of them is no text, is too long to be read, cannot be known before it is made, or is not for
        everybody to read; and where nothing stood there before, but for a file of keys, since that is how a person
        learns what there is to set.
    """
    with suppress(OSError, ValueError, EnvFileError):  # what cannot be read, or is no text
        before, after, name = _before(change, situation), _after(change), change.target.name
        if after is None or (before is None and change.before.exists) or _is_long(before or b"") or _is_long(after):
            return ""
        if change.merge == MERGE:
            return masked_diff(before, after, _template(situation), name=name)
        if before is not None and not change.secret and change.before.mode & change.after.mode & stat.S_IROTH:
            diff = difflib.unified_diff(_lines(before), _lines(after), name, name, lineterm="")
            return "".join(f"{line}\n" for line in diff)
    return ""


def _before(change: Change, situation: Situation) -> bytes | None:
    """From the host, or from where an earlier step of this run will have it from."""
    if change.before.kind != "file" or change.before.size_bytes > READABLE_BYTES:
        return None
    earlier = situation.planned.get(change.target)
    found = [_after(earlier)] if earlier is not None else []
    with suppress(FileNotFoundError):
        found.append(situation.observer.read(change.target))
    return next((data for data in found if data is not None and _sha256(data) == change.before.digest), None)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _after(change: Change) -> bytes | None:
    if change.after.kind != "file" or change.size_bytes > READABLE_BYTES:
        return None
    return change.origin.read() if change.content is None and change.origin is not None else change.content


def _template(situation: Situation) -> Template:
    """Which values are harmless; none where the release that is here cannot say it."""
    try:
        return read_template(situation)
    except EnvFileError:
        return Template.parse(b"", name="no template")


def _is_long(data: bytes) -> bool:
    return len(data) > READABLE_BYTES or data.count(b"\n") > READABLE_LINES


def _lines(data: bytes) -> list[str]:
    """Line by line, with what ends them if that is not a line feed."""
    if b"\0" in data:
        raise ValueError("no text")
    *lines, last = data.decode("utf-8").split("\n")
    return [*lines, last, "\\ no end of line"] if last else lines
