"""The way back of a revision without its source: the acts that its downgrade did when it was rehearsed, done again.

An older package may lack what a recorded source imports. The acts are as genuine as the source: their file belongs to
root, and the chain covers its hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from alembic import op

from vvmigrate.engine.acts import Act
from vvmigrate.engine.keeping import KeepingImpl
from vvmigrate.engine.runtime import HostOperation, Stage
from vvmigrate.errors import RevisionError


@dataclass(frozen=True)
class WayBack:
    """What was learned of a revision's way back when it was rehearsed on the way up.

    Attributes:
        record: the acts, as `acts.as_bytes` writes them; empty where they cannot be done again without the source.
        problem: why they cannot.
        fails: the downgrade itself fails when it is rehearsed; so it will when it is needed.
    """

    record: bytes = b""
    problem: str = ""
    fails: bool = False


def replay(acts: list[Act]) -> None:
    """Do recorded acts, in the place of a revision's `downgrade()`."""
    context: Any = op.get_context()
    player = _Player(context.impl, context.opts["vvmigrate"])
    for kind, *facts in acts:
        _PLAYED[kind](player, *facts)


@dataclass(frozen=True)
class _Player:
    """Does single acts, through the same implementation as a revision's own code.

    Statements are not guarded a second time: each was when it was written down.
    """

    impl: KeepingImpl
    stage: Stage

    def statement(self, text: str, parameters: Any, many: bool) -> None:  # noqa: FBT001 - an act's order
        values: Any = list(map(_frozen, parameters)) if many else _frozen(parameters)
        with self.stage.unguarded():
            self.impl.say(text, values)

    def create_table(self, name: str, statement: str, indexes: list[list[str]], lenient: bool) -> None:  # noqa: FBT001
        def create() -> None:
            for text in (statement, *(words for _, words in indexes)):
                self.statement(text, [], many=False)

        self.impl.bring_table(name, statement, indexes, lenient=lenient, create=create)

    def create_index(self, name: str, table: str, statement: str, lenient: bool) -> None:  # noqa: FBT001
        self.impl.bring_index(
            name, table, statement, lenient=lenient, create=lambda: self.statement(statement, [], many=False)
        )

    def drop_table(self, name: str, lenient: bool) -> None:  # noqa: FBT001
        self.impl.drop_table(sa.Table(name, sa.MetaData()), **({"if_exists": True} if lenient else {}))

    def drop_column(self, table: str, column: str) -> None:
        self.impl.drop_column(table, sa.Column(column))

    def keep_column(self, table: str, column: str) -> None:
        self.impl.keep_column(table, column)

    def return_column(self, table: str, column: str) -> None:
        self.impl.return_column(table, column)

    def expect_columns(self, table: str, names: list[str]) -> None:
        self.impl.expect_columns(table, names)

    def host(self, name: str, facts: dict[str, Any]) -> None:
        kinds: dict[str, Any] = {kind.__name__: kind for kind in _kinds(HostOperation)}
        if name not in kinds:
            raise RevisionError(
                f"the recorded way back asks for {name}, which this vvmigrate does not know",
                hint="install the release that the revision belongs to, then the same command",
            )
        op.invoke(kinds[name](**{key: _frozen(value) for key, value in facts.items()}))


_PLAYED: dict[str, Callable[..., None]] = {
    "sql": _Player.statement,
    "create_table": _Player.create_table,
    "create_index": _Player.create_index,
    "drop_table": _Player.drop_table,
    "drop_column": _Player.drop_column,
    "keep_column": _Player.keep_column,
    "return_column": _Player.return_column,
    "expect_columns": _Player.expect_columns,
    "host": _Player.host,
}


def _kinds(kind: type[HostOperation]) -> Iterator[type[HostOperation]]:
    for below in kind.__subclasses__():
        yield below
        yield from _kinds(below)


def _frozen(value: Any) -> Any:
    """A field's value: JSON has lists where operations have tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
