"""Somebody saves what the release manages: right before any call, or between a kill and its recovery."""

import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from vvmigrate.files import Entry

from .engine_check import opened, state_directory
from .engine_host import host_folder, new_host, scenario
from .people import EVERYTHING, MINE, holders, live_before, place_of
from .scenario import Outcome, Scenario

#: An editor's save: a new file, renamed over the old one.
ENV = "(grep -v ^MINE= {root}/home/.env; echo MINE=saved) > {root}/home/x; mv {root}/home/x {root}/home/.env"
#: Nobody can save where the folder is gone; whether it was done is written down.
DONE = "saved"


def _over(name: str, make: str) -> str:
    place = "{root}/" + name
    return f"{{ {make} {place}.tmp && mv -fT {place}.tmp {place} && touch {{root}}/{DONE}; }} 2>/dev/null || true"


def _file(name: str) -> str:
    return _over(name, f"printf %s {shlex.quote(MINE.decode())} >")


#: By managed name, how somebody saves it.
SAVES: Mapping[str, str] = {
    ".env": ENV,
    "vv-signature.json": _file("home/vv-signature.json"),
    "fallback/placeholder.png": _file("storage/fallback/placeholder.png"),
    "models/.current_model_info.json": _file("storage/models/.current_model_info.json"),
    "models/bitnet_summarizer": _over("storage/models/bitnet_summarizer", f"ln -s {shlex.quote(MINE.decode())}"),
    "extra": f"{{ printf %s {shlex.quote(MINE.decode())} > {{root}}/storage/extra/mine.txt && touch {{root}}/{DONE}; }}"
    " 2>/dev/null || true",
}


@dataclass(frozen=True)
class Saving:
    """Somebody who saves one managed name while a revision comes or goes.

    Attributes:
        name: what is saved.
        verb: what is run meanwhile.
    """

    name: str
    verb: str

    def scenario(self, *, between: bool, **more: Any) -> Scenario:
        """Return what is struck: with the mode "meddle", or, with `between`, by a kill after which it is saved."""
        target = "0002" if self.verb == "upgrade" else "-1"
        judge: Callable[[Outcome], str] = _settings_are_merged if self.name == ".env" else self.is_found_again
        save = self.save if between else None
        return scenario(self.setup, self.verb, target, judge, between=save, meddle=SAVES[self.name], **more)

    def setup(self, root: Path) -> None:
        """Bring a host to where its next step changes what is saved: settings alone, or everything that there is."""
        host = new_host(root)
        for path in (host.home / "migrations/versions").glob("000[2-9]*"):
            path.unlink()
        host.up()
        if self.name == ".env":
            (host.home / ".env").write_bytes(b"OLD='theirs'\nLOG_LEVEL=DEBUG\n")
        else:
            live_before(host)
        host.revision("0002", "op.merge_env()" if self.name == ".env" else EVERYTHING)
        if self.verb == "downgrade":
            host.up()

    def save(self, root: Path) -> None:
        """Save between crash and recovery."""
        subprocess.run(["sh", "-c", SAVES[self.name].replace("{root}", str(root))], check=True)

    def is_found_again(self, outcome: Outcome) -> str:
        """The save is in its place, where output or history say, or what a step has taken out as it was read."""
        if not (outcome.root / DONE).exists():
            return state_directory(outcome.root)
        host = host_folder(outcome.root)
        with opened(outcome.root) as (_, ledger):
            said = outcome.output.replace("\n", "") + "".join(str(row["notes"]) for row in ledger.rows("vv_step"))
            read = any(
                _is_the_save(effect.before) for step in ledger.committed() for effect in ledger.effects(step["step_id"])
            )
        found, place = holders(host, MINE, private=True), str(place_of(host, self.name))
        if not any(path == place or path.startswith(f"{place}/") or path in said for path in found):
            if not found:
                return f"what somebody saved as {self.name} is lost"
            if not (read and any("/.vvmigrate/undo/" in path for path in found)):
                return f"what somebody saved as {self.name} is at {found}, and nobody says so"
        return state_directory(outcome.root)


def _is_the_save(entry: Entry) -> bool:
    return entry.digest == sha256(MINE).hexdigest() or entry.target == MINE.decode()


def _settings_are_merged(outcome: Outcome) -> str:
    """The save stands, with what was the user's before; our keys do if the revision is applied."""
    text = (outcome.root / "home/.env").read_bytes()
    for line in (b"MINE=saved\n", b"OLD='theirs'", b"LOG_LEVEL=DEBUG\n"):
        if line not in text:
            return f"{line!r} is lost"
    with opened(outcome.root) as (_, ledger):
        version = ledger.version()
    if version == "0001" and b"ORCHESTRATOR_INTERVAL" in text:
        return "half-done keys are left in .env"
    if version == "0002" and b"ORCHESTRATOR_INTERVAL" not in text:
        return "at 0002, but .env has not its keys"
    return state_directory(outcome.root)
