"""Back with the old package, offline: what a release brought is taken back although its files are gone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.commands.proof import nothing_changes, says
from tests.conftest import HostFolder

HELPER = "words_of_1_1"
"""A module that release 1.1 brings, and that its revision imports."""

HELPS = "import sqlalchemy as sa\nclass Word(sa.types.TypeDecorator):\n    impl = sa.String(40)\n    cache_ok = True\n"

RELEASE_1_0 = """op.make_directories(['first'])
op.create_table('videos', sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.Text, nullable=False),
                sa.Column('size', sa.Integer))
op.create_index('ix_size', 'videos', ['size'])
op.create_table('old', sa.Column('id', sa.Integer, primary_key=True), sa.Column('word', sa.Text))"""


def ship(host: HostFolder, up: str, down: str) -> None:
    """Bring release 1.1 into the home: a revision, and the module that it imports."""
    (host.home / f"{HELPER}.py").write_text(HELPS)
    host.revision("0003", up, down, imports=f"from {HELPER} import Word")


def roll_back(host: HostFolder) -> None:
    """The checkout is release 1.0's again."""
    (host.home / "migrations/versions/0003_test.py").unlink()
    (host.home / f"{HELPER}.py").unlink()
    shutil.rmtree(host.home / "__pycache__", ignore_errors=True)
    sys.modules.pop(HELPER, None)


def data(host: HostFolder) -> dict[str, list[tuple[Any, ...]]]:
    """Schema and rows of the orchestrator's tables."""
    what = "name, type, replace(sql, '\"', '')"
    mine = f"SELECT {what} FROM sqlite_master WHERE substr(tbl_name, 1, 3) != 'vv_' ORDER BY name"
    schema = host.sql(mine)
    return {"": schema} | {name: host.sql(f"SELECT * FROM {name}") for name, kind, _ in schema if kind == "table"}


@pytest.fixture
def host_1_0(bare: HostFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostFolder]:
    """A host of release 1.0, with rows in its tables; 1.1's module can be imported once it is there."""
    monkeypatch.syspath_prepend(str(bare.home))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    bare.revision("0002", RELEASE_1_0, "op.drop_table('old')\nop.drop_table('videos')\nop.revert()")
    bare.up()
    for number in range(3):
        bare.sql("INSERT INTO videos VALUES (?, ?, ?)", number, f"v{number}.mp4", number * 10)
        bare.sql("INSERT INTO old VALUES (?, ?)", number, f"word {number}")
    yield bare
    sys.modules.pop(HELPER, None)


# ---- the record does what the source does ----------------------------------------------------------------------------

WORD = "sa.Column('id', sa.Integer, primary_key=True), sa.Column('word', Word(), index=True)"
WAYS: list[Any] = [
    pytest.param("op.make_directories(['second'])", "op.revert()", id="files-only"),
    pytest.param(f"op.create_table('words', {WORD})", "op.drop_table('words')\nop.revert()", id="table-made"),
    pytest.param("op.drop_table('old')", f"op.create_table('old', {WORD})", id="table-dropped"),
    pytest.param(
        "op.add_column('videos', sa.Column('mood', Word(), server_default='calm'))",
        "op.drop_column('videos', 'mood')",
        id="column-added",
    ),
    pytest.param(
        "op.drop_index('ix_size')\nop.drop_column('videos', 'size')",
        "op.add_column('videos', sa.Column('size', sa.Integer, server_default='7'))\n"
        "op.create_index('ix_size', 'videos', ['size'], unique=False)",
        id="column-dropped",
    ),
    pytest.param(
        "with op.batch_alter_table('videos') as b:\n    b.drop_column('name')\n"
        "    b.add_column(sa.Column('x', Word()))",
        "with op.batch_alter_table('videos') as b:\n    b.drop_column('x')\n"
        "    b.add_column(sa.Column('name', Word(), nullable=False, server_default=''))",
        id="table-rebuilt",
    ),
    pytest.param(
        "with op.batch_alter_table('videos') as b:\n    b.alter_column('name', new_column_name='title', type_=Word())",
        "with op.batch_alter_table('videos') as b:\n    b.alter_column('title', new_column_name='name', type_=sa.Text)",
        id="column-renamed",
    ),
    pytest.param("op.rename_table('old', 'older')", "op.rename_table('older', 'old')", id="table-renamed"),
    pytest.param(
        "op.execute(\"UPDATE videos SET name = 'new ' || name\")",
        "op.execute('UPDATE videos SET name = substr(name, 5)')\n"
        "op.execute(sa.text('INSERT INTO old VALUES (:id, :word)').bindparams(id=9, word='a \\'b\\' :c %d'))\n"
        "op.get_bind().execute(sa.text('UPDATE old SET word = :w WHERE id = 9'), {'w': b'\\x00\\xff'})\n"
        "op.get_bind().exec_driver_sql('INSERT INTO old VALUES (:id, :word)', {'id': 10, 'word': 'by name'})\n"
        "old = sa.table('old', sa.column('id'), sa.column('word'))\n"
        "op.bulk_insert(old, [{'id': 11, 'word': 'x'}, {'id': 12, 'word': None}])",
        id="rows",
    ),
]


