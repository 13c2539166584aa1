"""Inputs against revisions: each kind of change is seen, written, applied, covered from then on, and taken back."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import render_op_text
from alembic.operations import ops

from tests.authoring.release import (
    NAME,
    add_directory,
    add_key,
    add_version,
    declare_tables,
    differences,
    edit,
    remove_key,
    rename_key,
    write,
)
from tests.commands.proof import nothing_changes, says
from tests.conftest import HostFolder, copy_release
from vvmigrate.authoring import inputs
from vvmigrate.authoring.checkout import Checkout
from vvmigrate.authoring.declared import newest
from vvmigrate.authoring.writing import rendering
from vvmigrate.operations import (
    ImportProcessedVideos,
    InstallAssets,
    InstallModel,
    MakeDirectories,
    MergeEnv,
    Operation,
    RemoveAssets,
    Revert,
    WriteSignature,
)
from vvmigrate.operations.mend import Mend
from vvmigrate.operations.rendering import literal

Change = Callable[[HostFolder], object]
LOG_LEVEL = "# @sensitive=false @type=enum(DEBUG, INFO, WARNING, ERROR, CRITICAL)\nLOG_LEVEL=INFO"
PICTURE = "fallback/placeholder.png"


def asset(name: str, data: bytes | None) -> Change:
    """Write a file of the release, or remove it."""
    return lambda host: (host.home / name).write_bytes(data) if data is not None else (host.home / name).unlink()


CHANGES: dict[str, tuple[Change, list[str], str]] = {
    "new key": (
        lambda host: add_key(host, "GREETING", "hi"),
        [".env.example: GREETING: new key (default 'hi')"],
        'op.merge_env({"GREETING": "',
    ),
    "new required key": (
        lambda host: add_key(host, "PLACE", above="# @required"),
        [".env.example: PLACE: new key (required)"],
        'op.merge_env({"PLACE": "',
    ),
    "new secret": (
        lambda host: add_key(host, "SECOND_SECRET", above="# @sensitive @generate=hex(16)"),
        [".env.example: SECOND_SECRET: new key (generated on each host)"],
        'op.merge_env({"SECOND_SECRET": "',
    ),
    "new key with a sensitive default": (
        lambda host: add_key(host, "TOKEN", "do-not-show", "# @sensitive"),
        [".env.example: TOKEN: new key (with a default)"],
        'op.merge_env({"TOKEN": "',
    ),
    "other default": (
        lambda host: edit(host.home / ".env.example", "KEY_ID=key-1", "KEY_ID=key-2"),
        [".env.example: KEY_ID: other default; now default 'key-2'"],
        'op.merge_env({"KEY_ID": "',
    ),
    "other demands": (
        lambda host: edit(host.home / ".env.example", LOG_LEVEL, LOG_LEVEL.replace("DEBUG", "TRACE")),
        [".env.example: LOG_LEVEL: other demands (@required, @type and the like); now default 'INFO'"],
        'op.merge_env({"LOG_LEVEL": "',
    ),
    "key gone": (
        lambda host: remove_key(host, "GRAFANA_PORT"),
        [".env.example: GRAFANA_PORT: gone; it becomes a comment on hosts"],
        'op.merge_env(removed=["GRAFANA_PORT"])',
    ),
    "key renamed by the template": (
        lambda host: rename_key(host, "DVR_IP", "DVR_ADDRESS", says=True),
        [".env.example: DVR_ADDRESS: new name of DVR_IP"],
        'renamed={"DVR_IP": "DVR_ADDRESS"}',
    ),
    "new model version": (
        lambda host: add_version(host, "1.10.0", b"ten"),
        [f"model_manifest.json: {NAME} 1.10.0: new version, 1.0.0 before"],
        f'"{NAME}",\n        "1.10.0",\n        sha256={{\n',
    ),
    "other bytes of a version": (
        lambda host: add_version(host, "1.0.0", b"again"),
        [f"model_manifest.json: {NAME} 1.0.0: other bytes or variants"],
        '"1.0.0",\n        sha256={\n',
    ),
    "new asset": (
        asset("fallback/night.png", b"dark"),
        ["fallback/night.png: new asset"],
        'op.install_assets(\n        "fallback",\n        "fallback",\n        {"night.png": "',
    ),
    "changed asset": (asset(PICTURE, b"newer"), ["fallback/placeholder.png: changed asset"], '{"placeholder.png": "'),
    "asset gone": (
        asset(PICTURE, None),
        ["fallback/placeholder.png: gone"],
        'op.remove_assets(\n        "fallback",\n        {"place',
    ),
    "new directory": (
        lambda host: add_directory(host, "faces/known"),
        ["alembic.ini: new directory faces", "alembic.ini: new directory faces/known"],
        'op.make_directories(["faces", "faces/known"])',
    ),
}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> HostFolder:
    """A host at 0006 that every case starts from and comes back to."""
    host = copy_release(tmp_path_factory.mktemp("pristine"))
    host.up(values={"DVR_IP": "192.168.1.20"})
    return host


@pytest.fixture
def settled(pristine: HostFolder) -> Any:
    """The same host; afterwards its release is as it was."""
    before = {
        path: path.read_bytes() for path in pristine.home.rglob("*") if path.is_file() and "logs" not in str(path)
    }
    yield pristine
    for path in pristine.home.rglob("*"):
        if path.is_file() and "logs" not in str(path) and ".vvmigrate" not in str(path) and path not in before:
            path.unlink()
    for path, data in before.items():
        if ".vvmigrate" not in str(path) and path.name != ".env":
            path.write_bytes(data)


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_is_seen_written_applied_covered_and_taken_back(settled: HostFolder, case: str) -> None:
    """The file's comments say what was seen; with it nothing differs any more; the way back is exact."""
    change, seen, operation = CHANGES[case]
    host = settled
    digest, before = host.call("status").body["state_digest"], (host.home / ".env").read_bytes()
    assert differences(host) == []
    change(host)
    assert differences(host) == seen
    source = write(host)
    assert operation in source
    for line in seen:
        assert f"    # {line}\n" in source
    assert "do-not-show" not in source
    assert differences(host) == []
    report = host.up()
    assert [step["result"] for step in report.body["steps"]] == ["applied"]
    assert differences(host) == []
    host.down("0006", no_hold=True)
    assert (host.call("status").body["state_digest"], (host.home / ".env").read_bytes()) == (digest, before)


