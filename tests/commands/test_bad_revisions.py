"""Revisions that cannot be used, and names of revisions that do not exist."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands.proof import Meeting, nothing_changes, says
from tests.conftest import HostFolder

MAKES = "op.make_directories(['made_by_mistake'])"


GOOD = "from alembic import op\nrevision = '0002'\ndown_revision = '0001'\ndef upgrade(): pass\ndef downgrade(): pass\n"


def _file(name: str, text: str | bytes) -> Callable[[HostFolder], object]:
    """Add a file to the release's revisions."""
    data = text.encode() if isinstance(text, str) else text
    return lambda host: (host.home / "migrations/versions" / name).write_bytes(data)


def _good_but(old: str, new: str, name: str = "0002_x.py") -> Callable[[HostFolder], object]:
    """Add a revision in which one thing is not as it should be."""
    assert old in GOOD
    return _file(name, GOOD.replace(old, new, 1))


def _numbered(revision: str, follows: str | None) -> Callable[[HostFolder], object]:
    text = GOOD.replace("'0001'", repr(follows)).replace("'0002'", repr(revision))
    return _file(f"{revision}_again.py", text)


UNUSABLE: list[Any] = [
    pytest.param(_file("0002_x.py", "import no_such\n" + GOOD), ["does not import", "no_such"], id="import"),
    pytest.param(_file("0002_x.py", GOOD + "raise ValueError('top')"), ["does not import", "top"], id="raise"),
    pytest.param(_file("0002_x.py", GOOD + "raise SystemExit(0)"), ["does not import", "SystemExit"], id="exit"),
    pytest.param(_file("0002_x.py", GOOD + "def f(:\n"), ["is not Python", "line 6"], id="syntax"),
    pytest.param(_file("0002_x.py", b"\xff\xfe" + GOOD.encode()), ["is not Python"], id="bytes"),
    pytest.param(_file("0002_x.py", GOOD + "x = '\0'"), ["is not Python"], id="nul"),
    pytest.param(_file("0002_x.py", ""), ["expected a line like revision"], id="empty"),
    pytest.param(_good_but("def downgrade(): pass", ""), ["has no downgrade()"], id="no-way-back"),
    pytest.param(_good_but("def upgrade(): pass", ""), ["has no upgrade()"], id="no-way-there"),
    pytest.param(_good_but("revision = '0002'", ""), ["expected a line like revision"], id="no-id"),
    pytest.param(_good_but("down_revision = '0001'", ""), ["which revision it follows"], id="no-down-revision"),
    pytest.param(_numbered("0001", None), ["two revisions", "versions/0001_again.py"], id="same-number"),
    pytest.param(_numbered("0009", "0008"), ["form a line", "0008"], id="follows-nothing"),
    pytest.param(_numbered("0009", "0009"), ["form a line"], id="follows-itself"),
    pytest.param(_numbered("0009", None), ["found 2", "0001"], id="two-bases"),
    pytest.param(
        *(_good_but("upgrade(): pass", "upgrade(): op.make_directories(['../x'])"), ["'../x'"]), id="leaves-its-tree"
    ),
    pytest.param(
        lambda host: (host.home / "migrations/versions/0002_x.py").mkdir(), ["cannot be read"], id="directory"
    ),
]


@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "known"])
@pytest.mark.parametrize(("spoil", "words"), UNUSABLE)
def test_a_release_with_an_unusable_revision_does_nothing_at_all(
    bare: HostFolder, spoil: Callable[[HostFolder], object], words: list[str], fresh: bool
) -> None:
    """One revision that cannot be used stops the run before any other is applied: exit 6, naming the file."""
    if not fresh:
        bare.up()
    spoil(bare)
    before = bare.tree()
    says(bare.call("upgrade"), 6, *words)
    kept = {path: facts for path, facts in bare.tree().items() if not path.endswith("/orchestrator_data")}
    assert kept == {path: facts for path, facts in before.items() if not path.endswith("/orchestrator_data")}
    assert bare.call("history").body["entries"] == [] if fresh else bare.history() == [("0001", "up", "applied")]


@pytest.mark.parametrize("verb", ["plan", "status", "current", "heads", "show"])
def test_looking_at_a_release_with_an_unusable_revision_names_it(bare: HostFolder, verb: str) -> None:
    """Read-only commands judge the release as upgrade does, and change nothing."""
    bare.up()
    bare.revision("0002", "pass", imports="import no_such_module")
    with nothing_changes(bare):
        says(bare.call(verb, *(["head"] if verb == "show" else [])), 6, "0002_test.py", "no_such_module")