@pytest.mark.parametrize(("up", "down"), WAYS)
def test_the_record_leaves_what_the_source_leaves(host_1_0: HostFolder, up: str, down: str) -> None:
    """The same revision taken back twice, by its source and by its record: same files, same schema, same rows."""
    host = host_1_0
    before = host.tree()
    ship(host, up, down)
    assert [step["warnings"] for step in host.up().body["steps"]] == [[]]
    host.down("-1", no_hold=True)
    by_source = data(host)
    host.sql("DELETE FROM old WHERE id > 3")
    host.up()
    roll_back(host)
    report = host.down("head")
    assert any(HELPER in text for text in report.body["steps"][0]["warnings"])
    assert (host.tree(), data(host)) == (before, by_source)
    assert host.up().body["steps"] == []


BAD = "op.make_directories(['second'])\nop.drop_column('videos', 'size')\nop.create_table('words', " + WORD + ")"
BAD_BACK = "op.drop_table('words')\nop.add_column('videos', sa.Column('size', sa.Integer))\nop.revert()"


@pytest.fixture
def ahead(host_1_0: HostFolder) -> HostFolder:
    """A host at 1.1, on which the orchestrator has worked, and whose package is 1.0 again."""
    host_1_0.sql("DROP INDEX ix_size")
    ship(host_1_0, BAD, BAD_BACK)
    host_1_0.up()
    host_1_0.sql("INSERT INTO words VALUES (1, 'a word of 1.1')")
    host_1_0.sql("INSERT INTO videos (id, name) VALUES (9, 'of 1.1')")
    roll_back(host_1_0)
    return host_1_0


OFFLINE = ("unshare", "--net", "--")


