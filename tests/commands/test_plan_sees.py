"""A plan is the upgrade, stopped early: whatever stands on the host, both see the same and say the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.commands.models import DATA, NAME, install, release
from tests.commands.plans import agree, changes, kept, same_end, statements, warnings
from tests.commands.proof import nothing_changes, says
from tests.conftest import HostFolder
from tests.content.fault_server import FaultServer, good, status

# ---- what is done again, and what is pending, know of each other -----------------------------------------------------


def lacking(host: HostFolder, server: FaultServer, does: str) -> None:
    """A host at 0002, which does something and lacks an optional model; now the model could be had."""
    release(host, "2.0.0", DATA, server.url("/model", status("404 Not Found")), required=False)
    host.revision("0002", f'{does}\nop.install_model("{NAME}", "2.0.0")')
    host.up(values={"DVR_IP": "192.168.1.20"})
    server.acts["/model"] = [good(DATA)]


def a_key_of_both(host: HostFolder, server: FaultServer) -> None:
    lacking(host, server, "op.merge_env()")
    path = host.home / ".env.example"
    path.write_text(path.read_text() + "\n# @sensitive=false\nGAINED=1\n")
    host.revision("0003", "op.merge_env()")


def a_directory_of_both(host: HostFolder, server: FaultServer) -> None:
    lacking(host, server, "op.make_directories(['again'])")
    (host.root / "again").rmdir()
    host.revision("0003", "op.make_directories(['again', 'again/below'])")


def an_asset_of_both(host: HostFolder, server: FaultServer) -> None:
    lacking(host, server, 'op.install_assets("fallback", "fallback", ["placeholder.png"])')
    (host.root / "fallback/placeholder.png").unlink()
    host.revision("0003", 'op.install_assets("fallback", "fallback", ["placeholder.png", "loop_silencioso.mp4"])')


def another_model(host: HostFolder) -> None:
    """The manifest has a second model, `other`, like the first."""
    path = host.home / "model_manifest.json"
    found = json.loads(path.read_text())
    found["models"]["other"] = found["models"][NAME]
    path.write_text(json.dumps(found))


def two_retries(host: HostFolder, server: FaultServer) -> None:
    release(host, "2.0.0", DATA, server.url("/model", status("404 Not Found")), required=False)
    another_model(host)
    host.revision("0002", f'op.make_directories(["again"])\nop.install_model("{NAME}", "2.0.0")')
    host.revision("0003", 'op.make_directories(["again"])\nop.install_model("other", "2.0.0")')
    host.up()
    (host.root / "again").rmdir()
    server.acts["/model"] = [good(DATA)]


@pytest.mark.parametrize("prepare", [a_key_of_both, a_directory_of_both, an_asset_of_both, two_retries])
def test_what_two_steps_want_is_planned_once(
    bare: HostFolder, server: FaultServer, prepare: Callable[[HostFolder, FaultServer], None]
) -> None:
    """A degraded step is tried again before what is pending: that finds what it has done, and so does the plan."""
    prepare(bare, server)
    plan = bare.call("plan")
    assert [step["revision"] for step in plan.body["steps"]] == ["0002", "0003"]
    agree(plan, bare.up())


def test_room_for_what_two_steps_want_is_needed_once(bare: HostFolder, mount: Any) -> None:
    """An asset that came late, of a degraded revision and a new one, on a disk that holds it once."""
    bare.root.mkdir()
    mount(bare.root, size="9m")
    bare.revision("0002", 'op.install_assets("fallback", "fallback", ["big.mp4"])')
    bare.up()
    (bare.home / "fallback/big.mp4").write_bytes(bytes(2500 << 10))
    bare.revision("0003", 'op.install_assets("fallback", "fallback", ["big.mp4", "placeholder.png"])')
    told: list[tuple[str, dict[str, Any]]] = []
    report = bare.call("upgrade", told=told)
    assert (report.exit_code, report.body["degraded"], bare.version()) == (0, [], "0003")
    assert not any("stays degraded" in text for text in warnings(told))


# ---- values that a person gives --------------------------------------------------------------------------------------


def test_a_value_is_set_although_its_revision_lacks_room_for_a_model(
    bare: HostFolder, server: FaultServer, mount: Any
) -> None:
    """The model goes on waiting; what was asked for by hand is done, and the plan says so."""
    large = b"m" * (3 << 20)
    release(bare, "2.0.0", large, server.url("/model", status("404 Not Found")), required=False)
    bare.revision("0002", f'op.merge_env()\nop.install_model("{NAME}", "2.0.0")')
    bare.root.mkdir()
    mount(bare.root, size="9m")
    bare.up(values={"DVR_IP": "192.168.1.20"})
    (bare.root / "others.mp4").write_bytes(bytes(3 << 20))
    server.acts["/model"] = [good(large)]
    plan = bare.call("plan", values={"LOG_LEVEL": "DEBUG"})
    done = bare.up(values={"LOG_LEVEL": "DEBUG"})
    agree(plan, done)
    assert "LOG_LEVEL=DEBUG" in (bare.home / ".env").read_text()
    assert [item["revision"] for item in done.body["degraded"]] == ["0002"]


def test_a_value_is_set_although_its_revision_cannot_be_tried_again(bare: HostFolder, server: FaultServer) -> None:
    """Somebody's file lies where the model belongs: a boot goes on with a warning, and so does who gives a value."""
    lacking(bare, server, "op.merge_env()")
    (bare.root / f"models/{NAME}").write_text("not a model")
    told: list[tuple[str, dict[str, Any]]] = []
    report = bare.call("upgrade", values={"LOG_LEVEL": "DEBUG"}, told=told)
    assert (report.exit_code, report.error) == (0, None)
    assert "revision 0002 stays degraded" in " ".join(warnings(told))
    assert "expected a model's folder" in " ".join(warnings(told))
    assert "LOG_LEVEL=DEBUG" in (bare.home / ".env").read_text()


