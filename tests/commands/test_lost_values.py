"""`.env` lost a line, a value, or itself, or holds a wrong one: every hint mends it, and none makes a secret anew."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from dotenv import dotenv_values

from tests.commands.plans import agree
from tests.commands.proof import says
from tests.conftest import HostFolder
from tests.crash.dying import Moment, crash
from vvmigrate.engine import step

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
    for words in (
        "LOG_LEVEL stands on lines",
        "not KEY=value",
        "what stands there is read differently",
        "systemd takes a comment",
    ):
        assert any(words in what for what in said), (words, said)
    assert all(str(path) in remedy for remedy in said.values())
    assert "not an ip!" not in str(findings)
    assert secret not in str(findings)
    assert worked.call("doctor").exit_code == 3
    assert worked.call("verify").exit_code == 0


MERGES: dict[str, dict[str, Any]] = {
    "set": {"values": {"KEY_ID": "k2"}},
    "update": {"update_env": True},
    "a new release": {},
}


def release_that_merges(host: HostFolder) -> None:
    """Let a revision bring a key."""
    path = host.home / ".env.example"
    path.write_text(path.read_text() + "\n# Of the new release.\n# @type=string\nBROUGHT=yes\n")
    host.revision("0007", "op.merge_env()\nop.write_signature()")


@pytest.mark.parametrize("how", MERGES)
def test_a_lost_file_is_never_begun_anew(worked: HostFolder, how: str) -> None:
    """Whatever merges into it finds it as it was merged last: no value that somebody gave is lost."""
    worked.up(values={"TELEGRAM_CHAT_ID": "77", "LOG_LEVEL": "DEBUG"})
    before = dotenv_values(worked.home / ".env")
    if how == "a new release":
        release_that_merges(worked)
    (worked.home / ".env").unlink()
    told: list[tuple[str, dict[str, Any]]] = []
    plan = worked.call("plan", **MERGES[how], told=told)
    assert any(".env was gone: it comes back" in text for step in plan.body["steps"] for text in step["warnings"])
    done = worked.up(**MERGES[how])
    agree(plan, done)
    added = {"a new release": {"BROUGHT": "yes"}, "set": {"KEY_ID": "k2"}}.get(how, {})
    assert dotenv_values(worked.home / ".env") == {**before, **added}
    assert worked.call("verify").body["drift"] == []
    assert worked.call("doctor").exit_code == 0


def test_the_way_back_after_a_loss_goes_back_to_the_file(worked: HostFolder) -> None:
    """Not to nothing: the revision that made it is applied still."""
    worked.up(values={"TELEGRAM_CHAT_ID": "77"})
    before = (worked.home / ".env").read_bytes()
    release_that_merges(worked)
    (worked.home / ".env").unlink()
    worked.up()
    worked.down("0006")
    assert (worked.home / ".env").read_bytes() == before
    assert worked.call("verify").body["drift"] == []


@pytest.mark.parametrize("published", [1, 2])
def test_a_kill_while_a_lost_file_comes_back_leaves_it_lost_or_back(worked: HostFolder, published: int) -> None:
    """Both are published in one step: after the recovery there is nothing, and the next upgrade brings all of it."""
    worked.up(values={"TELEGRAM_CHAT_ID": "77"})
    before = dotenv_values(worked.home / ".env")
    release_that_merges(worked)
    (worked.home / ".env").unlink()
    crash(worked, Moment(step, "publish", nth=published), "upgrade")
    worked.call("recover")
    assert not (worked.home / ".env").exists()
    worked.up()
    assert dotenv_values(worked.home / ".env") == {**before, "BROUGHT": "yes"}


def test_what_is_not_kept_any_more_is_a_persons(worked: HostFolder) -> None:
    """Nothing is made up: the upgrade is refused, and says how to begin anew on purpose."""
    (worked.home / ".env").unlink()
    for folder in (worked.root / ".vvmigrate/undo", worked.home / ".vvmigrate/undo"):
        shutil.rmtree(folder, ignore_errors=True)
    report = worked.call("upgrade", values={"LOG_LEVEL": "DEBUG"})
    says(report, 6, "is gone", hint="touch ")
    (worked.home / ".env").touch()
    worked.up(values={"LOG_LEVEL": "DEBUG"})
    assert value(worked, "LOG_LEVEL") == "DEBUG"


def test_a_repair_of_the_mode_leaves_the_values(worked: HostFolder) -> None:
    """An editor that rewrote the file, and a key that lost its value: only these two are mended."""
    path = worked.home / ".env"
    without_value(worked)
    path.write_text(path.read_text().replace("GRAFANA_PORT=3000", "GRAFANA_PORT=4000") + "MINE=1\n")
    path.chmod(0o644)
    report = worked.call("repair")
    assert (report.exit_code, report.body["left"]) == (0, [])
    assert (value(worked, "GRAFANA_PORT"), value(worked, "MINE")) == ("4000", "1")
    assert value(worked)
    assert path.stat().st_mode & 0o777 == 0o600


# ---- a link ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def linked(host: HostFolder) -> HostFolder:
    """A host whose `.env` is a link to another file of its home."""
    (host.home / "conf").mkdir()
    (host.home / "conf/env").write_text("DVR_IP=192.168.1.20\nTELEGRAM_BOT_TOKEN=tok\n")
    (host.home / ".env").symlink_to("conf/env")
    host.up()
    return host


def test_a_file_behind_a_link_is_as_private_as_any(linked: HostFolder) -> None:
    """Its digest stands in no list that others read, and an edit of it is nobody's business."""
    assert "conf/env" not in (linked.home / "vv-signature.json").read_text()
    path = linked.home / "conf/env"
    path.write_text(path.read_text().replace("LOG_LEVEL=INFO", "LOG_LEVEL=ERROR"))
    for verb in ("status", "verify", "doctor", "repair"):
        assert linked.call(verb).exit_code == 0
    assert value(linked, "LOG_LEVEL") == "ERROR"


