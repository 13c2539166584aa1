"""What stands in place of one of our own notes is none of ours: each command says so, and nothing is unforeseen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.proof import nothing_changes, says
from tests.conftest import HostFolder

full = pytest.mark.full


def _directory(note: Path) -> None:
    note.unlink(missing_ok=True)
    note.mkdir()
    (note / "inside").write_text("somebody's")


def _holds(content: bytes) -> Callable[[Path], object]:
    return lambda note: note.write_bytes(content)


DAMAGED: dict[str, Callable[[Path], object]] = {
    "no-such-row": _holds(b'{"seq": 99999999999999999999999, "hash": "x"}'),
    "nested": _holds(b"[" * 100_000),
    "directory": _directory,
    "before-the-first": _holds(b'{"seq": -1, "hash": "x"}'),
    "no-number": _holds(b'{"seq": true, "hash": "x"}'),
    "a-list": _holds(b"[]"),
    "zeros": _holds(bytes(80)),
    "huge": _holds(b" " * (2 << 20)),
}
SOME = [pytest.param(name, marks=() if n < 3 else full) for n, name in enumerate(DAMAGED)]


@pytest.mark.parametrize("how", SOME)
def test_an_anchor_that_is_none_is_for_a_person(bare: HostFolder, how: str) -> None:
    """Rows at the end may be gone: no command goes on, each look tells it, and one word of a person ends it."""
    bare.up()
    DAMAGED[how](bare.root / ".vvmigrate/anchor")
    with nothing_changes(bare):
        for verb in ("upgrade", "downgrade", "recover", "adopt", "status"):
            says(bare.call(verb, *(["base"] if verb == "downgrade" else [])), 4, "anchor", hint="adopt --reconcile")
        assert bare.call("doctor").exit_code == 4
        assert bare.call("history").error is None
        says(bare.call("history", verify=True), 7, "anchor")
    report = bare.call("adopt", reconcile=True, yes=True)
    assert (report.exit_code, report.error) == (0, None)
    bare.revision("0002", "op.make_directories(['second'])")
    bare.up()
    assert bare.call("history", verify=True).exit_code == bare.call("doctor").exit_code == 0


NOTES = (
    *("home/root", "home/intention", "root/secrets", "root/ledger_id", "root/run", "root/decision", "root/changed"),
    *("root/settled", "root/journal", "root/reserve", "root/lock"),
)


@pytest.mark.parametrize("how", ["nested", "directory"])
@pytest.mark.parametrize("note", [pytest.param(name, marks=() if n < 3 else full) for n, name in enumerate(NOTES)])
def test_another_note_that_is_none_is_told_by_its_name(worked: HostFolder, note: str, how: str) -> None:
    """Whichever it is, and whatever reads it: an error that names the file, or work that can do without it."""
    top, _, name = note.partition("/")
    DAMAGED[how]((worked.home if top == "home" else worked.root) / ".vvmigrate" / name)
    for verb, arguments in (
        ("status", []),
        ("doctor", []),
        ("plan", []),
        ("verify", []),
        ("history", []),
        ("upgrade", []),
        ("repair", []),
        ("downgrade", ["base"]),
        ("recover", []),
    ):
        error = worked.call(verb, *arguments).error
        assert error is None or name in error.message, (verb, error)