@pytest.mark.parametrize("later", [True, False])
def test_a_value_that_nothing_merges_yet_is_not_lost_without_a_word(bare: HostFolder, later: bool) -> None:
    """`upgrade 0002 --set ...` before there is a .env: which revision makes it is said, or that none does."""
    bare.revision("0002", "op.make_directories(['more'])")
    if later:
        bare.revision("0003", "op.merge_env()")
    for verb in ("plan", "upgrade"):
        told: list[tuple[str, dict[str, Any]]] = []
        bare.call(verb, "0002", values={"LOG_LEVEL": "DEBUG"}, told=told)
        said = [text for text in warnings(told) if "LOG_LEVEL" in text]
        assert len(said) == 1
        assert ("revision 0003" in said[0]) == later
        assert "DEBUG" not in said[0]
    assert not (bare.home / ".env").exists()


# ---- where things are to stand ---------------------------------------------------------------------------------------


def test_two_models_on_the_first_day(bare: HostFolder, server: FaultServer) -> None:
    """Before there is a storage root nothing can be read of it, and nothing need be."""
    release(bare, "2.0.0", DATA, server.url("/model", good(DATA)))
    another_model(bare)
    install(bare, "0002", "2.0.0")
    bare.revision("0003", 'op.install_model("other", "2.0.0")')
    plan, done = bare.call("plan"), bare.up()
    assert plan.error is None
    for path in ("models/.current_model_info.json", f"models/{NAME}", "models/other"):
        for report in (plan, done):
            assert any(change[2].endswith(path) for change in changes(report)), path


def a_missing_one(host: HostFolder, server: FaultServer) -> None:
    host.revision("0002", "op.make_directories(['deep/er'])")


def one_that_the_user_removed(host: HostFolder, server: FaultServer) -> None:
    (host.root / "fallback").rmdir()
    host.revision("0002", 'op.install_assets("fallback", "fallback", ["placeholder.png"])')


def a_file(host: HostFolder, server: FaultServer) -> None:
    (host.root / "deep").write_text("x")
    a_missing_one(host, server)


def a_link(host: HostFolder, server: FaultServer) -> None:
    (host.root.parent / "elsewhere").mkdir()
    (host.root / "deep").symlink_to(host.root.parent / "elsewhere")
    a_missing_one(host, server)


def no_models(host: HostFolder, server: FaultServer) -> None:
    (host.root / "models").rmdir()
    release(host, "2.0.0", DATA, server.url("/model", good(DATA)))
    install(host, "0002", "2.0.0")


