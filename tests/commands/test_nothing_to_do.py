"""The upgrade of every boot: where nothing is to be done it costs next to nothing; any doubt takes the long way."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.commands.proof import nothing_changes
from tests.conftest import HostFolder
from vvmigrate.commands import upgrade as upgrades
from vvmigrate.engine.actor import who_runs
from vvmigrate.engine.database import install_tables
from vvmigrate.runs import settled

HEAVY = ("alembic", "click", "sqlalchemy", "requests", "jsonschema", "rich", "dotenv", "mako", "asyncio")
"""What a look that finds nothing must not import: seconds of a small host's processor."""


SETTLED = {
    "vvmigrate": {"runs", "engine", "errors", "files", "report", "schema", "settings"},
    "vvmigrate.runs": {"settled"},
    "vvmigrate.engine": {
        *("actor", "binding", "chain", "contents", "database", "effects", "host", "journal", "known"),
        *("ledger", "lock", "lowered", "roots", "rows", "session", "state", "vault"),
    },
    "vvmigrate.files": {"entry", "folder", "look", "place"},
}
HELPING = {
    "vvmigrate": {"cli", "errors", "given", "options", "running", "verbs"},
    "vvmigrate.verbs": {"adopting", "authoring", "changing", "confirming", "looking", "signing", "trying"},
}
"""Of ours, what a boot that has nothing to do, and the help, may import; a new name here has to be worth its time."""

SLOW = {
    *("dataclasses", "inspect", "ast", "ctypes", "logging", "signal", "socket", "ssl", "uuid", "secrets"),
    *("subprocess", "threading"),
}
"""Of Python's own, what takes milliseconds, and what that boot has no use for."""


@pytest.fixture
def up(host: HostFolder) -> HostFolder:
    """A host at its last revision, whose last upgrade had nothing to do."""
    host.up(values={"DVR_IP": "192.168.1.20"})
    host.up()
    return host


def modules(host: HostFolder, *arguments: str, environ: dict[str, str] | None = None) -> tuple[set[str], int, str]:
    """The names of all modules that a command imports, its exit code, and what it prints."""
    done = host.run(*arguments, environ={"PYTHONPROFILEIMPORTTIME": "1", **(environ or {})})
    lines = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    return set(lines), done.returncode, done.stdout


def imported(host: HostFolder, *arguments: str, environ: dict[str, str] | None = None) -> tuple[set[str], int, str]:
    """Which of the heavy modules a command imports, its exit code, and what it prints."""
    names, code, text = modules(host, *arguments, environ=environ)
    return {name.partition(".")[0] for name in names} & set(HEAVY), code, text


def ours(names: set[str]) -> dict[str, set[str]]:
    """Of some modules those of this package, by the package that holds them."""
    found: dict[str, set[str]] = {}
    for name in names:
        package, _, module = name.rpartition(".")
        if package.partition(".")[0] == "vvmigrate":
            found.setdefault(package, set()).add(module)
    return found


def went(host: HostFolder, *arguments: str, environ: dict[str, str] | None = None) -> tuple[bool, int]:
    """Whether a command went the long way, which is logged at each step of it, and its exit code."""
    log = host.home / "logs/bootstrap.log"
    before = log.stat().st_size
    done = host.run(*arguments, environ=environ)
    return log.stat().st_size > before, done.returncode


def test_it_imports_nothing_heavy_and_changes_nothing(up: HostFolder) -> None:
    """Not one byte is written, not even into the log."""
    log = (up.home / "logs/bootstrap.log").read_bytes()
    with nothing_changes(up):
        assert imported(up, "upgrade", "head") == (set(), 0, "nothing to do: at 0006\n")
        assert imported(up, "upgrade", "--offline", "--skip-existing")[0] == set()
        assert imported(up, "upgrade", "--quiet") == (set(), 0, "")
        assert went(up, "upgrade", "head") == (False, 0)
    assert (up.home / "logs/bootstrap.log").read_bytes() == log


