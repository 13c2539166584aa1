"""A database may hold tables that no revision made, an older system's or the orchestrator's: nothing stumbles there."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.commands.models import DATA, NAME, NEWER, current, release
from tests.commands.plans import kept, same_end, statements
from tests.commands.proof import says
from tests.conftest import HostFolder
from tests.content.fault_server import FaultServer, good, status

WITHOUT_MODULE = (
    "INSERT INTO sqlite_master VALUES ('table', 'places', 'places', 0, 'CREATE VIRTUAL TABLE places USING nowhere(x)')"
)


def written_into_the_schema(host: HostFolder, statement: str) -> None:
    """What SQLite itself would not make here."""
    with closing(sqlite3.connect(host.database)) as connection, connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(statement)


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "SQLite before 3.37"])
def test_virtual_tables_hold_nothing_up(bare: HostFolder, monkeypatch: pytest.MonkeyPatch, listed: bool) -> None:
    """Full-text search, and a table of a module that is not here: every verb that rehearses goes on."""
    bare.up()
    bare.sql("CREATE VIRTUAL TABLE words USING fts5(word)")
    bare.sql("INSERT INTO words VALUES ('found')")
    bare.sql("VACUUM")  # puts what virtual tables keep their rows in before them
    written_into_the_schema(bare, WITHOUT_MODULE)
    if not listed:
        monkeypatch.setattr("vvmigrate.engine.rehearsal._LIST", "PRAGMA no_such_pragma")
    bare.revision("0002", "op.create_table('t', sa.Column('id', sa.Integer))", "op.drop_table('t')")
    plan = bare.call("plan")
    assert (plan.exit_code, plan.error) == (3, None)
    bare.up()
    bare.down("0001", no_hold=True)
    bare.up()
    assert bare.sql("SELECT word FROM words WHERE words MATCH 'found'") == [("found",)]


def older_system(host: HostFolder, *statements: str) -> None:
    """A database that was there before the first revision."""
    host.database.parent.mkdir(parents=True)
    with closing(sqlite3.connect(host.database)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def upon(bare: HostFolder, server: FaultServer) -> HostFolder:
    """A host whose revisions alter `cameras`, which an older system made; it lacks an optional model."""
    older_system(bare, "CREATE TABLE cameras (name TEXT)")
    release(bare, "2.0.0", DATA, server.url("/model", status("404 Not Found")), required=False)
    release(bare, "2.0.0", NEWER, server.url("/small", good(NEWER)), variant="small")
    alters = "op.add_column('cameras', sa.Column('place', sa.Text))\nop.drop_column('cameras', 'name')"
    rows = "op.bulk_insert(sa.table('cameras', sa.column('place')), [{'place': 'door'}, {'place': 'yard'}])"
    reads = "op.get_bind().execute(sa.text('SELECT place FROM cameras')).fetchall()"
    bare.revision("0002", f"{alters}\n{rows}\n{reads}")
    bare.revision("0003", f'op.merge_env()\nop.install_model("{NAME}", "2.0.0")')
    bare.up(values={"DVR_IP": "192.168.1.20"})
    return bare


REBUILDS = """
with op.batch_alter_table('cameras', recreate={how!r}) as batch:
    batch.alter_column('place', server_default='x')
    batch.add_column(sa.Column('room', sa.Text))
    batch.create_index('by_room', ['room'])
"""


@pytest.mark.parametrize("how", ["auto", "always", "copied", "never"])
def test_what_is_done_again_does_not_rebuild_an_older_table(upon: HostFolder, server: FaultServer, how: str) -> None:
    """A later revision has rebuilt it in batch mode: the model comes, and values are set, all the same."""
    rebuilds = REBUILDS.format(how="auto" if how in ("auto", "never") else "always")
    if how == "copied":
        columns = "sa.MetaData(), sa.Column('place', sa.Text)"
        rebuilds = rebuilds.replace("recreate=", f"copy_from=sa.Table('cameras', {columns}), recreate=")
    upon.revision("0004", rebuilds)
    upon.up()
    if how == "never":
        upon.revision("0005", "with op.batch_alter_table('cameras', recreate='never') as batch:\n"
            "    batch.add_column(sa.Column('floor', sa.Text))")  # fmt: skip
        upon.up()
    server.acts["/model"] = [good(DATA)]
    assert [step["revision"] for step in upon.up(values={"LOG_LEVEL": "DEBUG"}).body["steps"]] == ["0003"]
    assert (current(upon), upon.call("status").body["degraded"]) == (DATA, [])
    (upon.home / ".env").unlink()
    shutil.rmtree(upon.root / "models/.store")
    assert upon.call("repair").exit_code == 0
    found = [name for (name,) in upon.sql("SELECT name FROM pragma_table_info('cameras')")]
    assert found == ["place", "room", *(["floor"] if how == "never" else [])]


@pytest.mark.parametrize("again", ["retry", "set", "variant", "prune", "repair"])
def test_what_is_done_again_needs_no_older_table(upon: HostFolder, server: FaultServer, again: str) -> None:
    """To know what applied revisions ask of the host, their SQL need not find its tables."""
    if again == "retry":
        server.acts["/model"] = [good(DATA)]
    if again == "variant":
        upon.environ["VV_MODEL_VARIANT"] = "small"
    if again == "prune":
        (upon.root / ".vvmigrate/downloads").mkdir(exist_ok=True)
        (upon.root / f".vvmigrate/downloads/{'0' * 64}.partial").write_bytes(b"x")
        assert len(upon.call("prune").body["pruned"]) == 1
        return
    if again == "repair":
        (upon.home / ".env").chmod(0o640)
        assert upon.call("repair").exit_code == 0
        return
    options: dict[str, Any] = {"values": {"LOG_LEVEL": "DEBUG"}} if again == "set" else {}
    assert [step["revision"] for step in upon.call("plan", **options).body["steps"]] == ["0003"]
    upon.up(**options)
    assert current(upon) == {"retry": DATA, "set": None, "variant": NEWER}[again]
    assert ("LOG_LEVEL=DEBUG" in (upon.home / ".env").read_text()) == (again == "set")


@pytest.fixture
def unknowable(upon: HostFolder) -> HostFolder:
    """The same, and a revision that looks at the older system's table: without it nobody can say what it asks for."""
    upon.revision("0004", "sa.Table('cameras', sa.MetaData(), autoload_with=op.get_bind())")
    upon.up()
    return upon


