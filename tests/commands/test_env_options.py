"""The settings file: what a run says of it, and the only ways by which a value in it changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dotenv import dotenv_values

from tests.conftest import HostFolder
from vvmigrate.text import Screen, show


def value(host: HostFolder, key: str) -> str | None:
    return dotenv_values(host.home / ".env").get(key)


def everything_written(host: HostFolder) -> bytes:
    """Every byte that is not in a file of 0600: log, database, history."""
    found = b""
    for top in (host.home, host.root):
        for path in top.rglob("*"):
            if path.is_file() and not path.is_symlink() and path.lstat().st_mode & 0o077:
                found += path.read_bytes()
    return found + str(host.call("history", effects=True).body).encode()


def test_a_missing_required_key_is_warned_of_at_every_run(host: HostFolder) -> None:
    """Without DVR_IP each upgrade exits 0 but names it, until it has a value."""
    assert host.up().body["required_missing"] == ["DVR_IP"]
    assert host.up().body["required_missing"] == ["DVR_IP"]
    done = host.run("upgrade", "head")
    assert done.returncode == 0
    assert "DVR_IP" in done.stdout + done.stderr
    assert host.call("status").body["required_missing"] == ["DVR_IP"]
    host.up(values={"DVR_IP": "192.168.1.20"})
    assert host.up().body["required_missing"] == []


def test_strict_refuses_before_the_first_write(host: HostFolder) -> None:
    """--strict with a required key missing is exit 6, and not even the first directory is made."""
    report = host.call("upgrade", "head", strict=True)
    assert report.exit_code == 6
    assert report.error is not None
    assert "DVR_IP" in report.error.message
    assert "--set DVR_IP=" in (report.error.hint or "")
    assert not (host.root / "input").exists()
    assert host.call("upgrade", "head", strict=True, values={"DVR_IP": "dvr.local"}).exit_code == 0


def test_strict_also_refuses_when_nothing_is_pending(host: HostFolder) -> None:
    """The same situation gives the same code on a host that is at head."""
    host.up()
    assert host.call("upgrade", "head", strict=True).exit_code == 6


def test_set_replaces_a_value_and_the_value_is_the_users_from_then_on(host: HostFolder) -> None:
    """--set overwrites, is recorded as a step, and a downgrade leaves the value that a person supplied."""
    host.up()
    report = host.up(values={"LOG_LEVEL": "DEBUG", "DVR_IP": "10.0.0.9"})
    assert [(step["revision"], step["result"]) for step in report.body["steps"]] == [("0004", "applied")]
    assert (value(host, "LOG_LEVEL"), value(host, "DVR_IP")) == ("DEBUG", "10.0.0.9")
    host.down("0003")
    assert dotenv_values(host.home / ".env") == {"LOG_LEVEL": "DEBUG", "DVR_IP": "10.0.0.9"}


def test_a_value_of_the_wrong_type_is_refused_before_the_first_write(host: HostFolder) -> None:
    """A typing error at the install is told of there, and not by a service that does not start."""
    wrong = {"DVR_IP": "not an ip!", "LOG_LEVEL": "LOUD"}
    for command in ("plan", "upgrade"):
        report = host.call(command, "head", values=wrong)
        assert (report.exit_code, report.error is not None) == (6, True)
        assert "DVR_IP must be " in str(report.error)
        assert "LOG_LEVEL must be " in str(report.error)
        assert not {"not an ip!", "LOUD"} & {str(report.error), str(report.body)}
        assert not (host.root / "input").exists()
    host.up(values={"DVR_IP": "10.0.0.9"})
    before = host.history()
    assert host.call("upgrade", values=wrong).exit_code == 6
    assert (value(host, "DVR_IP"), host.history()) == ("10.0.0.9", before)
    host.up(values={"DVR_IP": ""})
    assert value(host, "DVR_IP") == ""


def test_set_the_same_value_again_changes_nothing(host: HostFolder) -> None:
    """An idempotent script may pass --set at every boot: the history does not grow."""
    host.up(values={"DVR_IP": "10.0.0.9"})
    before = host.history()
    host.up(values={"DVR_IP": "10.0.0.9"})
    assert host.history() == before


def test_secrets_come_from_a_file_or_from_standard_input_and_are_never_shown(host: HostFolder, tmp_path: Path) -> None:
    """KEY=@FILE and KEY=- set secrets; no output, log, or file that others may read holds them."""
    token = tmp_path / "token"
    token.write_text("tok-3141592653\n")
    token.chmod(0o600)
    hook = tmp_path / "hook"
    hook.write_text("https://hooks.example.org/secret-2718281828\n")
    with hook.open() as stdin:
        arguments = ("--set", f"TELEGRAM_BOT_TOKEN=@{token}", "--set", "SLACK_WEBHOOK_URL=-")
        done = host.run("-v", "upgrade", "head", *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert value(host, "TELEGRAM_BOT_TOKEN") == "tok-3141592653"
    assert value(host, "SLACK_WEBHOOK_URL") == "https://hooks.example.org/secret-2718281828"
    host.run("upgrade", "head", "--set", "TELEGRAM_CHAT_ID=chat-1618033")
    key = value(host, "HMAC_SECRET_KEY")
    assert key
    shown = (done.stdout + done.stderr).encode() + everything_written(host)
    for secret in (b"tok-3141592653", b"secret-2718281828", b"chat-1618033", key.encode()):
        assert secret not in shown


def test_a_plan_masks_secrets(host: HostFolder) -> None:
    """plan shows the diff of .env, with generated and given secrets masked and harmless values plain."""
    text = str(host.call("plan", values={"TELEGRAM_BOT_TOKEN": "tok-3141592653"}).as_json())
    assert "ORCHESTRATOR_INTERVAL=300" in text
    assert "tok-3141592653" not in text
    host.up()
    key = value(host, "HMAC_SECRET_KEY")
    assert key
    assert key not in text


def test_a_plan_on_a_narrow_terminal_keeps_the_marks_of_a_diff_apart(
    host: HostFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line is longer than the terminal, and what goes on below is not taken for an unchanged line."""
    (host.home / ".env").write_text("TELEGRAM_BOT_TOKEN=tok-3141592653\nDVR_IP=1.1.1.1\n")
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("TERM", "xterm")
    show(Screen("always"), host.call("plan"))
    shown = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, shown)) <= 50
    first = next(n for n, line in enumerate(shown) if line.startswith("      +# Key that signs every log line."))
    following = shown[first + 1 : first + 4]
    assert all(line.startswith(" " * 10) for line in following[:2]), following
    assert "      +HMAC_SECRET_KEY=(set, 64 characters)" in [line.rstrip() for line in shown]
    assert "       TELEGRAM_BOT_TOKEN=(set, 14 characters)" in [line.rstrip() for line in shown]


