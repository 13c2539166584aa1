"""A release's template changes over the years: what `.env` becomes on a host, up and back, and what is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest
from dotenv import dotenv_values

from tests.conftest import HostFolder

FIRST = """\
# @defaultRequired=false @defaultSensitive=false
# ---

# How often.
INTERVAL=300

# Went out of use.
GONE=1

# Address of the recorder.
RECORDER=dvr
"""
SECOND = """\
# @defaultRequired=false @defaultSensitive=false
# ---

# How often.
INTERVAL=60

# Address of the recorder.
# @was=RECORDER
DVR=dvr

# New.
FRESH=yes
"""
THIRD = SECOND.replace("# @was=RECORDER\nDVR=", "# @was=any(DVR, RECORDER)\nDVR_IP=")


def env(host: HostFolder) -> Path:
    return host.home / ".env"


def values(host: HostFolder) -> dict[str, str | None]:
    return dict(dotenv_values(env(host)))


def release(host: HostFolder, template: str, number: str = "") -> None:
    """Install a release with this template; `number` is a revision of it that merges it."""
    (host.home / ".env.example").write_text(template)
    if number:
        host.revision(number, "op.merge_env()")


@pytest.fixture
def old(bare: HostFolder) -> HostFolder:
    """A host that has merged the first template, and a person's values in it."""
    release(bare, FIRST, "0002")
    bare.up()
    text = (
        env(bare).read_text().replace("RECORDER=dvr", "RECORDER='hall 2'   # by the door").replace("GONE=1", "GONE=7")
    )
    env(bare).write_text(text + "MINE=1\n")
    return bare


def test_a_release_drops_renames_adds_and_changes_defaults(old: HostFolder) -> None:
    """Dropped is a comment with its value, renamed keeps its value, a new default is told, a person's line stays."""
    release(old, SECOND, "0003")
    said = old.up().body["steps"][0]["warnings"]
    assert values(old) == {"INTERVAL": "300", "DVR": "hall 2", "FRESH": "yes", "MINE": "1"}
    text = env(old).read_text()
    assert "# GONE=7\n" in text
    assert "DVR='hall 2'   # by the door\n" in text
    assert any(
        "INTERVAL" in line and "now 60" in line and "was 300" in line and "yours stays: 300" in line for line in said
    )
    assert "GONE is not used any more; its line is a comment now" in said
    assert "RECORDER is now called DVR; its value is kept" in said


def test_a_plan_tells_the_same_before(old: HostFolder) -> None:
    """plan reads the kept template too: its diff has the comment and the new name."""
    release(old, SECOND, "0003")
    plan = old.call("plan").body["steps"][0]
    assert any("GONE is not used any more" in line for line in plan["warnings"])
    assert "-GONE=(set, 1 character)\n+# GONE=" in plan["changes"][0]["diff"]


def test_the_way_back_is_exact_and_what_was_known_is_known_again(old: HostFolder) -> None:
    """Down brings the bytes and the state digest of before; up again does the same as the first time."""
    before, digest = env(old).read_bytes(), old.call("status").body["state_digest"]
    release(old, SECOND, "0003")
    old.up()
    after = env(old).read_bytes()
    for _ in range(2):
        old.down("-1", no_hold=True)
        assert env(old).read_bytes() == before
        assert old.call("status").body["state_digest"] == digest
        old.up()
        assert env(old).read_bytes() == after


def test_edits_since_are_kept_on_the_way_back(old: HostFolder) -> None:
    """An edited renamed key goes back under its old name with the new value, and an edited new key stays."""
    release(old, SECOND, "0003")
    old.up()
    env(old).write_text(env(old).read_text().replace("'hall 2'", "10.0.0.9").replace("FRESH=yes", "FRESH=no"))
    kept = [item["reason"] for item in old.down("-1").body["steps"][0]["kept"]]
    assert values(old) == {"INTERVAL": "300", "GONE": "7", "RECORDER": "10.0.0.9", "FRESH": "no", "MINE": "1"}
    assert kept == ["its value was changed since", "its value was changed since"]


@pytest.mark.parametrize("skipped", [False, True], ids=["one by one", "one skipped"])
def test_a_chain_of_names(old: HostFolder, skipped: bool) -> None:
    """A key that was renamed twice keeps its value, also on a host that never saw the name between."""
    if not skipped:
        release(old, SECOND, "0003")
        old.up()
    release(old, THIRD, "0003" if skipped else "0004")
    old.up()
    assert values(old)["DVR_IP"] == "hall 2"
    assert "RECORDER" not in values(old)
    assert "DVR" not in values(old)
    old.down("0002", no_hold=True)
    assert values(old) == {"INTERVAL": "300", "GONE": "7", "RECORDER": "hall 2", "MINE": "1"}


