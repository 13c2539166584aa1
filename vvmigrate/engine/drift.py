"""Drift: what stands on the host against what is recorded. Reads, decides nothing, and changes nothing.

What is the user's right is no drift: the content of a file of keys, rows, and whatever we did not put there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vvmigrate.engine.effects import TREE, Effect, led_to
from vvmigrate.engine.host import Host
from vvmigrate.engine.round import Round
from vvmigrate.engine.state import Target
from vvmigrate.files import Entry, Place

Recorded = Mapping[Target, tuple[Effect, Mapping[str, Any]]]
"""What `Ledger.recorded` returns."""

Progress = Callable[[int, int], None]
"""Told the bytes that were looked at, and all that there are."""

Fact = tuple[str, str, str]
"""Its kind, what was expected, and what is there; the last two for people."""

Unseen = Callable[[PermissionError], None]
"""Takes that this user may not look at a path, or raises it again."""

QUICK, CONTENT, DEEP = "quick", "content", "deep"
SCHEMA = "schema"
"""The kind of what the database lacks."""
WAY = "way"
"""The kind of a file that is there, and is not found any more where it is read: the link to it is gone."""
SHOWN_DIGITS = 12
CLOCK_S = 0.001
"""So exactly the history says when a step ended."""
QUICKLY_READ_BYTES = 1 << 20
"""A larger file, as a model is, would make a quick look a slow one on a host whose files were all restored."""
TOLD_EVERY_BYTES = 1 << 20
"""So far apart is progress told: to say it of each small file would take as long as reading it."""


@dataclass(frozen=True)
class Drift:
    """One fact that is not as it was recorded.

    Attributes:
        kind: which fact: `kind`, `content`, `size`, `link`, `mode`, `owner`, `key`, `release`, `schema`, `way`.
        expected, actual: for people.
        revision: the one that recorded it; empty for what no revision did.
        statement: of `schema`, the SQL that would make it, without the rows that it had.
    """

    target: Target
    kind: str
    expected: str
    actual: str
    revision: str
    statement: str = ""


def let_through(error: PermissionError) -> None:
    """For who must see everything."""
    raise error


def managed(recorded: Recorded, host: Host, unseen: Unseen = let_through) -> list[Target]:
    """The recorded paths that must be there, parents before what they hold: all but generations that were pruned."""
    is_current = led_to(effect for effect, _ in recorded.values())

    def is_there(target: Target) -> bool:
        try:
            return host.glance(target).exists
        except PermissionError as error:
            unseen(error)
            return False

    return [
        target
        for target, (effect, _) in sorted(recorded.items())
        if not effect.lasting or is_current(target) or is_there(target)
    ]


def behind(recorded: Recorded, target: Target) -> Target:
    """Where a path that is a recorded link, or lies below one, leads by what is recorded; any other path itself."""
    for link, (effect, _) in recorded.items():
        if effect.after.kind == "link" and (target == link or link.holds(target)):
            return effect.end._replace(name=effect.end.name + target.name.removeprefix(link.name))
    return target


def find(
    host: Host,
    recorded: Recorded,
    trees: Mapping[Target, str],
    targets: list[Target],
    how: str = CONTENT,
    progress: Progress = lambda _done, _total: None,
    unseen: Unseen = let_through,
) -> list[Drift]:
    """Compare.

    Args:
        trees: what was noted of each directory that we placed as a whole: `SHAPE` for a quick look, else `TREE`.
        targets: which of the recorded paths.
        how: `quick`: kind, mode, owner, size and link target, and see `quickly`; `content`: also by SHA-256; `deep`:
            that, and what the kernel has in memory is read from the disk again (a cache would hide a disk that lost a
            bit).
        progress: told in bytes while contents are read.
        unseen: see `Unseen`; of what this user may not look at nothing is said.

    Returns:
        What differs, in the order of the targets.
    """
    chosen = [recorded[target] for target in targets]
    sizes = [_bytes_of(effect, host, unseen) if how != QUICK else 0 for effect, _ in chosen]
    total, done, told, found = sum(sizes), 0, 0, []
    with Round(host) as around:
        for (effect, step), size_bytes in zip(chosen, sizes, strict=True):
            try:
                seen, below = _look(host, around, effect, step, how), trees.get(effect.target, "")
                if seen != effect.after or seen.kind == "dir":  # a directory's own entry says nothing of what it holds
                    found += _drift(effect, step, list(_compare(host, effect, seen, below, how)))
            except PermissionError as error:  # what can be told without it still is
                unseen(error)
                found += _drift(effect, step, _seen_from_outside(host, around, effect, how, unseen))
            done += size_bytes
            if done - told >= TOLD_EVERY_BYTES or (done == total and done > told):
                told = done
                progress(done, total)
    return found


def _drift(effect: Effect, step: Mapping[str, Any], facts: Iterable[Fact]) -> list[Drift]:
    return [Drift(effect.target, *fact, str(step["revision"])) for fact in facts]


def _seen_from_outside(host: Host, around: Round, effect: Effect, how: str, unseen: Unseen) -> list[Fact]:
    """What differs of a path into which this user may not look."""
    try:
        return list(_compare(host, effect, around.glance(effect.target), "", how))
    except PermissionError as error:
        unseen(error)
        return []


def _bytes_of(effect: Effect, host: Host, unseen: Unseen) -> int:
    """What has to be read of a path, as far as records tell; a tree counts by what stands there."""
    if effect.after.kind == "file":
        return effect.after.size_bytes
    place = host.place(effect.target)
    if TREE not in effect.note and not effect.lasting:
        return 0
    try:
        return sum((place / name).glance().size_bytes for name in place.names())
    except PermissionError as error:
        unseen(error)
        return 0


def quickly(around: Round, target: Target, step: Mapping[str, Any]) -> Entry:
    """Look at a file, and read it only where it is small and was touched after the step that recorded it had ended.

    The kernel notes when content, mode, owner or names of a file last changed (inode(7), ctime), and lets nobody else
    set that. Where the clock was wrong, a file is read in vain, or an edit of the same size is not seen.
    """
    info = around.stat(target)
    if info is None or info.st_size > QUICKLY_READ_BYTES:
        return around.glance(target)
    ended_s = 0.0
    with suppress(ValueError):  # no time of ours: everything was touched since
        ended_s = datetime.fromisoformat(str(step["finished_at"])).timestamp()
    return around.entry(target) if info.st_ctime >= ended_s + CLOCK_S else around.glance(target)


def _look(host: Host, around: Round, effect: Effect, step: Mapping[str, Any], how: str) -> Entry:
    wanted = effect.after
    if wanted.kind != "file" or not wanted.digest or effect.secret:
        return around.glance(effect.target)
    if how == QUICK:
        return quickly(around, effect.target, step)
    if how == DEEP:
        host.place(effect.target).forget()
    return around.entry(effect.target)


def _compare(host: Host, effect: Effect, seen: Entry, tree: str, how: str) -> Iterator[Fact]:
    wanted = effect.after
    if seen.kind != wanted.kind:
        yield "kind", kind_of(wanted), kind_of(seen)
        return
    if wanted.kind == "link":
        if seen.target != wanted.target:
            yield "link", f"link to {wanted.target}", f"link to {seen.target}"
    elif wanted.kind == "file" and not effect.secret:
        yield from _content(wanted, seen)
    elif wanted.kind == "dir" and tree:
        yield from _below(host.place(effect.target), tree, how)
    if wanted.kind != "link" and seen.mode != wanted.mode:
        yield "mode", f"mode {wanted.mode:04o}", f"mode {seen.mode:04o}"
    if seen.owner != wanted.owner:
        yield "owner", f"owner {wanted.uid}:{wanted.gid}", f"owner {seen.uid}:{seen.gid}"


def _below(place: Place, noted: str, how: str) -> Iterator[Fact]:
    """What a directory holds that is ours as a whole."""
    if how == DEEP:
        place.forget()
    if how == QUICK and place.shape() != noted:
        yield "content", "the names, modes and sizes that were put there", "others"
    elif how != QUICK and (digest := place.entry(tree=True).digest) != noted:
        yield "content", _sha(noted), _sha(digest)


def _content(wanted: Entry, seen: Entry) -> Iterator[Fact]:
    if seen.size_bytes != wanted.size_bytes:
        yield "size", f"{wanted.size_bytes:,} bytes", f"{seen.size_bytes:,} bytes"
    elif seen.digest and seen.digest != wanted.digest:
        yield "content", _sha(wanted.digest), _sha(seen.digest)


def kind_of(entry: Entry) -> str:
    """What stands there, in a word for people."""
    return {"absent": "nothing", "dir": "directory"}.get(entry.kind, entry.kind)


def _sha(digest: str) -> str:
    return f"SHA-256 {digest[:SHOWN_DIGITS]}"
