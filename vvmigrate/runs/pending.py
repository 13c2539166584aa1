"""What is pending on a host, and what holds it back: told by the line and the ledger, nothing is run for it."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from vvmigrate.content.store import MODELS
from vvmigrate.engine.effects import LACKS
from vvmigrate.engine.sources import Revision
from vvmigrate.engine.state import SUPERSEDED, Superseded
from vvmigrate.errors import StateError
from vvmigrate.runs.opening import variant_of
from vvmigrate.runs.site import Site

AN_OLDER_PACKAGE = "vvmigrate downgrade head; if no older package was meant: install the release again"
NOT_WHOLE = "install the release again; to take all of it back on purpose: vvmigrate downgrade base"


def is_ahead(site: Site) -> bool:
    """Whether the host is at a revision that this release does not have."""
    return bool(site.version) and site.version not in site.line.package


def check_not_ahead(site: Site) -> None:
    """There is nothing pending for a host that is ahead of its package.

    Raises:
        StateError: it is.
    """
    if is_ahead(site):
        raise StateError(
            f"the host is at revision {site.version}, ahead of this release, "
            f"whose last one is {site.line.head() or 'none'}",
            hint=back_to_package(site),
        )


def back_to_package(site: Site) -> str:
    """What mends a host that is ahead; a release without any revision is none to go back to, and would be base."""
    return AN_OLDER_PACKAGE if site.line.head() else NOT_WHOLE


def pending(site: Site, last: str = "") -> list[Revision]:
    """The revisions that lie between the host and another one.

    Args:
        last: its full id; the release's last one without.

    Raises:
        StateError: the host is ahead of its package.
    """
    check_not_ahead(site)
    last = last or site.line.head()
    return site.line.ahead(site.version, last) if last else []


def other_variant(site: Site) -> dict[str, Any] | None:
    """That another model variant is asked for than is current: `installed` and `asked`; None if it is not.

    Who may not see the binding cannot tell which one is asked for.
    """
    if site.ledger is None or site.session.bound is None:
        return None
    current = (e for target, (e, _) in site.ledger.recorded().items() if os.path.dirname(target.name) == MODELS)
    installed = sorted({str(effect.note["variant"]) for effect in current if "variant" in effect.note})
    asked = variant_of(site.settings, site.session)
    return {"installed": installed, "asked": asked} if installed not in ([], [asked]) else None


# ---- holds -----------------------------------------------------------------------------------------------------------


def split_at_hold(
    site: Site, revisions: list[Revision]
) -> tuple[list[Revision], dict[str, Any] | None, dict[str, list[Mapping[str, Any]]]]:
    """Cut the pending revisions below the first hold that is not lifted.

    Returns:
        The revisions that may be applied, the hold that stops the rest, and rows that lift holds, by revision.
    """
    holds = site.ledger.holds() if site.ledger is not None else {}
    released: dict[str, list[Mapping[str, Any]]] = {}
    for number, revision in enumerate(revisions):
        hold = holds.get(revision.revision)
        if hold is None:
            continue
        reason = _lifted(site, hold)
        if not reason:
            shown = {name: hold[name] for name in ("revision", "user", "at", "reason")}
            return revisions[:number], shown, released
        lift = {"state": "released", "reason": reason, "script_sha256": hold["script_sha256"]}
        released[revision.revision] = [{"revision": revision.revision, **lift}]
    return revisions, None, released


def _lifted(site: Site, hold: Mapping[str, Any]) -> str:
    """Why a hold does not count any more; empty if it does."""
    if site.call.options.get("release_hold"):
        return "--release-hold"
    if site.line.sources[hold["revision"]].sha256 != hold["script_sha256"]:
        return "the release changed the revision"
    confirm = site.call.options.get("confirm")
    question = f"Revision {hold['revision']} was taken back by {hold['user']} ({hold['reason']}). Apply it again?"
    if confirm is not None and confirm(question):
        return "confirmed on a terminal"
    return ""


# ---- what was applied without all of it ------------------------------------------------------------------------------


def degraded(site: Site, without: Collection[str] = ()) -> list[dict[str, Any]]:
    """Applied revisions that lack something, with the reason: it could not be had, or what came in its place is gone.

    Args:
        without: revisions that are taken as not applied.
    """
    if site.ledger is None:
        return []
    steps = [step for step in site.ledger.applied() if step["revision"] not in without]
    names = {step["revision"] for step in steps}
    stayed = dict(_stayed(site)) if not without else {}
    reasons = ((step, _lacks(step, names) or stayed.get(step["revision"], "")) for step in steps)
    return [{"revision": step["revision"], "title": step["title"], "reason": why} for step, why in reasons if why]


def _stayed(site: Site) -> Iterator[tuple[str, str]]:
    """Revisions whose model is not the current one, and why: a way back could not have it, and left what was there.

    What somebody put there since is theirs, and nothing that a revision lacks.
    """
    ledger = site.session.ledger
    for target in dict.fromkeys(effect.target for _, effect in ledger.mentioning(f'"{LACKS}":')):
        last, owner = ledger.life(target)[-1][1], ledger.owner(target)
        if owner and LACKS in last.note and site.session.host.glance(target).same_content(last.after):
            yield owner, f"{last.note[LACKS]}; {target.name} leads to {last.after.target} still"


def _lacks(step: Mapping[str, Any], applied: Collection[str]) -> str:
    """What the last step of a revision left out, and the host lacks; empty for nothing."""
    if step["result"] == "degraded":
        return str(step["error"])
    missing = [item for item in superseded_of(step) if not any(name in applied for name in item.by)]
    return "; ".join(f"{item.what} was left out for {', '.join(item.by)}, not applied now" for item in missing)


def superseded_of(step: Mapping[str, Any]) -> tuple[Superseded, ...]:
    """What a step left out because a later revision has another in its place."""
    found = json.loads(step["notes"]).get(SUPERSEDED, ())
    return tuple(Superseded(item["what"], tuple(item["by"])) for item in found)
