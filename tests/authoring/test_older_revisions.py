"""A revision means the same for ever, also beside inputs that have moved on: older pins are superseded, not errors."""

from __future__ import annotations

import json

import pytest
from dotenv import dotenv_values

from tests.authoring.release import NAME, add_directory, add_key, add_version, differences, rename_key, write
from tests.commands.proof import says
from tests.conftest import HostFolder

PICTURE, VIDEO = "fallback/placeholder.png", "fallback/loop_silencioso.mp4"


def release_1_1(host: HostFolder) -> None:
    """Everything is another: a picture changed, the video gone, another model whose predecessor is forgotten."""
    (host.home / PICTURE).write_bytes(b"newer picture")
    (host.home / VIDEO).unlink()
    (host.home / "fallback/night.png").write_bytes(b"dark")
    add_version(host, "1.1.0", b"a better model")
    manifest = host.home / "model_manifest.json"
    found = json.loads(manifest.read_text())
    del found["models"][NAME]["1.0.0"]
    manifest.write_text(json.dumps(found))
    rename_key(host, "DVR_IP", "DVR_ADDRESS")
    add_key(host, "GREETING", "hi")
    add_directory(host, "faces")
    write(host, renamed=["DVR_IP=DVR_ADDRESS"])
    assert differences(host) == []


def settings(host: HostFolder) -> dict[str, str | None]:
    return dict(dotenv_values(host.home / ".env", interpolate=False))


def test_a_new_host_comes_up_with_a_later_release(host: HostFolder) -> None:
    """0001 to 0006 pin bytes that the release has no more: what 0007 brings is there, and base is base again."""
    release_1_1(host)
    before = host.tree()
    report = host.up(values={"DVR_ADDRESS": "192.168.1.20"})
    results = {step["revision"]: step["result"] for step in report.body["steps"]}
    assert (results["0002"], results["0007"], report.body["degraded"]) == ("superseded", "applied", [])
    assert (host.root / PICTURE).read_bytes() == b"newer picture"
    assert (host.root / f"models/{NAME}/model.bin").read_bytes() == b"a better model"
    assert not (host.root / VIDEO).exists()
    assert (host.root / "faces").is_dir()
    assert host.call("verify").exit_code == 0
    host.down("base")
    assert {path: facts for path, facts in host.tree().items() if path in before} == before
    assert not (host.root / "fallback").exists()


def test_a_new_host_that_goes_back_one_release_keeps_a_whole_picture(host: HostFolder) -> None:
    """The bytes of before were never on this host: the newer ones stay, since the mirror page needs some."""
    release_1_1(host)
    host.up()
    host.down("-1")
    assert (host.root / PICTURE).read_bytes() == b"newer picture"
    assert not (host.root / "fallback/night.png").exists()
    assert host.call("verify").exit_code == 0
    host.up(release_hold=True)
    assert host.call("verify").exit_code == 0


def test_a_host_of_the_release_before_gets_what_is_new_and_gives_it_back(host: HostFolder) -> None:
    """There the older bytes are on record: the way back has them, and the value of the renamed key."""
    host.up(values={"DVR_IP": "192.168.1.20"})
    kept = {name: host.tree()[f"storage/{name}"] for name in (PICTURE, VIDEO)}
    env, digest = (host.home / ".env").read_bytes(), host.call("status").body["state_digest"]
    release_1_1(host)
    host.up()
    assert settings(host)["DVR_ADDRESS"] == "192.168.1.20"
    assert "DVR_IP" not in settings(host)
    host.down("-1")
    assert {name: host.tree()[f"storage/{name}"] for name in (PICTURE, VIDEO)} == kept
    assert ((host.home / ".env").read_bytes(), host.call("status").body["state_digest"]) == (env, digest)


def test_bytes_that_nobody_pins_are_refused(host: HostFolder) -> None:
    """A picture that was changed without a revision, or damaged on its way, is not installed; nothing is done."""
    (host.home / PICTURE).write_bytes(b"who knows")
    says(host.call("upgrade"), 7, "placeholder.png: expected SHA-256", hint="restore the release's own file")
    assert host.version() == ""


