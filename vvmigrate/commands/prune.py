"""`prune`: remove what nothing needs any more, and say of each thing why."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from shlex import quote
from typing import Any

from vvmigrate.commands.fetch import lost
from vvmigrate.commands.repair import set_aside
from vvmigrate.commands.upgrade import ahead
from vvmigrate.content.delivery import download
from vvmigrate.content.store import MODELS, STORE
from vvmigrate.engine import old
from vvmigrate.engine.host import ROOT
from vvmigrate.engine.state import Kept, Target
from vvmigrate.errors import VvmigrateError
from vvmigrate.files import Place
from vvmigrate.operations.information import entry_of
from vvmigrate.operations.supply import RECEIVED
from vvmigrate.report import Report, listed
from vvmigrate.runs.forecast import Workplace, open_workplace
from vvmigrate.runs.looking import looking
from vvmigrate.runs.opening import Call
from vvmigrate.runs.pending import pending
from vvmigrate.runs.taking_back import foretell
from vvmigrate.runs.trial import refuse_while_waiting
from vvmigrate.runs.work import Run, add_nothing, carry_out


@dataclass(frozen=True)
class Old:
    """Something that may go.

    Attributes:
        remove: removes it; a kill leaves it whole, or out of sight.
    """

    path: str
    size_bytes: int
    reason: str
    remove: Callable[[], None]


def prune(call: Call) -> Report:
    """Remove old model generations, received files that nothing pending needs, and before-images of dead steps.

    Returns:
        `pruned`: path, bytes and reason of each; `kept`: what would have gone but for a reason; `freed_bytes`.
    """
    if call.options.get("dry_run"):
        return looking(call, open_workplace, _tell, planning=True)
    return carry_out(call.asking_nobody(), _prune, fill=add_nothing, nothing=lambda: _as_json(([], []), dry_run=False))


def _tell(place: Workplace, report: Report) -> None:
    if foretell(place):
        refuse_while_waiting(place)
    report.body = _as_json(_find(place), dry_run=True)


def _prune(run: Run) -> None:
    refuse_while_waiting(run.place)
    found, kept = _find(run.place)
    done: list[Old] = []
    run.report.body = _as_json((done, kept), dry_run=False)
    for item in found:
        item.remove()
        done.append(item)
        run.log.write("pruned", path=item.path, size_bytes=item.size_bytes, reason=item.reason)
        run.report.body = _as_json((done, kept), dry_run=False)


def _as_json(what: tuple[list[Old], list[Kept]], *, dry_run: bool) -> dict[str, Any]:
    found, kept = what
    pruned = [{"path": item.path, "size_bytes": item.size_bytes, "reason": item.reason} for item in found]
    freed = sum(item.size_bytes for item in found)
    return {"pruned": pruned, "kept": listed(kept), "freed_bytes": freed, "dry_run": dry_run}


def _find(place: Workplace) -> tuple[list[Old], list[Kept]]:
    if place.ledger is None:
        return [], []
    kept: list[Kept] = []
    found = [*_generations(place, kept), *_received(place, kept), *_images(place)]
    return found, [*kept, *_set_aside(place)]


def _set_aside(place: Workplace) -> Iterator[Kept]:
    """What repairs took out of its place, which may be somebody's only copy: a person decides."""
    host, ledger = place.session.host, place.session.ledger
    for step in ledger.committed():
        for item in set_aside(host, ledger, step["step_id"]):
            if os.path.lexists(item["aside"]):
                text = f"set aside by a repair of {item['path']}; if nobody wants it: rm -r {quote(item['aside'])}"
                yield Kept(item["aside"], text)


def _generations(place: Workplace, kept: list[Kept]) -> Iterator[Old]:
    """Generations that are not current, and that no downgrade within the horizon switches back to."""
    host, ledger = place.session.host, place.session.ledger
    needed = old.linked(ledger, old.within(old.live_steps(ledger), place.settings.keep_releases))
    needed |= {host.glance(Target(ROOT, f"{MODELS}/{name}")).target for name in host.names(Target(ROOT, MODELS))}
    for target, digest in old.placed_trees(ledger).items():
        name = target.name.removeprefix(f"{STORE}/")
        there, entry = host.place(target), host.place(entry_of(target))
        if not target.name.startswith(f"{STORE}/") or f".store/{name}" in needed:
            continue
        kind = there.identity()[0]
        if kind == "dir" and there.entry(tree=True).digest == digest:
            reason = f"not current, and not needed to take {_releases(place.settings.keep_releases)} back"
            yield Old(there.path, old.size_of(there), reason, partial(_remove_generation, place, target))
        elif kind == "dir":
            kept.append(Kept(there.path, "an old generation, but it was changed since it was installed"))
        elif kind == "absent" and entry.identity()[0] == "file":
            reason = "its generation was pruned by a command that was interrupted"
            yield Old(entry.path, old.size_of(entry), reason, partial(_remove_generation, place, target))


def _releases(count: int) -> str:
    return "1 release" if count == 1 else f"{count} releases"


def _remove_generation(place: Workplace, target: Target) -> None:
    """The generation, then its entry: whoever is killed in between leaves an entry that the next pruning removes."""
    host = place.session.host
    state = host.state(host.state_key(target))
    if state is None:
        return
    for there in (host.place(target), host.place(entry_of(target))):
        if there.stat() is not None:
            old.remove(state, there)


def _received(place: Workplace, kept: list[Kept]) -> Iterator[Old]:
    """Received files that no pending step needs, and no repair."""
    state = place.session.host.state(ROOT)
    names = (state / "downloads").names() if state is not None else []
    received = [name for name in names if name.endswith(RECEIVED)]
    if state is None or not received:
        return
    needed = _needed(place)
    for name in received:
        there = state / f"downloads/{name}"
        if needed is None:
            kept.append(Kept(there.path, "received; what is pending cannot be told"))
        elif name.removesuffix(RECEIVED) not in needed:
            reason = "received, and no pending step or repair needs it"
            yield Old(there.path, old.size_of(there), reason, partial(_discard, there))


def _needed(place: Workplace) -> set[str] | None:
    """SHA-256 of what pending steps, held ones too, or a repair would download; None where that cannot be told."""
    try:
        forecasts, repaired = ahead(place, pending(place)), lost(place)
    except VvmigrateError:
        return None
    if any(forecast.error is not None for forecast in forecasts):
        return None
    repaired += [item for forecast in forecasts for item in forecast.proposal.downloads]
    return {item.sha256 for item in repaired}


def _images(place: Workplace) -> Iterator[Old]:
    """Before-images of steps that are not applied any more."""
    for state, folder in old.dead_images(place.session.host, place.session.ledger):
        reason = "before-images of a step that is not applied any more"
        yield Old(folder.path, old.size_of(folder), reason, partial(old.remove, state, folder))


def _discard(received: Place) -> None:
    """Durably: what was said to be pruned does not come back with a power loss."""
    download.discard(received)
    received.parent.fsync()
