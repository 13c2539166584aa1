"""A host's shadow, and how commands are called on it: they speak of it as if it were the host."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from vvmigrate.commands.fetch import open_folder
from vvmigrate.commands.upgrade import ahead
from vvmigrate.content import signature
from vvmigrate.content.env.template import FILE
from vvmigrate.content.store import STORE
from vvmigrate.engine import journal, lodging, shadow, vault
from vvmigrate.engine.contents import RUN
from vvmigrate.engine.host import ROOT
from vvmigrate.engine.session import Session
from vvmigrate.engine.shadow import Shadow, Wanted, Watched
from vvmigrate.engine.sources import Revision
from vvmigrate.engine.state import Target
from vvmigrate.errors import LockedError, RefusedError, StepError, VvmigrateError
from vvmigrate.files import Tree
from vvmigrate.runs import unset
from vvmigrate.runs.forecast import DOWN, Workplace
from vvmigrate.runs.opening import Call, root_of

TAKEN_OVER = ("offline", "allow_degraded", "skip_existing", "lock_timeout")


@dataclass(frozen=True)
class Shadowed:
    """A shadow, and the host that it is of.

    Attributes:
        call: of the command that made it.
        home, root: the host's own, by which people know it.
    """

    call: Call
    shadow: Shadow
    home: str
    root: str

    def calling(self, command: str, toward: str = "") -> Call:
        """A call of a command on the shadow: held revisions too, no hold, nobody beyond it is told.

        Args:
            toward: the revision that a rehearsal step by step ends with.
        """
        given = {name: self.call.options[name] for name in TAKEN_OVER if name in self.call.options}
        there = {"home": str(self.shadow.home), "storage_root": str(self.shadow.root)}
        options = {**given, **there, "apart": True, "release_hold": True, "no_hold": True, "toward": toward}

        def listen(event: str, **facts: Any) -> None:
            if event == "step_ended" and not self.call.options.get("verbose"):
                facts |= {"changes": [], "skipped": []}  # the report tells what was changed, once
            self.call.listener(event, **self.told(facts))

        return Call(command, options, [command], self.call.environ, self.shadow.home, listen)

    def told(self, value: Any) -> Any:
        """Plain values with the host's paths in the place of the shadow's."""
        if isinstance(value, str):
            return value.replace(str(self.shadow.home), self.home).replace(str(self.shadow.root), self.root)
        if isinstance(value, dict):
            return {key: self.told(item) for key, item in value.items()}
        return [self.told(item) for item in value] if isinstance(value, list | tuple) else value

    def error(self, error: VvmigrateError) -> VvmigrateError:
        """The same error, as it would be on the host."""
        return type(error)(self.told(error.message), hint=self.told(error.hint), path=self.told(error.path))


def open_shadow(place: Workplace, revisions: list[Revision], direction: str, stack: ExitStack) -> Shadowed:
    """Make a shadow of a host that is open for looking; it is gone when the stack ends.

    Raises:
        LockedError: another rehearsal is there, or another vvmigrate works on the host.
        RefusedError: no room, an interrupted step, or what a real run would refuse.
        OSError: the disk refused.
    """
    call, session = place.call, place.session
    before = _moment(session)
    wanted = _wanted(place, revisions, direction)
    named = call.options.get("within")
    home = stack.enter_context(Tree.open(place.settings.home))
    top = stack.enter_context(open_folder(call.folder / named)) if named else home
    folder = stack.enter_context(lodging.lodging(top, home if named else None))
    made = Shadowed(call, shadow.cast(session, wanted, folder), str(place.settings.home), root_of(session))
    _, again = call.read()
    with again:
        if _moment(again) != before:
            raise _somebody_works(session)
    return made


def _moment(session: Session) -> tuple[int, str]:
    """Where the history ends, while nobody works on the host.

    Raises:
        LockedError: somebody does, or was killed.
        RefusedError: a step was interrupted; or this user may not see the state directory.
        StateError: the history's key is lost.
    """
    state = session.host.state(ROOT)
    if waits := journal.pending(state):
        raise RefusedError(f"{waits.path}: a step was interrupted and waits", hint="vvmigrate recover", path=waits.path)
    if state is not None and (state / RUN).stat() is not None:
        raise _somebody_works(session)
    if session.connection is None:
        return 0, ""
    if state is None:
        raise RefusedError("the state directory is not readable by this user", hint="run it as the user who upgrades")
    vault.require_key(state, session.ledger)
    head = session.ledger.head()
    return head.seq, head.hash


def _somebody_works(session: Session) -> LockedError:
    return LockedError(
        f"{root_of(session)}: another vvmigrate works here, or was killed: no shadow of a host that is being changed",
        hint="again when it has ended; if nobody works here: vvmigrate recover",
    )


def _wanted(place: Workplace, revisions: list[Revision], direction: str) -> Wanted:
    """What the shadow needs: what is recorded, and whatever the forecast looks at.

    Raises:
        VvmigrateError: what a real run would be refused for, before its first write.
    """
    session, host, ledger = place.session, place.session.host, place.ledger
    if unset.is_lost(place):
        path = f"{place.settings.home}/{FILE}"
        raise RefusedError(f"{path} is missing: a rehearsal needs it", hint="vvmigrate repair", path=path)
    watched = place.observer = Watched(host)
    forecasts = place.forecast(revisions, DOWN) if direction == DOWN else ahead(place, revisions)
    place.observer = None
    for forecast in forecasts:
        if forecast.error is not None and not forecast.retry and forecast.error.exit_code > StepError.exit_code:
            raise forecast.error
    downloads = [item for forecast in forecasts for item in forecast.proposal.downloads]
    for item in downloads:
        if item.network_bytes:
            text = f"{item}: is brought for the rehearsal alone; to bring it once, for both: vvmigrate fetch"
            place.call.listener("warning", text=text)
    recorded = frozenset(ledger.recorded()) if ledger is not None else frozenset()
    undone: set[str] = set()
    if ledger is not None and direction == DOWN:
        undone = {step_id for revision in revisions for step_id, _ in ledger.since_applied(revision.revision)}
    return Wanted(
        tuple(
            there.name for there in signature.installed_files(place.situation(host).release() / "", root_of(session))
        ),
        recorded | watched.seen,
        frozenset(_generations(watched.seen | (recorded if direction == DOWN else set()))),
        frozenset(undone),
        frozenset(item.sha256 for item in downloads),
    )


def _generations(targets: Iterable[Target]) -> set[Target]:
    """The generations in the store at or below which one of these lies."""
    names = (
        target.name.removeprefix(f"{STORE}/").split("/")[0] for target in targets if target.name.startswith(f"{STORE}/")
    )
    return {Target(ROOT, f"{STORE}/{name}") for name in names}
