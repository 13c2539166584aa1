"""deliver() and archives that mean harm: unpacked while they come in, they do no more than unpacked afterwards."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.content import archive_corpus, zip_corpus
from tests.content.archive_corpus import Case
from tests.content.delivery_desk import Desk, both_paths
from vvmigrate.content.manifest import Artefact, Limits
from vvmigrate.errors import IntegrityError

TARS, ZIPS = archive_corpus.hostile_tars(), zip_corpus.hostile_zips()


def below(folder: Path) -> dict[Path, int]:
    """Everything below a folder, with its size; links are not followed."""
    return {path: path.lstat().st_size for path in folder.rglob("*")}


@both_paths
@pytest.mark.parametrize("case", TARS + ZIPS, ids=[f"{case.format}: {case.name}" for case in TARS + ZIPS])
def test_hostile_archives_are_refused_on_their_way_in(patient: Desk, case: Case, threaded: bool) -> None:
    """Each is refused with its reason and exit code 7, whatever the way; outside the slot nothing is written."""
    (patient.release.path / "model").write_bytes(case.data)
    digest = hashlib.sha256(case.data).hexdigest()
    what = Artefact(("model",), case.format, "m", len(case.data), digest, limits=replace(Limits(), **case.limits))  # type: ignore[arg-type]
    top, slot = patient.tree.path.parent, patient.tree.path / patient.slot.name
    before = below(top)
    with pytest.raises(IntegrityError) as caught:
        patient.deliver(what, threaded=threaded)
    assert case.says in caught.value.message
    assert caught.value.exit_code == 7
    written = {path: size for path, size in below(top).items() if before.get(path) != size}
    inside = {path for path in written if path == slot or slot in path.parents}
    assert {path.name for path in written.keys() - inside} <= {"downloads", "model.part", "model.part.meta"}
    assert not any(path.is_symlink() or path.name in ("evil", "passwd") for path in inside)
    assert sum(written[path] for path in inside if path.is_file()) <= what.limits.max_bytes
    assert sum(written[path] for path in inside if path.is_file()) <= what.limits.max_ratio * len(case.data)


def test_the_corpus_is_large_enough() -> None:
    """Sixty hostile ideas and more, of which many are tried in three formats."""
    ideas = {case.name for case in TARS + ZIPS}
    print(f"{len(ideas)} ideas in {len(TARS)} compressed tar archives and {len(ZIPS)} zip files")
    assert len(ideas) >= 60
    assert min(len({case.name for case in TARS}), len({case.name for case in ZIPS})) >= 30
