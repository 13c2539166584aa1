"""`history --verify` finds every way in which the history could be made to lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands.proof import nothing_changes
from tests.conftest import HostFolder
from vvmigrate.engine.chain import canonical


@pytest.fixture
def lived(bare: HostFolder) -> HostFolder:
    """A host with something to tell: up, back, up again, and at its head."""
    bare.revision("0002", 'op.make_directories(["second"])')
    bare.revision("0003", 'op.create_table("plates", sa.Column("id", sa.Integer))')
    bare.up()
    bare.down("0002")
    bare.up(release_hold=True)
    return bare


def problems(host: HostFolder) -> list[str]:
    report = host.call("history", verify=True)
    found: list[str] = report.body["problems"]
    assert report.exit_code == (7 if found else 0)
    assert (report.error is not None) == bool(found)
    return found


def row(host: HostFolder, where: str) -> dict[str, Any]:
    names = [column[1] for column in host.sql("PRAGMA table_info(vv_step)")]
    return dict(zip(names, host.sql(f"SELECT * FROM vv_step WHERE {where}")[0], strict=True))


def insert(host: HostFolder, values: dict[str, Any]) -> None:
    marks = ", ".join("?" * len(values))
    host.sql(f"INSERT INTO vv_step ({', '.join(values)}) VALUES ({marks})", *values.values())


def last_seq(host: HostFolder) -> int:
    tables = ("vv_run", "vv_step", "vv_hold")
    return max(int(host.sql(f"SELECT coalesce(max(seq), 0) FROM {table}")[0][0]) for table in tables)


# ---- tampering -------------------------------------------------------------------------------------------------------


def swap(host: HostFolder) -> None:
    """Two rows change their numbers; each stays as it was in everything else."""
    one, other = (int(host.sql("SELECT seq FROM vv_step WHERE revision = ?", r)[0][0]) for r in ("0001", "0002"))
    for old, new in ((one, -1), (other, one), (-1, other)):
        host.sql("UPDATE vv_step SET seq = ? WHERE seq = ?", new, old)


def forge(host: HostFolder) -> None:
    """A row of somebody else's making at the end, as right as can be made without the key."""
    end = last_seq(host)
    values = row(host, "revision = '0002'") | {"seq": end + 1, "step_id": "f" * 32, "user": "nobody"}
    last = max(
        host.sql("SELECT seq, hash FROM vv_step UNION SELECT seq, hash FROM vv_run UNION SELECT seq, hash FROM vv_hold")
    )
    values["previous_hash"] = last[1]
    text = canonical(["vv_step", {name: value for name, value in values.items() if name != "hash"}])
    insert(host, values | {"hash": hashlib.sha256(text).hexdigest()})


def replay(host: HostFolder) -> None:
    """An old genuine row once more, with a number of its own."""
    insert(
        host, row(host, "revision = '0003' AND direction = 'down'") | {"seq": last_seq(host) + 1, "step_id": "f" * 32}
    )


def replace_by_an_older_one(host: HostFolder) -> None:
    """An old genuine row in the place of a newer one: the way back in the place of the way up again."""
    old = row(host, "revision = '0003' AND direction = 'down'")
    new = int(host.sql("SELECT max(seq) FROM vv_step")[0][0])
    names = [name for name in old if name not in ("seq", "step_id")]
    assignments = ", ".join(f"{name} = ?" for name in names)
    host.sql(f"UPDATE vv_step SET {assignments} WHERE seq = ?", *(old[name] for name in names), new)


def cut_the_tail(host: HostFolder) -> None:
    """The last rows are gone, and the version row was put to what is left: the chain itself holds."""
    keep = int(host.sql("SELECT seq FROM vv_step WHERE direction = 'down'")[0][0])
    for table in ("vv_run", "vv_step", "vv_hold"):
        host.sql(f"DELETE FROM {table} WHERE seq > ?", keep)
    host.sql("UPDATE vv_version SET version_num = '0002'")


def cut_the_tail_and_lose_the_anchor(host: HostFolder) -> None:
    """The same, and what would tell of it is gone."""
    cut_the_tail(host)
    host.sql("DELETE FROM vv_effect WHERE step_id NOT IN (SELECT step_id FROM vv_step)")
    (host.root / ".vvmigrate/anchor").unlink()


def move_an_effect(host: HostFolder) -> None:
    host.sql("UPDATE vv_effect SET n = n + 100 WHERE n = 0 AND step_id IN (SELECT step_id FROM vv_step WHERE seq = 1)")


def sources(host: HostFolder) -> list[Path]:
    return sorted((host.root / ".vvmigrate/sources").iterdir())


def edit_effect(host: HostFolder) -> None:
    (text,) = host.sql("SELECT effect FROM vv_effect LIMIT 1")[0]
    host.sql("UPDATE vv_effect SET effect = ? WHERE effect = ?", json.dumps(json.loads(text) | {"detail": "x"}), text)