@pytest.mark.parametrize("name", [".vvmigrate/root", ".env.example", "alembic.ini", "migrations/env.py"])
def test_a_link_to_what_has_another_use_is_not_followed(host: HostFolder, name: str) -> None:
    """Merged into the template, secrets would be the release's; merged into our own files, the host would be lost."""
    host.up("0003")
    before = (host.home / name).read_bytes()
    (host.home / ".env").symlink_to(name)
    says(host.call("upgrade"), 6, "a link to what has another use", name)
    assert (host.home / name).read_bytes() == before


def test_a_link_that_is_gone_is_told_of(linked: HostFolder) -> None:
    """No second file is made beside the real one."""
    before = (linked.home / "conf/env").read_bytes()
    (linked.home / ".env").unlink()
    assert linked.call("verify").exit_code == linked.call("repair").exit_code == 3
    says(linked.call("upgrade", update_env=True), 6, "was a link to conf/env", hint="ln -s conf/env")
    assert not (linked.home / ".env").exists()
    assert (linked.home / "conf/env").read_bytes() == before
    remedy = linked.call("doctor").body["findings"][0]["remedy"]
    subprocess.run(remedy.rpartition("have it back: ")[2], shell=True, check=True)
    assert linked.call("doctor").exit_code == linked.call("verify").exit_code == 0


# ---- what is not taken -----------------------------------------------------------------------------------------------


def test_a_value_of_the_environment_that_is_not_taken_is_told(host: HostFolder) -> None:
    """Whoever believes to have given the value learns why it is missing, at every upgrade and in the plan."""
    host.up()
    host.environ["DVR_IP"] = "bad value"
    for verb in ("plan", "upgrade", "upgrade"):
        told: list[tuple[str, dict[str, Any]]] = []
        report = host.call(verb, told=told)
        texts = [facts["text"] for event, facts in told if event == "warning"]
        assert any("the one in the environment is not taken" in text for text in texts), (verb, texts)
        assert "bad value" not in str(texts) + str(report.body)


def test_another_storage_root_is_not_set(worked: HostFolder) -> None:
    """Else every later command would be refused, while the services read another root than the one that is kept."""
    before = (worked.home / ".env").read_bytes()
    says(
        worked.call("upgrade", values={"VIDEO_STORAGE_ROOT": "/elsewhere"}),
        6,
        "/elsewhere",
        hint="adopt --storage-root",
    )
    assert (worked.home / ".env").read_bytes() == before
    worked.up(values={"VIDEO_STORAGE_ROOT": str(worked.root)})
