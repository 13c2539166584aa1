"""What `@type=...` of a template demands of a value.

Names and options are env-spec's: https://varlock.dev/reference/data-types. A check returns what is demanded, as a
phrase that completes "must be ...", or None when the value is right; it never repeats the value. Two differences, both
towards accepting: `ip` without a version takes IPv4 and IPv6, and `domain(allowIp=true)` takes IPv6 too.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import math
import re
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vvmigrate.errors import EnvFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_PATTERNS = {
    "email": (re.compile(r"[^\s@<>()\[\],;:\"]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}"), "an e-mail address"),
    "semver": (re.compile(r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"), "a version such as 1.2.3"),
    "uuid": (re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"), "a UUID"),
    "md5": (re.compile(r"[0-9a-fA-F]{32}"), "an MD5 sum of 32 hexadecimal digits"),
}
_BOOLEANS = frozenset({"t", "true", "yes", "on", "1", "f", "false", "no", "off", "0"})
_HIGHEST_PORT = 65535
_LONGEST_HOST_NAME = 253


@dataclasses.dataclass(frozen=True)
class Type:
    """A type's name, its arguments in order, and its options by name."""

    name: str = "string"
    arguments: tuple[str, ...] = ()
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a type that would not check anything.

        Raises:
            EnvFileError: an unknown name, an option that the type does not have, or one that is no number or pattern.
        """
        if self.name not in _CHECKS:
            raise EnvFileError(f"@type={self.name}: no such type", hint=f"one of {', '.join(sorted(_CHECKS))}")
        if self.name == "enum" and not self.arguments:
            raise EnvFileError("@type=enum: no values to choose from", hint="as in @type=enum(DEBUG, INFO)")
        if unknown := sorted(set(self.options) - _CHECKS[self.name][1]):
            raise EnvFileError(f"@type={self.name}: no option {unknown[0]}")
        try:
            for option in _NUMERIC & set(self.options):
                self.number(option)
            re.compile(self.options.get("matches", ""))
        except (ValueError, re.error) as error:
            raise EnvFileError(f"@type={self.name}: an option's value is not right: {error}") from error

    def number(self, option: str, default: float = math.inf) -> float:
        """Return an option as a number, or the default when it is not set."""
        return float(self.options[option]) if option in self.options else default

    def flag(self, option: str) -> bool:
        """Tell whether an option is set to true."""
        return self.options.get(option) == "true"

    def demands(self, value: str) -> str | None:
        """Say what the value must be, when it is not; an empty value is right for every type."""
        return _CHECKS[self.name][0](self, value) if value else None

    def wanted(self) -> str | None:
        """Say what a value must be, for somebody who is asked for one; None where anything will do."""
        beyond = [f"{self.number('min') - 1:g}"] if "min" in self.options else []
        beyond += [f"{self.number('max') + 1:g}"] if "max" in self.options else []
        bounds = [self.demands(value) for value in beyond]
        return " and ".join(filter(None, bounds)) or self.demands("\0")


def _string(kind: Type, value: str) -> str | None:
    rules = (
        (len(value) >= kind.number("minLength", 0), f"at least {kind.options.get('minLength')} characters long"),
        (len(value) <= kind.number("maxLength"), f"at most {kind.options.get('maxLength')} characters long"),
        (len(value) == kind.number("isLength", len(value)), f"{kind.options.get('isLength')} characters long"),
        (
            value.startswith(kind.options.get("startsWith", "")),
            f"text that starts with {kind.options.get('startsWith')}",
        ),
        (value.endswith(kind.options.get("endsWith", "")), f"text that ends with {kind.options.get('endsWith')}"),
        (re.search(kind.options.get("matches", ""), value) is not None, f"text like {kind.options.get('matches')}"),
    )
    return next((demand for holds, demand in rules if not holds), None)


def _number(kind: Type, value: str) -> str | None:
    whole = kind.flag("isInt") or kind.options.get("precision") == "0"
    noun = "a whole number" if whole else "a number"
    if _NUMBER.fullmatch(value) is None or not math.isfinite(number := float(value)):
        return noun
    if whole and not number.is_integer():
        return noun
    if "isDivisibleBy" in kind.options and number % kind.number("isDivisibleBy") != 0:
        return f"{noun} that {kind.options['isDivisibleBy']} divides"
    return _within(kind, number, noun)


def _within(kind: Type, number: float, noun: str) -> str | None:
    if number < kind.number("min", -math.inf):
        return f"{noun} of at least {kind.options['min']}"
    return f"{noun} of at most {kind.options['max']}" if number > kind.number("max") else None


def _port(kind: Type, value: str) -> str | None:
    if re.fullmatch(r"[0-9]{1,5}", value) is None or int(value) > _HIGHEST_PORT:
        return "a port number from 0 to 65535"
    return _within(kind, int(value), "a port number")


def _boolean(_kind: Type, value: str) -> str | None:
    return None if value.lower() in _BOOLEANS else "true or false"


def _enum(kind: Type, value: str) -> str | None:
    return None if value in kind.arguments else f"one of {', '.join(kind.arguments)}"


def _ip(kind: Type, value: str) -> str | None:
    version = kind.options.get("version")
    noun = f"an IPv{version} address" if version else "an IP address"
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return noun
    return None if version in {None, str(address.version)} else noun


def _domain(kind: Type, value: str) -> str | None:
    if kind.flag("allowIp") and _ip(Type("ip"), value) is None:
        return None
    noun = "an IP address or a host name" if kind.flag("allowIp") else "a host name"
    name = value.removeprefix("*.") if kind.flag("allowWildcard") else value
    labels = name.removesuffix(".").split(".")
    # 192.168.1.300 would pass for a host name by its letters; a top level of digits alone does not exist.
    proper = len(value) <= _LONGEST_HOST_NAME and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()
    enough = len(labels) > 1 or kind.flag("allowSingleLabel")
    return None if proper and enough else noun


def _url(_kind: Type, value: str) -> str | None:
    try:
        parts = urlsplit(value)
        whole = bool(parts.scheme and parts.hostname) and (parts.port is None or parts.port >= 0)
    except ValueError:
        whole = False
    return None if whole and not re.search(r"\s", value) else "a URL such as https://host/path"


def _iso_date(_kind: Type, value: str) -> str | None:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return "a date such as 2025-01-31 or 2025-01-31T12:00:00Z"
    return None


def _pattern(kind: Type, value: str) -> str | None:
    pattern, noun = _PATTERNS[kind.name]
    return None if pattern.fullmatch(value) else noun


_NUMERIC = frozenset({"min", "max", "minLength", "maxLength", "isLength", "isDivisibleBy", "precision", "version"})
_STRING_OPTIONS = frozenset({"minLength", "maxLength", "isLength", "startsWith", "endsWith", "matches"})
_CHECKS: dict[str, tuple[Callable[[Type, str], str | None], frozenset[str]]] = {
    "string": (_string, _STRING_OPTIONS),
    "number": (_number, frozenset({"min", "max", "isInt", "precision", "isDivisibleBy"})),
    "boolean": (_boolean, frozenset()),
    "enum": (_enum, frozenset()),
    "port": (_port, frozenset({"min", "max"})),
    "ip": (_ip, frozenset({"version"})),
    "domain": (_domain, frozenset({"allowIp", "allowSingleLabel", "allowWildcard"})),
    "url": (_url, frozenset()),
    "isoDate": (_iso_date, frozenset()),
    **dict.fromkeys(_PATTERNS, (_pattern, frozenset[str]())),
}
