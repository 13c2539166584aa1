"""`op.revert`: undo, newest first, what this revision recorded on this host since it was applied."""

from __future__ import annotations

from dataclasses import dataclass

from alembic.operations import Operations

from vvmigrate.engine.reverse import Reverser
from vvmigrate.engine.state import Proposal
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
        areas = {"fallback": "assets", "models": "model"}
        affects = {areas.get(change.target.name.split("/")[0], "directories") for change in proposal.changes}
        return proposal + Proposal(affects=frozenset(affects))
