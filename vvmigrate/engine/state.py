"""The values that a step is decided with: targets, changes, proposals. Nothing here touches the host."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from vvmigrate.errors import StepError
from vvmigrate.files import Entry, Owner, Place

ADOPT = "adopt"
ATTRIBUTES = "set attributes"
MAKE_DIRECTORY = "make directory"
PLACE_FILE = "place file"
PLACE_TREE = "place tree"
REMOVE_DIRECTORY = "remove directory"
REMOVE_FILE = "remove file"
SWITCH_LINK = "switch link"
SUPERSEDED = "superseded"
"""Key of a step's notes: what it left out, see `Superseded`."""


class Target(NamedTuple):
    """A path that a step may change: a name relative to the home or to the storage root."""

    area: str
    name: str

    def __truediv__(self, name: str) -> Target:
        """A path further below."""
        return Target(self.area, f"{self.name}/{name}" if self.name else name)

    @property
    def above(self) -> Target:
        """The directory that holds it; the top of its tree has an empty name."""
        return Target(self.area, self.name.rpartition("/")[0])

    def holds(self, other: Target) -> bool:
        """Whether another path lies below this one."""
        return self.area == other.area and (not self.name or other.name.startswith(f"{self.name}/"))

    def __str__(self) -> str:
        """The name alone, as reports show it."""
        return self.name


class WithoutError(StepError):
    """An AFTER cannot be had, and the step may happen without it: it is proposed again, and is then degraded."""


class Change(NamedTuple):
    """One visible change that is wanted: the step stages it, then it is an effect.

    Attributes:
        action: one of the constants of this module.
        before: what stands there now (or is predicted to).
        after: what is to stand there; the digest is empty where it is known only after staging.
        content: AFTER's bytes, where they are few and known.
        fill: puts AFTER, durable, at the place it is given, where `content` does not say it; returns the SHA-256 of
            the files in a tree that it has computed on the way, by name, so that nobody computes them again. Raises
            `WithoutError` where AFTER cannot be had and its operation, asked again, will no longer propose it.
        origin: where AFTER's bytes stand already, and may be shown from; `fill` alone says how they come.
        detail: for people: why, or what exactly.
        merge: name of the merger that takes the file back key by key; empty for whole files.
        secret: contents hold secrets: the ledger keeps a keyed digest only.
        lasting: not taken back by a downgrade (generations in a store).
        source: name in the state directory where AFTER stands already, and is moved from instead of being staged.
        note: plain values that the way back needs; no secrets.
        text: kept in the state directory beside the sources of revisions, under its SHA-256: that of AFTER, or of what
            AFTER was made from, which stands in `note` then.
        diff: unified diff for people, secrets masked.
        size_bytes: what staging it will take on disk.
        inodes: how many files and directories below it staging will make.
    """

    action: str
    target: Target
    before: Entry
    after: Entry
    content: bytes | None = None
    fill: Callable[[Place], Mapping[str, str] | None] | None = None
    origin: Place | None = None
    detail: str = ""
    merge: str = ""
    secret: bool = False
    lasting: bool = False
    source: str = ""
    note: Mapping[str, Any] = {}
    text: bytes = b""
    diff: str = ""
    size_bytes: int = 0
    inodes: int = 0


class Download(Protocol):
    """An artefact that a step must fetch; what it is of, whoever proposes it knows."""

    @property
    def url(self) -> str:
        """Where it comes from, as people may see it."""

    @property
    def size_bytes(self) -> int:
        """How large it is."""

    @property
    def sha256(self) -> str:
        """What it must be."""

    @property
    def room_bytes(self) -> int:
        """What the received bytes will take on disk, beside what is staged from them."""

    @property
    def network_bytes(self) -> int:
        """How many bytes no file of this host has."""


class Kept(NamedTuple):
    """Something that stays as it is because it is not, or no longer, ours.

    Attributes:
        lost: what stood there before cannot be brought back.
    """

    path: str
    reason: str
    lost: bool = False


