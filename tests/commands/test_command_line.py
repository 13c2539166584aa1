"""The command line as other programs rely on it: usage errors, one JSON document, its keys, and no secret anywhere."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.commands.proof import nothing_changes
from tests.conftest import HostFolder
from vvmigrate.cli import SECTIONS, cli

MAKES = "op.make_directories(['made_by_mistake'])"

USAGE = [
    (["upgrad"], "Did you mean 'upgrade'"),
    (["histroy"], "Did you mean 'history'"),
    (["frobnicate"], "No such command"),
    (["upgrade", "--skip-existin"], "--skip-existing"),
    (["upgrade", "--frobnicate"], "--frobnicate"),
    (["downgrade", "-1", "--no-hol"], "--no-hold"),
    (["plan", "--strict"], "--strict"),
    (["status", "--frobnicate"], "--frobnicate"),
    (["status", "extra"], "extra"),
    (["upgrade", "head", "extra"], "extra"),
    (["downgrade"], "REVISION"),
    (["show"], "REVISION"),
    (["--lock-timeout", "soon", "upgrade"], "soon"),
    (["--lock-timeout", "-1", "upgrade"], "-1"),
    (["--color", "pink", "status"], "pink"),
    (["upgrade", "--set", "novalue"], "KEY=VALUE"),
    (["upgrade", "--set", "=x"], "KEY=VALUE"),
    (["upgrade", "--set", "KEY=@/nonexistent/file"], "/nonexistent/file"),
    (["stamp", "head"], "stamp is refused"),
]


def test_help_shows_every_verb_once() -> None:
    """Sections are for finding a verb: one that stands in none could not be found at all."""
    shown = [name for names in SECTIONS.values() for name in names]
    assert sorted(shown) == sorted(name for name, command in cli.commands.items() if not command.hidden)


@pytest.mark.parametrize(("arguments", "words"), USAGE, ids=lambda value: " ".join(value)[:40] if value else "")
def test_a_command_line_that_means_nothing_is_exit_2(bare: HostFolder, arguments: list[str], words: str) -> None:
    """Unknown verbs, options and values are refused by name, with what was probably meant, never ignored."""
    bare.up()
    bare.revision("0002", MAKES)
    with nothing_changes(bare):
        done = bare.run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["frobnicate"], ["upgrade", "--frobnicate"], ["downgrade"], ["upgrade", "9999"]])
def test_a_usage_error_is_a_json_document_too(bare: HostFolder, arguments: list[str]) -> None:
    """A program that asked for JSON gets one document, also when it asked for nonsense."""
    document = bare.json(*arguments)
    assert (document["exit_code"], document["error"]["type"]) == (2, "UsageError")


# ---- JSON ------------------------------------------------------------------------------------------------------------

COMMON = {"vvmigrate", "command", "exit_code", "error"}
STEP = {"revision", "title", "direction", "result", "duration_s", "changes", "kept", "warnings", "error"}
CHANGED = {"run_id", "from", "to", "steps", "affects", "held", "required_missing", "degraded"}
ENTRY = {
    *("run_id", "revision", "title", "direction", "result", "started_at", "finished_at", "duration_s", "user", "host"),
    *("tool_version", "script_sha256", "error", "hash", "previous_hash"),
}
STATUS = {
    *("revision", "head", "pending", "drift", "degraded", "journal", "state_digest", "last_run", "generations"),
    *("held", "required_missing"),
}
KEYS: list[tuple[list[str], set[str], dict[str, set[str]]]] = [
    (["plan"], {"from", "to", "steps", "disk"}, {"steps": {"revision", "title", "changes", "downloads"}}),
    (["upgrade", "--plan"], {"from", "to", "steps", "disk"}, {"steps": {"revision", "title", "changes", "downloads"}}),
    (["upgrade"], CHANGED, {"steps": STEP}),
    (["plan"], {"from", "to", "steps", "disk"}, {}),
    (["status"], STATUS, {"pending": set()}),
    (["history"], {"entries"}, {"entries": ENTRY}),
    (["history", "-v"], {"entries"}, {"entries": ENTRY | {"effects"}}),
    (["history", "--failures", "--verify"], {"entries"}, {"entries": ENTRY}),
    (["current"], {"revision"}, {}),
    (["heads"], {"heads"}, {"heads": {"revision", "title"}}),
    (["show", "head"], {"revision", "title", "source"}, {}),
    (["recover"], {"settled"}, {}),
    (["downgrade", "-1"], CHANGED, {"steps": STEP, "held": {"revision"}}),
    (["status"], STATUS, {"held": {"revision", "user", "at", "reason"}, "pending": {"revision", "title"}}),
    (["upgrade"], CHANGED, {"held": {"revision"}}),
    (["downgrade", "base"], CHANGED, {"steps": STEP}),
]


def test_every_document_has_the_contracts_keys(host: HostFolder) -> None:
    """One JSON document on standard output and nothing else, for every command, with the keys others rely on."""
    for arguments, keys, inner in KEYS:
        done = host.run("--json", *arguments)
        assert done.stdout.count("\n") == 1, arguments
        document = json.loads(done.stdout)
        assert document["exit_code"] == done.returncode, arguments
        assert document["command"] in (arguments[0], "plan"), arguments
        assert COMMON | keys <= document.keys(), (arguments, (COMMON | keys) - document.keys())
        for name, expected in inner.items():
            for item in document[name]:
                assert expected <= item.keys(), (arguments, name, expected - item.keys())
        _check_values(document)


def _check_values(value: Any, name: str = "") -> None:
    """Times are UTC with Z, durations and sizes are numbers."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_values(inner, key)
    elif isinstance(value, list):
        for inner in value:
            _check_values(inner, name)
    elif value is not None and name.endswith(("_at", "finished", "started")):
        assert value.endswith("Z"), (name, value)
        assert "T" in value
    elif value is not None and name.endswith(("_s", "_bytes")):
        assert isinstance(value, int | float), (name, value)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["upgrade"], 6), (["downgrade", "base"], 6), (["plan"], 6), (["status"], 6), (["recover"], 6), (["history"], 0)],
)
def test_a_refusal_is_a_whole_document_too(bare: HostFolder, arguments: list[str], code: int) -> None:
    """What stopped a command is in the document: type, message, hint, path, the code, and nothing on the way lost."""
    bare.up()
    bare.revision("0002", MAKES, imports="import no_such_module")
    document = bare.json(*arguments)
    if arguments[0] == "recover":  # recover needs no revision
        assert document["exit_code"] in (0, 6)
        return
    assert document["exit_code"] == code
    if code:
        assert document["error"].keys() == {"type", "message", "hint", "path"}
        assert document["error"]["type"] == "RevisionError"


