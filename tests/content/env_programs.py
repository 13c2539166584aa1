"""How systemd and Docker Compose read a whole `.env` file: readers of our own, letter by letter, by their rules.

The package has patterns for single assignments; these know whole files, and share nothing with them. Rules: systemd's
`EnvironmentFile=` (src/basic/env-file.c, before 254, when a comment that ends in a backslash went on), and compose-go's
`dotenv` package. Where systemd is installed, `real_systemd` asks it.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

GENERATOR = Path("/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator")
SHELL_ESCAPED = '"\\`$'


class Letters:
    """Text that is read letter by letter."""

    def __init__(self, text: str) -> None:
        """Begin at its beginning."""
        self.text, self.at = text, 0

    def next(self) -> str:
        """The next letter; empty at the end."""
        letter = self.text[self.at : self.at + 1]
        self.at += len(letter)
        return letter

    def until(self, ends: str) -> str:
        """Everything before the next of these letters, which is taken too."""
        taken = ""
        while (letter := self.next()) and letter not in ends:
            taken += letter
        return taken

    def skip(self, letters: str) -> None:
        """Pass over these."""
        while self.text[self.at : self.at + 1] and self.text[self.at] in letters:
            self.at += 1


def systemd(text: str) -> dict[str, str]:
    """Read a file as systemd does."""
    letters, found = Letters(text), {}
    while True:
        letters.skip(" \t\r\n")
        first = letters.text[letters.at : letters.at + 1]
        if not first:
            return found
        if first in "#;":
            while (letter := letters.next()) and letter not in "\r\n":
                if letter == "\\":
                    letters.next()
            continue
        line = letters.until("=\r\n")
        if letters.text[letters.at - 1] != "=":
            continue
        value = _systemd_value(letters)
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", line.rstrip()):
            found[line.rstrip()] = value


def _systemd_value(letters: Letters) -> str:
    value = ""
    while True:
        letters.skip(" \t")
        letter = letters.next()
        if letter in ("", "\n", "\r"):
            return value
        if letter == "'":
            value += letters.until("'")
        elif letter == '"':
            while (inner := letters.next()) and inner != '"':
                if inner == "\\":
                    escaped = letters.next()
                    value += escaped if escaped in SHELL_ESCAPED else "" if escaped == "\n" else inner + escaped
                else:
                    value += inner
        else:
            letters.at -= 1
            return value + _systemd_bare(letters)


def _systemd_bare(letters: Letters) -> str:
    value, length = "", 0
    while (letter := letters.next()) and letter not in "\r\n":
        if letter == "\\":
            escaped = letters.next()
            value += "" if escaped in "\r\n" else escaped
            length = len(value)
        else:
            value += letter
            length = length if letter in " \t" else len(value)
    return value[:length]


def compose(text: str) -> dict[str, str]:
    """Read a file as Docker Compose does, in an empty environment.

    Raises:
        ValueError: it refuses the file.
    """
    letters, found = Letters(text.removeprefix("\ufeff")), {}
    while True:
        letters.skip(" \t\r\n\v\f\x85\xa0")
        rest = letters.text[letters.at :]
        if not rest:
            return found
        if rest.startswith("#"):
            letters.until("\n")
            continue
        head = re.match(r"(?:export\s+)?([\w.\-\[\]]*)[ \t\r]*([=:\n]|$)", rest)
        if head is None:
            raise ValueError(rest.splitlines()[0])
        letters.at += head.end()
        if head[2] not in ("=", ":"):
            continue
        letters.skip(" \t\r\v\f\x85\xa0")
        mark = letters.text[letters.at : letters.at + 1]
        if mark and mark in "'\"":
            found[head[1]] = _compose_quoted(letters, found)
        else:
            value = letters.until("\n").split(" #", 1)[0].rstrip()
            found[head[1]] = _expanded(value, found)


def _compose_quoted(letters: Letters, found: dict[str, str]) -> str:
    mark, value = letters.next(), ""
    while (letter := letters.next()) != mark:
        if not letter:
            raise ValueError("a quote is not closed")
        if letter == "\\":
            escaped = letters.next()
            value += escaped if escaped == mark else letter + escaped
        else:
            value += letter
    if mark == "'":
        return value
    shown = {
        "a": "\a",
        "b": "\b",
        "f": "\f",
        "n": "\n",
        "r": "\r",
        "t": "\t",
        "v": "\v",
        '"': '"',
        "\\": "\\",
        "$": "$$",
    }
    return _expanded(re.sub(r'\\([abfnrtv$"\\])', lambda m: shown[m[1]], value), found)


def _expanded(value: str, found: dict[str, str]) -> str:
    names = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})")
    return names.sub(lambda m: "$" if m[1] else found.get(m[2] or m[3], ""), value)


def real_systemd(text: str, folder: Path) -> dict[str, str]:
    """Ask systemd itself, by its generator for user sessions: the same parser, but `$` is expanded."""
    (folder / "environment.d").mkdir(exist_ok=True)
    (folder / "environment.d/0.conf").write_text(text, encoding="utf-8", newline="")
    environ = {"XDG_CONFIG_HOME": str(folder), "HOME": str(folder), "PATH": os.environ["PATH"]}
    done = subprocess.run([GENERATOR], env=environ, capture_output=True, text=True, check=True)
    found = {}
    for line in done.stdout.splitlines():  # one a line, quoted as for a shell, line ends as \n
        key, _, token = line.partition("=")
        if token.startswith('"'):
            token = re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[1]), token[1:-1])
        found[key] = token
    return found
