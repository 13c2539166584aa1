"""Three hundred `.env` files between two releases: each with what must become of it, worked out by other means.

A case is made from the inside out: for each key it is drawn what the two templates say of it and what the person at the
host did, and from that follows what the merge must do. The oracle below is that: it knows keys, and lines that must be
there unchanged, byte for byte; it neither parses nor merges. The values are read with python-dotenv itself.
"""

from __future__ import annotations

import io
import random
from dataclasses import dataclass, field

import pytest
from dotenv import dotenv_values

from vvmigrate.content.env.merge import merge
from vvmigrate.content.env.revert import revert
from vvmigrate.content.env.template import Template

CASES = 300
SEED = 20260117
SECRET = "0f" * 32

VALUES = ("1", "'a b'", '"it\'s"', "/srv/videos", "", "'a # b'", "'$5'", "x=y")
ODD_VALUES = ("'two\nlines'", '"a\\"b"', "caf\udce9", "a#b", "${HOME}", "back\\slash")
BETWEEN = ("", "# a note of mine", "#OLD_ONE=1", "  ", "ünïcode words, no assignment", "# INTERVAL=5 it was once")
FATES = ("same", "now required", "new default", "new", "new required", "dropped", "renamed", "generated")
DEEDS = ("kept", "edited", "deleted", "twice", "exported", "never merged")


@dataclass
class Key:
    """One key in both releases and on the host.

    Attributes:
        fate: what the new release does with it.
        deed: what the person at the host did with it.
        name, old: now and in the release before.
        lines: its lines in the file, empty where it has none.
        value: what counts of them, as a token.
        given: set explicitly at the merge; None where it was not.
    """

    fate: str
    deed: str
    name: str
    old: str
    default: str
    lines: list[str] = field(default_factory=list)
    value: str = ""
    given: str | None = None


@dataclass
class Triple:
    """A case: base, theirs and ours, and what else a merge is told."""

    keys: list[Key]
    mine: list[str]
    base: bytes
    theirs: bytes
    ours: bytes
    newline: str
    known: frozenset[str]
    given: dict[str, str]


def draw(random_: random.Random) -> Triple:
    """Make a case."""
    newline = random_.choice(["\n", "\n", "\r\n"])
    keys = [_key(random_, number) for number in range(random_.randint(1, 7))]
    before = [_block(key.old, key.default, []) for key in keys if not _is_new(key)]
    now = []
    for key in keys:
        if key.fate == "dropped":
            continue
        words = {
            "new required": ["@required"],
            "now required": ["@required"],
            "renamed": [f"@was={key.old}"],
            "generated": ["@required @generate=hex(32)"],
        }
        default = "changed" if key.fate == "new default" else "" if key.fate == "generated" else key.default
        now.append(_block(key.name, default, words.get(key.fate, [])))
    groups = [key.lines for key in keys]
    mine = [[f"MINE_{n}={random_.choice(VALUES + ODD_VALUES)}"] for n in range(random_.randint(0, 3))]
    noise = [[random_.choice(BETWEEN)] for _ in range(random_.randint(0, 4))]
    random_.shuffle(groups_of := [*groups, *mine, *noise])
    lines = [line.replace("\n", newline) for group in groups_of for line in group]
    text = newline.join(lines) + (newline if random_.random() < 0.8 and lines else "")
    newline = newline if newline in text else "\n"  # a file of one line does not tell
    theirs = (random_.choice(["", "", "\ufeff"]) + text).encode("utf-8", "surrogateescape")
    return Triple(
        keys,
        [line.replace("\n", newline) for group in (*mine, *noise) for line in group],
        "\n".join(before).encode(),
        theirs,
        "\n".join(now).encode(),
        newline,
        frozenset(key.old for key in keys if _is_known(key)),
        {key.name: key.given for key in keys if key.given is not None},
    )


def _key(random_: random.Random, number: int) -> Key:
    fate, deed = random_.choice(FATES), random_.choice(DEEDS)
    name = f"KEY_{number}"
    key = Key(
        fate, deed, name, f"FORMER_{number}" if fate == "renamed" else name, random_.choice(["5", "INFO", "'a b'"])
    )
    token = {"edited": random_.choice(VALUES[:-1] + ODD_VALUES)}.get(deed, key.default)
    if deed in ("kept", "edited"):
        key.lines = [f"{key.old}={token}"]
    elif deed == "exported":
        key.lines = [f"export {key.old} = {token}   # by hand"]
    elif deed == "twice":
        key.lines = [f"{key.old}=first", f"{key.old}={token}"]
    key.value = token
    if fate != "dropped" and random_.random() < 0.15:
        key.given = random_.choice(["given", "it's given", "a b"])
    return key


def _is_new(key: Key) -> bool:
    return key.fate in ("new", "new required", "generated")


def _is_known(key: Key) -> bool:
    return not _is_new(key) and key.deed != "never merged"


def _block(name: str, default: str, words: list[str]) -> str:
    return "\n".join([f"# About {name}.", *(f"# {word}" for word in words), f"{name}={default}", ""])