def test_two_heads_are_refused_with_both_names(bare: HostFolder) -> None:
    """Two revisions that follow the same one leave open what head is."""
    bare.up()
    bare.revision("0002", MAKES)
    bare.revision("0003", MAKES, follows="0001")
    with nothing_changes(bare):
        says(bare.call("upgrade"), 6, "0002, 0003", hint="down_revision")


def test_a_revision_edited_after_it_was_applied_is_a_warning(bare: HostFolder) -> None:
    """What was applied is what was recorded: an edit is told of, not run, and does not stop the next step."""
    bare.up()
    path = next((bare.home / "migrations/versions").glob("0001*"))
    path.write_text(path.read_text().replace('"input",', '"input", "smuggled_in",'))
    told: list[tuple[str, dict[str, Any]]] = []
    bare.revision("0002", "op.make_directories(['fine'])")
    bare.up(told=told)
    assert any("edited after it was applied" in facts["text"] for event, facts in told if event == "warning")
    assert (bare.root / "fine").is_dir()
    bare.down("base")
    assert not (bare.root / "smuggled_in").exists()


RAISES = [
    pytest.param("raise RuntimeError('half-way')", "half-way", id="raises"),
    pytest.param("op.execute('SELEC 1')", "syntax error", id="sql"),
    pytest.param("op.get_bind().commit()", "transaction", id="commits-by-sqlalchemy"),
    pytest.param("op.execute('COMMIT')", "COMMIT", id="commits-by-sql"),
    pytest.param("op.execute('DELETE FROM vv_step')", "ledger is vvmigrate's", id="writes-to-the-ledger"),
    pytest.param("op.execute(\"ATTACH 'x.db' AS x\")", "ATTACH", id="attaches"),
    pytest.param("op.execute('PRAGMA writable_schema=ON')", "PRAGMA writable_schema", id="pragma"),
    pytest.param("import sys; sys.exit(3)", "", id="exits"),
]


