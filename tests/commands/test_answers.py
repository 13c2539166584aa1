"""Where values come from that nobody wrote into `.env`: a file of answers, the environment, a person at a terminal."""

from __future__ import annotations

import io
import os
import pty
import select
import sys
import time
from pathlib import Path

import pytest
from dotenv import dotenv_values

from tests.commands.proof import nothing_changes
from tests.conftest import HostFolder
from vvmigrate.errors import UsageError
from vvmigrate.given import read_given

TEMPLATE = """\
# @defaultRequired=false @defaultSensitive=true
# ---

# Port of the recorder.
# @required @sensitive=false @type=port(min=1)
PORT=

# How much is logged.
# @sensitive=false @type=enum(DEBUG, INFO)
LOG_LEVEL=INFO

# Password of the recorder.
# @required @type=string(minLength=8)
PASSWORD=

# Signs.
# @required @generate=hex(32)
SECRET=
"""
PASSWORD = "canary-of-a-person"


def values(host: HostFolder) -> dict[str, str | None]:
    return dict(dotenv_values(host.home / ".env"))


@pytest.fixture
def asking(bare: HostFolder) -> HostFolder:
    """A release whose second revision makes `.env` from a template with two keys that a host must have."""
    (bare.home / ".env.example").write_text(TEMPLATE)
    bare.revision("0002", "op.merge_env()")
    return bare


# ---- a file of answers -----------------------------------------------------------------------------------------------


def test_answers_are_as_explicit_as_set_and_set_outranks_them(asking: HostFolder, tmp_path: Path) -> None:
    """They replace values, are read with quotes and comments, stay at the downgrade; an empty one changes nothing."""
    asking.up(values={"PORT": "1"})
    secret = values(asking)["SECRET"]
    answers = tmp_path / "answers"
    answers.write_text(f"# for the hall\nPORT=8000\nexport PASSWORD='{PASSWORD}' # its own\nSECRET=\nLOG_LEVEL=DEBUG\n")
    done = asking.run("upgrade", "--answers", str(answers), "--set", "PORT=9000")
    assert done.returncode == 0, done.stderr
    assert values(asking) == {"PORT": "9000", "LOG_LEVEL": "DEBUG", "PASSWORD": PASSWORD, "SECRET": secret}
    asking.down("base")
    assert values(asking) == {"PORT": "9000", "LOG_LEVEL": "DEBUG", "PASSWORD": PASSWORD}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"PORT=1\nPORT canary-of-a-person\n", "line 2"),
        (b"PORT='canary-of-a-person\n", "line 1"),
        (b"PORT\n", "line 1"),
        (b"PORT=1\ncanary-of-a-person/+==\n", "line 2"),
        (b"PORT=\xff\n", "cannot be read"),
    ],
)
def test_answers_that_cannot_be_read_are_exit_2(tmp_path: Path, text: bytes, words: str) -> None:
    """A typing error is a usage error that names the line, and not its content."""
    answers = tmp_path / "answers"
    answers.write_bytes(text)
    with pytest.raises(UsageError, match=words) as caught:
        read_given((), str(answers))
    assert caught.value.exit_code == 2
    assert PASSWORD not in caught.value.message


def test_standard_input_that_has_ended_empties_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--set KEY=-` under cron, where nothing comes, is a usage error and not an empty value; an empty line is one."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("first\n\n"))
    assert read_given(("A=-", "B=-"), None) == {"A": "first", "B": ""}
    with pytest.raises(UsageError, match="standard input has ended"):
        read_given(("PASSWORD=-",), None)


@pytest.mark.parametrize("locale", ["utf-8:strict", "utf-8:surrogateescape"])
@pytest.mark.parametrize("arguments", [("--set", "PASSWORD=-"), ("--answers", "-")], ids=["set", "answers"])
def test_standard_input_that_is_not_utf_8_is_a_usage_error(
    asking: HostFolder, tmp_path: Path, arguments: tuple[str, ...], locale: str
) -> None:
    """Whatever the locale: refused as a file with the same bytes is, and no line of the host is written."""
    (tmp_path / "bytes").write_bytes(b"PASSWORD=\xff\n")
    with nothing_changes(asking), open(tmp_path / "bytes", "rb") as given:
        done = asking.run("upgrade", *arguments, environ={"PYTHONIOENCODING": locale}, stdin=given)
    assert done.returncode == 2
    assert "standard input: cannot be read" in done.stderr
    assert "unforeseen" not in done.stderr


def test_answers_come_from_standard_input_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--answers -` leaves no file behind."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"PASSWORD={PASSWORD}\n"))
    assert read_given(("PORT=1",), "-") == {"PASSWORD": PASSWORD, "PORT": "1"}


# ---- the environment -------------------------------------------------------------------------------------------------


def test_the_environment_fills_what_is_missing_and_replaces_nothing(asking: HostFolder) -> None:
    """A key that comes in, and a required one without value, take it; it is the user's, and stays at the downgrade."""
    asking.environ = {"PORT": "8000", "LOG_LEVEL": "DEBUG", "SECRET": "of-the-environment-0123456789"}
    asking.up()
    assert values(asking)["SECRET"] == "of-the-environment-0123456789"
    asking.environ = {"PORT": "9", "LOG_LEVEL": "INFO", "PASSWORD": PASSWORD}
    assert asking.up().body["required_missing"] == []
    now = values(asking)
    assert (now["PORT"], now["LOG_LEVEL"], now["PASSWORD"]) == ("8000", "DEBUG", PASSWORD)
    history = asking.history()
    asking.up(update_env=True)
    assert asking.history() == history
    asking.down("base")
    assert values(asking) == now


