"""Revisions that were fixed: their hashes lie beside them, and an edit is found."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.commands.revisions import VIDEOS, found, numbered, put
from tests.conftest import HostFolder
from vvmigrate.authoring import fixed
from vvmigrate.files import Tree


def fix(host: HostFolder, **options: Any) -> list[str]:
    with Tree.open(host.home) as tree:
        return fixed.record(tree / "", **options)


def test_fixed_revisions_are_as_sha256sum_has_them(release: HostFolder) -> None:
    """`sha256sum -c` reads the file; fixing again changes nothing; a new revision adds its line, no other changes."""
    assert fix(release, without=["0002"]) == ["0001"]
    assert fix(release) == ["0002"]
    path = release.home / fixed.FILE
    before = path.read_text()
    assert fix(release) == []
    done = subprocess.run(["sha256sum", "-c", path.name], cwd=path.parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count(": OK")) == (0, 2)
    put(release, numbered("0003", "0002"))
    assert fix(release) == ["0003"]
    assert path.read_text().startswith(before)
    assert path.stat().st_mode & 0o7777 == 0o644
    assert found(release) == []


def test_an_edit_after_fixing_is_found_and_not_fixed_over(release: HostFolder) -> None:
    """The hash stays the one of what hosts have applied, until a person takes the line out."""
    fix(release)
    put(release, VIDEOS + "# a word more\n", "0002_videos.py")
    assert found(release) == [(1, "fixed")]
    assert fix(release) == []
    assert found(release) == [(1, "fixed")]
    put(release, VIDEOS.partition("def downgrade")[0], "0002_videos.py")
    assert found(release) == [(1, "fixed"), (1, "unusable")]


FIXED: dict[str, tuple[Callable[[str], str], list[tuple[int, str]]]] = {
    "removed-revision": (lambda text: text + f"{'0' * 64}  versions/0003_gone.py\n", [(3, "fixed")]),
    "conflict-markers": (lambda text: "<<<<<<< HEAD\n" + text, [(1, "fixed")]),
    "two-hashes": (lambda text: text + f"{'0' * 64}  versions/0001_storage_directories.py\n", [(3, "fixed")]),
    "same-line-twice": (lambda text: text * 2, []),
    "another-order": (lambda text: "".join(reversed(text.splitlines(keepends=True))), []),
    "other-folder": (lambda text: text + f"{'0' * 64}  ../env.py\n", [(3, "fixed")]),
    "binary": (lambda text: text + "\0\n", [(3, "fixed")]),
    "empty": (lambda text: "", []),
}


@pytest.mark.parametrize(("spoil", "findings"), FIXED.values(), ids=FIXED.keys())
def test_a_file_of_hashes_that_a_merge_spoiled_is_found_at_its_line(
    release: HostFolder, spoil: Callable[[str], str], findings: list[tuple[int, str]]
) -> None:
    """Order and doubles do no harm (a merge may leave them); what contradicts itself or cannot be read does."""
    fix(release)
    path = release.home / fixed.FILE
    path.write_text(spoil(path.read_text()))
    assert found(release) == findings
