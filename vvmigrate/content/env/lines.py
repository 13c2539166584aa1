"""The lines of a `.env` file, each with the place of its value in it.

python-dotenv is the tokeniser, so that keys and values are by definition what the application reads (without
interpolation). What it skips in silence is told apart here, and a quote that is never closed is refused.
"""

from __future__ import annotations

import dataclasses
import io
import re
from typing import TYPE_CHECKING, Final

from dotenv.parser import parse_stream

from vvmigrate.content.env.readers import tokens
from vvmigrate.errors import EnvFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dotenv.parser import Binding as ParsedBinding

BLANK: Final = "blank"
COMMENT: Final = "comment"
BINDING: Final = "binding"
INVALID: Final = "invalid"

LINE_END = re.compile(r"\r\n|\n|\r")
_PHYSICAL_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+$")
_HEAD = re.compile(r"(export[^\S\r\n]+)?('[^']+'|[^=#\s]+)[^\S\r\n]*(=[^\S\r\n]*)?")
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
_OPENS_QUOTE = re.compile(r"""(?:export[^\S\r\n]+)?(?:'[^']+'|[^=#\s]+)[^\S\r\n]*=[^\S\r\n]*(?=['"])""")


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One line of the file, or several where a quoted value spans them, with its line end.

    Attributes:
        text: exactly as it stands in the file.
        kind: BLANK, COMMENT, BINDING, or INVALID for what python-dotenv skips.
        key: the name that is bound; for an invalid line the name that it seems to bind, else None.
        value: what python-dotenv reads; None also for a key without `=`.
        token: where the value's token starts and ends in `text`, quotes included.
        key_span: where the key starts and ends in `text`.
    """

    text: str
    kind: str
    key: str | None = None
    value: str | None = None
    token: tuple[int, int] = (0, 0)
    key_span: tuple[int, int] = (0, 0)

    @property
    def body(self) -> str:
        """The text without its line end."""
        return self.text.rstrip("\r\n")

    def with_newline(self, newline: str) -> Line:
        """Return the line with every line end in it being `newline`, and one at its end."""
        text = LINE_END.sub(newline, self.body) + newline
        return self if text == self.text else next(read_lines(text, name=""))

    def with_value(self, value: str, *, name: str) -> Line:
        """Return the line with another value; export, spaces, comment and, where it can be, the quotes stay.

        Raises:
            EnvFileError: no token exists that all programs read as `value`.
        """
        start, end = self.token
        before, old, after = self.text[:start], self.text[start:end], self.text[end:]
        equals = "" if "=" in before[self.key_span[1] :] else "="
        candidates = [*tokens(value, prefer=old[:1] if old[:1] in {"'", '"'} else "")]
        if not value:
            candidates.append('""')
        for token in candidates:
            changed = [*read_lines(before + equals + token + after, name=name)]
            if len(changed) == 1 and changed[0].key == self.key and changed[0].value == value:
                return changed[0]
        raise EnvFileError(
            f"{name}: the new value of {self.key} ({len(value)} characters) cannot be written so that python-dotenv, "
            "Docker Compose and systemd read it alike",
            hint="choose a value without this mix of quotes, backslashes, $ and control characters",
            path=name,
        )

    def renamed(self, key: str) -> Line:
        """Return the line with another key and everything else as it is."""
        start, end = self.key_span
        shift = len(key) - (end - start)
        return dataclasses.replace(
            self,
            text=self.text[:start] + key + self.text[end:],
            key=key,
            key_span=(start, start + len(key)),
            token=(self.token[0] + shift, self.token[1] + shift),
        )

    def commented(self) -> tuple[Line, ...]:
        """Return the line as comment lines, one for each line that it spans."""
        return tuple(Line(f"# {text}", COMMENT) for text in _PHYSICAL_LINE.findall(self.text))


def read_lines(text: str, *, name: str) -> Iterator[Line]:
    """Split text into lines, values that span lines being one.

    Raises:
        EnvFileError: a quote that is opened and not closed.
    """
    number = 1
    for original, parsed in _statements(text):
        body = original.lstrip()
        # python-dotenv counts the white space above to the next assignment.
        blank = original[: len(original) - len(body)]
        cut = len(blank) if not body else max(blank.rfind("\n"), blank.rfind("\r")) + 1
        for physical in _PHYSICAL_LINE.findall(original[:cut]):
            yield Line(physical, BLANK)
        number += len(LINE_END.findall(original[:cut]))
        if not body:
            continue
        if parsed.error:
            yield _invalid(original[cut:], number=number, name=name)
        elif parsed.key is None:
            yield Line(original[cut:], COMMENT)
        else:
            yield _bound(original[cut:], parsed)
        number += len(LINE_END.findall(original[cut:]))


def _statements(text: str) -> Iterator[tuple[str, ParsedBinding]]:
    """Yield python-dotenv's statements with their text."""
    # It ends a line that it cannot read between CR and LF: both belong to that line.
    start = end = 0
    for parsed in parse_stream(io.StringIO(text)):
        start, end = max(start, end), end + len(parsed.original.string)
        if parsed.error and text[end - 1 : end + 1] == "\r\n":
            yield text[start : end + 1], parsed
            start = end + 1
        else:
            yield text[start:end], parsed
            start = end


def _invalid(text: str, *, number: int, name: str) -> Line:
    body = text.lstrip()
    opening = _OPENS_QUOTE.match(body)
    if opening is not None:
        closed = _QUOTED.match(body, opening.end())
        # `A="x` above `B="y"` is closed by the next line's quote, with text behind it: A's is the one that is missing.
        if closed is None or LINE_END.search(closed[0]) is not None:
            raise EnvFileError(
                f"{name}, line {number}: a quote is opened and not closed", hint="close it on that line", path=name
            )
    head = _HEAD.match(body)
    key = head[2].strip("'") if head is not None and head[3] is not None else None
    return Line(text, INVALID, key)


def _bound(text: str, parsed: ParsedBinding) -> Line:
    head = _HEAD.match(text, len(text) - len(text.lstrip()))
    if head is None:  # pragma: no cover - python-dotenv found a key here
        raise EnvFileError(f"line {parsed.original.line}: no key")
    key_span, value = head.span(2), parsed.value
    if head[3] is None:
        token = (head.end(2), head.end(2))
    elif (quoted := _QUOTED.match(text, head.end())) is not None:
        token = quoted.span()
        if "\r" in quoted[0]:  # through open(), python-dotenv sees every line end as a line feed
            value = next(parse_stream(io.StringIO("K=" + LINE_END.sub("\n", quoted[0])))).value
    elif not value:
        token = (head.start(3) + 1, head.start(3) + 1)
    else:
        rest = text[head.end() :].rstrip("\r\n")
        token = (head.end(), head.end() + len(re.split(r"\s+#", rest, maxsplit=1)[0].rstrip()))
    return Line(text, BINDING, LINE_END.sub("\n", parsed.key or ""), value, token, key_span)
