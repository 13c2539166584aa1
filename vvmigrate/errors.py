"""Every error a person may meet, with the exit code it stands for.

    VvmigrateError                 exit code
    ├── StepError                  1   a step failed and was undone
    │   ├── DeliveryError          1   a download that ended badly
    │   └── ConflictError          1   somebody changed a file while it was being replaced
    ├── UsageError                 2   the command line asks for something that does not exist
    ├── HeldError                  3   a revision was taken back on purpose and does not return by itself
    ├── StateError                 4   needs a person: not undone, or not ours to judge
    ├── LockedError                5   another vvmigrate works here
    ├── RefusedError               6   refused before the first write
    │   ├── ManifestError          6   model_manifest.json
    │   ├── EnvFileError           6   .env or .env.example
    │   └── RevisionError          6   a revision that cannot be used
    └── IntegrityError             7   a checksum, a signature or the history's chain does not hold
        ├── ChecksumError          7   an artefact is not what the manifest promises
        └── ArchiveError           7   an archive that would not be what it claims

An error holds facts first: what happened, where, what was expected, what was found. What to do next is apart, as
`hint`, so that a program can show it where it likes.
"""

from __future__ import annotations


class VvmigrateError(Exception):
    """Root of all errors that are meant for people.

    Args:
        message: one sentence: what, where, expected, got.
        hint: the next action, as a command where one exists.
        path: the file or directory that it is about.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, path: str | None = None) -> None:
        """Keep the facts apart from each other."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.path = path

    @property
    def type(self) -> str:
        """The error's name, as `--json` reports it."""
        return type(self).__name__


class StepError(VvmigrateError):
    """A step failed; the host is as it was before that step."""


class DeliveryError(StepError):
    """An artefact could not be had: network, server, or disk."""


class ConflictError(StepError):
    """A file was changed by somebody else between being read and being replaced."""


class UsageError(VvmigrateError):
    """The command line names something that does not exist."""

    exit_code = 2


class HeldError(VvmigrateError):
    """A hold stands in the way of an upgrade."""

    exit_code = 3


class StateError(VvmigrateError):
    """What is on the host is not ours to judge, or could not be undone: a person is needed."""

    exit_code = 4


class LockedError(VvmigrateError):
    """Another vvmigrate holds the lock."""

    exit_code = 5


class RefusedError(VvmigrateError):
    """Refused before anything was written."""

    exit_code = 6


class ManifestError(RefusedError):
    """model_manifest.json is not what its schema says; holds every problem found."""


class EnvFileError(RefusedError):
    """.env or .env.example cannot be read as such a file."""


class RevisionError(RefusedError):
    """A revision does not import, or its number or its place in the line is wrong."""


class IntegrityError(VvmigrateError):
    """Bytes are not the bytes that were promised."""

    exit_code = 7


class ChecksumError(IntegrityError):
    """An artefact's size or SHA-256 differs from the manifest's."""


class ArchiveError(IntegrityError):
    """An archive holds something that is refused, or ends too early."""
