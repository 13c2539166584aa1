"""One thing that `doctor` tells: what looks wrong, what that means, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass

from vvmigrate.errors import VvmigrateError
from vvmigrate.runs.looking import FINDINGS

MEANS = {
    1: "This stopped the examination.",
    2: "This stopped the examination: the command line or a setting is wrong.",
    4: "vvmigrate does not judge this by itself and touches nothing until a person has.",
    5: "This stopped the examination.",
    6: "Commands that change the host are refused until this is mended.",
    7: "Something was changed that nobody but vvmigrate, or the author of the release, should have changed.",
}
"""What an error of each exit code means for a host."""
MEND = "mend what it says, then: vvmigrate doctor"
"""What remains to be done about an error that has nothing better to say."""


@dataclass(frozen=True)
class Finding:
    """One thing that looks wrong.

    Attributes:
        what: one sentence.
        why: what it means for this host.
        remedy: the command that mends it, or what a person has to do.
        exit_code: by the contract.
    """

    what: str
    why: str
    remedy: str
    exit_code: int = FINDINGS
    path: str | None = None


def from_error(error: VvmigrateError) -> Finding:
    """What an error says, as a finding."""
    return Finding(error.message, MEANS[error.exit_code], error.hint or MEND, error.exit_code, error.path)