def a_store_that_is_a_file(host: HostFolder, server: FaultServer) -> None:
    (host.root / "models/.store").write_text("x")
    release(host, "2.0.0", DATA, server.url("/model", good(DATA)))
    install(host, "0002", "2.0.0")


FOLDERS = {
    a_missing_one: ("deep: expected a directory for er, found nothing", "mkdir "),
    one_that_the_user_removed: ("fallback: expected a directory", "vvmigrate repair "),
    a_file: ("deep: expected a directory for er, found a file", "move it away"),
    a_link: ("deep: expected a directory for er, found a link", "bind mount"),
    no_models: ("models: expected a directory", "vvmigrate repair "),
    a_store_that_is_a_file: ("models/.store: expected a directory", "move it away"),
}


@pytest.mark.parametrize("prepare", FOLDERS)
def test_a_folder_that_is_none_is_refused_before_the_first_step(
    bare: HostFolder, server: FaultServer, prepare: Callable[[HostFolder, FaultServer], None]
) -> None:
    """Not in the middle of a run: 0003, behind it, would be cut off, and 0002 downloaded in vain."""
    bare.up()
    prepare(bare, server)
    bare.revision("0003", "op.make_directories(['more'])")
    words, hint = FOLDERS[prepare]
    plan = bare.call("plan")
    with nothing_changes(bare):
        done = bare.call("upgrade")
    says(done, 6, words, hint=hint)
    same_end(plan, done)
    assert server.requests == []


# ---- rows that will be kept ------------------------------------------------------------------------------------------

TABLE = "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.Text))"
COLUMN = "op.add_column('t', sa.Column('extra', sa.Text))"
MOVED = "op.execute('INSERT INTO v SELECT * FROM t')\nop.drop_table('t')"
MOVED_BACK = "op.execute('INSERT OR IGNORE INTO t SELECT * FROM v')\nop.drop_table('v')"


def renamed(table: str, old: str, new: str) -> str:
    return f"op.alter_column('{table}', '{old}', new_column_name='{new}')"


def rebuilt(old: str, new: str) -> str:
    within = f"batch.alter_column('{old}', new_column_name='{new}')"
    return f"with op.batch_alter_table('t', recreate='always') as batch:\n    {within}"


ROWS: dict[str, tuple[list[tuple[str, str]], list[tuple[str, str | None, int | None]]]] = {
    "a table that was renamed": (
        [("op.rename_table('t', 'my u')", "op.rename_table('my u', 't')")],
        [("t", None, 2)],
    ),
    "a table that comes back and goes again": ([("op.drop_table('t')", TABLE)], [("t", None, 2)]),
    "a column that was renamed": (
        [(COLUMN, "op.drop_column('t', 'extra')"), (renamed("t", "extra", "more"), renamed("t", "more", "extra"))],
        [("t", "extra", 1), ("t", None, 2)],
    ),
    "a column of a table that was rebuilt": (
        [(COLUMN, "op.drop_column('t', 'extra')"), (rebuilt("extra", "more"), rebuilt("more", "extra"))],
        [("t", "extra", 1), ("t", None, 2)],
    ),
    "rows that a revision moved": (
        [(TABLE.replace("'t'", "'v'") + f"\n{MOVED}", f"{TABLE}\n{MOVED_BACK}")],
        [("v", None, 2), ("t", None, None)],
    ),
    "values that a revision writes": (
        [(COLUMN, "op.drop_column('t', 'extra')"), ("pass", "op.execute('UPDATE t SET extra = name')")],
        [("t", "extra", None), ("t", None, 2)],
    ),
}