@pytest.mark.parametrize("way", ["downgrade head", "downgrade -1", "alembic downgrade -1"])
def test_the_drill_of_a_bad_release(host_1_0: HostFolder, root_only: None, way: str) -> None:
    """Checkout rolled back, network cut, one command: every file, mode, table and old row as before 1.1 came.

    What the orchestrator wrote meanwhile stays; the old package then has nothing to do.
    """
    host = host_1_0
    host.sql("DROP INDEX ix_size")
    before, rows = host.tree(), data(host)
    ship(host, BAD, BAD_BACK)
    host.up()
    host.sql("INSERT INTO videos (id, name) VALUES (9, 'of 1.1')")
    roll_back(host)
    command = [sys.executable, "-m", *way.split()] if "alembic" in way else host.command(*way.split())
    done = subprocess.run(
        [*OFFLINE, *command], cwd=host.home, env=host.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows["videos"].append((9, "of 1.1", None))
    assert (host.tree(), data(host)["videos"], data(host)["old"]) == (before, rows["videos"], rows["old"])
    again = host.up()
    assert (again.body["steps"], again.body["to"]) == ([], "0002")


def test_what_was_kept_on_the_way_back_returns_with_the_release(ahead: HostFolder) -> None:
    """Rows of a table that the record dropped are there again when 1.1 is installed again."""
    ahead.down("head")
    assert ahead.sql("SELECT count(*) FROM sqlite_master WHERE name = 'words'") == [(0,)]
    ship(ahead, BAD, BAD_BACK)
    ahead.up(release_hold=True)
    assert ahead.sql("SELECT * FROM words") == [(1, "a word of 1.1")]


# ---- the other commands ----------------------------------------------------------------------------------------------


def test_looking_needs_no_source_that_imports(ahead: HostFolder) -> None:
    """Where it stands, what was done, and what the revision says are shown all the same."""
    with nothing_changes(ahead):
        says(ahead.call("status"), 4, "0003", hint="vvmigrate downgrade head")
        assert ahead.call("current").body["revision"] == "0003"
        assert ahead.call("show", "0003").body["title"] == "Test revision 0003"
        assert HELPER in ahead.call("show", "0003").body["source"]
        assert ahead.call("history").body["entries"][0]["revision"] == "0003"
        assert ahead.call("verify").body["drift"] == []
        plan = ahead.call("plan down", "head")
    assert (plan.exit_code, [step["revision"] for step in plan.body["steps"]]) == (3, ["0003"])


def test_a_later_package_goes_on_although_an_older_source_does_not_import(ahead: HostFolder) -> None:
    """1.2 has no such module either, and mended the revision: it is upgraded to as ever."""
    ahead.revision("0003", "pass")
    ahead.revision("0004", "op.make_directories(['third'])")
    ahead.up()
    assert (ahead.version(), (ahead.root / "third").is_dir()) == ("0004", True)
    ahead.down("0002")
    assert not (ahead.root / "second").exists()


@pytest.mark.parametrize("decision", ["rekey", "reconcile"])
def test_a_revision_that_was_only_taken_over_has_its_record_too(host_1_0: HostFolder, decision: str) -> None:
    """A new epoch learns each way back and release anew: the host goes back without 1.1's files all the same."""
    host = host_1_0
    up, down = f"op.create_table('words', {WORD})", "op.drop_table('words')"
    host.revision("0003", up, down, imports=f"from {HELPER} import Word\nrelease = '1.1'")
    (host.home / f"{HELPER}.py").write_text(HELPS)
    host.up()
    if decision == "rekey":
        (host.root / ".vvmigrate/key").unlink()
    else:
        host.sql("UPDATE vv_step SET user = 'eve' WHERE seq = 1")
    adopted = host.call("adopt", yes=True, **{decision: True})
    assert (adopted.exit_code, adopted.error, adopted.body["left"]) == (0, None, [])
    assert [step["warnings"] for step in adopted.body["steps"]] == [[], [], []]
    assert host.call("history").body["entries"][0]["release"] == "1.1"
    roll_back(host)
    host.down("head")
    assert (host.version(), host.sql("SELECT name FROM sqlite_master WHERE name = 'words'")) == ("0002", [])


# ---- what cannot be recorded, and what was forged --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("down", "why"),
    [
        pytest.param("op.get_bind().execute(sa.text('SELECT * FROM videos')).all()", "rows", id="reads-rows"),
        pytest.param("raise NotImplementedError('never')", "never", id="raises"),
        pytest.param("op.execute('DROP TABLE old')", "op.drop_table", id="may-not"),
    ],
)
def test_a_way_back_that_cannot_be_recorded_is_told_of_in_time(host_1_0: HostFolder, down: str, why: str) -> None:
    """Plan and upgrade warn of it; without the source the downgrade is refused, exit 6, with both reasons."""
    host = host_1_0
    ship(host, "op.make_directories(['second'])", down)
    for report in (host.call("plan"), host.up()):
        [warning] = report.body["steps"][0]["warnings"]
        assert "way back is not recorded" in warning
        assert why in warning
    roll_back(host)
    with nothing_changes(host):
        says(host.call("downgrade", "head"), 6, HELPER, "was not recorded", hint="install the release")