def test_nobody_adds_to_what_a_boot_loads_unseen(up: HostFolder) -> None:
    """Every module on the way to "nothing to do" stands in a list, and no library but Python's own."""
    names, code, text = modules(up, "upgrade", "head")
    assert (code, text) == (0, "nothing to do: at 0006\n")
    assert ours(names) == SETTLED
    assert names & SLOW == set()


def test_it_says_what_the_long_way_says(up: HostFolder) -> None:
    """The same text, the same document but for the run's number, the same exit code."""
    settled = up.root / ".vvmigrate/settled"
    for arguments in (("upgrade",), ("--json", "upgrade", "head")):
        short = up.run(*arguments)
        settled.unlink()
        long = up.run(*arguments)
        assert (short.returncode, short.stderr) == (long.returncode, long.stderr)
        if "--json" in arguments:
            one, other = json.loads(short.stdout), json.loads(long.stdout)
            assert len(one.pop("run_id")) == len(other.pop("run_id"))
            assert one == other
        else:
            assert short.stdout == long.stdout


def test_nobody_has_to_read_what_it_says(up: HostFolder) -> None:
    """A disk that is full where its output goes makes neither the short way nor the long one fail."""
    nowhere = ["sh", "-c", 'exec "$@" >/dev/full 2>&1', "sh"]
    assert up.run("upgrade", "head", within=nowhere).returncode == 0
    (up.root / ".vvmigrate/settled").unlink()
    assert up.run("upgrade", "head", within=nowhere).returncode == 0


# ---- doubts ----------------------------------------------------------------------------------------------------------


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def lose_a_value(host: HostFolder) -> None:
    path = host.home / ".env"
    path.write_text(path.read_text().replace("DVR_IP=192.168.1.20", "DVR_IP="))


def tamper(host: HostFolder) -> None:
    host.sql("UPDATE vv_step SET user = 'nobody' WHERE revision = '0002'")


def as_jsonb(host: HostFolder) -> None:
    """The same text, and nothing for NULL, as SQLite 3.45 and later encode JSON (sqlite.org/jsonb.html)."""
    text = host.sql("SELECT user FROM vv_step WHERE seq = 2")[0][0].encode()
    host.sql("UPDATE vv_step SET user = ?, error = x'00' WHERE seq = 2", bytes([len(text) << 4 | 7]) + text)


def plant_a_trigger(host: HostFolder) -> None:
    host.sql("CREATE TRIGGER theirs AFTER INSERT ON vv_run BEGIN DELETE FROM vv_step; END")


def lose_a_row(host: HostFolder) -> None:
    host.sql("DELETE FROM vv_run WHERE seq = (SELECT max(seq) FROM vv_run)")


def restore_another_database(host: HostFolder) -> None:
    host.database.unlink()
    with closing(sqlite3.connect(host.database)) as db:
        db.execute("CREATE TABLE theirs (id INTEGER)")


def leave_a_run(host: HostFolder) -> None:
    """One that was killed before it tried anything."""
    left = {"run": who_runs("upgrade", ["head"]), "step": None}
    (host.root / STATE / "run").write_text(json.dumps(left))


def link_the_settings(host: HostFolder) -> None:
    path = host.home / ".env"
    path.rename(host.home / ".env.real")
    path.symlink_to(".env.real")