# ---- the oracle ------------------------------------------------------------------------------------------------------


def read(data: bytes) -> dict[str, str | None]:
    """Values as the application reads them."""
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    return dict(dotenv_values(stream=io.StringIO(text, newline=None), interpolate=False))


def expected_value(key: Key, there: dict[str, str | None]) -> tuple[str, str | None]:
    """What must become of a key: (`kept`, `commented`, `absent`, `added` or `given`), and the value it then has."""
    if key.given is not None:
        return "given", key.given
    if key.lines:
        return ("commented", None) if key.fate == "dropped" else ("kept", there[key.old])
    if key.fate == "dropped":
        return "absent", None
    if _is_known(key) and key.fate != "now required":
        return "absent", None  # the person deleted it, and no host must have it
    if key.fate == "generated":
        return "added", SECRET
    return "added", "changed" if key.fate == "new default" else key.default.strip("'")


def must_stand(triple: Triple) -> list[str]:
    """Lines that must be in the result byte for byte: the person's own, and each key's as it was, but for its name."""
    lines = list(triple.mine)
    for key in triple.keys:
        if key.given is not None:
            lines += [line.replace(key.old, key.name, 1) for line in key.lines[:-1]]
            continue
        for line in key.lines:
            text = line.replace("\n", triple.newline)
            if key.fate == "dropped":
                lines += [f"# {part}" for part in text.split(triple.newline)]
            else:
                lines.append(text.replace(key.old, key.name, 1))
    return lines


TRIPLES = [(number, draw(random.Random(SEED + number))) for number in range(CASES)]


@pytest.mark.parametrize("first", range(0, CASES, 30))
def test_each_key_becomes_what_its_story_demands(first: int) -> None:
    """Kept, added with its comments, commented, renamed, left out, made once, or replaced; the person's lines stand."""
    for number, triple in TRIPLES[first : first + 30]:
        merged = merge(
            triple.theirs,
            Template.parse(triple.ours, name=".env.example"),
            base=triple.base,
            fill={key.name: SECRET for key in triple.keys if key.fate == "generated"},
            explicit=triple.given,
            once_recorded=triple.known,
        )
        where = f"case {number} of seed {SEED}: {triple}\nbecame {merged.data!r}"
        was, now = read(triple.theirs), read(merged.data)
        expected = {name: value for name, value in was.items() if name.startswith("MINE")}
        for key in triple.keys:
            how, value = expected_value(key, was)
            if how not in ("commented", "absent"):
                expected[key.name] = value
            if how == "added":
                block = f"# About {key.name}.{triple.newline}".encode()
                assert block in merged.data, where
            assert (key.name in merged.added) == (how == "added" or (how == "given" and not key.lines)), where
        for line in must_stand(triple):
            assert line.encode("utf-8", "surrogateescape") in merged.data, (line, where)
        assert now == expected, where
        assert triple.newline == "\n" or b"\n" not in merged.data.replace(b"\r\n", b""), where
        assert merged.data.startswith(b"\xef\xbb\xbf") == triple.theirs.startswith(b"\xef\xbb\xbf"), where


@pytest.mark.parametrize("first", range(0, CASES, 30))
def test_the_same_again_changes_nothing_and_the_way_back_is_exact(first: int) -> None:
    """A second merge leaves every byte; taking it back gives the file of before, also beside a line added since."""
    for number, triple in TRIPLES[first : first + 30]:
        template = Template.parse(triple.ours, name=".env.example")
        merged = merge(triple.theirs, template, base=triple.base, explicit=triple.given, once_recorded=triple.known)
        names = dict(merged.renamed)
        where = f"case {number} of seed {SEED}: {triple}\nbecame {merged.data!r}"
        known = frozenset({names.get(name, name) for name in triple.known} - {*merged.commented})
        again = merge(merged.data, template, base=triple.ours, explicit=triple.given, once_recorded=known)
        assert again.data == merged.data, where
        assert revert(merged.data, before=triple.theirs, after=merged.data, renamed=names).data == triple.theirs, where
        if triple.theirs.endswith(b"\n"):
            added = f"ADDED=1{triple.newline}".encode()
            back = revert(merged.data + added, before=triple.theirs, after=merged.data, renamed=names).data
            assert back == triple.theirs + added, where


def test_the_cases_meet_every_story() -> None:
    """Each fate with each deed, every line end, marks and odd bytes: one that is not drawn any more would show."""
    met = {(key.fate, key.deed, key.given is not None) for _, triple in TRIPLES for key in triple.keys}
    assert {(fate, deed) for fate, deed, _ in met} == {(fate, deed) for fate in FATES for deed in DEEDS}
    assert {fate for fate, _, given in met if given} == {*FATES} - {"dropped"}
    everything = b"".join(triple.theirs for _, triple in TRIPLES)
    for words in (b"\r\n", b"\xef\xbb\xbf", b"'two", b"\xe9", b"export ", b"${HOME}", b"no assignment"):
        assert words in everything