@pytest.mark.parametrize(("line", "word"), RAISES)
def test_a_revision_that_fails_is_recorded_and_leaves_no_trace(bare: HostFolder, line: str, word: str) -> None:
    """After asking for files and changing tables it fails: exit 1, one failed row with the reason, nothing else."""
    bare.up()
    bare.sql("CREATE TABLE theirs (id INTEGER)")
    bare.revision("0002", f"{MAKES}\nop.execute('CREATE TABLE half (id INTEGER)')\n{line}")
    before = bare.tree()
    says(bare.call("upgrade"), 1, word)
    assert bare.tree() == before
    assert bare.history() == [("0001", "up", "applied"), ("0002", "up", "failed")]
    assert bare.sql("SELECT name FROM sqlite_master WHERE name IN ('half', 'theirs')") == [("theirs",)]
    bare.revision("0002", MAKES)
    bare.up()
    assert bare.history()[1:] == [("0002", "up", "failed"), ("0002", "up", "applied")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("when", ["rehearsed", "applied"])
def test_a_revision_that_never_ends_is_ended_by_a_signal(
    bare: HostFolder, tmp_path: Path, number: signal.Signals, when: str
) -> None:
    """SIGTERM, SIGHUP and Ctrl-C end an endless revision: 128 + n, the host as before, the attempt recorded."""
    bare.up()
    meeting = Meeting(tmp_path)
    real = "op.get_bind().exec_driver_sql('PRAGMA database_list').fetchone()[2]"
    stay = f"{meeting.line}\nwhile True: pass"
    if when == "applied":  # in a rehearsal the database has no file
        stay = f"if {real}:\n    " + stay.replace("\n", "\n    ")
    bare.revision("0002", f"{MAKES}\nop.execute('CREATE TABLE half (id INTEGER)')\n{stay}")
    before = bare.tree()
    with subprocess.Popen(
        bare.command("--json", "upgrade"), cwd=bare.home, env=bare.environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        meeting.wait()
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert json.loads(out)["exit_code"] == 128 + number
    assert bare.tree() == before
    assert bare.history()[1:] == ([("0002", "up", "interrupted")] if when == "applied" else [])
    assert bare.sql("SELECT name FROM sqlite_master WHERE name = 'half'") == []
    bare.revision("0002", MAKES)
    bare.up()


# ---- names -----------------------------------------------------------------------------------------------------------

UNKNOWN = [
    ("upgrade", "9999"),
    ("upgrade", "nonsense"),
    ("upgrade", "+9"),
    ("upgrade", "-1"),
    ("upgrade", ""),
    ("upgrade", "0002:0003"),
    ("upgrade", "\0"),
    ("upgrade", "../../etc"),
    ("downgrade", "9999"),
    ("downgrade", "-9"),
    ("downgrade", "+1"),
    ("downgrade", "0003"),
    ("downgrade", ""),
    ("plan", "9999"),
    ("show", "9999"),
    ("show", ""),
    ("show", "00"),
]


@pytest.fixture
def line(bare: HostFolder) -> HostFolder:
    """A release of three revisions, of which two are applied."""
    for number in ("0002", "0003"):
        bare.revision(number, f"op.make_directories(['d{number}'])")
    bare.up("0002")
    return bare


@pytest.mark.parametrize(("verb", "name"), UNKNOWN)
def test_a_revision_that_does_not_exist_or_lies_the_other_way_is_a_usage_error(
    line: HostFolder, verb: str, name: str
) -> None:
    """An unknown, ambiguous or wrongly directed name is exit 2 with words of its own, and nothing is done."""
    with nothing_changes(line):
        says(line.call(verb, name), 2)


@pytest.mark.parametrize(
    ("verb", "name", "version"),
    [
        ("upgrade", "+1", "0003"),
        ("upgrade", "head", "0003"),
        ("upgrade", "heads", "0003"),
        ("upgrade", "0003", "0003"),
        ("upgrade", "0002", "0002"),
        ("upgrade", "0001", "0002"),
        ("upgrade", "base", "0002"),
        ("upgrade", "0002+1", "0003"),
        ("downgrade", "-1", "0001"),
        ("downgrade", "-2", ""),
        ("downgrade", "0001", "0001"),
        ("downgrade", "base", ""),
        ("downgrade", "0002", "0002"),
        ("downgrade", "head", "0002"),
    ],
)
def test_alembics_names_mean_what_they_mean_there(line: HostFolder, verb: str, name: str, version: str) -> None:
    """`+1`, `-1`, `head`, `base` and numbers are Alembic's; the target that is reached already is nothing to do."""
    document = line.json(verb, name)
    assert document["exit_code"] == 0, document
    assert line.version() == version


def test_a_unique_prefix_names_a_revision(bare: HostFolder) -> None:
    """As with Alembic, the beginning of an id is enough where only one begins so."""
    bare.revision("abcdef", "op.make_directories(['x'])", follows="0001")
    bare.up("abcd")
    assert bare.version() == "abcdef"
    bare.down("000")
    assert bare.version() == "0001"


# ---- a host ahead of its package -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(False, id="intact"),
        pytest.param(True, id="does-not-import-any-more"),
    ],
)
def test_a_host_ahead_of_its_package_goes_back_from_the_recorded_source(line: HostFolder, broken: bool) -> None:
    """After the package was rolled back, `upgrade head` names `downgrade head`, and that works without the old file."""
    imports = "import vv_helper_of_the_new_release" if broken else ""
    helper = line.home / "vv_helper_of_the_new_release.py"
    if broken:
        sys.path.insert(0, str(line.home))
        helper.write_text("")
        sys.dont_write_bytecode = True
    line.revision("0003", "op.make_directories(['d0003'])\nop.execute('CREATE TABLE theirs (id INTEGER)')",
                  "op.drop_table('theirs')\nop.revert()", imports=imports)  # fmt: skip
    line.up()
    (line.home / "migrations/versions/0003_test.py").unlink()
    if broken:
        helper.unlink()
        modules = sys.modules
        modules.pop("vv_helper_of_the_new_release", None)
        sys.path.remove(str(line.home))
    with nothing_changes(line):
        says(line.call("upgrade"), 4, "0003", "0002", hint="vvmigrate downgrade head")
        says(line.call("plan"), 4, "0003", hint="vvmigrate downgrade head")
        assert line.call("status").exit_code == 4
    line.down("head")
    assert line.version() == "0002"
    assert not (line.root / "d0003").exists()
    assert line.sql("SELECT count(*) FROM sqlite_master WHERE name = 'theirs'") == [(0,)]
    line.up()
