"""A rehearsal compares `.env` key by key: what is kept excuses itself, and nothing beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.commands.proof import says
from tests.commands.test_rehearse import SECRET, rehearsed, said
from tests.conftest import BASELINE, HostFolder


@pytest.fixture
def given(bare: HostFolder) -> HostFolder:
    """A host whose last revision made `.env`, with a value that a person gave: it stays on the way down."""
    bare.revision("0002", "op.merge_env()")
    bare.up(values={"DVR_IP": SECRET})
    return bare


def changes(report: Any, step: int = -1) -> dict[str, dict[str, Any]]:
    """What the report says of `.env`, by key; by the file's name for the file."""
    items = report.body["steps"][step]["changes"]
    return {item["path"].rpartition("/")[2].removeprefix(".env: "): item for item in items if "/.env" in item["path"]}


def test_the_way_back_of_the_whole_release(host: HostFolder) -> None:
    """Down and up again, `.env` names the storage root of the shadow: that is the host's."""
    host.up()
    report = rehearsed(host, "base")
    assert said(report) == [(revision, True) for revision in reversed(BASELINE)]
    found = changes(report, -4)
    assert found["VIDEO_STORAGE_ROOT"]["before"] == "a value"
    assert found["DVR_IP"]["before"] == "no value"
    assert all(item["after"] == "nothing" and item["back"] for item in found.values())


def test_a_key_that_is_kept(given: HostFolder) -> None:
    """It is told of, and comes back with all the others; only where the lines stand may have changed."""
    report = rehearsed(given, "-1")
    assert said(report) == [("0002", True)]
    assert [Path(item["path"]).name for item in report.body["steps"][0]["kept"]] == [".env: DVR_IP"]
    assert [name for name, item in changes(report).items() if not item["back"]] == ["comments and order"]


def test_a_key_that_is_kept_excuses_no_other(given: HostFolder) -> None:
    """Another key that comes back with another value is found, beside one that is kept."""
    env = given.home / ".vvmigrate/rehearsal/home/.env"

    class Meddling(list[Any]):
        def append(self, event: Any) -> None:
            if event[0] == "step_ended" and event[1]["direction"] == "down":
                env.write_text(f"{env.read_text()}LOG_LEVEL=DEBUG\n")

    report = rehearsed(given, "-1", code=1, told=Meddling())
    says(report, 1, ".env: LOG_LEVEL", hint="vvmigrate show 0002")
    assert [Path(item["path"]).name for item in report.body["steps"][0]["differs"]] == [".env: LOG_LEVEL"]


def test_a_key_of_the_users_own(given: HostFolder) -> None:
    """It stays where it is, so that what comes in again stands behind it: as upgrade would have it."""
    env = given.home / ".env"
    env.write_text(f"# mine\nMINE=1\n{env.read_text()}")
    report = rehearsed(given, "-1")
    assert said(report) == [("0002", True)]
    assert [name for name, item in changes(report).items() if not item["back"]] == ["comments and order"]
    assert "MINE" not in changes(report)


def test_without_the_file_nothing_is_rehearsed(worked: HostFolder) -> None:
    """The release is not accused of what the host lacks, and nobody is told to begin a new file; then it goes."""
    worked.revision("0007", "op.merge_env()")
    (worked.home / ".env").unlink()
    says(worked.call("rehearse"), 6, ".env is missing", hint="vvmigrate repair")
    worked.call("repair")
    assert worked.call("rehearse").exit_code == 0
