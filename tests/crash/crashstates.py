"""Power loss by the rules, not by one file system's kindness (after ALICE, OSDI 2014, in small).

One clean run is recorded with all its bytes; for every call the disks are built that a power loss right after it may
leave, and the recovery and the check run on each.

posix: what was not synced (a file: bytes, size, mode; a directory: its names) may be lost or kept, each change on its
own; a rename or an exchange stays one change. Finds missing syncs of directories.
journaled: as ext4 and xfs do it, names survive as a prefix of their order and any fsync of anything saves all of them
up to there; bytes that were not synced may be lost.

After the last call the command has said that it is done: only the state after it is allowed then.

Not every subset of what may be lost is tried (there are too many), but each change lost alone, each kept alone, all,
none, torn halves, sizes without their bytes, and as many random subsets as are asked for.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

from . import trees
from .diskmodel import Attributes, Change, Data, Names, ReplayError, apply, build, digest, load
from .killpoints import Harness
from .replay import Replay
from .scenario import Report, Strike
from .worker import Worker

Profile = Literal["posix", "journaled"]


@dataclass(frozen=True)
class State:
    """One legal disk: what survives when the power goes after call n."""

    n: int
    profile: Profile
    why: str
    kept: Sequence[Change]
    last: bool


def _safe(replay: Replay, n: int, profile: Profile) -> list[bool]:
    """Return for each change up to call n whether no power loss after that call can take it."""
    content: dict[int, int] = {}
    whole: dict[int, int] = {}
    for sync in replay.syncs:
        if sync.n <= n:
            content[sync.node] = sync.n
            if sync.whole:
                whole[sync.node] = sync.n
    everything, journal = whole.get(-1, 0), max(whole.values(), default=0)

    def safe(change: Change) -> bool:
        if change.n <= everything:
            return True
        meta = isinstance(change, Names | Attributes)
        if meta and profile == "journaled":
            return change.n <= journal
        synced = whole if meta else content
        return any(change.n <= synced.get(node, 0) for node in change.nodes)

    return [safe(c) for c in replay.changes if c.n <= n]


def _halves(change: Change) -> Iterator[tuple[str, Change]]:
    """Return what may be left of one write beside all and nothing."""
    if isinstance(change, Data) and len(change.data) > 1:
        yield "torn", replace(change, data=change.data[: len(change.data) // 2])
        yield "size without bytes", replace(change, data=bytes(len(change.data)))


def states(replay: Replay, n: int, profile: Profile, subsets: int, seed: int) -> Iterator[tuple[str, list[Change]]]:
    """Return the disks that a power loss after call n may leave, as lists of surviving changes."""
    past = [c for c in replay.changes if c.n <= n]
    safe = _safe(replay, n, profile)
    loose = [i for i, is_safe in enumerate(safe) if not is_safe]
    ordered = [i for i in loose if profile == "journaled" and isinstance(past[i], Names | Attributes)]
    free = [i for i in loose if i not in ordered]

    def keep(chosen: set[int]) -> list[Change]:
        return [c for i, c in enumerate(past) if safe[i] or i in chosen]

    yield "all kept", past
    yield "all lost", keep(set())
    yield "names kept, bytes lost", keep({i for i in loose if isinstance(past[i], Names | Attributes)})
    for at, i in enumerate(ordered):
        names = set(ordered[: at + 1])
        yield f"names kept up to call {past[i].n}", keep(names | set(free))
        yield f"names kept up to call {past[i].n}, bytes lost", keep(names)
    for i in free:
        what = f"{type(past[i]).__name__.lower()} of call {past[i].n}"
        yield f"lost alone: {what}", keep(set(loose) - {i})
        yield f"kept alone: {what}", keep({i} if profile == "posix" else {i, *ordered})
        for how, part in _halves(past[i]):
            yield f"{how}: {what}", [part if c is past[i] else c for c in past]
    dice = random.Random(f"{seed} {profile} {n}")
    for k in range(subsets if len(free) > 1 else 0):
        names = set(ordered[: dice.randint(0, len(ordered))])
        yield f"random subset {k}", keep(names | {i for i in free if dice.random() < 0.5})


def record(worker: Worker) -> Replay:
    """Run cleanly once more with all bytes recorded; prove that the record explains the disk, byte for byte.

    Raises:
        ReplayError: The last state that the model builds is not the real one.
    """
    worker.restore(worker.before)
    base = load(worker.root)
    replay = Replay(worker.root, worker.record(data=True), base)
    raw = trees.Snapshots(raw=True)
    real = raw.take(worker.root)
    build(apply(replay.base, replay.changes), worker.root)
    if wrong := trees.differences(real, raw.take(worker.root)):
        msg = f"the replayed disk is not the real one, a change went past the shim: {', '.join(wrong[:5])}"
        raise ReplayError(msg)
    return replay


def legal_states(
    replay: Replay, calls: int, profiles: Sequence[Profile], subsets: int = 0, seed: int = 0
) -> list[State]:
    """Return the legal disks of all points; many of them are the same disk."""
    return [
        State(n, profile, why, kept, last=n == calls)
        for profile in profiles
        for n in range(calls + 1)
        for why, kept in states(replay, n, profile, subsets, seed)
    ]


def different(replay: Replay, found: Sequence[State], numbers: Iterable[int]) -> list[int]:
    """Return the numbers of those that are different disks; the state after the last call counts apart."""
    known = {id(node): sha256(node.data).digest() for node in replay.base}
    disks: dict[tuple[bytes, bool], int] = {}
    for number in numbers:
        disks.setdefault((digest(apply(replay.base, found[number].kept), known), found[number].last), number)
    return sorted(disks.values())


def explore(
    harness: Harness, *profiles: Profile, subsets: int = 0, sample: int = 0, seed: int = 0, stop_early: bool = False
) -> Report:
    """Recover from every legal disk of a scenario, and judge.

    A disk that is legal after several calls, or by both profiles, is tried once: a recovery sees nothing but the disk.

    Args:
        harness: Entered; its workers do the work, each with a record of its own: a host knows where it lies.
        profiles: Which rules.
        subsets: Random subsets at each call beside the systematic ones.
        sample: At most so many states, drawn with the seed (those after the last call always); 0: all.
        seed: Of the sample and the subsets.
        stop_early: End at the first state that is not recovered.

    Raises:
        ReplayError: A record does not explain the disk, or two workers recorded different changes.
    """
    replays = {worker: record(worker) for worker in harness.workers}
    calls = len(harness.calls)
    found = {worker: legal_states(replay, calls, profiles, subsets, seed) for worker, replay in replays.items()}
    first = harness.workers[0]
    if len({len(each) for each in found.values()}) > 1:
        msg = "the changes differ from run to run: the workers have no common states"
        raise ReplayError(msg)
    todo = list(range(len(found[first])))
    if sample:
        last = [number for number in todo if found[first][number].last]
        others = [number for number in todo if not found[first][number].last]
        todo = last + random.Random(f"{seed} {profiles}").sample(others, min(len(others), sample))
    todo = different(replays[first], found[first], todo)

    def one(worker: Worker, number: int) -> Strike:
        state = found[worker][number]
        build(apply(replays[worker].base, state.kept), worker.root)
        return worker.try_state(state.n, state.profile, state.why, last=state.last)

    return harness.spread(todo, one, seed=seed, stop_early=stop_early)