def test_words_for_people_need_no_revision(host: HostFolder) -> None:
    """A better description, a moved paragraph, a hidden file and an order of JSON keys ask nothing of any host."""
    edit(host.home / ".env.example", "# How much is logged.", "# How much is written to the log.")
    text = (host.home / ".env.example").read_text()
    remove_key(host, "KEY_ID")
    (host.home / ".env.example").write_text((host.home / ".env.example").read_text() + "\n# @public\nKEY_ID=key-1\n")
    assert text != (host.home / ".env.example").read_text()
    manifest = host.home / "model_manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()), sort_keys=True))
    (host.home / "fallback/.gitkeep").touch()
    assert differences(host) == []


def test_what_no_operation_can_do_is_said(host: HostFolder) -> None:
    """A model or a template that is gone cannot be taken from hosts by a revision: the remedy is to put it back."""
    (host.home / "model_manifest.json").write_text('{"manifest_version": 1, "models": {}}')
    (host.home / ".env.example").unlink()
    with nothing_changes(host):
        report = host.call("revision", "next", autogenerate=True)
    assert (report.exit_code, report.body["path"]) == (0, None)
    assert [item["what"] for item in report.body["differences"]] == [f"{NAME} is gone", "is missing"]
    assert all("put it back" in item["remedy"] for item in report.body["differences"])


def test_an_operation_without_pins_covers_nothing(host: HostFolder) -> None:
    """Hosts have what the release held on the day on which they applied it, so a later change needs its revision."""
    add_key(host, "GREETING", "hi")
    host.revision("0007", "op.merge_env()")
    told: list[Any] = []
    report = host.call("revision", "pinned", told=told, autogenerate=True)
    assert [item["name"] for item in report.body["differences"]] == ["GREETING"]
    assert [facts["text"][:21] for event, facts in told if event == "warning"] == ["revision 0007: op.mer"]