def test_a_part_of_the_way_says_that_the_rest_is_needed(host: HostFolder) -> None:
    """`upgrade 0003` with a release whose picture belongs to 0007: the older picture is nowhere to be had."""
    release_1_1(host)
    says(host.call("upgrade", "0003", allow_degraded=True), 6, "1.0.0")
    host.up("0001")
    (host.home / "migrations/versions/0002_bitnet_model.py").write_text(
        "from alembic import op\nrevision = '0002'\ndown_revision = '0001'\n"
        "def upgrade(): pass\ndef downgrade(): op.revert()\n"
    )
    says(host.call("upgrade", "0003"), 7, "placeholder.png", hint="vvmigrate upgrade head")


def test_a_rehearsal_step_by_step_is_on_the_way_to_the_end(host: HostFolder) -> None:
    """On a new host each step knows what the later ones bring, as it does in the upgrade that is rehearsed."""
    release_1_1(host)
    report = host.call("rehearse")
    assert (report.exit_code, report.error) == (0, None)
    assert [step["up"]["result"] for step in report.body["steps"]][:3] == ["applied", "superseded", "applied"]


def test_repair_with_a_later_release_takes_nothing_from_it(host: HostFolder) -> None:
    """What 0003 recorded is nowhere to be had, so the damage stays, and is said: exit 3, not an integrity error."""
    host.up()
    release_1_1(host)
    (host.root / PICTURE).unlink()
    report = host.call("repair")
    assert (report.exit_code, report.error) == (3, None)
    assert [item["path"] for item in report.body["left"]] == [str(host.root / PICTURE)]
    host.up()
    assert host.call("verify").exit_code == 0


def test_an_asset_that_somebody_replaced_is_not_removed(host: HostFolder) -> None:
    """`op.remove_assets` takes what was installed; a user's own video stays, there and back, and is named."""
    host.up()
    release_1_1(host)
    (host.root / VIDEO).write_bytes(b"our own film")
    report = host.up()
    assert [item["path"] for item in report.body["steps"][0]["kept"]] == [str(host.root / VIDEO)]
    host.down("-1")
    assert (host.root / VIDEO).read_bytes() == b"our own film"
    host.revision("0008", f'op.remove_assets("fallback", {{"never.png": "{"0" * 64}"}})')
    host.up(release_hold=True)


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("says_so", [False, True], ids=["by answer", "by @was"])
def test_names_that_changed_twice_carry_a_value_over_both(host: HostFolder, says_so: bool) -> None:
    """A host that skips a release has the template of the last one: its key had two names before."""
    host.up(values={"DVR_IP": "192.168.1.20"})
    env = (host.home / ".env").read_bytes()
    rename_key(host, "DVR_IP", "DVR_ADDRESS", says=says_so)
    write(host, "first", renamed=[] if says_so else ["DVR_IP=DVR_ADDRESS"])
    text = (host.home / ".env.example").read_text().replace("# @was=DVR_IP\n", "")
    (host.home / ".env.example").write_text(text)
    rename_key(host, "DVR_ADDRESS", "RECORDER", says=says_so)
    write(host, "second", renamed=[] if says_so else ["DVR_ADDRESS=RECORDER"])
    assert differences(host) == []
    report = host.up()
    assert [step["revision"] for step in report.body["steps"]] == ["0007", "0008"]
    assert settings(host)["RECORDER"] == "192.168.1.20"
    assert not {"DVR_IP", "DVR_ADDRESS"} & settings(host).keys()
    host.down("0006")
    assert (host.home / ".env").read_bytes() == env


def test_an_older_systems_env_file_keeps_its_value_under_the_new_name(host: HostFolder) -> None:
    """bootstrap.py's `.env` has the old name; 0004 merges today's template and knows what 0007 says of names."""
    (host.home / ".env").write_text("DVR_IP=10.0.0.7\n")
    release_1_1(host)
    host.up()
    assert settings(host)["DVR_ADDRESS"] == "10.0.0.7"
    assert "DVR_IP" not in settings(host)
    host.down("base")
    assert (host.home / ".env").read_text() == "DVR_IP=10.0.0.7\n"