def test_a_deleted_key_stays_deleted_through_releases_and_renames(old: HostFolder) -> None:
    """Under its new name too, and after a downgrade and an upgrade; only a key that is required returns."""
    env(old).write_text("GONE=1\nMINE=1\n")
    release(old, SECOND, "0003")
    old.up()
    assert values(old) == {"FRESH": "yes", "MINE": "1"}
    old.down("-1", no_hold=True)
    old.up()
    assert values(old) == {"FRESH": "yes", "MINE": "1"}
    release(old, SECOND.replace("# How often.", "# @required"))
    old.up(update_env=True)
    assert values(old) == {"INTERVAL": "60", "FRESH": "yes", "MINE": "1"}


def test_a_dropped_key_that_returns_in_a_later_release_comes_in_again(old: HostFolder) -> None:
    """What we made a comment was not deleted by the user: the key is new again."""
    release(old, SECOND, "0003")
    old.up()
    release(old, SECOND + "\n# Back.\nGONE=2\n")
    old.up(update_env=True)
    assert values(old)["GONE"] == "2"
    assert "# GONE=7" in env(old).read_text()


def test_a_host_without_a_kept_template_is_merged_as_before(old: HostFolder) -> None:
    """Nothing is commented on a guess: dropped keys stay, and it is said where the kept template was lost."""
    for path in (old.root / ".vvmigrate/sources").glob("*.txt"):
        path.unlink()
    release(old, SECOND, "0003")
    said = old.up().body["steps"][0]["warnings"]
    assert values(old)["GONE"] == "7"
    assert any("cannot be told" in line for line in said)


def test_an_adopted_file_gets_its_base_too(bare: HostFolder) -> None:
    """Where .env had every key already nothing is written, but the next release knows what the template said."""
    env(bare).write_text("INTERVAL=5\nGONE=7\nRECORDER=x\n")
    env(bare).chmod(0o600)
    release(bare, FIRST, "0002")
    assert bare.up().body["steps"][-1]["result"] == "adopted"
    release(bare, SECOND, "0003")
    bare.up()
    assert env(bare).read_text().startswith("INTERVAL=5\n# GONE=7\nDVR=x\n")
    bare.down("-1", no_hold=True)
    release(bare, FIRST)
    bare.up("0002", update_env=True)
    assert env(bare).read_text() == "INTERVAL=5\nGONE=7\nRECORDER=x\n"


def test_the_same_merge_again_tells_nothing(old: HostFolder) -> None:
    """--update-env with nothing new adds no row to the history, also after a rename."""
    release(old, SECOND, "0003")
    old.up()
    before = old.history()
    assert old.up(update_env=True).body["steps"] == []
    assert old.history() == before


# ---- what is made once -----------------------------------------------------------------------------------------------

MADE_ONCE = "# @generate=hex(32)\nHMAC_KEY=\n"
RENAMED = MADE_ONCE.replace("HMAC_KEY", "SIGNING_KEY").replace(")\n", ") @was=HMAC_KEY\n")
TWICE = RENAMED.replace("@was=HMAC_KEY", "@was=SIGNING_KEY").replace("SIGNING_KEY=", "LOG_KEY=")


@pytest.mark.parametrize("supplied", ["", "from-the-old-recorder"], ids=["ours", "a person's"])
@pytest.mark.parametrize("lost", [False, True], ids=["base and up", "file lost"])
def test_a_secret_is_the_same_under_each_of_its_names(bare: HostFolder, lost: bool, supplied: str) -> None:
    """Renamed twice, then gone with `.env`: the secret that signed every log line so far is the one that comes back."""
    release(bare, MADE_ONCE, "0002")
    bare.up()
    if supplied:
        env(bare).write_text(f"HMAC_KEY={supplied}\n")
    first = values(bare)["HMAC_KEY"]
    for number, template in (("0003", RENAMED), ("0004", TWICE)):
        release(bare, template, number)
        bare.up()
    assert values(bare) == {"LOG_KEY": first}
    if not lost:
        bare.down("base")
        assert values(bare) == ({"HMAC_KEY": supplied} if supplied else {})
    env(bare).unlink(missing_ok=True)
    bare.up(update_env=lost)
    assert values(bare) == {"LOG_KEY": first}


def test_a_secret_that_was_renamed_elsewhere_is_not_made_again(bare: HostFolder) -> None:
    """At base a host has it under its old name only; neither a new one nor the environment's takes its place."""
    release(bare, MADE_ONCE, "0002")
    bare.up()
    first = values(bare)["HMAC_KEY"]
    bare.down("base")
    release(bare, RENAMED)
    bare.environ["SIGNING_KEY"] = "of the environment"
    bare.up()
    assert values(bare) == {"SIGNING_KEY": first}


@pytest.mark.parametrize("heir", ["HMAC_KEY", "SIGNING_KEY"])
def test_a_secret_has_one_heir(bare: HostFolder, heir: str) -> None:
    """Where the template names the old key still, or two keys were it, no second key gets the same secret."""
    release(bare, MADE_ONCE, "0002")
    bare.up()
    first = values(bare)["HMAC_KEY"]
    bare.down("base")
    other = RENAMED.replace("SIGNING_KEY", "OTHER_KEY")
    release(bare, (MADE_ONCE if heir == "HMAC_KEY" else RENAMED) + other)
    bare.up()
    assert values(bare)[heir] == first
    assert values(bare)["OTHER_KEY"] not in ("", first)
