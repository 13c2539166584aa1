"""vvmigrate itself with a bug in it, as a careless change would bring it: the variable BUG says which.

The harness must find each; what it cannot find in the application it has not proved of it.
"""

import os
import sqlite3
import stat
from collections.abc import Callable, Mapping
from typing import Any, Final
from unittest.mock import patch

from vvmigrate import cli
from vvmigrate.engine import database, journal, publish, recovery, stage, step
from vvmigrate.engine.effects import Effect
from vvmigrate.engine.host import Host
from vvmigrate.files import Place

Function = Callable[..., Any]
UNBUFFERED: Final = {"buffering": 0}


def plant(where: Any, name: str, make: Callable[[Function], Function]) -> None:
    """Put in a function's place what is made of it."""
    setattr(where, name, make(getattr(where, name)))


def images_not_synced() -> None:
    """Before-images move to `undo`, and nobody sees to it that they arrive."""

    def unsynced(settle: Function) -> Function:
        def settle_images(*arguments: Any) -> None:
            with patch.object(Place, "fsync", lambda place: None):
                settle(*arguments)

        return settle_images

    plant(stage, "settle_images", unsynced)


def _no_fsync_of(kind: int) -> None:
    def choosy(fsync: Function) -> Function:
        return lambda descriptor: None if stat.S_IFMT(os.fstat(descriptor).st_mode) == kind else fsync(descriptor)

    plant(os, "fsync", choosy)


def _synchronous(level: str) -> None:
    def weaker(configure: Function) -> Function:
        def configured(connection: sqlite3.Connection, *arguments: Any, **options: Any) -> None:
            configure(connection, *arguments, **options)
            connection.execute(f"PRAGMA synchronous={level}")

        return configured

    plant(database, "_configure", weaker)


def interrupted_is_failed() -> None:
    """The recovery of a killed attempt records a failure."""
    plant(recovery, "settle", lambda settle: lambda *a, **options: settle(*a, **{**options, "result": "failed"}))


def error_of_commit_believed() -> None:
    """A COMMIT that reports an error is taken for one that did not happen."""
    plant(recovery, "decide", lambda decide: lambda *arguments: recovery.UNDO)


def published_before_sealed() -> None:
    """The first effect is made visible when no journal tells of it yet."""
    early: list[Effect] = []

    def hasty(seal: Function) -> Function:
        def sealed(attempt: Any, effects: tuple[Effect, ...]) -> None:
            early.append(effects[0])
            publish.publish(effects[0], attempt.session.host)
            seal(attempt, effects)

        return sealed

    plant(step._Step, "_seal", hasty)
    plant(step, "publish", lambda old: lambda effect, host: None if effect in early else old(effect, host))


def journal_removed_before_commit() -> None:
    """The journal goes as soon as everything is published."""

    def tidy(old: Function) -> Function:
        def published(attempt: Any) -> None:
            old(attempt)
            journal.remove(attempt.session.host.private)

        return published

    plant(step._Step, "_publish", tidy)


def not_compared_after_the_rename() -> None:
    """What came out is not looked at: whoever saved right before the rename is taken for what was read."""
    plant(publish, "_verify_out", lambda verify: lambda *arguments, **options: None)


def rewritten_in_place() -> None:
    """Settings are written into the file that stands there."""

    def in_place(old: Function) -> Function:
        def published(effect: Effect, host: Host) -> None:
            if not (effect.merge and effect.before.exists):
                old(effect, host)
                return
            with open(host.place(effect.target).path, "r+b", buffering=0) as file:
                file.truncate()
                file.write(effect.slot_place(host).read())
                os.fsync(file.fileno())

        return published

    plant(step, "publish", in_place)


def short_write_ignored() -> None:
    """Nobody asks how much was written."""

    def unbuffered(fdopen: Function) -> Function:
        return lambda descriptor, mode="r", **o: fdopen(descriptor, mode, **o, **UNBUFFERED if mode == "wb" else {})

    plant(os, "fdopen", unbuffered)


def undone_without_comparing() -> None:
    """Settings are taken back, whatever stands there by now."""

    def blind(old: Function) -> Function:
        def undo(effect: Effect, host: Host, mergers: Mapping[str, Any]) -> Any:
            slot = effect.slot_place(host)
            if effect.merge and effect.before.exists and slot.stat() is not None and not effect.is_after(slot):
                slot.exchange(host.place(effect.target))
                return []
            return old(effect, host, mergers)

        return undo

    plant(recovery, "undo", blind)


BUGS: Final[Mapping[str, Callable[[], None]]] = {
    "before-images-not-synced": images_not_synced,
    "synchronous-full": lambda: _synchronous("FULL"),
    "interrupted-is-failed": interrupted_is_failed,
    "error-of-commit-believed": error_of_commit_believed,
    "publish-before-seal": published_before_sealed,
    "journal-removed-before-commit": journal_removed_before_commit,
    "compare-then-rename": not_compared_after_the_rename,
    "no-fsync-of-files": lambda: _no_fsync_of(stat.S_IFREG),
    "no-fsync-of-directories": lambda: _no_fsync_of(stat.S_IFDIR),
    "synchronous-off": lambda: _synchronous("OFF"),
    "rewrite-in-place": rewritten_in_place,
    "short-write-ignored": short_write_ignored,
    "recovery-without-comparing": undone_without_comparing,
}


def main() -> None:
    """Plant, then run the command line."""
    BUGS[os.environ["BUG"]]()
    cli.main()
