"""Whether two states of a host are alike: the state digest, and a picture of everything that a step may change."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from vvmigrate.content import signature
from vvmigrate.content.store import INFO, STORE
from vvmigrate.engine.drift import kind_of
from vvmigrate.engine.existing import quoted
from vvmigrate.engine.host import HOME, ROOT, STATE, is_anothers
from vvmigrate.engine.session import DATABASE
from vvmigrate.engine.state import Target, digest
from vvmigrate.errors import EnvFileError
from vvmigrate.files import Entry, Place
from vvmigrate.runs.site import Site
from vvmigrate.schema import PREFIX

ORIGIN = ("installed_at", "source")
"""What the information of a model says of when and where from, which is no part of a state."""

LAYOUT = "comments and order"
"""The part of `.env` that is no key: a key's name holds no blank."""

_LEFT_OUT = (STATE, "logs")
_ENV = Target(HOME, ".env")


@dataclass(frozen=True)
class Fact:
    """What stands at a path, or what a table is and holds.

    Attributes:
        words: for people.
        content: a digest that is compared and never shown: the keys of `.env` have one too.
        part_of: the path of the file of which this is a part.
    """

    words: str
    content: str = ""
    part_of: str = ""


NOTHING = Fact("nothing")


@dataclass(frozen=True)
class Picture:
    """A state.

    Attributes:
        digest: see docs/cli.md.
        facts: by path; of a table or an index by the database's path and its name, of a key likewise by that of `.env`.
    """

    digest: str
    facts: dict[str, Fact]

    def differences(self, other: Picture) -> list[str]:
        """The paths that are not the same in both."""
        paths = sorted(self.facts.keys() | other.facts.keys())
        return [path for path in paths if self.at(path) != other.at(path)]

    def at(self, path: str) -> Fact:
        """What is at a path."""
        return self.facts.get(path, NOTHING)


def picture(site: Site, told: Callable[[str], str]) -> Picture:
    """A picture of a host; it reads every file in home and storage root, so that it is for shadows.

    Args:
        told: a text with the paths that the shadow stands for in the place of its own.
    """
    host = site.session.host
    facts: dict[str, Fact] = {}
    env = _env(site)
    for area in (HOME, ROOT):
        tree = host.tree(area)
        for there in _everything(tree / "") if tree is not None else ():
            target, path = Target(area, there.name), told(there.path)
            facts[path] = _fact(_timeless(site, target, there.entry()))
            if target == env:
                facts |= _keys(path, facts[path], host.read(target), told)
    if site.ledger is not None:
        path = host.path(DATABASE)
        facts |= {told(f"{path}: {name}"): fact for name, fact in _schema(site.session.ledger.connection)}
    return Picture(state_digest(site) or "", facts)


def _env(site: Site) -> Target:
    """Where `.env` is, if it is a link."""
    seen = site.session.host.glance(_ENV)
    return Target(HOME, os.path.normpath(seen.target)) if seen.kind == "link" else _ENV


def _keys(path: str, file: Fact, data: bytes, told: Callable[[str], str]) -> dict[str, Fact]:
    """`.env` key by key, as it is merged and taken back; as one file where it cannot be read that way."""
    from vvmigrate.content.env.document import Document  # not at the top: `status` need not pay for it

    text = told(data.decode("utf-8", "surrogateescape"))
    try:
        document = Document.parse(text.encode("utf-8", "surrogateescape"), name=path)
    except EnvFileError:
        return {}
    layout = [line.text[: line.token[0]] + line.text[line.token[1] :] for line in document.lines]
    facts = {LAYOUT: Fact(f"{len(layout)} lines", f"{_number(layout):x}", path)}
    for key in document.positions:
        words = "a value" if document.get(key) else "no value"
        facts[key] = Fact(words, f"{_number(document.values_of(key)):x}", path)
    return {path: Fact(file.words), **{f"{path}: {name}": fact for name, fact in facts.items()}}


