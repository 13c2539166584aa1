"""What one look at a path returns: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Owner(NamedTuple):
    """A numeric user and group."""

    uid: int
    gid: int


class Entry(NamedTuple):
    """What stands at a path.

    Attributes:
        kind: `absent`, `file`, `dir`, `link`, or `other` (FIFO, socket, device).
        mode: permission bits; 0 for links and absent.
        size_bytes: of a file's content.
        digest: SHA-256 in hex of a file's content, or of everything below a directory if a tree was asked for.
        target: where a link points.
    """

    kind: str = "absent"
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size_bytes: int = 0
    digest: str = ""
    target: str = ""

    @property
    def exists(self) -> bool:
        """Whether anything stands there."""
        return self.kind != "absent"

    @property
    def owner(self) -> Owner:
        """User and group in one value."""
        return Owner(self.uid, self.gid)

    def same_content(self, other: Entry) -> bool:
        """Whether kind and content agree, whatever mode and owner are."""
        return (self.kind, self.digest, self.target) == (other.kind, other.digest, other.target)

    def with_attributes(self, mode: int, owner: Owner | None) -> Entry:
        """The same content with another mode and, unless None, another owner."""
        if owner is None:
            return self._replace(mode=mode)
        return self._replace(mode=mode, uid=owner.uid, gid=owner.gid)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Entry:
        """Read what `as_json` wrote.

        Raises:
            TypeError: it is something else.
        """
        return ABSENT if values == _ABSENT else cls(**values)  # most of what was done made something new

    def as_json(self) -> dict[str, Any]:
        """Plain values for the journal and the ledger."""
        return self._asdict()


ABSENT = Entry()
_ABSENT = ABSENT.as_json()
