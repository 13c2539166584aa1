"""What must hold after a strike of a command that moves no version: a repair, or a pruning."""

import os
from pathlib import Path

from vvmigrate.content.signature import NAME

from .engine_check import Check, Side, opened
from .engine_host import IGNORE, State, state_of
from .scenario import Outcome
from .trees import Snapshots

#: Where prune removes things: each thing there goes as a whole.
FOLDERS = (
    *("storage/models/.store", "storage/.vvmigrate/undo", "storage/.vvmigrate/downloads", "home/.vvmigrate/undo"),
)


class Mended(Check):
    """Judges a host after a strike of a repair of what one revision made."""

    def _side(self, outcome: Outcome) -> Side:
        with opened(outcome.root) as (_, ledger):
            version = ledger.version()
        if version != self.path[0]:
            return Side(0, "elsewhere", f"a repair moved the version to {version or 'base'}")
        now = state_of(outcome.now_tree, outcome.root, outcome.root)
        damaged = self._state(outcome.before_tree, outcome.before, outcome.root).unlike(now)
        broken = self._state(outcome.after_tree, outcome.after, outcome.root).unlike(now)
        if not broken:
            return Side(1, "mended")
        if damaged:
            return Side(0, "between", f"neither as before nor as after: {'; '.join(min(damaged, broken, key=len)[:4])}")
        return Side(0, "damaged", "exit 0, but the damage is still there" if outcome.run_exit == 0 else "")

    def _again(self, outcome: Outcome) -> str:
        if self.target.endswith(NAME) and self._side(outcome).done:
            return ""  # named while it is as recorded, the list is made anew: that is no repair any more
        return super()._again(outcome)


class Recovered(Check):
    """Judges a host after a strike of a recovery: what an undisturbed one leaves, told once in the history."""

    def _side(self, outcome: Outcome) -> Side:
        now = state_of(outcome.now_tree, outcome.root, outcome.root)
        unlike = self._state(outcome.after_tree, outcome.after, outcome.root).unlike(now)
        return Side(0, "recovered", f"not as an undisturbed recovery leaves it: {'; '.join(unlike[:4])}" * bool(unlike))

    def _history(self, outcome: Outcome, side: Side) -> str:
        if wrong := super()._history(outcome, side):
            return wrong
        with opened(outcome.root) as (_, ledger):
            results = [row["result"] for row in ledger.rows("vv_step")[self._rows_before(outcome) :]]
        return "" if results == ["interrupted"] else f"a killed attempt is in the history as {results}"


class Pruned(Check):
    """Judges a host after a strike of a pruning: each thing is whole or gone, and everything else is as it was."""

    def _side(self, outcome: Outcome) -> Side:
        things = [name for name in _things(outcome.before) if not (outcome.after / name).exists()]
        left = [name for name in things if (outcome.root / name).exists()]
        return Side(0, f"{len(left)} of {len(things)} left", self._wrong(outcome, things, left))

    def _wrong(self, outcome: Outcome, things: list[str], left: list[str]) -> str:
        whole = Snapshots()
        for name in left:
            if whole.take(outcome.root / name) != whole.take(outcome.before / name):
                return f"{name} is neither whole nor gone"
            if (entry := f"{name}.json") in things and entry not in left:
                return f"{name} is still there, but its entry is gone"
        if outcome.run_exit == 0 and left:
            return f"exit 0, but {left} were not pruned"
        now = self._without(outcome.root, outcome.root, things)
        unlike = self._without(outcome.after, outcome.root, things).unlike(now)
        return f"beside what is pruned: {'; '.join(unlike[:4])}" if unlike else ""

    def _without(self, folder: Path, root: Path, things: list[str]) -> State:
        tree = Snapshots(IGNORE).take(folder)
        rest = {path: entry for path, entry in tree.items() if not any(_is_below(path, name) for name in things)}
        return state_of(rest, folder, root)


def _things(folder: Path) -> list[str]:
    return [f"{name}/{thing}" for name in FOLDERS for thing in sorted(os.listdir(folder / name))]


def _is_below(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}/")