def _everything(folder: Place) -> Iterator[Place]:
    for name in folder.names():
        there = folder / name
        if name in _LEFT_OUT or there.name.startswith(DATABASE.name):
            continue
        yield there
        if there.identity()[0] == "dir":
            yield from _everything(there)


def _fact(entry: Entry) -> Fact:
    if entry.kind == "link":
        return Fact(f"link to {entry.target}")
    return Fact(f"{kind_of(entry)}, mode {entry.mode:04o}, owner {entry.uid}:{entry.gid}", entry.digest)


def _schema(connection: Any) -> Iterator[tuple[str, Fact]]:
    """The orchestrator's tables, indexes, triggers and views; ours, and what of theirs is kept, do not count."""
    for kind, name, table, sql in connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall():
        if not table.startswith((PREFIX, "sqlite_")) and not name.startswith("sqlite_"):
            yield f"{kind} {name}", _table(connection, name) if kind == "table" else Fact(f"on {table}", sql or "")


def _table(connection: Any, name: str) -> Fact:
    """The order of columns and of rows does not count: a column that comes back is the last one."""
    shape = sorted(column[1:6] for column in connection.execute(f"PRAGMA table_xinfo({quoted(name)})"))
    names = ", ".join(quoted(column[0]) for column in shape)
    total, count = _number(shape), 0
    for row in connection.execute(f"SELECT {names} FROM {quoted(name)}"):  # noqa: S608 - quoted
        total, count = (total + _number(row)) % (1 << 256), count + 1
    return Fact(f"columns {', '.join(column[0] for column in shape)}; {count} rows", f"{total:x}")


def _number(value: Any) -> int:
    return int.from_bytes(hashlib.sha256(repr(value).encode("utf-8", "surrogateescape")).digest(), "big")


# ---- the state digest ------------------------------------------------------------------------------------------------


def state_digest(site: Site) -> str | None:
    """The short hash of where a host stands, by docs/cli.md.

    Returns:
        None where this user cannot tell: they may not look at all of it, or the host is another user's, who alone knows
        whom they give things to (owners count by what they are to that user).
    """
    recorded, home = site.ledger.recorded() if site.ledger else {}, site.session.host.tree(HOME)
    if home is not None and is_anothers(home):
        return None
    entries = {}
    for target, (effect, _) in recorded.items():
        host = site.session.host
        with site.unseeing():
            try:
                seen = host.glance(target) if effect.secret or effect.after.kind == "dir" else host.entry(target)
                entries[target] = _timeless(site, target, seen)
            except PermissionError:
                raise
            except OSError:
                entries[target] = host.glance(target)
    if len(entries) < len(recorded):
        return None
    keys = {target: tuple(effect.note["keys"]) for target, (effect, _) in recorded.items() if "keys" in effect.note}
    return digest(site.version, entries, keys, site.settings.owner)


def _timeless(site: Site, target: Target, entry: Entry) -> Entry:
    """The entry of one of our own lists without when it was made, and where from."""
    if entry.kind != "file" or not entry.digest:
        return entry
    of_models = target.name == INFO or (target.name.startswith(f"{STORE}/") and target.name.endswith(".json"))
    if target != Target(HOME, signature.NAME) and not (target.area == ROOT and of_models):
        return entry
    try:
        told = json.loads(site.session.host.read(target))
        kept = told["files"] if target.area == HOME else _without_origin(told)
    except (ValueError, KeyError, TypeError, OSError):
        return entry
    data = json.dumps(kept, sort_keys=True).encode()
    return entry._replace(digest=hashlib.sha256(data).hexdigest())


def _without_origin(told: Any) -> Any:
    models = told.get("models")
    entries = {**models} if isinstance(models, dict) else {"": told}
    return {name: {key: value for key, value in entry.items() if key not in ORIGIN} for name, entry in entries.items()}