def test_names_from_inputs_never_become_code(host: HostFolder) -> None:
    """A file's name and a default with quotes, signs and line ends in them are data in the revision."""
    name = 'it\'s "x" + {y} # \\ é.png'
    (host.home / "fallback" / name).write_bytes(b"odd")
    add_key(host, "GREETING", '\'"""; ${1/0} \\n <%doc> {z}\'')
    source = write(host)
    host.up()
    assert (host.root / "fallback" / name).read_bytes() == b"odd"
    assert source.count("\n    # ") == 2
    (host.home / "fallback" / "two\nlines").write_bytes(b"odd")
    says(host.call("revision", "next", autogenerate=True), 6, "is no name for an asset")


def test_a_difference_says_where_it_stands(host: HostFolder) -> None:
    """File and line, as an editor takes them; what a file as a whole is about stands on its first line."""
    add_key(host, "GREETING", "hi")
    lines = (host.home / ".env.example").read_text().splitlines()
    with Checkout.open(host.home) as checkout:
        (found,) = inputs.uncovered(checkout)
    assert lines[found.line - 1] == "GREETING=hi"
    assert (found.input, found.name, found.remedy) == (
        ".env.example",
        "GREETING",
        "vvmigrate revision -m TEXT --autogenerate",
    )


KINDS = [
    MakeDirectories(("a", "b/c")),
    MakeDirectories(("a",), 0o750),
    InstallModel(NAME, "1.0"),
    InstallModel(NAME, "1.0", (("demo", "0" * 64), ("full", "1" * 64))),
    InstallAssets("fallback", "fallback"),
    InstallAssets("fallback", "fallback", (("a.png", ""), ("b.png", ""))),
    InstallAssets("fallback", "fallback", (("a.png", "0" * 64),)),
    RemoveAssets("fallback", (("a.png", "0" * 64),)),
    MergeEnv(),
    MergeEnv((("A", "1-2"),), ("B",), (("C", "D"),)),
    ImportProcessedVideos("videos"),
    WriteSignature(),
    Revert(),
]


def test_every_operation_is_written_as_it_is_read(bare: HostFolder) -> None:
    """Each kind through Alembic's renderer, then through a revision: the same value; its way back is op.revert()."""
    written = [render_op_text(rendering(), operation) for operation in KINDS]
    bare.revision("0002", "\n".join(written))
    with Checkout.open(bare.home) as checkout, checkout.rehearsed() as line:
        assert [operation for revision, operation in line.operations if revision == "0002"] == KINDS
    assert {type(operation) for operation in KINDS} == set(Operation.__subclasses__()) - {Mend}
    downgrade = ops.UpgradeOps(ops=list(KINDS)).reverse()
    assert {render_op_text(rendering(), operation) for operation in downgrade.ops} == {"op.revert()"}
    assert all(operation.to_diff_tuple()[0] == operation.verb for operation in KINDS)


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (["1.9.0", "1.10.0", "1.2"], "1.10.0"),
        (["2.0", "2.0-rc1"], "2.0"),
        (["1.0", "1.0.1"], "1.0.1"),
        (["v2", "v10"], "v10"),
        (["latest", "1.0"], "1.0"),
        (["2024-05-01", "2024-11-01"], "2024-11-01"),
    ],
)
def test_the_newest_version_is_the_one_with_the_highest_numbers(versions: list[str], expected: str) -> None:
    """Not the last one in a file that a program may have sorted."""
    assert newest(versions) == newest(versions[::-1]) == expected


@pytest.mark.parametrize("value", ['a"b', "a\\b", "two\nlines", "é", "\udcff", ["x" * 70, "y" * 70], {"a": {"b": [1]}}])
def test_what_is_written_means_what_was_meant(value: Any) -> None:
    """Whatever a value is, reading it again gives the same."""
    assert eval(literal(value)) == value


# ---- tables ----------------------------------------------------------------------------------------------------------

