"""`doctor`: everything that looks wrong on this host, each with what it means and the command that mends it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from itertools import groupby
from shlex import quote

from vvmigrate.commands.env_findings import unclear, unset
from vvmigrate.commands.finding import MEANS, Finding, from_error
from vvmigrate.commands.lost import lost
from vvmigrate.commands.plan import plan
from vvmigrate.commands.remedy import remedy
from vvmigrate.commands.verify import compare, how_deep
from vvmigrate.engine import adoption, contents, database, journal, lodging
from vvmigrate.engine.drift import SCHEMA, Drift
from vvmigrate.engine.host import HOME, ROOT, check_usable, is_anothers
from vvmigrate.engine.session import Session
from vvmigrate.engine.sources import Revision
from vvmigrate.errors import IntegrityError, StateError, VvmigrateError
from vvmigrate.report import Report
from vvmigrate.runs.audit import PUT_BACK, beyond_rows
from vvmigrate.runs.hook import untold
from vvmigrate.runs.looking import tell_unseen
from vvmigrate.runs.opening import Call, silent
from vvmigrate.runs.pending import back_to_package, degraded, is_ahead, other_variant, pending, split_at_hold
from vvmigrate.runs.promised import is_a_finding, seen
from vvmigrate.runs.settled import clock_warnings
from vvmigrate.runs.site import Site, open_site

LOW_BYTES = 64 << 20
"""Free space under which the next step may be refused: many times what a step without a model needs."""


def doctor(call: Call) -> Report:
    """Look at everything.

    Returns:
        `findings`: what, why, remedy, path and exit code of each. A host that cannot be opened is a finding too; of a
        history that does not verify nothing is believed, so that then the rest is not compared with it.
    """
    report = Report(call.command, body={"findings": []})
    call = call.asking_nobody()
    found: list[Finding] = []
    try:
        settings, session = call.read()
        with session:
            found += map(from_error, session.refusals)
            unproved = adoption.unproved(session)
            doubts = unproved or adoption.contradictions(session)
            found += map(from_error, doubts)
            found += _of_the_session(session, in_doubt=bool(doubts))
            proved = not unproved
            parts = (_of_rows(session, proved=proved), _rehearsed_elsewhere(session), lost(session, proved=proved))
            for part in (_unusable(session), *parts):
                found += _as_far_as_possible(session, part)
            if proved:
                site = open_site(call, settings, session)
                for look in (_ahead, _promised, _degraded, unset, _variant, _untold, unclear, _drifted, _left_beside):
                    found += _as_far_as_possible(session, look(site))
                tell_unseen(site, report)
    except VvmigrateError as error:
        found.append(from_error(error))
    told: dict[str, Finding] = {}
    for finding in found:
        told.setdefault(finding.what, finding)  # what two looks meet, once
    report.body["findings"] = [asdict(finding) for finding in told.values()]
    for finding in told.values():
        report.raise_to(finding.exit_code)
    return report


def _as_far_as_possible(session: Session, findings: Iterator[Finding]) -> Iterator[Finding]:
    """One thing that cannot be examined is a finding, and does not hide the others."""
    try:
        yield from findings
    except VvmigrateError as error:
        yield from_error(error)
    except sqlite3.Error as error:
        yield from_error(database.translate(error, session.database_path))


def _of_the_session(session: Session, *, in_doubt: bool) -> Iterator[Finding]:
    """What can be told without the release, and without a row of ours.

    Args:
        in_doubt: whether something is for a person first: nothing is settled before that.
    """
    state = session.host.state(ROOT)
    waits = journal.pending(state)
    if waits is not None and not in_doubt:
        yield Finding(
            "a step was interrupted, and waits to be settled",
            "The host may be half-way until then; the next command that writes settles it first.",
            "vvmigrate recover",
            path=waits.path,
        )
    yield from _room(session)
    if session.connection is None:
        return
    try:
        rows = session.connection.execute("PRAGMA quick_check(3)").fetchall()
    except sqlite3.Error as error:
        rows = [(database.translate(error, session.database_path).message,)]
    for row in rows if rows != [("ok",)] else []:
        yield Finding(
            f"SQLite's quick_check: {row[0]}",
            "The database is damaged; rows may be lost.",
            "stop the orchestrator, then: sqlite3 DATABASE .recover",
            StateError.exit_code,
            session.database_path,
        )


def _of_rows(session: Session, *, proved: bool) -> Iterator[Finding]:
    """What rows of ours say of the clock, and of what lies beside the database.

    Args:
        proved: whether they are as they were written.
    """
    if session.connection is None or not _has_tables(session):
        return
    for text in clock_warnings(session):
        yield Finding(text, "Times in the history and in certificates will be wrong.", "set the clock: timedatectl")
    for text in beyond_rows(session, proved=proved):
        yield Finding(text, MEANS[7], PUT_BACK, IntegrityError.exit_code)


def _has_tables(session: Session) -> bool:
    """Whether the tables that rows are read from are there; that they are not is told as a doubt."""
    with suppress(StateError):
        database.check_tables(session.ledger.connection, session.database_path)
        return True
    return False


def _rehearsed_elsewhere(session: Session) -> Iterator[Finding]:
    """Copies of what is private, in a folder that somebody named to `rehearse`."""
    state = session.host.state(HOME)
    for name in lodging.noted(state):
        if state is None:
            return
        note = lodging.read(state, name)
        yield Finding(
            f"a rehearsal works in {note.folder}, or was killed there",
            "Copies of this host's key, secrets and .env lie in it until a command that writes finds the folder there "
            "and nobody at work.",
            f"vvmigrate recover; if the folder is gone for good: rm {quote((state / name).path)}",
            path=note.folder,
        )


def _unusable(session: Session) -> Iterator[Finding]:
    """A disk that fails is read-only from then on, and reads as well as ever; who may only look is told nothing.

    So is what stands in a state directory in the way of something of ours, until that is needed.
    """
    trees = [tree for tree in map(session.host.tree, (HOME, ROOT)) if tree is not None and not is_anothers(tree)]
    checks = [partial(check_usable, tree) for tree in trees]
    for check in [*checks, *(partial(contents.check, state) for _, state in session.host.states())]:
        try:
            check()
        except VvmigrateError as error:
            yield from_error(error)


def _room(session: Session) -> Iterator[Finding]:
    tree = session.host.tree(ROOT)
    free_bytes, free_inodes = tree.free() if tree is not None else (LOW_BYTES, 1 << 10)
    if free_bytes < LOW_BYTES or free_inodes < 1 << 8:
        yield Finding(
            f"the storage root has {free_bytes:,} bytes and {free_inodes:,} inodes free",
            "The next step may be refused for want of room, and the orchestrator may fail to write.",
            "vvmigrate prune; remove old recordings",
            path=str(tree.path) if tree is not None else None,
        )


def _ahead(site: Site) -> Iterator[Finding]:
    """What lies between the host and the release."""
    if is_ahead(site):
        yield Finding(
            f"this host is at revision {site.version}, ahead of this release",
            "An older package was installed over a newer one; what the newer one did is still there."
            if site.line.head()
            else "No revision is in this release: it was not unpacked whole, or was lost.",
            back_to_package(site),
            StateError.exit_code,
        )
        return
    revisions = pending(site)
    _, held, _ = split_at_hold(site, revisions)
    if held:
        yield Finding(
            f"revision {held['revision']} was taken back by {held['user']} at {held['at']} ({held['reason']})",
            "It does not return by itself; upgrades stop below it.",
            "vvmigrate upgrade head --release-hold",
        )
    elif revisions:
        names = ", ".join(revision.revision for revision in revisions)
        yield Finding(
            f"revisions of this release are not applied yet: {names}",
            " ".join(["The release may expect what they bring.", *_last_failures(site, revisions)]),
            "vvmigrate upgrade head",
        )
    if not held and (revisions or other_variant(site)):
        yield from _in_the_way(site)


def _last_failures(site: Site, revisions: list[Revision]) -> Iterator[str]:
    """Of pending revisions, why the last attempt failed."""
    for revision in revisions if site.ledger is not None else ():
        for row in site.session.ledger.newest("vv_step", "revision = ?", (revision.revision,), limit=1):
            if row["result"] in ("failed", "interrupted"):
                yield f"{revision.revision} {row['result']} at {row['finished_at']}: {row['error']}."


def _in_the_way(site: Site) -> Iterator[Finding]:
    """What an upgrade would be refused for, or fail of, before its first step: as `plan` says."""
    call = replace(site.call, command="plan", listener=silent)
    if (error := plan(call).error) is not None:
        yield replace(from_error(error), why="`vvmigrate upgrade head` ends with this before its first step.")


def _promised(site: Site) -> Iterator[Finding]:
    """A run that may yet be taken back."""
    found = seen(site)
    if found is None or not is_a_finding(found):
        return
    who = f"the run of {found['user']} at {found['started_at']}"
    if found["left_s"]:
        yield Finding(
            f"{who} waits to be confirmed, {found['left_s']:.0f} s more",
            "Without that it is taken back; so it is when the machine is started again.",
            "vvmigrate confirm",
        )
    else:
        yield Finding(
            f"{who} will be taken back, or is still under way",
            "It was not confirmed in time, or it did not come to its end; the next command that writes takes it back.",
            "vvmigrate recover",
        )


def _degraded(site: Site) -> Iterator[Finding]:
    for item in degraded(site):
        yield Finding(
            f"revision {item['revision']} is degraded: {item['reason']}",
            "It was applied without what could not be had; every upgrade tries again.",
            "vvmigrate upgrade head",
        )


def _variant(site: Site) -> Iterator[Finding]:
    if other := other_variant(site):
        yield Finding(
            f"model variant {other['asked']} is asked for, {', '.join(other['installed'])} is installed",
            "Whoever reads the setting expects another model than the one that is current.",
            "vvmigrate upgrade head; or set VV_MODEL_VARIANT back where it is set (environment, .env, alembic.ini)",
        )


def _untold(site: Site) -> Iterator[Finding]:
    if names := untold(site):
        yield Finding(
            f"after_change was not told yet that {', '.join(names)} changed, or it failed",
            "What uses them was not restarted, and may work with what was there before.",
            "vvmigrate upgrade head, which tells it again",
        )


def _drifted(site: Site) -> Iterator[Finding]:
    found = sorted(compare(site, [], how_deep(site.call)).drift, key=lambda item: item.target)
    for target, facts in groupby(found, key=lambda item: item.target):
        yield _of_a_path(site.session.host.path(target), list(facts))


def _of_a_path(path: str, facts: list[Drift]) -> Finding:
    what = "; ".join(f"expected {item.expected}, found {item.actual}" for item in facts)
    if facts[0].kind == "release":
        return Finding(
            f"{path}: {what}",
            "A file of the release was changed after it was signed on this host.",
            remedy(path, facts),
            path=path,
        )
    if facts[0].kind == SCHEMA:
        return Finding(
            f"{path}: {what}",
            "The orchestrator will fail where it needs them, and the revisions that made them cannot be taken back.",
            remedy(path, facts),
            path=path,
        )
    return Finding(
        f"{path}: {what}",
        f"It is not as revision {facts[0].revision} left it: somebody changed it, or the disk did.",
        f"vvmigrate why {quote(path)}; to have it back: {remedy(path, facts)}",
        path=path,
    )


def _left_beside(site: Site) -> Iterator[Finding]:
    """What recoveries put beside what a user had changed, and nobody has looked at since."""
    host = site.session.host
    recorded = site.ledger.recorded() if site.ledger is not None else {}
    folders = sorted({target.above for target in recorded})
    for folder in folders:
        names: list[str] = []
        with site.unseeing():
            names = host.names(folder)
        for name in names:
            if ".vv-before" in name:
                path = host.path(folder / name)
                yield Finding(
                    f"{path} was left beside a file that was changed while a step was undone",
                    "It is what stood there before; nothing uses it.",
                    "compare the two, keep what is right, and remove the other",
                    path=path,
                )
