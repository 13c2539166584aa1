r"""How python-dotenv, Docker Compose and systemd read one assignment, and how to write one that they read alike.

All three read the same `.env`, each by rules of its own:

    KEY='a b'          the same in all three, and the form that we write
    KEY=a # comment    systemd has no comment behind a value: it reads `a # comment`
    KEY='it\'s'        systemd knows no escape in single quotes
    KEY="$5"           Docker Compose expands `$` in double quotes and without quotes
    export KEY=a       systemd ignores the line

A reader here takes the text of one assignment and returns (key, value), or None where that program refuses the line,
ignores it, or puts something else in place of `$`.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from dotenv.parser import parse_stream

from vvmigrate.errors import EnvFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

Assignment = tuple[str, str]

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=-]*")
_PYTHON_EXPANDS = "${"

_COMPOSE_HEAD = re.compile(r"\s*(?:export\s+)?([\w.\-\[\]]+)[^\S\n]*[=:][^\S\n]*")
_COMPOSE_QUOTED = re.compile(
    r"""(?:"(?P<double>(?:\\.|[^"\\])*)"|'(?P<single>(?:\\.|[^'\\])*)')\s*(?:#[^\n]*\s*)?""", re.DOTALL
)
_COMPOSE_ESCAPE = re.compile(r'\\([abfnrtv$"\\]|0\d{0,3})')
_COMPOSE_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", '"': '"', "\\": "\\"}

_SYSTEMD_HEAD = re.compile(r"[ \t\r\n]*([^=\r\n]*?)[ \t]*=")
_SYSTEMD_PIECE = re.compile(
    r"""[ \t]*(?:'(?P<single>[^']*)'|"(?P<double>(?:\\.|[^"\\])*)"|(?P<bare>(?:\\.|[^\\\r\n])+))""", re.DOTALL
)
_NOT_FOR_SYSTEMD = re.compile("[\ud800-\udfff\ufdd0-\ufdef\ufeff\ufffe\uffff]")


def read_python(text: str) -> Assignment | None:
    """Read `text` as python-dotenv does with its default of expanding `${NAME}`."""
    found = [binding for binding in parse_stream(io.StringIO(text)) if binding.key is not None or binding.error]
    if len(found) != 1 or found[0].key is None or found[0].value is None or _PYTHON_EXPANDS in found[0].value:
        return None
    return found[0].key, found[0].value


def read_compose(text: str) -> Assignment | None:
    """Read `text` as Docker Compose (compose-go's dotenv) does."""
    head = _COMPOSE_HEAD.match(text)
    if head is None or text.endswith("\r"):
        return None
    rest = text[head.end() :]
    value = _compose_quoted(rest) if rest[:1] in {'"', "'"} else _compose_bare(rest)
    return None if value is None else (head[1], value)


def _compose_bare(rest: str) -> str | None:
    value = rest.split("\n", 1)[0].split(" #", 1)[0].rstrip()
    return None if "$" in value else value


def _compose_quoted(rest: str) -> str | None:
    quoted = _COMPOSE_QUOTED.fullmatch(rest)
    if quoted is None:
        return None
    if quoted["single"] is not None:
        return re.sub(r"\\(.)", lambda m: "'" if m[1] == "'" else m[0], quoted["single"], flags=re.DOTALL)
    body = re.sub(r"\\(.)", lambda m: '"' if m[1] == '"' else m[0], quoted["double"], flags=re.DOTALL)
    if "$" in body.replace(r"\$", "") or r"\0" in body:
        return None
    return _COMPOSE_ESCAPE.sub(lambda m: _COMPOSE_ESCAPED.get(m[1], m[1]), body)


def read_systemd(text: str) -> Assignment | None:
    """Read `text` as systemd does in a file named by EnvironmentFile=."""
    head = _SYSTEMD_HEAD.match(text)
    if head is None or NAME.fullmatch(head[1]) is None:
        return None
    value = "".join(_systemd_pieces(text, head.end()))
    return None if _NOT_FOR_SYSTEMD.search(value) else (head[1], value)


def _systemd_pieces(text: str, position: int) -> Iterator[str]:
    # systemd joins quoted pieces; the first unquoted one takes the rest of the line, with quotes and `#` in it.
    while (piece := _SYSTEMD_PIECE.match(text, position)) is not None:
        position = piece.end()
        if piece["single"] is not None:
            yield piece["single"]
        elif piece["double"] is not None:
            yield re.sub(r"\\(.)", _systemd_escape, piece["double"], flags=re.DOTALL)
        else:
            bare = re.sub(r"(?<!\\)[ \t]+$", "", piece["bare"])
            yield re.sub(r"\\(.)", lambda m: "" if m[1] in "\r\n" else m[1], bare, flags=re.DOTALL)
            return


def _systemd_escape(match: re.Match[str]) -> str:
    if match[1] == "\n":
        return ""
    return match[1] if match[1] in '"\\`$' else match[0]


def read_alike(text: str, expected: Assignment) -> bool:
    """Tell whether all three programs read `expected` from `text`."""
    return all(read(text) == expected for read in (read_python, read_compose, read_systemd))


def tokens(value: str, *, prefer: str = "") -> Iterator[str]:
    """Yield every token that all three programs read as `value`.

    Args:
        value: what is to be read.
        prefer: the quote character to try first, or nothing.
    """
    inner = value.replace("\\", "\\\\").replace('"', '\\"')
    forms = {"": value if _PLAIN.fullmatch(value) else "'", "'": f"'{value}'", '"': f'"{inner}"'}
    # Through open(), python-dotenv takes a carriage return for a newline: no token can carry one.
    if "\r" in value or "\0" in value:
        return
    for quote_mark in sorted(forms, key=lambda mark: mark != prefer):
        token = forms[quote_mark]
        plain = quote_mark == "" and token == value
        if plain or (quote_mark and read_alike(f"K={token}\n", ("K", value))):
            yield token


def quote(value: str) -> str:
    """Return the token that python-dotenv, Docker Compose and systemd all read as `value`.

    Raises:
        EnvFileError: there is none, as for `'` together with `$`; the message never holds the value.
    """
    token = next(tokens(value), None)
    if token is None:
        raise EnvFileError(
            f"a value of {len(value)} characters cannot be written so that python-dotenv, Docker Compose and systemd "
            f"read it alike: {_obstacle(value)}",
            hint="choose a value without it",
        )
    return token


def _obstacle(value: str) -> str:
    reasons = (
        ("\0" in value, "it holds a NUL"),
        ("\r" in value, "it holds a carriage return"),
        (_NOT_FOR_SYSTEMD.search(value) is not None, "it holds bytes that are not valid UTF-8 text"),
        (_PYTHON_EXPANDS in value, "it holds ${, which some of them expand"),
    )
    return next((reason for holds, reason in reasons if holds), "it mixes quotes, backslashes or $")
