"""`op.revert`: undo, newest first, what this revision recorded on this host since it was applied."""

from __future__ import annotations

from dataclasses import dataclass

from alembic.operations import Operations

from vvmigrate.engine.host import ROOT
from vvmigrate.engine.reverse import Reverser
from vvmigrate.engine.state import ATTRIBUTES, REMOVE_DIRECTORY, Change, Proposal
from vvmigrate.operations.base import Operation, Situation


@Operations.register_operation("revert")
@dataclass(frozen=True)
class Revert(Operation):
    """The way back of every operation of the revision that calls it; calling it twice changes nothing more."""

    @classmethod
    def revert(cls, operations: Operations) -> None:
        """Take back what this revision's operations did on this host."""
        operations.invoke(cls())

    def propose(self, situation: Situation) -> Proposal:
        """The inverse of the recorded effects; what somebody changed since is kept and reported."""
        if situation.ledger is None:
            return Proposal()
        reverser = Reverser(situation.host, situation.ledger, situation.mergers, situation.observer)
        effects = [effect for _, effect in situation.ledger.since_applied(situation.revision)]
        proposal = reverser.propose(effects)
        return proposal + Proposal(affects=frozenset(filter(None, map(_affected, proposal.changes))))


def _affected(change: Change) -> str:
    """What has to be restarted when a change is taken back; empty for what nobody has open."""
    if change.action in (REMOVE_DIRECTORY, ATTRIBUTES) and change.target.area == ROOT:
        return "directories"
    folder = change.target.name.split("/")[0]
    return {"fallback": "assets", "models": "model", ".env": "env"}.get(folder, "")
