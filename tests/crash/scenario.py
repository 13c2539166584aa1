"""What is struck, what must hold afterwards, and what came of it: plain values."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from .trees import Snapshot, differences

Command = Sequence[str]
Verdict = Literal["survived", "failed", "missed"]
#: How much of the output of a failed point is shown.
TAIL_LINES: Final = 3


@dataclass(frozen=True)
class Outcome:
    """One point after its recovery, for a check to look at.

    Attributes:
        root: The tree as it is now.
        before: A copy of the tree before the command; for looking only.
        after: A copy of the tree after a clean run; for looking only.
        now_tree: Snapshot of root.
        before_tree: Snapshot of before.
        after_tree: Snapshot of after.
        run_exit: Exit status of the struck command; negative for a signal.
        recover_exit: Exit status of the recovery.
        mode: The mode's label; a profile's name for a replayed power loss.
        output: What the command and the recovery printed.
    """

    root: Path
    before: Path
    after: Path
    now_tree: Snapshot
    before_tree: Snapshot
    after_tree: Snapshot
    run_exit: int
    recover_exit: int
    mode: str
    output: str


#: Says what is wrong, or returns an empty string.
Check = Callable[[Outcome], str]


def before_or_after(outcome: Outcome) -> str:
    """Check that the tree is exactly the one before or the one after, and that exit 0 means after."""
    now = outcome.now_tree
    if now == outcome.after_tree:
        return ""
    if now == outcome.before_tree:
        return "exit 0, but the state is the one before" if outcome.run_exit == 0 else ""
    nearest = min((differences(s, now) for s in (outcome.before_tree, outcome.after_tree)), key=len)
    return f"neither before nor after: {', '.join(nearest[:4])}"


@dataclass(frozen=True)
class Scenario:
    """One command with all that is needed to strike it. Strings may contain ``{root}``.

    Attributes:
        setup: Makes the state before, once a worker: a function of the root, or a command.
        run: The command that is struck.
        recover: The next command, which settles what the strike left.
        check: Judges what is left; default: exactly before or exactly after.
        app: ``module:function`` for the fork server; the commands are then what stands after the program's name in
            sys.argv. Without it the commands are programs with arguments.
        preload: Modules that the fork server imports beside the application.
        import_path: Directories in front of the application's sys.path.
        env: Added to the environment of every command.
        ignore: Globs that snapshots leave out.
        recover_exits: Exit statuses of the recovery that are right.
        between: Somebody who acts between the strike and the recovery.
        meddle: A shell line for the mode "meddle": somebody who acts right before the call that is struck.
        companion: A program that runs all the while and prints a line when it is ready; killed before the recovery.
        limit_s: After this many seconds a command is killed.
    """

    setup: Callable[[Path], None] | Command
    run: Command
    recover: Command
    check: Check = before_or_after
    app: str | None = None
    preload: Sequence[str] = ()
    import_path: Sequence[Path] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ignore: Sequence[str] = ()
    recover_exits: Sequence[int] = (0,)
    between: Callable[[Path], None] | None = None
    meddle: str = ""
    companion: Command | None = None
    limit_s: int = 60


@dataclass(frozen=True)
class Strike:
    """What came of one point.

    Attributes:
        n: The number of the call.
        mode: The mode's label, or the profile.
        call: The call as people read it.
        verdict: Survived, failed, or missed: the fault was never reached, so nothing is proved.
        why: What is wrong, or which replayed state this was.
        tail: The last lines of output of a failed point.
        recrashes: How often the recovery was struck in its turn.
    """

    n: int
    mode: str
    call: str
    verdict: Verdict
    why: str = ""
    tail: str = ""
    recrashes: int = 0

    def __str__(self) -> str:
        """Return one line, and the output below it."""
        head = f"{self.verdict.upper()} {self.mode} at {self.n}: {self.call} -> {self.why}"
        return f"{head}\n    {self.tail}" if self.tail else head


@dataclass(frozen=True)
class Report:
    """What came of all points."""

    strikes: Sequence[Strike]
    calls: int
    seconds: float
    jobs: int
    seed: int

    @property
    def failures(self) -> list[Strike]:
        """The points that failed or were missed."""
        return [s for s in self.strikes if s.verdict != "survived"]

    @property
    def recrashes(self) -> int:
        """How often a recovery was struck."""
        return sum(s.recrashes for s in self.strikes)

    @property
    def ms_per_point(self) -> float:
        """Milliseconds of wall clock for one point or one strike of a recovery."""
        return 1000 * self.seconds / max(1, len(self.strikes) + self.recrashes)

    def counts(self) -> Mapping[str, Counter[Verdict]]:
        """Return how many points survived, failed and were missed, by mode."""
        table: dict[str, Counter[Verdict]] = {}
        for strike in self.strikes:
            table.setdefault(strike.mode, Counter())[strike.verdict] += 1
        return table

    def summary(self) -> str:
        """Return the table that people read."""
        lines = [f"{self.calls} state-changing calls, seed {self.seed}"]
        lines += [
            f"{mode:<16}{c.total():>6} tried{c['survived']:>6} survived{c['missed']:>4} missed{c['failed']:>4} FAILED"
            for mode, c in self.counts().items()
        ]
        second = f", {self.recrashes} strikes of a recovery" if self.recrashes else ""
        points = f"{len(self.strikes)} points{second} in {self.seconds:.1f} s"
        return "\n".join([*lines, f"{points}, {self.ms_per_point:.1f} ms each, {self.jobs} jobs"])

    def assert_clean(self) -> None:
        """Raise when a point failed or was missed, or when nothing was tried at all.

        Raises:
            AssertionError: With the table and the first failures.
        """
        if not self.strikes or self.failures:
            shown = "\n".join(str(s) for s in self.failures[:10])
            msg = f"{len(self.failures)} of {len(self.strikes)} points are not proved\n{self.summary()}\n{shown}"
            raise AssertionError(msg)

    def __add__(self, other: "Report") -> "Report":
        """Return both as one report, of the greater number of calls."""
        calls, jobs = max(self.calls, other.calls), max(self.jobs, other.jobs)
        return Report([*self.strikes, *other.strikes], calls, self.seconds + other.seconds, jobs, self.seed)
