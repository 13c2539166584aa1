"""`vvmigrate revision`: a number, a name and a safe text; no host is needed, and nothing else is written."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.authoring.release import add_key, edit, remove_key, rename_key, write
from tests.commands.proof import everything, nothing_changes, says
from tests.conftest import HostFolder


def test_the_next_revision_has_the_next_number_and_a_readable_name(host: HostFolder) -> None:
    """0007 follows 0006, is called after its title, and can be applied and taken back as it is."""
    report = host.call("revision", "Second camera, ação")
    path = Path(report.body["path"])
    assert (report.exit_code, path) == (0, host.home / "migrations/versions/0007_second_camera_acao.py")
    assert (report.body["revision"], report.body["follows"]) == ("0007", "0006")
    assert path.stat().st_mode & 0o777 == 0o644
    assert host.call("revision", "And another").body["follows"] == "0007"
    host.up("0006")
    before = host.tree()
    titles = [step["title"] for step in host.up().body["steps"]]
    assert titles == ["Second camera, ação", "And another"]
    host.down("0006")
    assert host.tree() == before


def test_a_bare_checkout_is_enough_and_nothing_else_is_written(host: HostFolder) -> None:
    """No storage root, no user of the application, no log: the revision, and the hashes of those before it."""
    host.environ |= {"VV_APP_USER": "nobody_of_this_name", "VIDEO_STORAGE_ROOT": "/nowhere/at/all"}
    before = everything(host.home.parent)
    path = host.call("revision", "next", autogenerate=False).body["path"]
    after = everything(host.home.parent)
    assert after.keys() - before.keys() == {path, str(host.home / "migrations/fixed.sha256")}
    assert [name for name in before if before[name] != after[name]] == []


def test_a_release_without_revisions_begins_with_0001(bare: HostFolder) -> None:
    """The first one follows nothing."""
    next((bare.home / "migrations/versions").glob("0001*")).unlink()
    source = Path(bare.call("revision", "first").body["path"]).read_text()
    assert "revision = '0001'" in source
    assert "down_revision = None" in source
    assert "Follows nothing." in source


@pytest.mark.parametrize(
    "title",
    [
        '"""\nimport os\nos.system("touch pwned")\n"""',
        "a\\",
        "x\u2028y\x00",
        "${1/0}",
        "%(rev)s",
        "<% raise %>",
        "../../up",
        '"',
    ],
)
def test_no_title_becomes_code(host: HostFolder, title: str) -> None:
    """Whatever the title is, the file has a docstring and the lines of the template, and stands in its folder."""
    report = host.call("revision", title + " title")
    assert (report.exit_code, report.error) == (0, None)
    path = Path(report.body["path"])
    assert path.parent == host.home / "migrations/versions"
    assert path.name.isascii()
    kinds = [type(node).__name__ for node in ast.parse(path.read_text()).body]
    assert kinds == ["Expr", "ImportFrom", *["Assign"] * 4, "FunctionDef", "FunctionDef"]


def test_alembics_own_revision_is_as_safe(host: HostFolder) -> None:
    """`alembic revision -m` uses the same template: no injection, and a way back."""
    title = '"""\nraise SystemExit(7)\n"""'
    command = [sys.executable, "-m", "alembic", "revision", "-m", title, "--rev-id", "0007"]
    done = subprocess.run(command, cwd=host.home, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    host.up()
    host.down("0006")
    assert host.call("heads").body["heads"][0]["revision"] == "0007"


REFUSED: dict[str, tuple[Any, int, str]] = {
    "two heads": (lambda host: host.revision("0009", "pass", follows="0005"), 6, "expected one last revision"),
    "a revision that fails": (lambda host: host.revision("0007", "raise ValueError('no')"), 6, "0007_test.py: fails"),
    "a last revision without number": (lambda host: host.revision("abc", "pass", follows="0006"), 6, "'abc'"),
    "no template": (lambda host: (host.home / "migrations/script.py.mako").unlink(), 6, "script.py.mako"),
    "a bad template": (lambda host: edit(host.home / "migrations/script.py.mako", "repr(up", "repr(down"), 6, "makes"),
    "a bad name": (lambda host: edit(host.home / "alembic.ini", "%%(slug)s", "%%(title)s"), 6, "file_template"),
    "a name that is none": (lambda host: edit(host.home / "alembic.ini", "%%(slug)s", "%(slug)s"), 6, "file_template"),
    "another folder": (lambda host: edit(host.home / "alembic.ini", "%%(rev)s_", "../%%(rev)s_"), 6, "file_template"),
    "a bad .env.example": (lambda host: add_key(host, "LOG_LEVEL"), 6, "LOG_LEVEL stands on lines"),
    "a bad manifest": (lambda host: (host.home / "model_manifest.json").write_text("{}"), 6, "model_manifest.json"),
    "a bad directory": (lambda host: edit(host.home / "alembic.ini", "    raw\n", "    ../raw\n"), 6, "'../raw'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_by_name(host: HostFolder, case: str) -> None:
    """One error that names the file, and nothing written."""
    spoil, code, word = REFUSED[case]
    spoil(host)
    with nothing_changes(host):
        add = host.call("revision", "next", autogenerate=True)
    if add.error is None:  # what is only needed where there is something to write
        assert add.body["differences"] == []
        with nothing_changes(host):
            add = host.call("revision", "next")
    says(add, code, word)


def test_a_title_of_nothing_is_a_usage_error(host: HostFolder) -> None:
    """A file of which nobody can tell what it is for is not written."""
    says(host.call("revision", " .. "), 2, "title")


def test_a_file_that_is_there_is_never_replaced(host: HostFolder) -> None:
    """Somebody's file with the same name, which is no revision, stays."""
    edit(host.home / "alembic.ini", "%%(rev)s_%%(slug)s", ".#%%(slug)s")
    (host.home / "migrations/versions/.#mine.py").write_text("an editor's")
    with nothing_changes(host):
        says(host.call("revision", "mine"), 2, "exists already")