STATE = ".vvmigrate"
DOUBTS: dict[str, tuple[Callable[[HostFolder], object], int]] = {
    "another revision": (lambda h: h.revision("0007", "op.make_directories(['more'])"), 0),
    "an edited revision": (lambda h: append(h.home / "migrations/versions/0003_fallback_assets.py", "\n# mine\n"), 0),
    "a broken revision": (lambda h: append(h.home / "migrations/versions/0003_fallback_assets.py", "\n)\n"), 6),
    "a revision that others may write": (
        lambda h: (h.home / "migrations/versions/0003_fallback_assets.py").chmod(0o646),
        0 if os.geteuid() else 6,
    ),
    "a sticky one, which only means something for folders": (
        lambda h: (h.home / "migrations/versions/0003_fallback_assets.py").chmod(0o1646),
        0 if os.geteuid() else 6,
    ),
    "another env.py": (lambda h: append(h.home / "migrations/env.py", "\n# mine\n"), 0),
    "another configuration": (lambda h: append(h.home / "alembic.ini", "\n# mine\n"), 0),
    "another manifest": (lambda h: append(h.home / "model_manifest.json", " "), 0),
    "another template": (lambda h: append(h.home / ".env.example", "\n# mine\n"), 0),
    "a value that is gone": (lose_a_value, 0),
    "no settings": (lambda h: (h.home / ".env").unlink(), 0),
    "settings that others may read": (lambda h: (h.home / ".env").chmod(0o644), 0),
    "settings behind a link": (link_the_settings, 0),
    "a journal": (lambda h: (h.root / STATE / "journal").write_text("{}"), 4),
    "a run": (leave_a_run, 0),
    "something staged": (lambda h: (h.root / STATE / "staging/left").mkdir(), 0),
    "no reserve": (lambda h: (h.root / STATE / "reserve").unlink(), 0),
    "no key": (lambda h: (h.root / STATE / "key").unlink(), 4),
    "a state directory that others may enter": (lambda h: (h.root / STATE).chmod(0o755), 4),
    "no ledger id": (lambda h: (h.root / STATE / "ledger_id").unlink(), 6),
    "a changed row": (tamper, 7),
    "a value of another kind": (lambda h: h.sql("UPDATE vv_step SET user = CAST(user AS BLOB)"), 7),
    "a value that SQLite can read as another one": (as_jsonb, 7),
    "a column with another name": (lambda h: h.sql('ALTER TABLE vv_kept RENAME COLUMN kept TO "(SELECT 1)"'), 4),
    "text that is none": (lambda h: h.sql("UPDATE vv_step SET user = CAST(x'ff' AS TEXT) WHERE seq = 2"), 7),
    "the last digit of a time": (
        lambda h: h.sql("UPDATE vv_step SET duration_s = duration_s + 1e-16 WHERE seq = 2"),
        7,
    ),
    "a row that is gone": (lose_a_row, 4),
    "a trigger": (plant_a_trigger, 4),
    "another database": (restore_another_database, 4),
    "no database": (lambda h: h.database.unlink(), 4),
    "a hold": (lambda h: h.down("0005"), 3),
    "a folder above the storage root that anybody may rearrange": (lambda h: h.root.parent.chmod(0o777), 6),
    "a stored source that is gone": (lambda h: next((h.root / STATE / "sources").glob("*.py")).unlink(), 0),
    "a promise to take a run back": (lambda h: (h.home / STATE / "intention").write_text("{}"), 4),
    "a key that was to take the other's place": (lambda h: (h.root / STATE / "key.next").write_text("0" * 64), 0),
    "what this version knows nothing of": (lambda h: (h.home / STATE / "later").mkdir(), 0),
    "what was not told": (lambda h: (h.root / STATE / "changed").write_text('{"affects": ["env"]}'), 0),
}


@pytest.mark.parametrize("doubt", DOUBTS)
def test_a_doubt_takes_the_long_way(up: HostFolder, doubt: str) -> None:
    """And the long way says what it always said, with its exit code."""
    act, code = DOUBTS[doubt]
    act(up)
    long, returned = went(up, "upgrade", "head")
    assert long or returned not in (0, 3)
    assert returned == code


