"""The decorators in a template's comments, by env-spec's grammar.

    # @name @name=value @name="a value" @name=call(a, "b", key=c)   # a comment behind them

A comment holds decorators when its first character is `@`; elsewhere `@` is text.
"""

from __future__ import annotations

import dataclasses
import re

from vvmigrate.errors import EnvFileError

_DIVIDER = re.compile(r"\s*#[ \t]*[-=*#]{3,}")
_DECORATED = re.compile(r"\s*#[ \t]*(?=@)")
_QUOTED = r'"(?:\\"|[^"\n])*"|\'(?:\\\'|[^\'\n])*\'|`(?:\\`|[^`\n])*`'
_DECORATOR = re.compile(
    rf"@(?P<name>[A-Za-z][\w-]*)(?:=(?:(?P<call>[A-Za-z]\w*)\((?P<args>(?:{_QUOTED}|[^()\n])*)\)|(?P<quoted>{_QUOTED})"
    rf"|(?P<bare>[^\s#()'\"`][^\s#]*))|\((?P<only>(?:{_QUOTED}|[^()\n])*)\))?(?=\s|$)"
)
_ARGUMENT = re.compile(rf"\s*(?:(?P<key>[A-Za-z]\w*)=)?(?P<value>{_QUOTED}|[^,\n]*?)\s*(?:,|$)")


@dataclasses.dataclass(frozen=True)
class Call:
    """A decorator's value that looks like `name(a, b, key=c)`, or just `name`."""

    name: str
    arguments: tuple[str, ...] = ()
    options: dict[str, str] = dataclasses.field(default_factory=dict)


Decorators = dict[str, Call]


def is_divider(comment: str) -> bool:
    """Tell whether a comment is a line such as `# ---`, which belongs to no key."""
    return _DIVIDER.match(comment) is not None


def is_decorated(comment: str) -> bool:
    """Tell whether a comment holds decorators."""
    return _DECORATED.match(comment) is not None


def read_decorators(comments: list[str]) -> Decorators:
    """Return the decorators of comments by name; one without a value has the value `true`.

    Raises:
        EnvFileError: one is given twice, or a comment holds something else between them.
    """
    found: Decorators = {}
    for comment in comments:
        opening = _DECORATED.match(comment)
        position = len(comment) if opening is None else opening.end()
        while (rest := comment[position:].strip()) and not rest.startswith("#"):
            position = len(comment) - len(comment[position:].lstrip())
            decorator = _DECORATOR.match(comment, position)
            if decorator is None:
                raise EnvFileError(f"no decorator: {rest}", hint="a decorator is @name or @name=value, without blanks")
            if decorator["name"] in found:
                raise EnvFileError(f"@{decorator['name']} is given twice")
            found[decorator["name"]] = _value(decorator)
            position = decorator.end()
    return found


def _value(decorator: re.Match[str]) -> Call:
    if decorator["call"] is None:
        return Call(_unquoted(decorator["quoted"] or decorator["bare"] or "true"))
    arguments, options = [], {}
    for argument in _ARGUMENT.finditer(decorator["args"]):
        if argument["key"] is not None:
            options[argument["key"]] = _unquoted(argument["value"])
        elif argument["value"]:
            arguments.append(_unquoted(argument["value"]))
    return Call(decorator["call"], tuple(arguments), options)


def _unquoted(text: str) -> str:
    mark = text[:1]
    return text[1:-1].replace(f"\\{mark}", mark) if mark in {'"', "'", "`"} and mark else text
