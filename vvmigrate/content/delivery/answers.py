"""What an HTTP answer is worth to a download that stands at some offset: pure decisions, no I/O.

`raise_for_status` accepts a 200 to a Range, a 206 at another place and a login page; each of them would end as wrong
bytes in the partial file. RFC 9110: 13.1.5 If-Range, 14.4 Content-Range, 15.3.7 partial content.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from vvmigrate.errors import DeliveryError

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_FULL, _PART, _BEYOND = 200, 206, 416
_STRONG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,18})")
_AGAIN = frozenset({408, 425, 429})


class AttemptError(DeliveryError):
    """One attempt at one source failed; the driver decides what comes next.

    Args:
        message: the reason, without any part of a URL that may be secret.
        final: this source will not do better if asked again.
        from_start: it may do better if asked for the whole.
        wrong_bytes: it delivered bytes that are not the promised ones.
        mixed: the whole is wrong, and came from more than one source: nobody knows whose part is.
        wait_s: how long the server asks us to wait.
    """

    def __init__(
        self,
        message: str,
        *,
        final: bool = False,
        from_start: bool = False,
        wrong_bytes: bool = False,
        mixed: bool = False,
        wait_s: float = 0,
    ) -> None:
        """Keep the facts apart from each other."""
        super().__init__(message)
        self.final = final
        self.from_start = from_start
        self.wrong_bytes = wrong_bytes
        self.mixed = mixed
        self.wait_s = wait_s


@dataclass(frozen=True)
class Answer:
    """Status line and headers; the headers are found whatever their case."""

    status: int
    phrase: str
    headers: Mapping[str, str]

    @property
    def etag(self) -> str:
        """The strong validator, or nothing: a weak one does not promise the same bytes."""
        value = self.headers.get("etag", "").strip()
        return value if _STRONG.fullmatch(value) else ""

    @property
    def media_type(self) -> str:
        """The media type without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def delimited(self) -> bool:
        """Whether the server says where the body ends; if not, a broken line looks like the end."""
        return "content-length" in self.headers or "transfer-encoding" in self.headers

    @property
    def length(self) -> int | None:
        """The announced length of the body.

        Raises:
            AttemptError: it is not a number.
        """
        value = self.headers.get("content-length", "").strip()
        if not value:
            return None
        if not (value.isascii() and value.isdigit()):
            raise AttemptError(f"Content-Length is {value[:80]!r}", final=True)
        return int(value)

    @property
    def retry_after_s(self) -> float:
        """How long the server asks us to wait; a date counts from the server's own, as ours may not be set yet."""
        value = self.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdigit():
            return float(value[:9])
        then, now = _date(value), _date(self.headers.get("date", ""))
        return max(0.0, (then - now).total_seconds()) if then and now else 0.0


def _date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def suspicion(media_type: str) -> str:
    """What to add to a message about wrong bytes of this media type."""
    return " (an HTML page, perhaps a login page)" if media_type in ("text/html", "application/xhtml+xml") else ""


def judge(answer: Answer, *, offset: int, size_bytes: int) -> int:
    """Decide where in the artefact the body of this answer begins.

    Args:
        answer: what came.
        offset: what was asked for; 0 means the whole, without a Range.
        size_bytes: the artefact's size.

    Returns:
        `offset`, or 0 where the whole comes and the partial file has to begin again.

    Raises:
        AttemptError: the body is of no use.
    """
    if answer.status == _BEYOND and offset:
        return _beyond(answer, size_bytes)
    if answer.status not in (_FULL, _PART):
        again = answer.status in _AGAIN or answer.status >= 500
        reason = f"HTTP {answer.status} {answer.phrase[:60] if answer.phrase.isprintable() else ''}".strip()
        raise AttemptError(reason, final=not again, wait_s=answer.retry_after_s)
    _refuse_encodings(answer)
    start = offset if answer.status == _PART else 0
    if answer.status == _PART:
        _check_range(answer, offset, size_bytes)
    if answer.length is not None and answer.length != size_bytes - start:
        hint = suspicion(answer.media_type)
        message = f"announces {answer.length} bytes instead of {size_bytes - start}{hint}"
        raise AttemptError(message, final=True, wrong_bytes=not start and not hint)
    return start


def judge_part(answer: Answer, *, first: int, last: int, size_bytes: int) -> None:
    """See that the body of this answer is exactly the bytes from `first` to `last`.

    Raises:
        AttemptError: it is not.
    """
    _refuse_encodings(answer)
    found = _RANGE.fullmatch(answer.headers.get("content-range", "").strip())
    if answer.status != _PART or not found or tuple(map(int, found.groups())) != (first, last, size_bytes):
        raise AttemptError(f"does not give bytes {first} to {last} alone (HTTP {answer.status})", final=True)
    if answer.length not in (None, last - first + 1):
        raise AttemptError(f"announces {answer.length} bytes instead of {last - first + 1}", final=True)


def _beyond(answer: Answer, size_bytes: int) -> int:
    found = _UNSATISFIED.fullmatch(answer.headers.get("content-range", "").strip())
    if found and int(found[1]) != size_bytes:
        raise AttemptError(f"has {found[1]} bytes instead of {size_bytes}", final=True, wrong_bytes=True)
    raise AttemptError("refuses to go on where the download stopped (416)", from_start=True)


def _check_range(answer: Answer, offset: int, size_bytes: int) -> None:
    value = answer.headers.get("content-range", "").strip()
    found = _RANGE.fullmatch(value)
    if not offset or not found:
        raise AttemptError(f"sent a part that was not asked for (Content-Range {value[:80]!r})", from_start=True)
    first, last, total = (int(number) for number in found.groups())
    if total != size_bytes:
        raise AttemptError(f"has {total} bytes instead of {size_bytes}", final=True, wrong_bytes=True)
    if (first, last) != (offset, size_bytes - 1):
        message = f"sent bytes {first} to {last} instead of {offset} to {size_bytes - 1}"
        raise AttemptError(message, from_start=True)


def _refuse_encodings(answer: Answer) -> None:
    # Sent although identity was asked for: these are other bytes than the ones whose SHA-256 is known.
    encoding = answer.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise AttemptError(f"encodes the content ({encoding[:80]!r}) although asked not to", final=True)
    transfer = answer.headers.get("transfer-encoding", "").strip().lower()
    if transfer not in ("", "identity", "chunked"):
        raise AttemptError(f"encodes the transfer ({transfer[:80]!r}) although asked not to", final=True)
