"""What every operation is: a frozen value that can say what it wants changed on a given host."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from alembic.operations import MigrateOperation

from vvmigrate.content import release
from vvmigrate.engine.effects import Effect, Merger
from vvmigrate.engine.host import HOME, ROOT, Host
from vvmigrate.engine.ledger import Ledger
from vvmigrate.engine.runtime import HostOperation
from vvmigrate.engine.state import Change, Observer, Proposal, Target
from vvmigrate.files import Owner, Place, Tree
from vvmigrate.settings import Settings

Ask = Callable[[str, str, bool, Callable[[str], str | None]], str | None]
"""Asks a person for a value: (name, description, hidden, problem-with) to the answer, or None."""


@dataclass
class Situation:
    """What an operation may look at when it says what it wants.

    Attributes:
        host: for staging: private places.
        observer: what stands at each path, or will.
        ledger: what is recorded; None on a host that has nothing yet.
        revision: the revision that the operation is part of.
        upcoming: (revision, host operation) of later revisions: a version that they supersede is not fetched.
        following: revisions that this run takes back, or applies, after this one.
        memory: values that must stay the same from the forecast to the step: answers, generated secrets.
        mergers: how files of keys are taken back.
        again: whether the revision is applied, and done again: what somebody put in the place of its work stays.
        retry: whether it is applied but degraded, and tried again.
        adopting: whether the revision is only taken over, if what it wants is there already.
        mending: whether what is recorded is mended: what cannot be had here is left, and holds nothing else up.
        planned: what earlier steps of a run that is planned will have changed, and noted, at each path.
    """

    host: Host
    observer: Observer
    ledger: Ledger | None
    settings: Settings
    storage_root: str
    variant: str
    revision: str = ""
    upcoming: tuple[tuple[str, HostOperation], ...] = ()
    memory: dict[str, Any] = field(default_factory=dict)
    mergers: Mapping[str, Merger] = field(default_factory=dict)
    ask: Ask | None = None
    progress: Callable[[str, int, int | None], None] | None = None
    again: bool = False
    retry: bool = False
    following: tuple[str, ...] = ()
    adopting: bool = False
    mending: bool = False
    planned: Mapping[Target, Change] = field(default_factory=dict)

    @property
    def owner(self) -> Owner | None:
        """Whom made things are given to, or None where they stay with the caller."""
        return self.settings.owner

    def release(self) -> Tree:
        """The release folder."""
        tree = self.host.tree(HOME)
        if tree is None:
            raise AssertionError("a host always has a home")
        return tree

    def check_signed(self, place: Place, sha256: str) -> None:
        """Let bytes of the release through; where an author is trusted, only those that the author has signed.

        Raises:
            IntegrityError: they are others, or the file is not of the release.
        """
        if self.settings.signed is not None:
            release.check(self.settings.signed, place.name, sha256, place.path)

    def read_release(self, place: Place, limit_bytes: int = 64 << 20) -> bytes:
        """The bytes of a file of the release.

        Raises:
            IntegrityError: see `check_signed`.
        """
        data = place.read(limit_bytes)
        self.check_bytes(place, data)
        return data

    def check_bytes(self, place: Place, data: bytes) -> None:
        """See `check_signed`."""
        self.check_signed(place, hashlib.sha256(data).hexdigest())

    def recorded(self) -> dict[Target, tuple[Effect, dict[str, Any]]]:
        """What is recorded at each managed path, and by which step."""
        return self.ledger.recorded() if self.ledger is not None else {}


@dataclass(frozen=True, order=True)
class Fact:
    """One thing that operations let hold on a host, and that a release's inputs declare.

    Attributes:
        kind: `ASSET`, `DIRECTORY`, `KEY` or `MODEL`.
        name: a path below the storage root, a key of `.env`, or a model's name.
    """

    kind: str
    name: str


ASSET, DIRECTORY, KEY, MODEL = "asset", "directory", "key", "model"


class WayBack(MigrateOperation):
    """What `reverse()` of any host operation is: `op.revert()`, since what has to be undone is on record."""


class Operation(HostOperation):
    """A frozen value; subclasses are dataclasses. Adding a kind is one file and one line in `__init__`.

    Attributes:
        leaves_files: what it does stays on the host until `op.revert()`.
    """

    leaves_files: ClassVar[bool] = True

    @property
    def verb(self) -> str:
        """Its name behind `op.`: install_model for InstallModel."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and named arguments, as a revision gives them."""
        return (), {}

    def facts(self) -> Mapping[Fact, str | None]:
        """What it pins, and so means for ever; None for what holds no more. What is not pinned is not in it."""
        return {}

    def reverse(self) -> MigrateOperation:
        """The way back, for Alembic's autogenerate."""
        return WayBack()

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """What Alembic's comparisons show of it."""
        positional, named = self.arguments()
        return (self.verb, *positional, *named.items())

    def propose(self, situation: Situation) -> Proposal:
        """What has to change on this host, now, for the operation to hold.

        Raises:
            VvmigrateError: its inputs are wrong.
        """
        raise NotImplementedError(type(self).__name__)


def root(name: str) -> Target:
    """A path below the storage root."""
    return Target(ROOT, name)


def home(name: str) -> Target:
    """A path below the release folder."""
    return Target(HOME, name)