VERSIONS = "migrations/versions"
TAMPERING: dict[str, tuple[Callable[[HostFolder], object], str]] = {
    "an edited row": (lambda h: h.sql("UPDATE vv_step SET user = 'me' WHERE revision = '0002'"), "was changed after"),
    "an edited run": (lambda h: h.sql("UPDATE vv_run SET exit_code = 0, arguments = '[]'"), "was changed after"),
    "an edited hold": (lambda h: h.sql("UPDATE vv_hold SET reason = 'none' "), "was changed after"),
    "an edited effect": (edit_effect, "effects recorded for it were changed"),
    "a moved effect": (move_an_effect, "effects recorded for it were changed"),
    "a removed effect": (lambda h: h.sql("DELETE FROM vv_effect WHERE n = 0"), "effects recorded for it were changed"),
    "a removed row": (lambda h: h.sql("DELETE FROM vv_step WHERE revision = '0002'"), "removed or inserted"),
    "a removed first row": (lambda h: h.sql("DELETE FROM vv_step WHERE seq = 1"), "expected number 1"),
    "rows in another order": (swap, "does not follow the row before it"),
    "an inserted row": (forge, "was changed after it was written"),
    "a replayed row": (replay, "does not follow the row before it"),
    "an older row in a newer one's place": (replace_by_an_older_one, "does not follow the row before it"),
    "a truncated tail": (cut_the_tail, "rows at its end were removed"),
    "a truncated tail without an anchor": (cut_the_tail_and_lose_the_anchor, "the anchor is missing"),
    "no anchor": (lambda h: (h.root / ".vvmigrate/anchor").unlink(), "the anchor is missing"),
    "an anchor that is none": (lambda h: (h.root / ".vvmigrate/anchor").write_text("{}"), "holds something else"),
    "no rows at all": (lambda h: [h.sql(f"DELETE FROM {t}") for t in ("vv_run", "vv_step", "vv_hold")], "found 0"),
    "a moved version": (lambda h: h.sql("UPDATE vv_version SET version_num = '0001'"), "the version row says 0001"),
    "an edited revision": (lambda h: h.revision("0002", 'op.make_directories(["2nd"])'), "changed since it ran"),
    "a revision that is no Python": (lambda h: (h.home / VERSIONS / "0002_test.py").write_text(")"), "is not Python"),
    "a changed source": (lambda h: sources(h)[0].write_text("pass"), "gone or was changed"),
    "a source that is gone": (lambda h: sources(h)[0].unlink(), "gone or was changed"),
}  # fmt: skip


def test_a_history_that_is_true_verifies(lived: HostFolder) -> None:
    """After attempts of every kind: no problem, exit 0; and who looks is told that it was looked at."""
    assert problems(lived) == []
    assert "the history holds" in lived.run("history", "--verify").stdout


FOR_A_PERSON = (
    *("a truncated tail", "a truncated tail without an anchor", "no anchor", "an anchor that is none"),
    *("no rows at all", "a moved version"),
)
"""What looks like a database of another day: doctor names `adopt --reconcile`, with the contract's exit code for it."""


@pytest.mark.parametrize("how", TAMPERING)
def test_a_history_that_was_tampered_with_is_found(lived: HostFolder, how: str) -> None:
    """Exit 7, with a sentence that says what; looking changes nothing and runs nothing; doctor says it too."""
    act, words = TAMPERING[how]
    act(lived)
    with nothing_changes(lived):
        found = problems(lived)
        assert any(words in text for text in found), found
        assert lived.call("doctor").exit_code == (4 if how in FOR_A_PERSON else 7)


def test_an_older_package_and_a_new_revision_are_no_finding(lived: HostFolder) -> None:
    """What the release does not have any more, or what was not applied yet, contradicts nothing."""
    (lived.home / VERSIONS / "0003_test.py").rename(lived.home.parent / "away")
    assert problems(lived) == []
    (lived.home.parent / "away").rename(lived.home / VERSIONS / "0003_test.py")
    lived.revision("0004", "pass").write_text(")")
    assert problems(lived) == []


def test_a_revision_that_was_taken_back_may_be_changed(lived: HostFolder) -> None:
    """A release mends it and applies it again: only what is applied must be what ran."""
    lived.down("0002")
    lived.revision("0003", 'op.create_table("better", sa.Column("id", sa.Integer))')
    assert problems(lived) == []
    lived.up()
    assert problems(lived) == []


@pytest.mark.parametrize("ending", [".back.json", ".txt"])
def test_what_was_stored_beside_the_sources_is_looked_at(host: HostFolder, ending: str) -> None:
    """The recorded way back, and the template that `.env` was merged with: changed or gone, each is found."""
    host.up("0005")
    assert problems(host) == []
    stored = [path for path in sources(host) if path.name.endswith(ending)]
    stored[0].write_text("other")
    assert any(stored[0].name in text for text in problems(host))
    for path in stored:
        path.unlink()
    assert sum("is gone or was changed" in text for text in problems(host)) == len(stored)
    assert host.call("doctor").exit_code == 7


# ---- what it does not need -------------------------------------------------------------------------------------------

OF_NO_USE: dict[str, Callable[[HostFolder], object]] = {
    "a file of keys that names nobody": lambda host: host.environ.update(VV_TRUSTED_KEYS="/dev/null"),
    "an alembic.ini that cannot be parsed": lambda host: (host.home / "alembic.ini").write_text("[vvmigrate\n"),
    "a setting that is none": lambda host: (host.home / "alembic.ini").write_text("[vvmigrate]\nkeep_releases = x\n"),
    "a user that does not exist": lambda host: host.environ.update(VV_APP_USER="no-such-user"),
    "an .env that is none": lambda host: (host.home / ".env").write_text('A="\n'),
    "revisions that are none": lambda host: (host.home / "migrations/versions/0004_x.py").write_text("("),
}


@pytest.mark.parametrize("what", OF_NO_USE)
def test_history_needs_nothing_but_the_ledger(lived: HostFolder, what: str) -> None:
    """Whatever is wrong with the release or its settings, what was done on this host can be read."""
    before = lived.history()
    OF_NO_USE[what](lived)
    assert lived.history() == before
    assert lived.call("history").exit_code == 0
