"""`op.revert`: undo, newest first, what this revision recorded on this host since it was applied."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import ClassVar

from alembic.operations import Operations

from vvmigrate.content.store import INFO, STORE
from vvmigrate.engine import state as st
from vvmigrate.engine.effects import LACKS, MENDED, Effect
from vvmigrate.engine.host import ROOT
from vvmigrate.engine.reverse import Reverser
from vvmigrate.engine.state import Change, Kept, Overlay, Proposal, Target
from vvmigrate.errors import RefusedError
from vvmigrate.files import Entry
from vvmigrate.operations import information
from vvmigrate.operations.base import Operation, Situation, root
from vvmigrate.operations.generation import MANIFEST, find_generation


@Operations.register_operation("revert")
@dataclass(frozen=True)
class Revert(Operation):
    """The way back of every operation of the revision that calls it; calling it twice changes nothing more."""

    leaves_files: ClassVar[bool] = False

    @classmethod
    def revert(cls, operations: Operations) -> None:
        """Take back what this revision's operations did on this host."""
        operations.invoke(cls())

    def propose(self, situation: Situation) -> Proposal:
        """The inverse of the recorded effects; what somebody changed since is kept and reported."""
        if situation.ledger is None:
            return Proposal()
        effects = [effect for _, effect in situation.ledger.since_applied(situation.revision)]
        rest = [effect for effect in effects if effect.target != root(INFO)]
        reverser = Reverser(situation.host, situation.ledger, situation.mergers, situation.observer)
        instead = _instead(reverser.propose(filter(_is_of_a_link, rest)), situation)
        stay = {target for target, found in instead.items() if target in {change.target for change in found.changes}}
        told = _told(situation, reverser, effects, stay)
        overlay = Overlay(situation.observer)
        for change in told.changes:
            overlay.predict(change)
        proposal = told + replace(reverser, observer=overlay).propose(rest)
        changes = tuple(change for change in _at_once(proposal.changes) if change.target not in stay)
        affects = frozenset(filter(None, map(_affected, changes)))
        return sum(instead.values(), Proposal()) + proposal._replace(changes=changes) + Proposal(affects=affects)


def _told(situation: Situation, reverser: Reverser, effects: list[Effect], stay: set[Target]) -> Proposal:
    """How services are told what is current again; of links that stay as ever."""
    found = information.taken_back(situation, effects, {os.path.basename(target.name) for target in stay})
    return reverser.propose(e for e in effects if e.target == root(INFO)) if found is None else found


def _is_of_a_link(effect: Effect) -> bool:
    return "link" in (effect.before.kind, effect.after.kind)


def _instead(links: Proposal, situation: Situation) -> dict[Target, Proposal]:
    """What comes of links that go back to generations which were pruned: these are delivered, or the link stays."""
    found = ((change.target, _pruned(change, situation)) for change in _at_once(links.changes))
    return {target: proposal for target, proposal in found if proposal is not None}


def _at_once(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """The same with one change for a link that several steps of the revision had switched.

    From what it is to what it was first: nobody needs what it led to in between, which may be pruned.
    """
    first: dict[Target, Entry] = {}
    last: dict[Target, Change] = {}
    for change in changes:
        if change.action != st.ADOPT and "link" in (change.before.kind, change.after.kind):
            first.setdefault(change.target, change.before)
            last[change.target] = change
    folded = {id(change): change._replace(before=first[target]) for target, change in last.items()}
    return tuple(folded.get(id(change), change) for change in changes if last.get(change.target, change) is change)


def _pruned(change: Change, situation: Situation) -> Proposal | None:
    """What comes of a link that goes back to a generation which was pruned: it is delivered, or the link stays.

    Returns:
        None for all else.

    Raises:
        RefusedError: the installed release's manifest does not know it any more; or the network may not be asked.
    """
    folder, name = os.path.split(change.after.target)
    there = root(f"{STORE}/{name}")
    if change.action != st.SWITCH_LINK or folder != os.path.basename(STORE) or situation.observer.entry(there).exists:
        return None
    path = situation.host.path(there)
    if _is_switched_again(change, situation):
        reason = "was pruned, and not delivered again: this run goes further back"
        stays = _as_it_is(change, situation, f"{name} {reason}")
        return Proposal((stays,), skipped=(f"{path}: {reason}",))
    found = find_generation(situation, name)
    if found is None:
        raise RefusedError(
            f"{path}: was pruned, and {MANIFEST} does not name it: it cannot be had again",
            hint="install the release that it belongs to, or go further back",
            path=path,
        )
    try:
        lacking = found.lacking()
    except RefusedError as error:
        raise RefusedError(
            f"{path}: was pruned: {error.message}",
            hint="vvmigrate bundle apply FILE; or with a network; or without it: vvmigrate downgrade --allow-degraded",
            path=path,
        ) from error
    if not lacking:
        return found.delivery()
    kept = Kept(situation.host.path(change.target), f"stays what is current: {name} was pruned, and cannot be had")
    return Proposal((_as_it_is(change, situation, lacking),), kept=(kept,), degraded=lacking)


def _as_it_is(change: Change, situation: Situation, reason: str) -> Change:
    """A link that stays, with what was noted of it, and why it does not lead to what it should."""
    known = situation.recorded().get(change.target)
    note = {**(known[0].note if known else {}), LACKS: reason}
    return Change(st.ADOPT, change.target, change.before, change.before, detail="stays", note=note)


def _is_switched_again(change: Change, situation: Situation) -> bool:
    ledger = situation.ledger
    if ledger is None:
        return False
    later = (effect for revision in situation.following for _, effect in ledger.since_applied(revision))
    links = (effect for effect in later if effect.action == st.SWITCH_LINK and MENDED not in effect.note)
    return any(effect.target == change.target for effect in links)


def _affected(change: Change) -> str:
    """What has to be restarted when a change is taken back; empty for what nobody has open."""
    if change.action == st.ADOPT:
        return ""
    if change.action in (st.REMOVE_DIRECTORY, st.ATTRIBUTES) and change.target.area == ROOT:
        return "directories"
    folder = change.target.name.split("/")[0]
    return {"fallback": "assets", "models": "model", ".env": "env"}.get(folder, "")