def test_a_traceback_is_only_shown_with_debug(bare: HostFolder) -> None:
    """What nobody foresaw is one line for people, and a traceback for those who ask for it."""
    bare.revision("0002", "raise KeyError('boom')")
    plain = bare.run("upgrade")
    assert plain.returncode == 1
    assert "boom" in plain.stderr
    assert "Traceback" not in plain.stdout + plain.stderr


# ---- secrets ---------------------------------------------------------------------------------------------------------

CANARIES = (
    "canary-in-env-file",
    "canary-on-the-command-line",
    "canary-from-a-file",
    "canary-from-stdin",
    "canary-edited",
)


def _everything_kept(host: HostFolder) -> bytes:
    """All that is stored outside files that only their owner may read."""
    found = []
    for top in (host.home, host.root):
        for path in sorted(top.rglob("*")):
            open_to_others = path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o077
            found.append(path.read_bytes() if open_to_others else b"")
    with sqlite3.connect(host.database) as connection:
        found += [line.encode() for line in connection.iterdump()]
    found.append((host.home / "logs/bootstrap.log").read_bytes())
    found.append(
        (host.root / ".vvmigrate/journal").read_bytes() if (host.root / ".vvmigrate/journal").exists() else b""
    )
    return b"\n".join(found)


def test_no_secret_value_is_shown_logged_or_stored(host: HostFolder, tmp_path: Path) -> None:
    """Values from .env, from --set in each of its forms, and generated ones stay in files that only root reads."""
    (host.home / ".env").write_text(
        f"SLACK_WEBHOOK_URL=https://hooks.example/{CANARIES[0]}\nMINE={CANARIES[0]}\nexport TELEGRAM_BOT_TOKEN=old\n"
    )
    (host.home / ".env").chmod(0o600)
    (tmp_path / "secret").write_text(CANARIES[2] + "\n")
    shown = []
    calls: list[tuple[tuple[str, ...], str | None]] = [
        (("plan",), None),
        (
            (
                "upgrade",
                "-v",
                "--set",
                f"TELEGRAM_BOT_TOKEN={CANARIES[1]}",
                f"--set=TELEGRAM_CHAT_ID=@{tmp_path}/secret",
            ),
            None,
        ),
        (("upgrade", "--set", "TELEGRAM_CHAT_ID=-"), CANARIES[3] + "\n"),
        (("upgrade", "--update-env", f"--set=GRAFANA_PASSWORD={CANARIES[1]}"), None),
        (("history", "-v"), None),
        (("status", "-v"), None),
        (("downgrade", "base", "--plan"), None),
        (("downgrade", "0003", "-v"), None),
        (("upgrade", "--release-hold", "-v"), None),
    ]
    for arguments, stdin in calls:
        for flags in ((), ("--json",)):
            more = {"stdin": None, "input": stdin} if stdin is not None else {}
            done = host.run(*flags, *arguments, **more)
            assert done.returncode in (0, 3), (arguments, done.stderr)
            shown.append(done.stdout + done.stderr)
    env = (host.home / ".env").read_text()
    generated = next(line.partition("=")[2] for line in env.splitlines() if line.startswith("HMAC_SECRET_KEY="))
    assert CANARIES[1] in env
    kept = _everything_kept(host)
    for secret in (*CANARIES, generated.strip("'\"")):
        assert secret not in "".join(shown)
        assert secret.encode() not in kept


def test_a_failing_revisions_sql_parameters_are_not_told(bare: HostFolder) -> None:
    """An error of SQLAlchemy's carries the statement's parameters: they may be secret, and stay out of every record."""
    bare.up()
    bare.revision(
        "0002", "op.get_bind().execute(sa.text('INSERT INTO no_table VALUES (:v)'), {'v': 'canary-parameter'})"
    )
    done = bare.run("--json", "upgrade")
    assert done.returncode == 1
    assert "no_table" in done.stdout
    assert "canary-parameter" not in done.stdout + done.stderr
    assert b"canary-parameter" not in (bare.home / "logs/bootstrap.log").read_bytes()
    assert "canary-parameter" not in str(bare.sql("SELECT error FROM vv_step"))