def test_set_without_a_value_or_with_a_missing_file_is_a_usage_error(host: HostFolder) -> None:
    """A typing error on the command line is exit 2, and nothing is changed."""
    assert host.run("upgrade", "head", "--set", "DVR_IP").returncode == 2
    assert host.run("upgrade", "head", "--set", "DVR_IP=@/does/not/exist").returncode == 2
    assert not host.root.exists()


def test_update_env_brings_what_the_template_gained(host: HostFolder) -> None:
    """A release may gain a setting: --update-env adds it, as a recorded step, and touches no other value."""
    host.up()
    env = host.home / ".env"
    env.write_text(env.read_text().replace("LOG_LEVEL=INFO", "LOG_LEVEL=ERROR"))
    template = host.home / ".env.example"
    template.write_text(template.read_text() + "\n# New in this release.\n# @sensitive=false\nNEW_SETTING=7\n")
    assert host.up().body["steps"] == []
    assert value(host, "NEW_SETTING") is None
    report = host.up(update_env=True)
    assert [step["revision"] for step in report.body["steps"]] == ["0004"]
    assert (value(host, "NEW_SETTING"), value(host, "LOG_LEVEL")) == ("7", "ERROR")
    host.down("base")
    assert dotenv_values(env) == {"LOG_LEVEL": "ERROR"}


def test_a_key_that_the_user_deleted_stays_deleted(host: HostFolder) -> None:
    """A setting that was there and that somebody removed on purpose is not put back, unless it is required."""
    host.up(values={"DVR_IP": "10.0.0.9"})
    env = host.home / ".env"
    lines = [line for line in env.read_text().splitlines(keepends=True) if not line.startswith("GRAFANA_PORT=")]
    env.write_text("".join(lines))
    host.up(update_env=True)
    assert value(host, "GRAFANA_PORT") is None


def test_a_person_at_a_terminal_is_asked_and_the_answer_is_kept(host: HostFolder) -> None:
    """On a terminal the required key is asked for with its description; its answer is in .env and stays the user's."""
    asked = []

    def ask(name: str, description: str, hidden: bool, problem: object) -> str:
        asked.append((name, "IP address" in description, hidden))
        return "dvr.local"

    assert host.up(ask=ask).body["required_missing"] == []
    assert asked == [("DVR_IP", True, False)]
    assert value(host, "DVR_IP") == "dvr.local"
    host.down("base")
    assert dotenv_values(host.home / ".env") == {"DVR_IP": "dvr.local"}


def test_a_look_asks_nothing(host: HostFolder) -> None:
    """`plan` on a terminal shows what upgrade would do, and leaves the questions to it."""

    def ask(*_: object) -> str:
        raise AssertionError("asked")

    def confirm(_: str) -> bool:
        raise AssertionError("asked")

    assert host.call("plan", ask=ask, confirm=confirm).exit_code == 3
    host.up()
    host.down("-1")
    assert host.call("plan", ask=ask, confirm=confirm).body["held"]


def test_a_host_that_lacks_a_required_key_asks_again_at_the_next_run(host: HostFolder) -> None:
    """An installation done without a terminal is completed by the first run on one."""
    host.up()
    report = host.up(ask=lambda *_: "10.1.1.1")
    assert [step["revision"] for step in report.body["steps"]] == ["0004"]
    assert value(host, "DVR_IP") == "10.1.1.1"


def test_the_storage_root_in_force_is_written_into_env(host: HostFolder) -> None:
    """Services that read .env find the storage root that was used, also when the template names none."""
    host.up()
    assert value(host, "VIDEO_STORAGE_ROOT") == str(host.root)