class Superseded(NamedTuple):
    """What an operation leaves out, because one of a later revision takes its place.

    Attributes:
        what: for people.
        by: the later revisions; where the host has none of them any more, it is missing.
    """

    what: str
    by: tuple[str, ...]


class Proposal(NamedTuple):
    """What one operation wants changed, and what it has to say.

    Attributes:
        statements: the SQL by which it will change rows inside the step's transaction, for people.
    """

    changes: tuple[Change, ...] = ()
    kept: tuple[Kept, ...] = ()
    skipped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    downloads: tuple[Download, ...] = ()
    degraded: str = ""
    superseded: tuple[Superseded, ...] = ()
    required_missing: tuple[str, ...] = ()
    affects: frozenset[str] = frozenset()
    statements: tuple[str, ...] = ()

    def __add__(self, other: Proposal) -> Proposal:  # type: ignore[override] # not as tuples are added
        """Both, one after the other."""
        return Proposal(
            self.changes + other.changes,
            self.kept + other.kept,
            self.skipped + other.skipped,
            self.warnings + other.warnings,
            self.downloads + other.downloads,
            "; ".join(text for text in (self.degraded, other.degraded) if text),
            self.superseded + other.superseded,
            self.required_missing + other.required_missing,
            self.affects | other.affects,
            self.statements + other.statements,
        )


class Observer(Protocol):
    """Whoever can say what stands at a path: the host, or the host with predicted changes over it."""

    def entry(self, target: Target) -> Entry:
        """What stands there."""

    def read(self, target: Target) -> bytes:
        """The content of the file there."""

    def names(self, target: Target) -> list[str]:
        """What the directory there holds."""


class Overlay:
    """What will be on the host once the changes proposed so far have happened.

    Attributes:
        changes: the last one of each path.
    """

    def __init__(self, below: Observer) -> None:
        """See `below` where nothing was predicted."""
        self._below = below
        self._entries: dict[Target, Entry] = {}
        self._contents: dict[Target, bytes] = {}
        self.changes: dict[Target, Change] = {}

    def predict(self, change: Change) -> None:
        """Take a proposed change as having happened."""
        self._entries[change.target] = change.after
        self.changes[change.target] = change
        if change.action in (ADOPT, ATTRIBUTES):
            return  # what an earlier change is going to write there stays as it is
        self._contents.pop(change.target, None)
        if change.content is not None:
            self._contents[change.target] = change.content

    def entry(self, target: Target) -> Entry:
        """What stands there, or will."""
        return self._entries[target] if target in self._entries else self._below.entry(target)

    def read(self, target: Target) -> bytes:
        """The content that the file there has, or will have.

        Raises:
            FileNotFoundError: it is not there yet, and will be of what nobody knows before it is made.
        """
        if target in self._contents:
            return self._contents[target]
        if target in self._entries and not self._below.entry(target).exists:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), target.name)
        return self._below.read(target)

    def names(self, target: Target) -> list[str]:
        """What the directory there holds, or will hold."""
        names = set(self._below.names(target))
        for other, entry in self._entries.items():
            parent, _, name = other.name.rpartition("/")
            if other.area == target.area and parent == target.name:
                (names.add if entry.exists else names.discard)(name)
        return sorted(names)


def digest(
    revision: str, entries: Mapping[Target, Entry], keys: Mapping[Target, tuple[str, ...]], app: Owner | None
) -> str:
    """A short hash of a state: two hosts in the same state have the same one.

    Args:
        entries: what stands at each managed path.
        keys: for files of keys and values, the names of the managed keys: their content does not count.
        app: the application's user; owners count by role, not by number.

    Returns:
        16 hex digits.
    """
    lines = [revision]
    for target in sorted(entries):
        entry = entries[target]
        role = "app" if app is not None and entry.owner == app else "root" if entry.uid == 0 else "other"
        content = ",".join(sorted(keys[target])) if target in keys else entry.digest or entry.target
        lines.append(f"{target.area} {target.name!r} {entry.kind} {entry.mode:o} {role} {content}")
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]
