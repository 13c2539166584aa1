"""What a host must be after any sequence of events: a small model, plain values, with which the machine compares."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Asset:
    """A file of the release on the host.

    Attributes:
        release: what the release brings.
        now: what stands there; None for nothing.
        under: what the applied revision replaced; None for nothing.
    """

    release: bytes
    now: bytes | None = None
    under: bytes | None = None


@dataclass
class Model:
    """The host, and the release.

    Attributes:
        kinds: what each revision does, by number; the order is that of the numbers.
        version: the revision that the host is at; 0 for base.
        done: (revision, direction) of every step that happened.
        template: keys that the release's template has.
        keys: keys of the template in `.env`, and the revision that added each; 0 for the user.
        mine: values that the user set in `.env`.
        files: the user's files below the storage root.
        assets: by revision.
        rows: ids in each revision's table.
        scores: by revision, the values in its column, by row.
        standing: directories that are there: made, and not empty when they were to be taken back.
    """

    kinds: dict[int, str] = field(default_factory=lambda: {1: "directories"})
    version: int = 0
    done: list[tuple[int, str]] = field(default_factory=list)
    template: set[str] = field(default_factory=set)
    keys: dict[str, int] = field(default_factory=dict)
    mine: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    assets: dict[int, Asset] = field(default_factory=dict)
    rows: dict[int, set[int]] = field(default_factory=dict)
    scores: dict[int, dict[int, int]] = field(default_factory=dict)
    standing: set[str] = field(default_factory=set)

    @property
    def head(self) -> int:
        """The release's last revision."""
        return max(self.kinds)

    def of_kind(self, kind: str, *, applied: bool) -> list[int]:
        """Revisions that do a certain thing."""
        return [number for number, each in self.kinds.items() if each == kind and (number <= self.version) == applied]

    def go(self, target: int) -> None:
        """Apply or take back one revision after the other, until the host is there."""
        while self.version < target:
            self.version += 1
            self.done.append((self.version, "up"))
            self._apply(self.version)
        while self.version > target:
            self.done.append((self.version, "down"))
            self._take_back(self.version)
            self.version -= 1

    def _apply(self, revision: int) -> None:
        kind = self.kinds[revision]
        if kind == "directories":
            self.standing |= self.made_by(revision)
        elif kind == "asset":
            asset = self.assets[revision]
            asset.under, asset.now = asset.now, asset.release
        elif kind == "env":
            self.keys |= dict.fromkeys(self.template - self.keys.keys(), revision)

    def _take_back(self, revision: int) -> None:
        kind = self.kinds[revision]
        if kind == "directories":
            self.standing -= {name for name in self.made_by(revision) if not self._holds_something(name)}
        elif kind == "asset":
            asset = self.assets[revision]
            if asset.now in (asset.release, None):
                asset.now = asset.under
        elif kind == "env":
            self.keys = {key: by for key, by in self.keys.items() if by != revision}

    @staticmethod
    def made_by(revision: int) -> set[str]:
        """The directories that a revision makes, as far as they are looked at."""
        return {f"made_{revision}"} if revision > 1 else {"input", "fallback"}

    def _holds_something(self, name: str) -> bool:
        if name == "fallback" and any(asset.now is not None for asset in self.assets.values()):
            return True
        return any(file.startswith(f"{name}/") for file in self.files)

    def directories(self) -> dict[str, bool]:
        """Whether each directory must be there."""
        makers = [number for number, kind in self.kinds.items() if kind == "directories"]
        return {name: name in self.standing for number in makers for name in self.made_by(number)}