def test_a_way_back_that_cannot_be_recorded_is_told_of_by_adopt(host_1_0: HostFolder) -> None:
    """Who takes a revision over learns it as who applies it does."""
    host_1_0.revision("0003", "op.make_directories(['first'])", "raise NotImplementedError('never')")
    [step] = host_1_0.call("adopt").body["steps"]
    assert step["result"] == "adopted"
    assert any("way back is not recorded" in warning for warning in step["warnings"])


def test_an_import_inside_downgrade_is_no_obstacle_either(host_1_0: HostFolder) -> None:
    """Imports that only run on the way back are met by the record too."""
    (host_1_0.home / f"{HELPER}.py").write_text(HELPS)
    host_1_0.revision("0003", "op.make_directories(['second'])", f"from {HELPER} import Word\nop.revert()")
    host_1_0.up()
    roll_back(host_1_0)
    host_1_0.down("-1")
    assert (host_1_0.version(), (host_1_0.root / "second").exists()) == ("0002", False)


@pytest.mark.parametrize("how", ["edited", "missing"])
def test_a_record_that_was_tampered_with_is_not_believed(ahead: HostFolder, how: str) -> None:
    """What is not what the history's hash says is refused with exit 7, and nothing is changed."""
    [record] = [p for p in (ahead.root / ".vvmigrate/sources").glob("*.back.json") if "words" in p.read_text()]
    assert record.stat().st_mode & 0o777 == 0o600
    if how == "edited":
        record.write_text(record.read_text().replace("words", "videos"))
    else:
        record.unlink()
    with nothing_changes(ahead):
        says(ahead.call("downgrade", "head"), 7, "recorded way back")
    assert ahead.call("history").exit_code == 0


def test_a_row_that_names_another_record_is_not_believed(ahead: HostFolder) -> None:
    """The row's notes are part of the chain: another record of the host's own cannot be put in its place."""
    [(notes,)] = ahead.sql("SELECT notes FROM vv_step WHERE revision = '0002'")
    other = json.loads(notes)["way_back"]
    [(mine,)] = ahead.sql("SELECT notes FROM vv_step WHERE revision = '0003'")
    changed = json.dumps(json.loads(mine) | {"way_back": other})
    ahead.sql("UPDATE vv_step SET notes = ? WHERE revision = '0003'", changed)
    says(ahead.call("downgrade", "head"), 7, "does not verify")
    assert ahead.sql("SELECT count(*) FROM words") == [(1,)]


def test_a_table_that_the_orchestrator_changed_is_not_rebuilt_from_the_record(host_1_0: HostFolder) -> None:
    """A column that the record does not know would be lost: the step fails, and says which table it is."""
    host = host_1_0
    batch = "with op.batch_alter_table('videos') as b:\n    "
    ship(host, batch + "b.add_column(sa.Column('x', Word()))\n    b.drop_column('size')",
         batch + "b.drop_column('x')\n    b.add_column(sa.Column('size', sa.Integer))")  # fmt: skip
    host.sql("DROP INDEX ix_size")
    host.up()
    host.sql("ALTER TABLE videos ADD COLUMN theirs TEXT")
    roll_back(host)
    says(host.call("downgrade", "head"), 1, "videos", "theirs")
    assert host.sql("SELECT count(theirs) FROM videos") == [(0,)]


@pytest.mark.parametrize("lost", ["migrations/versions", "migrations"])
def test_a_release_without_a_revision_is_none_to_go_back_to(bare: HostFolder, lost: str) -> None:
    """It was not unpacked whole: what looks says so, and the head that it has not is never base."""
    bare.up()
    (bare.home / lost).rename(bare.home / "lost")
    with nothing_changes(bare):
        assert bare.call("status").exit_code == 4
        [finding] = bare.call("doctor").body["findings"]
        assert finding["remedy"].startswith("install the release again")
        assert bare.call("verify").exit_code == 0
    says(bare.call("downgrade", "head"), 4 if lost.endswith("versions") else 6, hint="install the release again")
    assert (bare.root / "input").is_dir()
