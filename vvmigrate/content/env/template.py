"""A release's `.env.example`: keys in order, each with what the comments above it declare.

    # @defaultRequired=false @defaultSensitive=true
    # ---

    # Address of the recorder.
    # @required @sensitive=false @type=domain(allowIp=true, allowSingleLabel=true)
    DVR_IP=

The decorators are env-spec's (https://varlock.dev/env-spec): `@required`, `@optional`, `@sensitive`, `@public`,
`@type`, and the header's `@defaultRequired` and `@defaultSensitive`; its others are allowed and mean nothing here. Two
are ours, for want of one: `@generate=hex(BYTES)`, a secret that is made once, and `@was=OLD`, the key's former name; or
`@was=any(OLD, OLDER)`, the latest first, for hosts that skipped a release.

A key is sensitive unless it is declared not to be. It is required only when declared so, by itself or by the header:
`@defaultRequired=infer` declares it for every key with a default.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING

from vvmigrate.content.env.decorators import Call, is_decorated, is_divider, read_decorators
from vvmigrate.content.env.document import Document
from vvmigrate.content.env.lines import BINDING, BLANK, COMMENT, INVALID
from vvmigrate.content.env.readers import NAME
from vvmigrate.content.env.types import Type
from vvmigrate.errors import EnvFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vvmigrate.content.env.decorators import Decorators
    from vvmigrate.content.env.lines import Line
    from vvmigrate.files import Place

TEMPLATE, FILE = ".env.example", ".env"
_MOST_BYTES = 1024


@dataclasses.dataclass(frozen=True)
class Generate:
    """How a secret is made: `bytes` random bytes, written in hexadecimal digits."""

    bytes: int


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of a template.

    Attributes:
        name: as it stands in the file.
        default: the template's value, "" where it has none.
        description: the comment above it without decorators, its lines joined by blanks.
        required: whether a host needs a value for it.
        sensitive: whether its value may never be shown.
        type: what a value must be.
        generate: how a value is made where there is none; None: not at all.
        was: the names that it had in earlier releases, the latest first.
        lines: the comment lines directly above it, and the key's own.
        spaced: whether a blank line stands above them.
    """

    name: str
    default: str
    description: str
    required: bool
    sensitive: bool
    type: Type
    generate: Generate | None
    was: tuple[str, ...]
    lines: tuple[Line, ...]
    spaced: bool

    @property
    def block(self) -> bytes:
        """The comment lines and the key's own, as they stand in the template."""
        return "".join(line.text for line in self.lines).encode("utf-8", "surrogateescape")


@dataclasses.dataclass(frozen=True)
class Template:
    """A whole `.env.example`."""

    document: Document
    keys: tuple[Key, ...]

    @classmethod
    def parse(cls, data: bytes, *, name: str) -> Template:
        """Read a template's bytes; `name` is for messages only.

        Raises:
            EnvFileError: it is no `.env` file, a key stands in it twice, a line cannot be read, or a decorator does not
                mean anything.
        """
        document = Document.parse(data, name=name)
        for key, numbers in document.duplicates().items():
            where = " and ".join(map(str, numbers))
            raise EnvFileError(f"{name}: {key} stands on lines {where}", hint="keep one of them", path=name)
        entries = list(_entries(document))
        number, keys = 1, []
        try:
            header = read_decorators([line.text for line in entries[0].loose] if entries else [])
            for entry in entries:
                number = entry.number
                keys.append(_key(entry, header))
        except EnvFileError as error:
            raise EnvFileError(f"{name}, line {number}: {error.message}", hint=error.hint, path=name) from error
        return cls(document, tuple(keys))

    @classmethod
    def read(cls, place: Place, check: Callable[[Place, bytes], None]) -> Template:
        """Read a release's template.

        Args:
            check: sees the bytes before they are used, and raises where they may not be.

        Raises:
            EnvFileError: see `parse`; or there is no such file.
        """
        kind = place.identity()[0]
        if kind != "file":
            raise EnvFileError(f"{place.path}: expected the template of .env, found {kind}", path=place.path)
        data = place.read()
        check(place, data)
        return cls.parse(data, name=TEMPLATE)

    @cached_property
    def by_name(self) -> Mapping[str, Key]:
        """The keys by name."""
        return {key.name: key for key in self.keys}

    def get(self, name: str) -> Key | None:
        """Return the key of that name, or None."""
        return self.by_name.get(name)

    def is_sensitive(self, name: str) -> bool:
        """Tell whether a value may not be shown: every one that is not declared to be harmless."""
        key = self.by_name.get(name)
        return key is None or key.sensitive