@pytest.mark.parametrize(
    ("arguments", "environ", "code"),
    [
        (["--set", "LOG_LEVEL=DEBUG"], {}, 0),
        (["--update-env"], {}, 0),
        (["--strict"], {}, 0),
        (["--release-hold"], {}, 0),
        (["--plan"], {}, 0),
        (["0006"], {}, 0),
        (["0009"], {}, 2),
        ([], {"VV_MODEL_VARIANT": "full"}, 1),
        ([], {"VIDEO_STORAGE_ROOT": "/nowhere/else"}, 6),
        ([], {"VV_DIR_MODE": "0750"}, 0),
    ],
)
def test_who_asks_for_more_gets_the_long_way(
    up: HostFolder, arguments: list[str], environ: dict[str, str], code: int
) -> None:
    """An option, a target, or a setting that was another when nothing was left to be done."""
    offline = ["--offline"] if "VV_MODEL_VARIANT" in environ else []
    if "--plan" in arguments:  # which logs nothing
        heavy, returned, _ = imported(up, "upgrade", *arguments)
        assert "sqlalchemy" in heavy
    else:
        long, returned = went(up, "upgrade", *arguments, *offline, environ=environ)
        assert long or returned in (2, 6)
    assert returned in ((code,) if code != 1 else (1, 6))


