"""`[vvmigrate] after_change`: a command of the release that is told what to restart. Knows no step.

It runs when the host is settled and no lock is held. What it was not told of yet stands in a small private file,
written before the first step: so it is told at least once, also after a kill, or after it failed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vvmigrate.engine import vault
from vvmigrate.engine.host import ROOT
from vvmigrate.engine.intention import CHECKING
from vvmigrate.files import Tree
from vvmigrate.runs.promised import standing
from vvmigrate.runs.shell import run_line
from vvmigrate.runs.site import Site

NAME = "changed"
LONGEST_S = 300.0
TAIL_CHARACTERS = 400
AFFECTS = "VV_AFFECTS"
"""Names what to restart; and in its environment says that the command is at work, and whoever has it runs below it."""


@dataclass
class Hook:
    """The command, and what it has to be told.

    Attributes:
        command: a line for /bin/sh; empty where the release has none.
        due: what was changed, and it was not told of.
    """

    command: str
    due: frozenset[str] = frozenset()

    @classmethod
    def of(cls, command: str, state: Tree) -> Hook:
        """The hook, with what earlier runs left."""
        left = (vault.read_json(state, NAME) or {}) if command else {}
        return cls(command, frozenset(left.get("affects", ())))

    def expect(self, state: Tree, affects: Iterable[str]) -> None:
        """Note, durably, what a run is going to change."""
        if self.command and (coming := self.due | frozenset(affects)) != self.due:
            _write(state, coming)

    def settle(self, state: Tree, affects: Iterable[str]) -> None:
        """The run has ended: note what it really changed."""
        if not self.command:
            return
        self.due |= frozenset(affects)
        if self.due:
            _write(state, self.due)
        elif (state / NAME).stat() is not None:
            (state / NAME).remove_file()

    def call(self, folder: Path, environ: Mapping[str, str], facts: Mapping[str, str]) -> dict[str, Any] | None:
        """Tell it, if there is anything to tell; what it printed is returned, and shown only if it failed.

        Args:
            folder: its working directory.
            environ: what it inherits.
            facts: more variables.

        Returns:
            `command`, `exit_code` (None: it took longer than 300 s, or cannot be run), `output`; None without a call:
            below itself it is not called, since whoever called it tells it, and it would call itself for ever.
        """
        if not self.command or not self.due or AFFECTS in environ:
            return None
        told = {AFFECTS: " ".join(sorted(self.due)), **facts}
        done = run_line(self.command, folder, {**environ, **told}, longest_s=LONGEST_S)
        output = done.problem or done.output[-TAIL_CHARACTERS:].strip()
        return {"command": self.command, "exit_code": done.exit_code, "output": output}

    def told(self, state: Tree) -> None:
        """It knows now; what another run has noted meanwhile stays."""
        noted = frozenset((vault.read_json(state, NAME) or {}).get("affects", ()))
        if noted <= self.due:
            (state / NAME).remove_file(missing_ok=True)


def untold(site: Site) -> list[str]:
    """What the release's command has to be told still, for those who look: sorted names.

    A health check may well ask `status`: it runs before the command, and must not fail for that.
    """
    state, promise = site.session.host.state(ROOT), standing(site.session)
    if state is None or not site.settings.after_change or (promise is not None and promise.state == CHECKING):
        return []
    return sorted((vault.read_json(state, NAME) or {}).get("affects", ()))


def _write(state: Tree, affects: frozenset[str]) -> None:
    (state / NAME).replace(json.dumps({"affects": sorted(affects)}).encode())
