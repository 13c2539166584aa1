"""`bundle create` and `bundle apply`: a file that brings models to a host without network, and is believed nothing."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.conftest import Mount
from tests.commands.models import DATA, NEWER, archive, current, install, received, release, sha256
from tests.commands.proof import everything, nothing_changes, says
from tests.conftest import HostFolder
from tests.content.fault_server import FaultServer, good

PACKED = archive(NEWER)


@pytest.fixture
def shop(bare: HostFolder, server: FaultServer) -> HostFolder:
    """A host with network, whose release has a raw model, a variant of it that is an archive, and an old version."""
    release(bare, "1.5.0", b"old", server.url("/old", good(b"old")))
    release(bare, "1.5.0", b"old", server.url("/old", good(b"old")), variant="small")
    release(bare, "2.0.0", DATA, server.url("/raw", good(DATA)))
    release(bare, "2.0.0", PACKED, server.url("/packed", good(PACKED)), variant="small", format="tar.gz")
    install(bare, "0002", "1.5.0")
    install(bare, "0003", "2.0.0")
    return bare


@pytest.fixture
def island(shop: HostFolder, tmp_path: Path) -> Iterator[HostFolder]:
    """Another host with the same release, and no network: whoever it asks is gone."""
    (tmp_path / "island").mkdir()
    host = HostFolder(tmp_path / "island/home", tmp_path / "island/storage")
    shutil.copytree(shop.home, host.home, symlinks=True, ignore=shutil.ignore_patterns(".vvmigrate", "logs"))
    yield host
    assert received(host) == {}


def names(path: Path) -> list[str]:
    """The members of a bundle."""
    with tarfile.open(path) as tar:
        return tar.getnames()


def packed(path: Path, members: dict[str, bytes]) -> Path:
    """A bundle that somebody made by hand."""
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("variant", ["demo", "small"])
def test_a_bundle_brings_a_model_to_a_host_without_network(
    shop: HostFolder, island: HostFolder, server: FaultServer, tmp_path: Path, variant: str
) -> None:
    """Made on one host, applied on another that can reach nobody, installed there with --offline."""
    shop.environ["VV_MODEL_VARIANT"] = island.environ["VV_MODEL_VARIANT"] = variant
    made = shop.json("bundle", "create", str(tmp_path / "models.tar"))
    assert [(entry["version"], entry["variant"], entry["state"]) for entry in made["artefacts"]] == [
        ("2.0.0", variant, "added")
    ]
    server.close()
    says(island.call("upgrade", "head", offline=True), 6, hint="vvmigrate bundle apply")
    applied = island.call("bundle", "apply", str(tmp_path / "models.tar"))
    assert (applied.exit_code, applied.body["artefacts"][0]["state"]) == (0, "received")
    island.up(offline=True)
    assert current(island) == (DATA if variant == "demo" else NEWER)


def test_really_without_a_network(root_only: None, shop: HostFolder, island: HostFolder, tmp_path: Path) -> None:
    """The same in a network namespace in which not even loopback answers."""
    assert shop.run("bundle", "create", "models.tar").returncode == 0
    shutil.move(shop.home / "models.tar", tmp_path / "models.tar")
    for words in (["bundle", "apply", str(tmp_path / "models.tar")], ["upgrade", "--offline"]):
        done = island.run(*words, within=["unshare", "-n"])
        if "unshare" in done.stderr:
            pytest.skip(f"no network namespaces here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
    assert current(island) == DATA


def test_the_same_artefacts_make_the_same_bundle(shop: HostFolder, tmp_path: Path) -> None:
    """Two bundles can be compared by their SHA-256; the index is for people."""
    for name in ("one.tar", "two.tar"):
        assert shop.call("bundle", "create", str(tmp_path / name), variants=("small", "demo")).exit_code == 0
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert names(tmp_path / "one.tar") == ["index.json", *sorted([sha256(DATA), sha256(PACKED)])]
    with tarfile.open(tmp_path / "one.tar") as tar:
        member = tar.extractfile("index.json")
        assert member is not None
        assert {entry["variant"] for entry in json.load(member)["artefacts"]} == {"demo", "small"}
    done = subprocess.run(["tar", "-tf", str(tmp_path / "one.tar")], capture_output=True, text=True, check=True)
    assert done.stdout.split() == names(tmp_path / "one.tar")


def test_what_is_installed_is_not_downloaded_for_a_bundle(
    shop: HostFolder, server: FaultServer, tmp_path: Path
) -> None:
    """The installed raw file, or one that was received, is taken; nothing is left behind beside the bundle."""
    shop.up()
    server.requests.clear()
    before = everything(shop.root)
    assert shop.call("bundle", "create", str(tmp_path / "models.tar")).exit_code == 0
    assert (server.requests, everything(shop.root)) == ([], before)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["models.tar"]


def test_an_installed_file_that_was_changed_is_not_bundled(
    shop: HostFolder, server: FaultServer, tmp_path: Path, island: HostFolder
) -> None:
    """Bits that rotted in the store do not travel: the artefact is fetched anew."""
    shop.up()
    model = (shop.root / "models/bitnet_summarizer").resolve() / "model.bin"
    model.write_bytes(NEWER)
    assert shop.call("bundle", "create", str(tmp_path / "models.tar")).exit_code == 0
    assert island.call("bundle", "apply", str(tmp_path / "models.tar")).exit_code == 0
    island.up(offline=True)
    assert current(island) == DATA


def test_a_file_that_exists_is_not_replaced(shop: HostFolder, tmp_path: Path) -> None:
    """Nothing of the user's is lost to a bundle."""
    (tmp_path / "models.tar").write_bytes(b"mine")
    with nothing_changes(shop, tmp_path / "models.tar"):
        shop.up("0001")
        before = everything(shop.root)
        says(shop.call("bundle", "create", str(tmp_path / "models.tar")), 6, "exists already")
        assert everything(shop.root) == before
        shutil.rmtree(shop.root)
        shutil.rmtree(shop.home / ".vvmigrate")


