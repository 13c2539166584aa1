"""`fetch`: what an upgrade would download, verified, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.conftest import Mount
from tests.commands.models import DATA, NEWER, archive, current, install, received, release, sha256
from tests.commands.proof import everything, says
from tests.conftest import HostFolder
from tests.content.fault_server import FaultServer, good, status, truncated

PACKED = archive(NEWER)


@pytest.fixture
def far(bare: HostFolder, server: FaultServer) -> HostFolder:
    """A host at 0001, with one pending model that is a raw file and one that is an archive, both on a server."""
    release(bare, "2.0.0", DATA, server.url("/raw.bin", good(DATA)))
    release(bare, "3.0.0", PACKED, server.url("/packed.tar.gz", good(PACKED)), format="tar.gz")
    install(bare, "0002", "2.0.0")
    bare.up("0001")
    return bare


def test_what_was_fetched_is_installed_without_a_network(far: HostFolder, server: FaultServer) -> None:
    """The bytes lie where the next upgrade looks for them; until then nothing of the host, or its history, changes."""
    before, history = far.tree(), far.history()
    runs = far.sql("SELECT count(*) FROM vv_run")
    report = far.call("fetch")
    assert (report.exit_code, report.error) == (0, None)
    assert (far.tree(), far.history(), far.sql("SELECT count(*) FROM vv_run")) == (before, history, runs)
    url = server.url("/raw.bin")
    assert report.body == {
        "artefacts": [
            {
                "model": "bitnet_summarizer",
                "version": "2.0.0",
                "variant": "demo",
                "sha256": sha256(DATA),
                "size_bytes": len(DATA),
                "source": url,
                "path": str(far.root / f".vvmigrate/downloads/{sha256(DATA)}.partial"),
                "state": "fetched",
            }
        ]
    }
    server.requests.clear()
    far.up(offline=True)
    assert (current(far), server.requests, received(far)) == (DATA, [], {})


def test_what_was_fetched_stays_until_its_step_is_applied(far: HostFolder, server: FaultServer) -> None:
    """Fetching again asks nobody, and another run that succeeds does not tidy away what is still pending."""
    far.revision("0002", 'op.make_directories(["beyond"])')
    install(far, "0003", "2.0.0")
    far.call("fetch")
    server.requests.clear()
    assert [entry["state"] for entry in far.call("fetch").body["artefacts"]] == ["present"]
    far.up("0002")
    assert (received(far), server.requests) == ({sha256(DATA): DATA}, [])
    far.up(offline=True)
    assert received(far) == {}


def test_only_what_an_upgrade_would_download_is_fetched(far: HostFolder, server: FaultServer) -> None:
    """A superseded version is left out; after the upgrade there is nothing left to fetch."""
    install(far, "0003", "3.0.0")
    report = far.call("fetch")
    assert [entry["version"] for entry in report.body["artefacts"]] == ["3.0.0"]
    assert received(far) == {sha256(PACKED): PACKED}
    far.up(offline=True)
    assert current(far) == NEWER
    assert far.call("fetch").body == {"artefacts": []}
    assert {request.target for request in server.requests} == {"/packed.tar.gz"}


def test_up_to_a_revision(far: HostFolder) -> None:
    """`fetch REV` goes no further than that revision."""
    install(far, "0003", "3.0.0")
    assert [entry["version"] for entry in far.call("fetch", "0002").body["artefacts"]] == ["2.0.0"]


def test_a_fetch_that_broke_off_goes_on_where_it_stopped(far: HostFolder, server: FaultServer) -> None:
    """The error of the download, its code, and the part that came stays for the next call."""
    server.acts["/raw.bin"] = [truncated(DATA, 300_000), status("404 Not Found")]
    says(far.call("fetch"), 1, "could not be had")
    half = len(received(far)[sha256(DATA)])
    assert half > 0
    server.acts["/raw.bin"] = [good(DATA)]
    server.requests.clear()
    assert far.call("fetch").body["artefacts"][0]["state"] == "fetched"
    assert server.requests[0].start == half


def test_wrong_bytes_are_not_kept(far: HostFolder, server: FaultServer) -> None:
    """A server that has other bytes of the same size: exit 7, and nothing that could be taken for the model."""
    server.acts["/raw.bin"] = [good(NEWER)]
    says(far.call("fetch"), 7, "SHA-256 is")
    assert received(far) in ({}, {sha256(DATA): b""})


# ---- a folder that is a mirror -----------------------------------------------------------------------------------


def test_a_folder_is_a_mirror_for_hosts_without_a_network(far: HostFolder, server: FaultServer, tmp_path: Path) -> None:
    """`fetch --to` writes plain files under the names by which VV_MODEL_MIRROR is asked, and nothing on the host."""
    stick = tmp_path / "stick"
    stick.mkdir()
    before = everything(far.root)
    report = far.call("fetch", to=str(stick))
    assert (report.exit_code, report.body["artefacts"][0]["path"]) == (0, str(stick / "raw.bin"))
    assert [(path.name, path.read_bytes()) for path in stick.iterdir()] == [("raw.bin", DATA)]
    assert (stick / "raw.bin").stat().st_mode & 0o777 == 0o644
    assert everything(far.root) == before
    server.requests.clear()
    assert far.call("fetch", to=str(stick)).body["artefacts"][0]["state"] == "present"
    far.environ["VV_MODEL_MIRROR"] = str(stick)
    far.up(offline=True)
    assert (current(far), server.requests) == (DATA, [])


def test_what_was_fetched_already_is_copied_from_there(far: HostFolder, server: FaultServer, tmp_path: Path) -> None:
    """A gigabyte is not downloaded twice because it is wanted on a stick too."""
    far.call("fetch")
    server.requests.clear()
    (tmp_path / "stick").mkdir()
    far.call("fetch", to=str(tmp_path / "stick"))
    assert ((tmp_path / "stick/raw.bin").read_bytes(), server.requests) == (DATA, [])


def test_another_file_of_that_name_is_left_alone(far: HostFolder, server: FaultServer, tmp_path: Path) -> None:
    """Nothing of the user's is replaced: exit 6, with both digests."""
    (tmp_path / "raw.bin").write_bytes(b"mine")
    says(far.call("fetch", to=str(tmp_path)), 6, sha256(DATA), sha256(b"mine"), hint="move it away")
    assert (tmp_path / "raw.bin").read_bytes() == b"mine"
    assert server.requests == []


def test_a_folder_that_is_not_there_is_said(far: HostFolder, tmp_path: Path) -> None:
    """A stick that is not plugged in: exit 6, with the command that makes the folder."""
    says(far.call("fetch", to=str(tmp_path / "gone")), 6, str(tmp_path / "gone"), hint="mkdir")


def test_a_folder_without_room_is_refused_with_the_figures(far: HostFolder, tmp_path: Path, mount: Mount) -> None:
    """A stick that is too small is found before the first byte is asked for."""
    (tmp_path / "stick").mkdir()
    mount(tmp_path / "stick", size="256k")
    says(far.call("fetch", to=str(tmp_path / "stick")), 6, "600,001 bytes needed", "free")


def test_the_command_line(far: HostFolder, server: FaultServer) -> None:
    """Text for people, a document for programs; a revision that is none is a usage error."""
    assert "2.0.0 (demo), 585.9 kB: fetched" in far.run("fetch").stdout
    document = far.json("fetch")
    assert [entry["state"] for entry in document["artefacts"]] == ["present"]
    far.up(offline=True)
    assert "nothing to fetch" in far.run("fetch").stdout
    assert far.run("fetch", "9999").returncode == 2
