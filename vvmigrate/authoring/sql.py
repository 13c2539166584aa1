"""What an SQL statement does, told from its words: as much as the checks need, no parser."""

from __future__ import annotations

import re
from dataclasses import dataclass

UNREAD = "?"
"""The verb of a statement whose words the source does not tell."""

_NAME = r"(?:\w+\.)?[\"`\[]?(\w+)[\"`\]]?"
_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (verb, re.compile(pattern.replace("NAME", _NAME), re.IGNORECASE))
    for verb, pattern in (
        ("REPLACE", r"(?:REPLACE|INSERT\s+OR\s+REPLACE)\s+INTO\s+NAME"),
        ("INSERT", r"INSERT(?:\s+OR\s+\w+)?\s+INTO\s+NAME"),
        ("UPDATE", r"UPDATE(?:\s+OR\s+\w+)?\s+NAME\s+SET\b"),
        ("DELETE", r"DELETE\s+FROM\s+NAME"),
        ("SELECT", r"SELECT\b.*?\bFROM\s+NAME"),
        ("CREATE TABLE", r"CREATE\s+(?:TEMP\w*\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?NAME"),
        ("ADD COLUMN", r"ALTER\s+TABLE\s+NAME\s+ADD\s+(?:COLUMN\s+)?[\"`\[]?(\w+)"),
        ("DROP COLUMN", r"ALTER\s+TABLE\s+NAME\s+DROP\s+(?:COLUMN\s+)?[\"`\[]?(\w+)"),
        ("ALTER", r"ALTER\s+TABLE\s+NAME"),
        ("DROP TABLE", r"DROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?NAME"),
        ("PRAGMA", r"PRAGMA\s+NAME"),
    )
)
SCHEMA = frozenset({"CREATE TABLE", "ADD COLUMN", "DROP COLUMN", "DROP TABLE", "ALTER", "CREATE", "DROP"})
"""Verbs that change the schema."""


@dataclass(frozen=True)
class Statement:
    """One statement of a revision, whether it is written as SQL or as an operation of Alembic's.

    Attributes:
        line: of the revision.
        verb: what it does: one of `_FORMS`, `SCHEMA`, or its first word.
        table: empty where none is named.
        columns: those that it adds, drops or, of an UPDATE, sets; empty where that is not told.
        whole: it goes through every row of a table.
        raw: it is written as SQL.
    """

    line: int
    verb: str
    table: str = ""
    columns: frozenset[str] = frozenset()
    whole: bool = False
    raw: bool = False


def read(text: str, line: int) -> Statement:
    """Tell what a statement does.

    Args:
        text: SQL; what the source does not tell of it stands as `?`.
        line: where it is.
    """
    text = _after_with(_bare(text))
    for verb, form in _FORMS:
        if match := form.match(text):
            upsert = verb == "INSERT" and re.search(r"\bDO\s+UPDATE\b", text, re.IGNORECASE)
            columns = match.groups()[1:] or (_set(text) if verb == "UPDATE" else ())
            return Statement(
                line,
                "REPLACE" if upsert else verb,
                match[1],
                frozenset(columns),
                whole=_is_whole(verb, text),
                raw=True,
            )
    word = re.match(r"\w*", text)
    return Statement(line, word[0].upper() or UNREAD if word else UNREAD, raw=True)


def _bare(text: str) -> str:
    """The words of the outermost level: without comments, texts and what stands in parentheses."""
    text = re.sub(r"--[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
    text = re.sub(r"'(?:[^']|'')*'", "''", text)
    count = 1
    while count:
        text, count = re.subn(r"\([^()]*\)", " ", text)
    return " ".join(text.split())


def _after_with(text: str) -> str:
    """The statement that common table expressions stand before; their own words are in parentheses, and gone."""
    if not re.match(r"WITH\b", text, re.IGNORECASE):
        return text
    main = re.search(r"\b(UPDATE|DELETE|INSERT|REPLACE|SELECT)\b", text, re.IGNORECASE)
    return text[main.start() :] if main else text


def _is_whole(verb: str, text: str) -> bool:
    if verb in ("INSERT", "REPLACE"):
        return bool(re.search(r"\bSELECT\b", text, re.IGNORECASE))
    return verb in ("UPDATE", "DELETE") and not re.search(r"\bWHERE\b", text, re.IGNORECASE)


def _set(text: str) -> list[str]:
    """The columns that an UPDATE sets; none where one of them cannot be told."""
    match = re.search(r"\bSET\b(.*?)(?:\bWHERE\b|\bFROM\b|\bRETURNING\b|\Z)", text, re.IGNORECASE)
    parts = match[1].split(",") if match else []
    names = [re.match(r"\s*[\"`\[]?(\w+)[\"`\]]?\s*=", part) for part in parts]
    return [name[1] for name in names if name] if all(names) else []