COLUMN = '    sa.Column("size_bytes", sa.Integer),\n'
INDEX = '    sa.Index("ix_processed_videos_status", "status"),\n'
TABLE_CHANGES: dict[str, tuple[tuple[tuple[str, str], ...], str, list[str]]] = {
    "new column": (
        ((COLUMN, COLUMN + '    sa.Column("camera", sa.Text, server_default="east"),\n'),),
        "",
        ["new column processed_videos.camera"],
    ),
    "column gone": (((COLUMN, ""),), "", ["column processed_videos.size_bytes: gone; its values are kept"]),
    "other type": (
        ((COLUMN, COLUMN.replace("Integer", "Text")),),
        "",
        ["column processed_videos.size_bytes: other type"],
    ),
    "may not be empty": (
        (('sa.Column("result", sa.String(16))', 'sa.Column("result", sa.String(16), nullable=False)'),),
        "",
        ["column stage_runs.result: may not be empty"],
    ),
    "new index": (
        ((INDEX, INDEX + '    sa.Index("ix_name", "file_name"),\n'),),
        "",
        ["new index processed_videos.ix_name"],
    ),
    "new table": (
        (),
        'cameras = sa.Table("cameras", metadata, sa.Column("id", sa.Integer, primary_key=True))\n',
        ["new table cameras"],
    ),
}


def shape(host: HostFolder) -> dict[str, Any]:
    """Tables with their columns in the order of their names, and indexes; not what was kept."""
    tables = host.sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'vv_%'")
    columns = {name: sorted(row[1:] for row in host.sql(f"PRAGMA table_xinfo({name})")) for (name,) in tables}
    indexes = host.sql("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index' AND name LIKE 'ix_%' ORDER BY 1")
    return {**columns, "indexes": indexes}


@pytest.mark.parametrize("case", TABLE_CHANGES)
def test_a_change_of_tables_goes_there_and_back_with_its_rows(settled: HostFolder, case: str) -> None:
    """Alembic's comparison, written as a revision that keeps rows both ways; our own tables are not spoken of."""
    changes, more, seen = TABLE_CHANGES[case]
    host = settled
    declare_tables(host)
    assert differences(host) == []
    host.sql("INSERT OR IGNORE INTO processed_videos VALUES ('a', 'a.mp4', 7, 'done', 'now', NULL, NULL)")
    host.sql("INSERT OR IGNORE INTO stage_runs VALUES (1, 'a', 'scan', 'now', NULL, 'good', NULL)")
    before, rows = shape(host), host.sql("SELECT sha256, size_bytes, status FROM processed_videos")
    declare_tables(host, *changes, more=more)
    assert differences(host) == [f"orchestrator/tables.py: {line}" for line in seen]
    source = write(host)
    assert all(f"    # orchestrator/tables.py: {line}\n" in source for line in seen)
    assert "vv_" not in source.replace("vvmigrate", "")
    assert differences(host) == []
    host.up()
    assert shape(host) != before
    host.down("0006", no_hold=True)
    assert (shape(host), host.sql("SELECT sha256, size_bytes, status FROM processed_videos")) == (before, rows)


RICH = """    sa.Column("a", sa.Integer, server_default="0", nullable=False),
    sa.Column("b", sa.DateTime, server_default=sa.func.now()),
    sa.Column("c", sa.Boolean, server_default=sa.false(), nullable=False),
    sa.Column("d", sa.Numeric(10, 2), unique=True),
    sa.Column("e", sa.JSON, index=True),
    sa.Column("f", sa.Enum("x", "y", name="letters")),
    sa.Column("g", sa.Integer, sa.ForeignKey("cameras.id")),
"""
CAMERAS = """
cameras = sa.Table(
    "cameras", metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.Text, unique=True),
    sa.Column("weight", sa.Float, sa.CheckConstraint("weight > 0", name="positive")),
    sa.UniqueConstraint("name", "weight", name="pairs"),
    sa.Index("ix_some", "name", unique=True, sqlite_where=sa.text("weight IS NOT NULL")),
)
"""


def test_columns_of_every_sort_can_be_taken_back(settled: HostFolder) -> None:
    """Defaults, unique and foreign keys: a constraint without a name is given one, or it could not be dropped."""
    host = settled
    declare_tables(host)
    host.sql("INSERT OR IGNORE INTO processed_videos VALUES ('a', 'a.mp4', 7, 'done', 'now', NULL, NULL)")
    before = shape(host)
    declare_tables(host, (COLUMN, COLUMN + RICH), more=CAMERAS)
    source = write(host)
    assert differences(host) == []
    assert "'uq_processed_videos_d'" in source
    assert "'fk_processed_videos_g'" in source
    host.up()
    assert host.sql("SELECT a, c FROM processed_videos") == [(0, 0)]
    host.down("0006", no_hold=True)
    assert shape(host) == before


