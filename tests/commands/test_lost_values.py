"""`.env` lost a line, a value, or itself, or holds a wrong one: every hint mends it, and none makes a secret anew."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dotenv import dotenv_values

from tests.conftest import HostFolder

NAME = "HMAC_SECRET_KEY"


def value(host: HostFolder, key: str = NAME) -> str | None:
    return dotenv_values(host.home / ".env").get(key)


def edit(host: HostFolder, change: Callable[[str], str]) -> None:
    """Change the line of the key as a person would."""
    path = host.home / ".env"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(change(line) if line.startswith(NAME) else line for line in lines))


def without_line(host: HostFolder) -> None:
    edit(host, lambda line: "")


def without_value(host: HostFolder) -> None:
    edit(host, lambda line: f"{NAME}=\n")


def asks_nobody(name: str, *_: object) -> str:
    raise AssertionError(f"asked for {name}")


def remedies(host: HostFolder) -> list[str]:
    return [item["remedy"] for item in host.call("doctor").body["findings"]]


@pytest.mark.parametrize("lose", [without_line, without_value])
@pytest.mark.parametrize("command", ["repair", "upgrade", "upgrade --update-env"])
def test_a_secret_that_is_kept_comes_back_by_every_command(
    worked: HostFolder, lose: Callable[[HostFolder], None], command: str
) -> None:
    """Whoever signs log lines goes on with the same key: older lines can still be verified."""
    secret = value(worked)
    lose(worked)
    assert worked.call("status").body["required_missing"] == []
    assert worked.call("verify").exit_code == worked.call("status").exit_code == 3
    assert all("--set" not in remedy for remedy in remedies(worked)), remedies(worked)
    assert any("vvmigrate repair" in remedy for remedy in remedies(worked))
    done = worked.run(*command.split())
    assert (done.returncode, "--set" in done.stdout + done.stderr) == (0, False), done.stderr
    assert secret
    assert value(worked) == secret
    assert worked.call("verify").exit_code == worked.call("doctor").exit_code == 0


@pytest.mark.parametrize("lose", [without_line, without_value])
def test_a_key_that_was_changed_on_purpose_comes_back_as_it_was_changed(
    worked: HostFolder, lose: Callable[[HostFolder], None]
) -> None:
    """After `--set` gave another secret, the one of the first day is not the one that services use."""
    other = "f00d" * 16
    worked.up(values={NAME: other})
    lose(worked)
    worked.up()
    assert value(worked) == other


def test_a_terminal_does_not_ask_for_a_secret_that_is_kept(worked: HostFolder) -> None:
    """Just Enter, or a made-up value, would end what was signed until now."""
    secret = value(worked)
    without_value(worked)
    worked.up(ask=asks_nobody)
    assert value(worked) == secret


def test_taking_the_revision_back_leaves_what_was_there_before_us(host: HostFolder) -> None:
    """A `.env` that had the key without a value has it so again: the value was never a person's."""
    (host.home / ".env").write_text(f"{NAME}=\nMINE=1\n")
    host.up(values={"DVR_IP": "192.168.1.20"})
    assert len(value(host) or "") == 64
    host.down("base")
    assert dotenv_values(host.home / ".env") == {NAME: "", "MINE": "1", "DVR_IP": "192.168.1.20"}


def test_a_lost_file_comes_back_as_it_was_merged_last(worked: HostFolder) -> None:
    """Doctor's only advice is the repair; an upgrade neither asks nor makes a fresh file, but says the same."""
    worked.up(values={"LOG_LEVEL": "DEBUG"})
    path = worked.home / ".env"
    before = path.read_bytes()
    path.unlink()
    assert [remedy for remedy in remedies(worked) if "repair" not in remedy] == []
    told: list[tuple[str, dict[str, str]]] = []
    report = worked.up(ask=asks_nobody, told=told)
    assert report.body["required_missing"] == []
    assert any("vvmigrate repair" in facts["text"] for event, facts in told if event == "warning")
    assert worked.call("upgrade", strict=True).exit_code == 6
    assert not path.exists()
    assert worked.call("repair").exit_code == 0
    assert path.read_bytes() == before


def test_what_a_pending_revision_brings_is_not_missing(worked: HostFolder) -> None:
    """A newer release lies there: its keys come with `upgrade head`, and nobody is told to set them before."""
    template = worked.home / ".env.example"
    secret, name = "# @required @generate=hex(16)\nNEW_SECRET=\n", "# @required @sensitive=false\nNEW_NAME=\n"
    template.write_text(f"{template.read_text()}\n{secret}\n{name}")
    worked.revision("0007", "op.merge_env()")
    assert worked.call("status").body["required_missing"] == []
    assert not any("--set" in remedy for remedy in remedies(worked)), remedies(worked)
    assert worked.up().body["required_missing"] == ["NEW_NAME"]
    assert len(value(worked, "NEW_SECRET") or "") == 32
    assert worked.call("status").body["required_missing"] == ["NEW_NAME"]


def test_wrong_values_and_lines_are_found_at_every_look(worked: HostFolder) -> None:
    """A typing error in an editor is told by doctor, with where it stands; no value of a secret is."""
    path = worked.home / ".env"
    text = path.read_text().replace("DVR_IP=192.168.1.20", "DVR_IP=not an ip!")
    secret = "xoxb-of-a-person"
    path.write_text(f"{text}LOG_LEVEL=DEBUG\nNOT A LINE\nexport FOO\nTELEGRAM_BOT_TOKEN={secret} # mine\n")
    findings = worked.call("doctor").body["findings"]
    said = {item["what"]: item["remedy"] for item in findings}
    assert said.pop(next(what for what in said if what.startswith("DVR_IP must be"))) == (
        "vvmigrate upgrade head --set DVR_IP=VALUE"
    )
    for words in ("LOG_LEVEL stands on lines", "not KEY=value", "FOO is read differently", "systemd takes a comment"):
        assert any(words in what for what in said), (words, said)
    assert all(str(path) in remedy for remedy in said.values())
    assert "not an ip!" not in str(findings)
    assert secret not in str(findings)
    assert worked.call("doctor").exit_code == 3
    assert worked.call("verify").exit_code == 0
