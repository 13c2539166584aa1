"""What a shell offers when Tab is pressed: revisions, and the words for them; nothing of a release is run."""

from __future__ import annotations

import os
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from vvmigrate.errors import RefusedError
from vvmigrate.settings import find_home

PROGRAM, VARIABLE = "vvmigrate", "_VVMIGRATE_COMPLETE"
_WORDS = (("head", "the last revision"), ("base", "before the first one"), ("+1", "one forward"), ("-1", "one back"))
_REVISION = re.compile(r"""^revision(?:: str)? = ["']([\w.-]+)["']""", re.MULTILINE)
_TITLE = re.compile(r'^"""(.*?)(?:"""|$)', re.MULTILINE)
_LIMIT_BYTES = 64 << 10


def complete(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Revisions of the release, with their titles, and the words for them, that begin with what was typed."""
    found = [*_WORDS, *revisions(_home(ctx))]
    return [CompletionItem(value, help=title) for value, title in found if value.startswith(incomplete)]


def _home(ctx: click.Context) -> Path | None:
    """The release, found as the commands find it; None without one."""
    given = ctx.find_root().params.get("home") or ctx.params.get("home")
    # The installed command puts its own before what was typed, and only what was typed is completed.
    own = dict(pairwise(sys.argv)).get("--home")
    try:
        return find_home(given or own, os.environ, Path.cwd())
    except RefusedError:
        return None


def revisions(home: Path | None) -> list[tuple[str, str]]:
    """(revision, title) of each file of a release, read as text."""
    found = []
    for path in sorted((home / "migrations/versions").glob("*.py")) if home else []:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_LIMIT_BYTES)
        revision, title = _REVISION.search(text), _TITLE.search(text)
        if revision:
            found.append((revision[1], title[1] if title else ""))
    return found


def script(cli: click.Command, shell: str) -> str:
    """The lines that teach a shell to ask this program, by click's protocol."""
    kind: Any = get_completion_class(shell)
    return str(kind(cli, {}, PROGRAM, VARIABLE).source())