def test_applying_twice_changes_nothing(shop: HostFolder, island: HostFolder, tmp_path: Path) -> None:
    """What is there already is present; the bundle may hold what this host does not need."""
    path = packed(tmp_path / "models.tar", {sha256(DATA): DATA, sha256(PACKED): PACKED})
    assert island.call("bundle", "apply", str(path)).exit_code == 0
    again = island.call("bundle", "apply", str(path))
    assert [entry["state"] for entry in again.body["artefacts"]] == ["present", "present"]
    island.up(offline=True)
    third = island.call("bundle", "apply", str(path))
    assert [entry["state"] for entry in third.body["artefacts"]] == ["received", "present"]
    assert all(Path(entry["path"]).is_file() for entry in third.body["artefacts"])
    gone = {Path(item["path"]).stem for item in island.call("prune").body["pruned"]}
    assert gone == {sha256(DATA), sha256(PACKED)}


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [100, 512, 300_000, 600_600])
def test_a_bundle_that_was_cut_is_refused(shop: HostFolder, island: HostFolder, tmp_path: Path, cut: int) -> None:
    """A copy that ended early: exit 7, the bundle named, nothing taken from the broken member."""
    path = packed(tmp_path / "models.tar", {sha256(DATA): DATA})
    path.write_bytes(path.read_bytes()[:cut])
    says(island.call("bundle", "apply", str(path)), 7, str(path), "cut off", hint="copy the bundle again")
    for file in (island.root / ".vvmigrate/downloads").iterdir():
        assert (cut, file.read_bytes()) == (600_600, DATA)  # only its end is missing: the member was whole
        file.unlink()
    assert not list((island.root / ".vvmigrate/staging").iterdir())


def test_a_member_that_the_manifest_does_not_name_is_refused(island: HostFolder, tmp_path: Path) -> None:
    """Whatever the bundle's own index says: the installed release decides. Exit 7, the member named."""
    foreign = b"not of this release"
    index = json.dumps({"artefacts": [{"sha256": sha256(foreign), "model": "bitnet_summarizer"}]}).encode()
    path = packed(tmp_path / "models.tar", {"index.json": index, sha256(foreign): foreign})
    says(island.call("bundle", "apply", str(path)), 7, sha256(foreign), "does not name")


@pytest.mark.parametrize("bytes_", [DATA[:-1] + b"?", DATA[:-1], DATA + b"?"], ids=["other", "fewer", "more"])
def test_other_bytes_under_a_known_name_are_refused(island: HostFolder, tmp_path: Path, bytes_: bytes) -> None:
    """Size and SHA-256 are checked while they are copied: exit 7, expected and found."""
    path = packed(tmp_path / "models.tar", {sha256(DATA): bytes_})
    says(island.call("bundle", "apply", str(path)), 7, "bitnet_summarizer 2.0.0 (demo)", "expected", "found")
    assert not list((island.root / ".vvmigrate/staging").iterdir())


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "index.json/x", "a" * 64, ""])
def test_a_name_leads_nowhere(island: HostFolder, tmp_path: Path, name: str) -> None:
    """A member is found by the manifest's digest, or refused: its name never becomes a path."""
    path = packed(tmp_path / "models.tar", {name: DATA})
    before = sorted(tmp_path.rglob("*escape*"))
    assert island.call("bundle", "apply", str(path)).exit_code == 7
    assert sorted(tmp_path.rglob("*escape*")) == before


def test_a_link_or_a_second_member_of_a_name_is_refused(island: HostFolder, tmp_path: Path) -> None:
    """Only regular files, each once."""
    path = tmp_path / "models.tar"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo(sha256(DATA))
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    says(island.call("bundle", "apply", str(path)), 7, "a symbolic link")
    with tarfile.open(path, "w") as tar:
        for _ in range(2):
            member = tarfile.TarInfo("index.json")
            tar.addfile(member)
    says(island.call("bundle", "apply", str(path)), 7, "twice")


def test_what_is_no_bundle_is_said(island: HostFolder, tmp_path: Path) -> None:
    """A file that is missing, a folder, an empty file, a picture."""
    says(island.call("bundle", "apply", str(tmp_path / "gone.tar")), 6, "gone.tar", "No such file")
    says(island.call("bundle", "apply", str(tmp_path)), 6, str(tmp_path))
    (tmp_path / "empty.tar").touch()
    says(island.call("bundle", "apply", str(tmp_path / "empty.tar")), 7, "cut off")
    says(island.call("bundle", "apply", str(island.home / "fallback/placeholder.png")), 7, "checksum")


def test_a_disk_without_room_is_refused_with_the_figures(island: HostFolder, tmp_path: Path, mount: Mount) -> None:
    """Before a byte is copied."""
    path = packed(tmp_path / "models.tar", {sha256(DATA): DATA})
    island.root.mkdir()
    mount(island.root, size="900k")
    says(island.call("bundle", "apply", str(path)), 6, "604,160 bytes needed", "free")


def test_the_command_line(shop: HostFolder) -> None:
    """Text for people; what is not understood is a usage error."""
    done = shop.run("bundle", "create", "models.tar")
    assert "2.0.0 (demo), 585.9 kB: added" in done.stdout
    assert (shop.home / "models.tar").is_file()
    assert shop.run("bundle", "unpack", "models.tar").returncode == 2
    assert shop.json("bundle", "apply", "models.tar", "--variant", "small")["exit_code"] == 2
    assert shop.json("bundle", "create", "other.tar", "--variant", "none")["exit_code"] == 6