@pytest.mark.parametrize("what", ROWS)
def test_a_way_back_says_which_rows_it_will_keep(bare: HostFolder, what: str) -> None:
    """By the names that they have when they go; what a person confirms leaves out nothing."""
    steps, expected = ROWS[what]
    bare.revision("0002", TABLE, "op.drop_table('t')")
    bare.up()
    bare.sql("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    for number, (up, down) in enumerate(steps, 3):
        bare.revision(f"{number:04d}", up, down)
    bare.up()
    names = [row[1] for row in bare.sql("PRAGMA table_info(t)")]
    for name in {"extra", "more"} & {*names}:
        bare.sql(f"UPDATE t SET {name} = 'x' WHERE id = 1")
    plan, done = bare.call("plan down", "0001"), bare.down("0001")
    assert [(item["table"], item["column"], item["rows"]) for item in plan.body["rows"]] == expected
    assert [line[:2] for line in kept(plan)] == [line[:2] for line in kept(done)]
    if all(rows is not None for _, _, rows in expected):
        agree(plan, done)


def test_a_plan_of_a_table_that_is_renamed_and_goes(bare: HostFolder) -> None:
    """On the way up too; and a table that the same run makes has no rows to keep."""
    bare.revision("0002", TABLE, "op.drop_table('t')")
    bare.up()
    bare.sql("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    bare.revision("0003", "op.rename_table('t', 'u')", "op.rename_table('u', 't')")
    bare.revision("0004", "op.create_table('new', sa.Column('id', sa.Integer))", "op.drop_table('new')")
    bare.revision("0005", "op.drop_table('u')\nop.drop_table('new')", TABLE.replace("'t'", "'u'"))
    plan = bare.call("plan")
    assert [(item["table"], item["rows"]) for item in plan.body["rows"]] == [("u", 2)]
    agree(plan, bare.up())


READS = {
    "a query": "SELECT id FROM t",
    "a view": "SELECT id FROM w",
    "a comment": "/* why */ SELECT id FROM t",
    "a count": "WITH c AS (SELECT count(*) FROM t) SELECT * FROM c",
    "what was changed": "UPDATE t SET name = name RETURNING id",
}


@pytest.mark.parametrize("how", READS)
def test_a_plan_warns_of_a_revision_that_looks_at_rows(bare: HostFolder, how: str) -> None:
    """Rows are not rehearsed: what such a revision does may differ, and its plan says so."""
    bare.revision("0002", TABLE + "\nop.execute('CREATE VIEW w AS SELECT id FROM t')", "op.execute('DROP VIEW w')")
    bare.up()
    bare.revision("0003", f"op.get_bind().execute(sa.text('{READS[how]}')).fetchall()")
    assert any("rows" in text for text in bare.call("plan").body["steps"][0]["warnings"])


def test_a_plan_does_not_warn_of_rows_that_are_only_moved(bare: HostFolder) -> None:
    """A revision that copies, rebuilds, asks for columns, or looks at what it made itself does the same everywhere."""
    bare.revision("0002", TABLE, "op.drop_table('t')")
    bare.up()
    own = "op.execute('CREATE TABLE own AS SELECT 1 AS one')\nop.get_bind().execute(sa.text('SELECT one FROM own'))"
    copies = "op.execute('CREATE TABLE copied AS SELECT * FROM t')"
    asks = "sa.inspect(op.get_bind()).get_columns('t')\nop.execute('UPDATE t SET name = upper(name)')"
    bare.revision("0003", f"{own}\n{copies}\n{asks}\n{rebuilt('name', 'word')}")
    assert bare.call("plan").body["steps"][0]["warnings"] == []


# ---- the first day ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log", [False, True], ids=["fresh", "an older installation's log"])
def test_a_plan_of_the_first_day(host: HostFolder, log: bool) -> None:
    """To open a host makes its database, so no revision makes that folder; and what is imported is planned."""
    if log:
        (host.root / "orchestrator_data").mkdir(parents=True)
        (host.root / "orchestrator_data/processed_videos.log").write_text("a" * 64 + "\n")
    plan = host.call("plan")
    assert any("INSERT OR IGNORE INTO processed_videos" in line[3] for line in statements(plan)) == log
    agree(plan, host.up())


def test_a_changed_default_is_planned_once(bare: HostFolder) -> None:
    """Two pending revisions merge: the second one knows the template that the first has merged."""
    bare.revision("0002", "op.merge_env()")
    bare.up(values={"DVR_IP": "192.168.1.20"})
    path = bare.home / ".env.example"
    text = path.read_text()
    assert "\nLOG_LEVEL=INFO" in text
    path.write_text(text.replace("\nLOG_LEVEL=INFO", "\nLOG_LEVEL=WARNING"))
    for number in ("0003", "0004"):
        bare.revision(number, "op.merge_env()")
    plan = bare.call("plan")
    assert [len(step["warnings"]) for step in plan.body["steps"]] == [1, 0]
    agree(plan, bare.up())