def test_a_boot_goes_on_although_a_retry_cannot_be_told(unknowable: HostFolder) -> None:
    """The degraded step stays, with a warning; what is pending is applied."""
    unknowable.revision("0005", "op.make_directories(['more'])")
    for verb in ("plan", "upgrade"):
        told: list[tuple[str, dict[str, Any]]] = []
        report = unknowable.call(verb, told=told)
        warned = [facts["text"] for event, facts in told if event == "warning"]
        assert any("revision 0003 stays degraded" in text and "revision 0004" in text for text in warned)
        assert [step["revision"] for step in report.body["steps"]] == ["0005"]
    assert (report.exit_code, unknowable.version()) == (0, "0005")


def test_an_explicit_value_that_cannot_be_set_is_refused(unknowable: HostFolder) -> None:
    """Whoever asks for something by hand is told in words why it cannot be done, and exit 0 never hides it."""
    for verb in ("plan", "upgrade"):
        says(unknowable.call(verb, values={"LOG_LEVEL": "DEBUG"}), 6, "revision 0004", "cameras")


PICTURES = {"before.png": b"\x89PNG 1", "behind.png": b"\x89PNG 2"}


def test_one_revision_that_cannot_be_told_holds_no_repair_up(upon: HostFolder) -> None:
    """What records and earlier revisions suffice for is mended; of the rest it is said why it is not."""
    (upon.home / "pictures").mkdir()
    for name, data in PICTURES.items():
        (upon.home / "pictures" / name).write_bytes(data)
    installs = [f"op.install_assets('pictures', 'more', [{name!r}])" for name in PICTURES]
    upon.revision("0004", f"op.make_directories(['more'])\n{installs[0]}")
    upon.revision("0005", "sa.Table('cameras', sa.MetaData(), autoload_with=op.get_bind())")
    upon.revision("0006", f"op.make_directories(['last'])\n{installs[1]}")
    upon.up()
    (upon.root / "last").rmdir()
    (upon.home / ".env").unlink()
    for name in PICTURES:
        (upon.root / "more" / name).unlink()
    report = upon.call("repair")
    assert (report.exit_code, report.error) == (3, None)
    assert (upon.root / "last").is_dir()
    assert (upon.home / ".env").is_file()
    assert [path.name for path in (upon.root / "more").iterdir()] == ["before.png"]
    (left,) = report.body["left"]
    assert left["path"] == str(upon.root / "more/behind.png")
    assert "revision 0005" in left["reason"]
    said = upon.run("repair").stdout
    assert "what it asks of the host cannot be told" in said
    assert "put a copy of it there" in said
    (upon.root / "more/behind.png").write_bytes(PICTURES["behind.png"])
    assert upon.call("repair").exit_code == upon.call("verify").exit_code == 0


VIDEOS = (
    "CREATE TABLE processed_videos (sha256 VARCHAR(64) NOT NULL, file_name TEXT NOT NULL, size_bytes INTEGER, "
    "status VARCHAR(16) NOT NULL, first_seen TEXT NOT NULL, finished TEXT, error TEXT, PRIMARY KEY (sha256))"
)


def test_a_plan_sees_an_older_systems_database(host: HostFolder) -> None:
    """Before the first upgrade: a table that is there is not made, and rows that a revision would drop are counted."""
    older_system(host, VIDEOS, "CREATE TABLE cameras (name TEXT)", "INSERT INTO cameras VALUES ('door')")
    host.revision("0007", "op.drop_table('cameras')")
    plan = host.call("plan")
    assert [(item["table"], item["rows"]) for item in plan.body["rows"]] == [("cameras", 1)]
    done = host.up()
    for report in (plan, done):
        assert not [line for line in statements(report) if "CREATE TABLE processed_videos" in line[3]]
        assert statements(report) == statements(plan)
        assert [path.partition("sqlite: ")[2] for _, path, _ in kept(report) if "sqlite: " in path] == ["cameras"]


def test_an_older_systems_table_of_another_shape_is_refused_by_a_plan_too(host: HostFolder) -> None:
    """What needs a person needs one before the upgrade is tried."""
    older_system(host, "CREATE TABLE processed_videos (sha256 TEXT PRIMARY KEY, name TEXT)")
    plan, done = host.call("plan"), host.call("upgrade")
    says(done, 4, "table processed_videos is there already", hint="vvmigrate adopt")
    same_end(plan, done)