def test_a_constraint_without_a_name_that_goes_is_advice(host: HostFolder) -> None:
    """Alembic cannot drop it: the author is told, before anybody applies it."""
    declare_tables(host, (', sa.ForeignKey("processed_videos.sha256")', ""))
    report = host.call("revision", "next", autogenerate=True)
    assert (report.exit_code, report.error) == (0, None)
    assert ["has no name" in text for text in report.body["advice"]] == [True]


def test_what_alembic_cannot_know_is_advice(host: HostFolder) -> None:
    """Rows that are there need a default; a column that is gone beside a new one may only have a new name."""
    declare_tables(host, (COLUMN, '    sa.Column("size", sa.Integer, nullable=False),\n'))
    report = host.call("revision", "next", autogenerate=True)
    texts = report.body["advice"]
    assert [text.split(" ")[0] for text in texts] == ["processed_videos.size", "processed_videos.size_bytes:"]
    source = Path(report.body["path"]).read_text()
    assert all(f"    # {text}\n" in source for text in texts)


def test_a_type_of_the_orchestrators_own_becomes_what_it_is_in_the_database(host: HostFolder) -> None:
    """A revision imports nothing of the orchestrator's, which may be another one when it is applied."""
    own = "class Path(sa.types.TypeDecorator):\n    impl = sa.String(80)\n    cache_ok = True\n\nmetadata = sa.Meta"
    declare_tables(host, ("metadata = sa.Meta", own), (COLUMN, COLUMN + '    sa.Column("path", Path()),\n'))
    source = write(host)
    assert "sa.Column('path', sa.String(length=80)" in source
    assert "orchestrator." not in source
    host.up()


def test_to_look_at_tables_leaves_no_trace(host: HostFolder) -> None:
    """No bytecode is written, and the process does not know the module afterwards: two releases can be compared."""
    declare_tables(host)
    with nothing_changes(host):
        assert differences(host) == []
    assert not [name for name in sys.modules if name.split(".")[0] == "orchestrator"]
    assert str(host.home) not in sys.path


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ("no_such:metadata", "no_such"),
        ("orchestrator.tables:no_such", "no_such"),
        ("orchestrator.tables", "cannot be imported"),
        ("orchestrator.tables:videos", "expected SQLAlchemy's MetaData, found Table"),
        (":", "cannot be imported"),
    ],
)
def test_metadata_that_is_none_is_refused(host: HostFolder, setting: str, word: str) -> None:
    """The error names the setting, and shows how it is written."""
    declare_tables(host)
    edit(host.home / "alembic.ini", "orchestrator.tables:metadata\ndir", f"{setting}\ndir")
    says(host.call("revision", "next", autogenerate=True), 6, word, hint="module:attribute")


def test_root_imports_no_tables_that_others_may_have_written(host: HostFolder) -> None:
    """As for revisions: what is imported runs as whoever calls."""
    if os.geteuid() != 0:
        pytest.skip("only root is protected from others")
    declare_tables(host)
    (host.home / "orchestrator/tables.py").chmod(0o666)
    says(host.call("revision", "next", autogenerate=True), 6, "orchestrator/tables.py: root runs nothing from here")


def test_a_new_column_that_may_not_be_empty_fails_only_where_there_are_rows(host: HostFolder) -> None:
    """Why the advice is given: the step fails, and is undone."""
    declare_tables(host, (COLUMN, COLUMN + '    sa.Column("camera", sa.Text, nullable=False),\n'))
    host.up()
    host.sql("INSERT INTO processed_videos VALUES ('a', 'a.mp4', 7, 'done', 'now', NULL, NULL)")
    write(host)
    assert host.call("upgrade").exit_code == 1
    assert host.version() == "0006"
    assert sqlite3.connect(host.database).execute("SELECT count(*) FROM processed_videos").fetchone() == (1,)
