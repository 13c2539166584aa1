"""`upgrade --offline` and `--no-resume`: only what is on the host, and nothing left for a later run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.models import DATA, archive, current, install, received, release, sha256
from tests.commands.proof import nothing_of_the_users_changes, says
from tests.conftest import HostFolder
from tests.content.fault_server import FaultServer, good, status, truncated


@pytest.fixture
def far(bare: HostFolder, server: FaultServer) -> HostFolder:
    """A host whose second revision installs a model that a server has."""
    release(bare, "2.0.0", DATA, server.url("/model.bin", good(DATA)))
    install(bare, "0002", "2.0.0")
    return bare


def test_a_step_that_needs_the_network_is_refused_before_the_first_write(far: HostFolder, server: FaultServer) -> None:
    """On a host without network the run says what is missing, how large it is, and how to bring it; nothing is done."""
    with nothing_of_the_users_changes(far):
        report = far.call("upgrade", "head", offline=True)
    says(report, 6, "bitnet_summarizer 2.0.0 (demo)", "600,001 bytes", sha256(DATA), hint="vvmigrate bundle apply FILE")
    assert report.body["steps"] == []
    assert (far.version(), far.history(), server.requests) == ("", [], [])


def test_what_was_received_whole_is_installed_offline(far: HostFolder, server: FaultServer) -> None:
    """The bytes that lie among the received files are enough, whatever has become of the server."""
    far.up("0001")
    (far.root / f".vvmigrate/downloads/{sha256(DATA)}.partial").write_bytes(DATA)
    far.up(offline=True)
    assert (current(far), server.requests) == (DATA, [])


def test_a_plan_counts_what_only_the_network_has(far: HostFolder) -> None:
    """What was received already, and a file of the release, needs no network; the rest is counted in bytes."""
    far.up("0001")
    assert far.call("plan").body["network_bytes"] == len(DATA)
    (far.root / f".vvmigrate/downloads/{sha256(DATA)}.partial").write_bytes(DATA[:-5])
    assert far.call("plan").body["network_bytes"] == 5
    release(far, "3.0.0", DATA, "fallback/models/3.bin")
    (far.home / "fallback/models/3.bin").write_bytes(DATA)
    (far.root / f".vvmigrate/downloads/{sha256(DATA)}.partial").unlink()
    install(far, "0003", "3.0.0")
    plan = far.call("plan").body
    assert ([len(step["downloads"]) for step in plan["steps"]], plan["network_bytes"]) == ([0, 1], 0)


@pytest.mark.parametrize("there", [DATA[:-1], DATA[:-1] + b"?", b""], ids=["cut", "other bytes", "empty"])
def test_what_was_received_in_part_does_not_count(far: HostFolder, there: bytes) -> None:
    """A download that was cut off, or whose last page was lost with the power, is no model."""
    far.up("0001")
    (far.root / f".vvmigrate/downloads/{sha256(DATA)}.partial").write_bytes(there)
    says(far.call("upgrade", "head", offline=True), 6, "not on this host")
    assert received(far) == {sha256(DATA): there}


@pytest.mark.parametrize("place", ["release", "folder", "folder's URL", "URL in the manifest"])
def test_files_of_the_host_are_sources_offline(
    bare: HostFolder, tmp_path: Path, server: FaultServer, place: str
) -> None:
    """A file of the release, of the host, or in a mirror that is a folder needs no network; servers are not asked."""
    stick = tmp_path / "a stick"
    stick.mkdir()
    (stick / "model.bin").write_bytes(DATA)
    (bare.home / "fallback/model.bin").write_bytes(DATA)
    web = server.url("/model.bin", good(DATA))
    mirrors = {"folder": str(stick), "folder's URL": stick.as_uri()}
    bare.environ["VV_MODEL_MIRROR"] = mirrors.get(place, "")
    named = {"release": ["fallback/model.bin"], "URL in the manifest": [f"{stick.as_uri()}/model.bin"]}
    release(bare, "2.0.0", DATA, web, *named.get(place, []))
    install(bare, "0002", "2.0.0")
    bare.up(offline=True)
    assert (current(bare), server.requests) == (DATA, [])


@pytest.mark.parametrize("mirror", ["models.example.org", "ftp://example.org/", "http://[", "stick/models"])
@pytest.mark.parametrize("offline", [False, True])
def test_a_mirror_that_is_no_source_is_refused(far: HostFolder, mirror: str, offline: bool) -> None:
    """A mirror that was misspelt is said before the first write, and never taken for a file of the release."""
    far.environ["VV_MODEL_MIRROR"] = mirror
    says(far.call("upgrade", "head", offline=offline), 6, "VV_MODEL_MIRROR", hint="a folder such as")
    assert (far.history(), current(far)) == ([], None)


def test_a_generation_in_the_store_is_enough_offline(far: HostFolder, server: FaultServer) -> None:
    """A release that was taken back comes back from the store, without a network."""
    far.up()
    far.down("0001", no_hold=True)
    server.requests.clear()
    far.up(offline=True)
    assert (current(far), server.requests) == (DATA, [])


def test_plan_says_what_offline_would_refuse(far: HostFolder) -> None:
    """`upgrade --plan --offline` is the same forecast, and the same refusal."""
    says(far.json("upgrade", "--plan", "--offline"), 6, "not on this host")


@pytest.mark.parametrize("packed", [False, True], ids=["raw", "archive"])
def test_without_resume_nothing_is_kept_for_a_later_run(bare: HostFolder, server: FaultServer, packed: bool) -> None:
    """A download that broke off leaves nothing with --no-resume, and half of the file without it."""
    data = archive(DATA) if packed else DATA
    digest = release(
        bare,
        "2.0.0",
        data,
        server.url("/model", truncated(data, 300_000), status("404 Not Found")),
        format="tar.gz" if packed else "file",
    )
    install(bare, "0002", "2.0.0")
    says(bare.call("upgrade", "head", no_resume=True), 1, "could not be had")
    assert received(bare) == {}
    server.acts["/model"] = [truncated(data, 300_000), status("404 Not Found")]
    says(bare.call("upgrade", "head"), 1, "could not be had")
    assert len(received(bare)[digest]) > 0
    server.acts["/model"] = [good(data)]
    bare.up(no_resume=True)
    assert (current(bare), received(bare)) == (DATA, {})
