"""One row that the database's owner wrote, of a kind that no row of ours is: told, and no end of the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tests.commands.proof import nothing_changes
from tests.conftest import HostFolder
from vvmigrate.report import Report


@dataclass(frozen=True)
class Odd:
    """A row, what `history --verify` says of it, and what every other command ends with."""

    sql: str
    says: str
    code: int = 7


LAST = (1 << 63) - 1
ROWS = {
    "effect-of-nobody": Odd("INSERT INTO vv_effect VALUES ('nobody', 0, 'x')", "step nobody were inserted"),
    "effect-of-a-blob": Odd("INSERT INTO vv_effect VALUES (x'ff', 'a', x'ff')", "inserted: no row"),
    "no-effect": Odd("UPDATE vv_effect SET effect = 'x' WHERE rowid = 1", "effects recorded for it"),
    "two-effects": Odd("UPDATE vv_effect SET effect = effect || ',' || effect WHERE rowid = 1", "effects recorded"),
    "effect-blob": Odd("UPDATE vv_effect SET effect = x'ff' WHERE rowid = 1", "effects recorded for it"),
    "effect-number": Odd("UPDATE vv_effect SET n = 'x' WHERE rowid = 1", "effects recorded for it"),
    "title-blob": Odd("UPDATE vv_step SET title = x'ff' WHERE seq = 1", "row 1: was changed"),
    "title-no-utf8": Odd("UPDATE vv_step SET title = CAST(x'ff' AS TEXT) WHERE seq = 1", "row 1: was changed"),
    "effect-no-utf8": Odd("UPDATE vv_effect SET effect = CAST(x'ff' AS TEXT) WHERE rowid = 1", "effects recorded"),
    "notes": Odd("UPDATE vv_step SET notes = '[' WHERE seq = 1", "row 1: was changed"),
    "source": Odd("UPDATE vv_step SET script_sha256 = '../../key' WHERE seq = 1", "found '../../key'"),
    "revision-blob": Odd("UPDATE vv_step SET revision = x'ff' WHERE seq = 1", "row 1: was changed"),
    "hash-not-ascii": Odd("UPDATE vv_step SET hash = 'é' WHERE seq = 1", "row 1: was changed"),
    "last-hash-blob": Odd("UPDATE vv_run SET hash = x'ff'", "was changed", 4),  # whether its end is there comes first
    "effects-digest": Odd("UPDATE vv_step SET effects_digest = 'é' WHERE seq = 1", "effects recorded for it"),
    "ended-blob": Odd("UPDATE vv_step SET finished_at = x'ff'", "row 1: was changed"),
    "exit-code": Odd("UPDATE vv_run SET exit_code = x'ff'", "was changed"),
    "hold": Odd(
        "INSERT INTO vv_hold VALUES (99, '0003', 'held', x'ff', '', '', '', '', '', '')", "expected number"
    ),
    "format-text": Odd("UPDATE vv_ledger SET format = 'x'", "format 'x', expected 1", 4),
    "ledger-id-blob": Odd("UPDATE vv_ledger SET ledger_id = x'ff'", "another host's", 4),
    "no-ledger-id": Odd("DELETE FROM vv_ledger", "0 ledger ids", 4),
    "two-versions": Odd("INSERT INTO vv_version VALUES (x'ff')", "2 version rows", 4),
}  # fmt: skip
OFTEN = ("effect-of-nobody", "no-effect", "title-blob", "title-no-utf8", "hash-not-ascii", "hold", "format-text")
LOOKS = (["status"], ["doctor"], ["plan"], ["verify"], ["why", "input"], ["rehearse"])


@pytest.fixture
def host(bare: HostFolder) -> HostFolder:
    """A host with two revisions, of which the last may be taken back."""
    bare.revision("0002", 'op.make_directories(["second"])')
    bare.up()
    return bare


def foreseen(report: Report, code: int) -> Report:
    """The report, which ends with a code, of whatever error or finding."""
    told = str([report.error, report.body])
    assert report.exit_code == code, told
    assert "unforeseen" not in told
    return report


@pytest.mark.parametrize(
    "odd", [pytest.param(odd, id=name, marks=() if name in OFTEN else pytest.mark.full) for name, odd in ROWS.items()]
)
def test_an_odd_row_is_told_of_and_left_behind(host: HostFolder, odd: Odd) -> None:
    """The contract's code by whoever meets it, nothing changed by a look; after `adopt --reconcile` all is well."""
    host.sql(odd.sql)
    with nothing_changes(host):
        for verb, *arguments in LOOKS:
            foreseen(host.call(verb, *arguments), odd.code)
        foreseen(host.call("upgrade"), odd.code)
        problems = host.call("history", verify=True, effects=True).body["problems"]
        assert any(odd.says in text for text in problems), problems
        assert host.call("history", effects=True).exit_code == 0
    foreseen(host.call("adopt", reconcile=True, yes=True), 0)
    assert host.call("history", verify=True).body["problems"] == []
    for verb, *arguments in (["upgrade"], *LOOKS, ["downgrade", "0001"]):
        foreseen(host.call(verb, *arguments), 0)
    assert host.call("history", effects=True).exit_code == 0


def test_a_document_is_printed_whatever_is_in_the_rows(host: HostFolder) -> None:
    """What is no text is shown as Python writes it: in the document and on the screen."""
    host.sql("UPDATE vv_step SET title = x'ff', host = CAST(x'ff' AS TEXT), notes = '[]'")
    assert host.json("history")["entries"][0]["title"] == r"b'\xff'"
    assert host.json("status")["error"]["type"] == "IntegrityError"
    assert r"\xff" in host.run("history").stdout


def test_effects_of_nobody_are_found_after_an_epoch_too(host: HostFolder) -> None:
    """Those that were there when it began are sealed; another one breaks the seal, and is named."""
    host.sql("INSERT INTO vv_effect VALUES ('nobody', 0, 'x')")
    host.call("adopt", reconcile=True, yes=True)
    host.sql("INSERT INTO vv_effect VALUES ('another', 0, 'x')")
    problems = host.call("history", verify=True).body["problems"]
    assert any("the rows before it" in text for text in problems)
    foreseen(host.call("upgrade"), 7)


def test_a_row_with_the_last_number_is_for_a_person_to_remove(host: HostFolder) -> None:
    """No row could follow it: what helps is named, and helps."""
    columns: list[Any] = [LAST, *"abcdefgh", 0, "", "", "", "", ""]
    host.sql(f"INSERT INTO vv_run VALUES ({', '.join('?' * 15)})", *columns[:11], 0, "", "", "")
    foreseen(host.call("upgrade"), 7)
    report = foreseen(host.call("adopt", reconcile=True, yes=True), 4)
    assert report.error is not None
    statements = str(report.error.hint).split('"')[1].split(";")
    for statement in filter(None, statements):
        host.sql(statement)
    foreseen(host.call("upgrade"), 0)