def problem(key: Key, value: str) -> str | None:
    """Say what is wrong with a value for this key, without repeating it; None when nothing is."""
    if not value:
        return f"{key.name} needs a value" if key.required else None
    demand = key.type.demands(value)
    return None if demand is None else f"{key.name} must be {demand}"


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A key's line, its number, the comments directly above it, and the comments above those that belong to no key."""

    line: Line
    number: int
    comments: tuple[Line, ...]
    loose: tuple[Line, ...]
    spaced: bool


def _entries(document: Document) -> Iterator[_Entry]:
    comments: list[Line] = []
    loose: list[Line] = []
    number, spaced = 1, False
    for line in document.lines:
        if line.kind in {BINDING, INVALID}:
            yield _Entry(line, number, tuple(comments), tuple(loose), spaced)
            comments, loose, spaced = [], [], False
        elif line.kind == COMMENT and not is_divider(line.text):
            comments.append(line)
        else:
            loose += [*comments, line] if line.kind == COMMENT else comments
            comments, spaced = [], line.kind == BLANK
        number += line.text.count("\n")


def _key(entry: _Entry, header: Decorators) -> Key:
    line, name = entry.line, entry.line.key
    if line.kind == INVALID or name is None or NAME.fullmatch(name) is None or line.value is None:
        raise EnvFileError("not NAME=value, with a name of letters, digits and _")
    if "#" in line.text[line.token[1] :]:
        raise EnvFileError(f"{name}: a comment behind the value", hint="put it above: systemd takes it for the value")
    if any(comment.body.endswith("\\") for comment in entry.comments):
        raise EnvFileError(f"{name}: a comment ends in a backslash", hint="systemd before 254 takes the next line too")
    said = read_decorators([comment.text for comment in entry.comments])
    words = [comment.text.strip().lstrip("#").strip() for comment in entry.comments if not is_decorated(comment.text)]
    kind = said.get("type", Call("string"))
    return Key(
        name=name,
        default=line.value,
        description=" ".join(filter(None, words)),
        required=_required(said, header, has_default=bool(line.value)),
        sensitive=_sensitive(said, header, name),
        type=Type(kind.name, kind.arguments, kind.options),
        generate=_generate(said),
        was=_was(said, name),
        lines=(*entry.comments, line),
        spaced=entry.spaced,
    )


def _truth(said: Decorators, name: str) -> bool | None:
    if name not in said:
        return None
    if said[name].name not in {"true", "false"}:
        raise EnvFileError(f"@{name}={said[name].name}: neither true nor false")
    return said[name].name == "true"


def _choice(said: Decorators, yes: str, no: str) -> bool | None:
    chosen, refused = _truth(said, yes), _truth(said, no)
    if chosen is not None and refused is not None:
        raise EnvFileError(f"both @{yes} and @{no}", hint="keep one of them")
    return chosen if refused is None else not refused


def _required(said: Decorators, header: Decorators, *, has_default: bool) -> bool:
    chosen = _choice(said, "required", "optional")
    if chosen is not None:
        return chosen
    if header.get("defaultRequired") == Call("infer"):
        return has_default
    return bool(_truth(header, "defaultRequired"))


def _sensitive(said: Decorators, header: Decorators, name: str) -> bool:
    chosen = _choice(said, "sensitive", "public")
    if chosen is not None:
        return chosen
    default = header.get("defaultSensitive", Call("true"))
    if default.name == "inferFromPrefix" and len(default.arguments) == 1:
        return not name.startswith(default.arguments[0])
    return _truth(header, "defaultSensitive") is not False


def _generate(said: Decorators) -> Generate | None:
    how = said.get("generate")
    if how is None:
        return None
    number = how.arguments[0] if len(how.arguments) == 1 else ""
    if how.name != "hex" or not number.isdecimal() or not 1 <= int(number) <= _MOST_BYTES:
        raise EnvFileError(f"@generate={how.name}: not hex(BYTES)", hint="as in @generate=hex(32)")
    return Generate(int(number))


def _was(said: Decorators, name: str) -> tuple[str, ...]:
    if "was" not in said:
        return ()
    how = said["was"]
    old = how.arguments if how.name == "any" and how.arguments else (how.name,)
    for former in old:
        if NAME.fullmatch(former) is None or former == name:
            raise EnvFileError(f"@was={former}: not another name", hint="as in @was=OLD, or @was=any(OLD, OLDER)")
    return old
