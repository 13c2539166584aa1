"""Documents whose commands are typed by a test, and what they say is printed then."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_BLOCK = re.compile(r"^```(\w+) ?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a document: its language, what stands behind that, and its text."""

    language: str
    name: str
    text: str


class Said(NamedTuple):
    """One command of a transcript: the prompt before it, and what it prints."""

    prompt: str
    command: str
    told: str


def blocks(document: str) -> list[Block]:
    """All fenced blocks, in their order."""
    return [Block(*match.groups()) for match in _BLOCK.finditer(document)]


def sessions(text: str, prompt: str) -> Iterator[Said]:
    """The commands of a transcript.

    Args:
        prompt: a regular expression for what stands before the blank that a command begins after.
    """
    parts = re.split(rf"^({prompt}) ", text, flags=re.MULTILINE)
    for sign, part in zip(parts[1::2], parts[2::2], strict=True):
        command, _, told = part.partition("\n")
        yield Said(sign, command, told)


def printed_as_told(told: str, printed: str) -> bool:
    """Whether a text is what a document says; `...` stands for anything in a line, and alone for any lines."""
    lines = [line.rstrip() for line in told.splitlines()]
    patterns = [r"(?:[^\n]*\n)*?" if line == "..." else "[^\\n]*".join(map(re.escape, line.split("..."))) + r"\s*?\n"
                for line in lines]  # fmt: skip
    text = printed.strip("\n")
    return re.fullmatch("".join(patterns), text and text + "\n") is not None


def edited(text: str, edit: str) -> str:
    """A text after an edit in the manner of diff: each hunk's old lines must stand in it, once.

    Args:
        edit: hunks between lines of `@@`; each line begins with a blank, a minus or a plus.
    """
    for hunk in re.split(r"^@@\n", edit, flags=re.MULTILINE):
        lines = hunk.splitlines(keepends=True)
        assert {line[0] for line in lines} <= set(" -+"), hunk
        old, new = ("".join(line[1:] for line in lines if line[0] != sign) for sign in "+-")
        found = re.findall(f"^{re.escape(old)}", text, re.MULTILINE)
        assert len(found) == 1, (len(found), hunk)
        text = re.sub(f"^{re.escape(old)}", lambda _, new=new: new, text, flags=re.MULTILINE)
    return text
