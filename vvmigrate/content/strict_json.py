"""Read JSON that came from elsewhere and refuse what Python's parser lets through.

RFC 8259 leaves open what duplicate keys mean and Python also takes NaN; either would let two readers see two
documents in the same bytes. Nothing is repaired here: all of it is a problem, with the place where it stands.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

MAX_BYTES = 10 * 1024 * 1024
MAX_DEPTH = 32
# Whoever looks for faults stops at so many: a file of ten hostile megabytes must not take minutes to refuse.
MAX_PROBLEMS = 1000

# NUL, CR, LF and their kin, and halves of surrogate pairs, which have no UTF-8: in no name, no URL and no licence.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
CONTROL_FAULT = "holds a control character (such as NUL, CR or LF) or half of a surrogate pair"

_SHOWN_CHARACTERS = 80
# What may be a credential is not shown, wherever it turns up: user parts, queries, anything that looks like a URL.
_SECRETIVE = re.compile(r"://|@|[?&].*=")


class Problem(NamedTuple):
    """One fault of a document.

    Args:
        where: the keys and indexes that lead to it.
        what: what was expected and what was found.
    """

    where: tuple[str | int, ...]
    what: str

    def __str__(self) -> str:
        """Return the JSON pointer and the fault."""
        return f"{pointer(self.where)}: {self.what}"


class _Object(dict[str, object]):
    """A JSON object that remembers which of its keys stood there more than once."""

    repeated: tuple[str, ...] = ()


def load(data: bytes) -> tuple[object, list[Problem]]:
    """Return the document and what is wrong with its text.

    Args:
        data: the file's bytes.

    Raises:
        ValueError: there is no document: empty, too large, not UTF-8, not JSON, or nested too deeply.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES} bytes ({len(data)})")
    if not data.strip():
        raise ValueError("empty")
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        # Only the parser's own words: the text around may hold a credential.
        raise ValueError(f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    except ValueError:
        raise ValueError("holds a number of too many digits") from None
    return document, list(islice(_oddities(document), MAX_PROBLEMS))


def pointer(where: tuple[str | int, ...]) -> str:
    """Return a JSON pointer (RFC 6901) that is fit to print; the whole document is called `(document)`."""
    if not where:
        return "(document)"
    return "".join("/" + _readable(str(part)).replace("~", "~0").replace("/", "~1") for part in where)


def shown(value: object) -> str:
    """Describe a value that was found: small and harmless ones as they are, others by their kind and size."""
    if isinstance(value, str):
        text = _readable(value)
        return text if text.startswith("(") else f"'{text}'"
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"a number of {len(text)} characters"


def _readable(text: str) -> str:
    """Return text without escape sequences for a terminal, unless it is long or may be a secret."""
    if len(text) > _SHOWN_CHARACTERS or _SECRETIVE.search(text):
        return f"(text of {len(text)} characters)"
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def _object(pairs: list[tuple[str, object]]) -> _Object:
    """Build an object and count its keys."""
    result = _Object(pairs)
    if len(result) < len(pairs):
        result.repeated = tuple(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return result


def _oddities(document: object) -> Iterator[Problem]:
    """Yield what the parser let through; with a stack of iterators, for neither depth nor length is known to be sane.

    Raises:
        ValueError: the document is nested too deeply.
    """
    stack: list[Iterator[tuple[tuple[str | int, ...], object]]] = [iter([((), document)])]
    while stack:
        step = next(stack[-1], None)
        if step is None:
            stack.pop()
            continue
        where, value = step
        if len(where) > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, _Object):
            yield from (Problem((*where, key), "stands here more than once") for key in value.repeated)
            yield from (Problem((*where, key), f"its name {CONTROL_FAULT}") for key in value if CONTROL.search(key))
            stack.append(_children(where, value.items()))
        elif isinstance(value, list):
            stack.append(_children(where, enumerate(value)))
        elif isinstance(value, str) and CONTROL.search(value):
            yield Problem(where, CONTROL_FAULT)
        elif isinstance(value, float) and not math.isfinite(value):
            yield Problem(where, f"{value} is no number in JSON, or too large for one")


def _children(
    where: tuple[str | int, ...], items: Iterable[tuple[str | int, object]]
) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Yield the values inside a value, each with its place."""
    return (((*where, key), child) for key, child in items)
