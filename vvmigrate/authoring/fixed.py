"""Revisions that may not be edited any more, by the hash of their bytes, in a file that is committed with them.

`migrations/fixed.sha256` has a line for each, as sha256sum writes it, in the order of their names: `sha256sum -c
fixed.sha256` in that folder reads it, and two branches that add different revisions merge line by line. A line is
only ever added (see docs/decisions/0012-check.md).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from vvmigrate.authoring.findings import Finding
from vvmigrate.authoring.release import Release
from vvmigrate.engine.sources import FOLDER, Source, read_source, revision_files
from vvmigrate.errors import RefusedError
from vvmigrate.files import Place

FILE = "migrations/fixed.sha256"
MODE = 0o644
_LINE = re.compile(r"([0-9a-f]{64}) [ *](versions/[^/]+\.py)")


def record(home: Place, without: Collection[str] = ()) -> list[str]:
    """Fix every revision that is not fixed yet; what is fixed already stays as it was fixed.

    Args:
        home: the release folder.
        without: numbers of revisions that may still be edited.

    Returns:
        The numbers of those that were fixed now, in the order of their files.

    Raises:
        RefusedError: the file has a line that cannot be read.
        RevisionError: a revision cannot be read.
    """
    lines, wrong = _read(home)
    if wrong:
        where = f"{home.path.rstrip('/')}/{FILE}"
        raise RefusedError(f"{where}: line {wrong[0].line}: {wrong[0].reason}", hint=wrong[0].remedy, path=where)
    fresh: dict[str, Source] = {}
    for place in revision_files(home):
        name, source = _name(place.name), read_source(place)
        if name not in lines and source.revision not in without:
            fresh[name] = source
    if fresh:
        known = {name: sha256 for name, (_, sha256) in lines.items()}
        known |= {name: source.sha256 for name, source in fresh.items()}
        text = "".join(f"{known[name]}  {name}\n" for name in sorted(known))
        (home / FILE).replace(text.encode(), MODE)
    return [source.revision for source in fresh.values()]


def findings(release: Release) -> Iterator[Finding]:
    """Revisions that were edited, renamed or removed after they were fixed, and lines that nobody can read."""
    lines, wrong = _read(release.home)
    yield from wrong
    here = {_name(draft.name): draft for draft in release.drafts}
    broken = {_name(finding.path) for finding in release.unreadable}
    for name, (number, sha256) in lines.items():
        draft = here.get(name)
        if draft is None and name not in broken:
            yield Finding(
                FILE,
                number,
                "fixed",
                f"migrations/{name} was fixed, and is not here any more: hosts have applied it",
                f"git checkout RELEASE -- migrations/{name}; if it was never released: remove this line",
            )
        elif draft is not None and draft.source.sha256 != sha256:
            yield draft.finding(
                1,
                "fixed",
                f"was edited after it was fixed: expected SHA-256 {sha256[:12]}, found {draft.source.sha256[:12]}; "
                "hosts that have applied it do not get the change",
                f"git checkout RELEASE -- {draft.name}, and say the change in a new revision; "
                f"if it was never released: remove its line from {FILE}",
            )


def _name(path: str) -> str:
    """A revision's name as the file has it: relative to the folder that the file is in."""
    return f"{FOLDER.rpartition('/')[2]}/{path.rpartition('/')[2]}"


def _read(home: Place) -> tuple[dict[str, tuple[int, str]], list[Finding]]:
    """Line and hash of each fixed revision, and what is wrong with the file."""
    try:
        text = (home / FILE).read().decode("utf-8", "replace")
    except FileNotFoundError:
        return {}, []
    except OSError as error:
        return {}, [Finding(FILE, 1, "fixed", f"cannot be read: {error.strerror}", f"git checkout RELEASE -- {FILE}")]
    lines: dict[str, tuple[int, str]] = {}
    wrong = []
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            reason = "expected a SHA-256, two blanks and versions/NAME.py, as sha256sum writes it"
            wrong.append(Finding(FILE, number, "fixed", reason, "remove the line; a merge may have left it"))
        elif match[2] in lines and lines[match[2]][1] != match[1]:
            reason = f"{match[2]} is fixed twice, with different hashes"
            wrong.append(Finding(FILE, number, "fixed", reason, "keep the line of the revision that was released"))
        else:
            lines[match[2]] = number, match[1]
    return lines, wrong
