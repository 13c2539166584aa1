"""What mends a path that is not as it was left, as a command or as what a person has to do."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from vvmigrate.content.env.template import FILE
from vvmigrate.engine.drift import WAY, Drift

REPAIR = "vvmigrate repair"
REINSTALL = "install the release again; if it was changed on purpose: vvmigrate repair vv-signature.json"


def remedy(path: str, facts: Sequence[Drift]) -> str:
    """What mends it, and nothing else.

    Args:
        path: absolute.
        facts: all that differ of it, at least one.
    """
    found = way(path, facts)
    return f"{REPAIR} {quote(path)}" if found == REPAIR else found


def way(path: str, facts: Sequence[Drift]) -> str:
    """What mends it, and may mend others with it: all that a repair mends have the same one. See `remedy`."""
    if statements := [item.statement for item in facts if item.statement]:
        return (
            "put a copy of the database back; if it is an older one, then: vvmigrate adopt --reconcile; "
            f"without a copy, to have them empty: sqlite3 {quote(path)} {quote('; '.join(statements))}"
        )
    if facts[0].kind == WAY:
        home = path.removesuffix(facts[0].target.name)
        return f"ln -s {quote(facts[0].target.name)} {quote(home + FILE)}"
    return REINSTALL if facts[0].kind == "release" else REPAIR
