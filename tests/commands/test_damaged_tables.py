"""Our tables are not as we made them, or cannot be read: every look says so, and tells the rest all the same."""

from __future__ import annotations

import pytest

from tests.commands.proof import nothing_changes, says, two_by_default
from tests.conftest import HostFolder
from vvmigrate.schema import TABLES

DAMAGE = {
    "step-dropped": "DROP TABLE vv_step",
    "effect-column-renamed": "ALTER TABLE vv_effect RENAME COLUMN effect TO other",
    **{name: f"DROP TABLE {name}" for name in TABLES if name not in ("vv_step", "vv_ledger")},
}


@pytest.mark.parametrize("statement", two_by_default(DAMAGE))
def test_a_table_of_ours_that_is_gone_hides_nothing_else(bare: HostFolder, statement: str) -> None:
    """Whoever owns the database may drop it: one finding says which it is, and the others are told beside it."""
    bare.up()
    bare.sql(statement)
    name = next(word for word in statement.split() if word.startswith("vv_"))
    (bare.root / ".vvmigrate/secrets").write_bytes(b"no JSON")
    with nothing_changes(bare):
        doctor = bare.call("doctor")
        assert (doctor.exit_code, doctor.error) == (6, None)  # the highest: a file of ours that cannot be read
        told = [item["what"] for item in doctor.body["findings"]]
        assert any(f"table {name} is not as vvmigrate made it" in what for what in told)
        assert any("secrets" in what for what in told)
        assert not any("cannot be read: no such" in what for what in told), told
        for verb in ("status", "plan", "verify", "upgrade", "repair"):
            says(bare.call(verb), 4, f"table {name} is not as vvmigrate made it")
        for options in ({}, {"verify": True}):
            error = bare.call("history", **options).error
            assert error is None or error.exit_code in (4, 7)