def test_the_environment_brings_back_nothing_that_was_deleted(asking: HostFolder) -> None:
    """A deleted key stays deleted although the environment has a value for it."""
    asking.up(values={"PORT": "1", "PASSWORD": PASSWORD})
    env = asking.home / ".env"
    env.write_text(env.read_text().replace("LOG_LEVEL=INFO\n", ""))
    asking.environ = {"LOG_LEVEL": "DEBUG"}
    asking.up(update_env=True)
    assert "LOG_LEVEL" not in values(asking)


def test_a_wrong_value_in_the_environment_is_told_and_not_taken(asking: HostFolder) -> None:
    """A stray variable of the same name does not spoil a host; a secret that was made once outranks it."""
    asking.environ = {"PORT": "eighty", "LOG_LEVEL": "loud"}
    report = asking.up()
    assert report.body["required_missing"] == ["PORT", "PASSWORD"]
    assert (values(asking)["PORT"], values(asking)["LOG_LEVEL"]) == ("", "INFO")
    said = report.body["steps"][-1]["warnings"]
    assert "PORT must be a port number from 0 to 65535; the one in the environment is not taken" in said
    secret = values(asking)["SECRET"]
    asking.down("base")
    asking.environ = {"SECRET": "of-the-environment-0123456789"}
    asking.up()
    assert values(asking)["SECRET"] == secret


# ---- a person at a terminal ------------------------------------------------------------------------------------------


def converse(host: HostFolder, turns: list[tuple[str, str]], *arguments: str) -> tuple[int, str]:
    """Run the tool on a terminal of its own; each turn waits for words on it, then types.

    Returns:
        Exit code, and everything that stood on the terminal.
    """
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover - another process
        os.chdir(host.home)
        os.execve(sys.executable, host.command(*arguments), host.environment())
    shown, position, deadline = "", 0, time.monotonic() + 60
    try:
        for words, typed in [*turns, ("\0", "")]:
            while (found := shown.find(words, position)) < 0:
                assert time.monotonic() < deadline, f"waited for {words!r}, saw {shown!r}"
                if not select.select([terminal], [], [], 1)[0]:
                    continue
                try:
                    data = os.read(terminal, 4096)
                except OSError:  # its other end was closed
                    data = b""
                if not data:
                    break
                shown += data.decode("utf-8", "replace").replace("\r\n", "\n")
            position = found + len(words) if found >= 0 else position
            if typed:
                os.write(terminal, typed.encode())
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), shown


def test_a_person_is_told_what_is_asked_and_asked_again_after_an_error(asking: HostFolder) -> None:
    """Description and demand are shown, a wrong answer is explained, and what is typed for a secret is not echoed."""
    turns = [
        ("PORT: ", "eighty\n"),
        ("PORT must be a port number", ""),
        ("PORT: ", "8000\n"),
        ("PASSWORD: ", "short\n"),
        ("PASSWORD must be at least 8 characters long", ""),
        ("PASSWORD: ", f"{PASSWORD}$'\\\"\n"),
        ("read it alike", ""),
        ("PASSWORD: ", PASSWORD + "\n"),
    ]
    code, shown = converse(asking, turns, "upgrade")
    assert code == 0, shown
    assert "Port of the recorder.\nIt must be a port number of at least 1.\n" in shown
    assert "It must be at least 8 characters long." in shown
    assert PASSWORD not in shown
    assert (values(asking)["PORT"], values(asking)["PASSWORD"]) == ("8000", PASSWORD)


def test_enter_takes_the_default_and_the_end_of_input_ends_asking(asking: HostFolder) -> None:
    """Where a required key was emptied, Enter takes the release's default; after Ctrl-D nobody is asked any more."""
    (asking.home / ".env.example").write_text(TEMPLATE.replace("PORT=", "PORT=80"))
    (asking.home / ".env").write_text("PORT=\n")
    code, shown = converse(
        asking, [("Just Enter for the default: 80.", ""), ("PORT: ", "\n"), ("PASSWORD: ", "\x04")], "upgrade"
    )
    assert code == 0, shown
    assert shown.count("PASSWORD: ") == 1
    assert (values(asking)["PORT"], values(asking)["PASSWORD"]) == ("80", "")


def test_a_secret_for_set_is_typed_unseen(asking: HostFolder) -> None:
    """`--set KEY=-` on a terminal asks without an echo."""
    code, shown = converse(
        asking, [("PASSWORD: ", PASSWORD + "\n")], "upgrade", "--set", "PASSWORD=-", "--set", "PORT=1"
    )
    assert code == 0, shown
    assert PASSWORD not in shown
    assert values(asking)["PASSWORD"] == PASSWORD


def test_non_interactive_asks_nobody_on_a_terminal(asking: HostFolder) -> None:
    """A provisioning tool with a terminal is not blocked; the missing keys are a warning."""
    code, shown = converse(asking, [], "upgrade", "--non-interactive")
    assert code == 0, shown
    assert "PORT: " not in shown
    assert "PORT=VALUE --set PASSWORD=VALUE" in shown