# ---- what was renamed ------------------------------------------------------------------------------------------------


def test_without_a_terminal_nothing_is_guessed(host: HostFolder) -> None:
    """A key that is gone and one that is new could be one: it says so, names both answers, and writes nothing."""
    rename_key(host, "DVR_IP", "DVR_ADDRESS")
    with nothing_changes(host):
        report = host.call("revision", "next", autogenerate=True)
        says(
            report, 6, "DVR_IP is gone", "DVR_ADDRESS is new", hint="--renamed DVR_IP=DVR_ADDRESS, or --removed DVR_IP"
        )
    assert 'renamed={"DVR_IP": "DVR_ADDRESS"}' in write(host, renamed=["DVR_IP=DVR_ADDRESS"])


def test_on_a_terminal_it_is_asked(host: HostFolder) -> None:
    """One question for each key that is gone, until none is left of which it could be the new name."""
    rename_key(host, "DVR_IP", "DVR_ADDRESS")
    remove_key(host, "GRAFANA_PORT")
    remove_key(host, "BITNET_MODEL_PATH")
    asked: list[str] = []

    def ask(name: str, description: str, hidden: bool, problem: Any) -> str | None:
        asked.append(name)
        assert "DVR_ADDRESS" in description
        assert problem("LOG_LEVEL") is not None
        assert problem("DVR_ADDRESS") is problem("-") is None
        return "DVR_ADDRESS" if name == "DVR_IP" else "-"

    source = write(host, ask=ask)
    assert asked == ["BITNET_MODEL_PATH", "DVR_IP"]  # with no new key left, GRAFANA_PORT can only be gone
    assert 'renamed={"DVR_IP": "DVR_ADDRESS"}' in source
    assert 'removed=["BITNET_MODEL_PATH", "GRAFANA_PORT"]' in source


def test_no_answer_is_not_taken_for_one(host: HostFolder) -> None:
    """The end of input, or an empty line, says nothing: nothing is written."""
    rename_key(host, "DVR_IP", "DVR_ADDRESS")
    with nothing_changes(host):
        says(host.call("revision", "next", autogenerate=True, ask=lambda *_: None), 6, "only you know")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"renamed": ["DVR_IP"]}, "OLD=NEW"),
        ({"renamed": ["LOG_LEVEL=DVR_ADDRESS"]}, "LOG_LEVEL is no key that is gone"),
        ({"renamed": ["DVR_IP=LOG_LEVEL"]}, "LOG_LEVEL is not new"),
        ({"removed": ["LOG_LEVEL"]}, "LOG_LEVEL is no key that is gone"),
        ({"renamed": ["DVR_IP=DVR_ADDRESS"], "autogenerate": None}, "answers to --autogenerate"),
        ({"renamed": ["DVR_IP=DVR_ADDRESS", "KEY_ID=DVR_ADDRESS"]}, "two keys"),
    ],
)
def test_an_answer_that_fits_nothing_is_a_usage_error(host: HostFolder, options: dict[str, Any], word: str) -> None:
    """A typing error in an answer does not become a revision."""
    rename_key(host, "DVR_IP", "DVR_ADDRESS")
    remove_key(host, "KEY_ID")
    with nothing_changes(host):
        says(host.call("revision", "next", **{"autogenerate": True, **options}), 2, word)


# ---- for people ------------------------------------------------------------------------------------------------------


def test_the_command_line_says_what_was_seen_and_where_the_file_is(host: HostFolder) -> None:
    """The last line is the path; --json has the same as values; where nothing differs it says so and writes nothing."""
    done = host.run("revision", "-m", "nothing new", "--autogenerate")
    assert (done.returncode, done.stdout) == (0, "nothing to write: revisions cover every input\n"), done.stderr
    add_key(host, "GREETING", "'oh no'")
    document = host.json("revision", "-m", "a greeting", "--autogenerate")
    assert [item["name"] for item in document["differences"]] == ["GREETING"]
    assert document["differences"][0].keys() == {"input", "line", "name", "what", "remedy"}
    os.unlink(document["path"])
    done = host.run("revision", "-m", "a greeting", "--autogenerate")
    assert done.stdout == f"  .env.example: GREETING: new key (default 'oh no')\n{document['path']}\n"
    assert document["fixed"] == ["0001", "0002", "0003", "0004", "0005", "0006"]