def test_a_process_that_may_have_no_more_threads_tells_it_too(up: HostFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a unit's TasksMax or a container forbids it, the boot is as quick as one thread is, and no less sure."""
    tried = []

    def refuse(*work: object) -> None:
        tried.append(work)
        raise RuntimeError("can't start new thread")

    def settled_now() -> bool:
        return settled.nothing_to_do({"home": str(up.home)}, up.environment(), up.home) is not None

    monkeypatch.setattr(settled, "start_new_thread", refuse)
    assert settled_now()
    tamper(up)
    assert not settled_now()
    assert len(tried) == 2


@pytest.mark.parametrize("what", ["a revision", "settings"])
def test_what_comes_while_an_upgrade_looks_is_not_taken_for_seen(
    up: HostFolder, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release that is unpacked, or a value that is taken away, after the upgrade read it: the next one has to see."""
    (up.root / STATE / "settled").unlink()

    def late(*arguments: Any) -> None:
        up.revision("0007", "op.make_directories(['more'])") if what == "a revision" else lose_a_value(up)
        settled.remember(*arguments)

    monkeypatch.setattr(upgrades, "remember", late)
    assert up.up().body["to"] == "0006"
    assert not (up.root / STATE / "settled").exists()
    done = up.run("upgrade")
    assert ("0007" if what == "a revision" else "DVR_IP") in done.stdout


@pytest.mark.parametrize(
    "option", [["--lock-timeout", "soon"], ["--lock-timeout", "-5"], ["--color", "pink"], ["--color"]]
)
def test_what_is_no_option_is_refused_also_where_nothing_is_to_be_done(up: HostFolder, option: list[str]) -> None:
    """The same call has the same exit code, whatever the host is like."""
    assert up.run("upgrade", "head", *option).returncode == 2


ROWS = (*(-(2**63), -1, 0, 1, 2, 3, 4, 9), 2**63 - 1)
"""Numbers of rows: SQLite's lowest and highest, and some between."""


@pytest.mark.parametrize("at_once", [1, 2, 3, len(ROWS) - 1, len(ROWS), 1000])
def test_every_row_is_looked_at_however_many_are_read_at_once(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else somebody could change, add or take away a row, and the boot would say that nothing happened."""
    monkeypatch.setattr(settled, "ROWS_AT_ONCE", at_once)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        install_tables(db, "0" * 32)
        for seq in ROWS:
            db.execute("INSERT INTO vv_hold VALUES (?, 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x')", (seq,))
        seen = {settled.digest_of(db, "vv_hold")}
        for change in ("UPDATE vv_hold SET hash = 'y'", "DELETE FROM vv_hold"):
            for seq in ROWS:
                db.execute("BEGIN")
                db.execute(f"{change} WHERE seq = ?", (seq,))
                seen.add(settled.digest_of(db, "vv_hold"))
                db.execute("ROLLBACK")
        assert len(seen) == 1 + 2 * len(ROWS)
        assert settled.digest_of(db, "vv_hold") in seen


def test_a_variant_that_is_set_comes_at_once(host: HostFolder) -> None:
    """Whoever sets it has it installed in the same run; the one before is no proof that nothing is left to do."""
    host.environ["VV_MODEL_VARIANT"] = ""
    path = host.home / "model_manifest.json"
    found = json.loads(path.read_text())
    variants = found["models"]["bitnet_summarizer"]["1.0.0"]["variants"]
    variants["small"] = variants["demo"]
    path.write_text(json.dumps(found))
    host.up(values={"DVR_IP": "192.168.1.20", "VV_MODEL_VARIANT": "demo"})
    host.up()
    assert sorted(step["revision"] for step in host.up(values={"VV_MODEL_VARIANT": "small"}).body["steps"]) == [
        "0002",
        "0004",
    ]
    assert host.call("status").body["other_variant"] is None
    assert went(host, "upgrade") == (True, 0)
    assert went(host, "upgrade") == (False, 0)
    env = host.home / ".env"
    env.write_text(env.read_text().replace("VV_MODEL_VARIANT=small", "VV_MODEL_VARIANT=demo"))
    assert host.run("upgrade").returncode == 0
    assert host.call("status").body["other_variant"] is None
    assert went(host, "upgrade") == (True, 0)
    assert went(host, "upgrade") == (False, 0)


@pytest.mark.parametrize("oddity", ["an edited revision", "a lost .env"])
def test_a_warning_is_told_at_every_boot(up: HostFolder, oddity: str) -> None:
    """What was warned of once is not healthy from then on."""
    if oddity == "a lost .env":
        (up.home / ".env").unlink()
    else:
        append(up.home / "migrations/versions/0003_fallback_assets.py", "# changed\n")
    for _ in range(3):
        done = up.run("upgrade")
        assert done.returncode == 0
        assert ".env is missing" in done.stderr if oddity == "a lost .env" else "0003" in done.stderr, done.stderr


def test_what_is_left_to_be_done_is_never_forgotten(host: HostFolder) -> None:
    """A required key without a value, and a degraded step, are said at every boot."""
    host.up()
    assert "DVR_IP" in host.run("upgrade").stdout
    assert "DVR_IP" in host.run("upgrade").stdout
    assert not (host.root / STATE / "settled").exists()


@pytest.mark.parametrize("arguments", [["--help"], ["upgrade", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(host: HostFolder, arguments: list[str]) -> None:
    """Nobody waits for the words that say what there is."""
    names, code, text = modules(host, *arguments)
    assert ({name.partition(".")[0] for name in names} & set(HEAVY), code, bool(text)) == ({"click"}, 0, True)
    assert ours(names) == HELPING


LOOKS = (["status"], ["current"], ["heads"], ["show", "0003"], ["history"], ["verify", "--quick"])


@pytest.mark.parametrize("arguments", LOOKS, ids=" ".join)
def test_a_look_does_not_wait_for_alembic(up: HostFolder, arguments: list[str]) -> None:
    """Usual revisions are read as text, and shown by the command line's own libraries."""
    append(up.home / "migrations/versions/0003_fallback_assets.py", "\n# edited since: the recorded one counts\n")
    heavy, code, text = imported(up, *arguments)
    assert heavy == {"click", "rich"} | ({"dotenv"} if arguments != ["history"] else set())  # it reads no .env
    assert (code in (0, 3), bool(text)) == (True, True)


def test_a_revision_that_has_to_be_run_is_run_to_say_where_the_host_stands(up: HostFolder) -> None:
    """The answer is the same, only later."""
    up.revision("0007", "op.make_directories(['more'])", imports="down_revision = '00' + '06'")
    heavy, code, text = imported(up, "status")
    assert {"alembic", "sqlalchemy"} <= heavy
    assert (code, "pending: 0007" in text) == (3, True)
