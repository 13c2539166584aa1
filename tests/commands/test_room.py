"""Room for models: what is received, what is made of it, and what is spared are counted before the first write."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile

import pytest

from tests.commands.conftest import Mount
from tests.commands.models import archive, current, install, release, sha256
from tests.commands.proof import nothing_of_the_users_changes, says
from tests.conftest import HostFolder
from tests.content.fault_server import FaultServer, good

MB = 1 << 20
DATA = hashlib.shake_128(b"does not compress").digest(2 * MB)
PACKED = archive(DATA)
SPARE = 4 * MB


def offer(host: HostFolder, server: FaultServer, *, packed: bool) -> None:
    """Let the second revision install the model, as a raw file or as an archive."""
    data = PACKED if packed else DATA
    more = {"format": "tar.gz", "files": {"model.bin": {"sha256": sha256(DATA), "size_bytes": len(DATA)}}}
    release(host, "2.0.0", data, server.url("/model", good(data)), **(more if packed else {}))
    install(host, "0002", "2.0.0")


def a_small_disk(bare: HostFolder, mount: Mount, size: str = "7m") -> None:
    """The storage root is a disk of its own."""
    bare.root.mkdir()
    mount(bare.root, size=size)


def test_an_archive_needs_room_for_itself_and_for_what_is_in_it(
    bare: HostFolder, server: FaultServer, mount: Mount
) -> None:
    """Both are on the disk at once, so both are counted: refused with the sum, its parts, and what is free."""
    offer(bare, server, packed=True)
    a_small_disk(bare, mount)
    with nothing_of_the_users_changes(bare):
        report = bare.call("upgrade")
    says(
        report, 6, f"{len(PACKED):,} to download, {len(DATA):,} to install, {SPARE:,} to spare", hint="vvmigrate prune"
    )
    assert f"{len(PACKED) + len(DATA) + SPARE:,} bytes needed" in str(report.error)
    assert (report.body["steps"], server.requests) == ([], [])


def test_a_raw_file_is_the_received_one_and_needs_room_once(
    bare: HostFolder, server: FaultServer, mount: Mount
) -> None:
    """The same disk is large enough for the same model when nothing is unpacked."""
    offer(bare, server, packed=False)
    a_small_disk(bare, mount)
    bare.up()
    assert current(bare) == DATA


def test_without_resume_an_archive_is_not_kept_beside_what_is_in_it(
    bare: HostFolder, server: FaultServer, mount: Mount
) -> None:
    """`--no-resume` is the way on a disk that cannot hold both."""
    offer(bare, server, packed=True)
    a_small_disk(bare, mount)
    bare.up(no_resume=True)
    assert current(bare) == DATA


@pytest.mark.parametrize("packed", [False, True], ids=["raw", "archive"])
def test_what_was_received_already_is_not_counted_again(
    bare: HostFolder, server: FaultServer, mount: Mount, packed: bool
) -> None:
    """A download that is nearly done needs only the rest: the disk does not have to hold it twice."""
    offer(bare, server, packed=packed)
    data = PACKED if packed else DATA
    a_small_disk(bare, mount, "9m" if packed else "7m")
    bare.up("0001")
    partial = bare.root / f".vvmigrate/downloads/{sha256(data)}.partial"
    partial.write_bytes(data[:-1000])
    document = bare.json("upgrade", "--plan")
    installed = len(DATA) if packed else 0
    assert document["disk"]["needed_bytes"] == 1000 + installed + SPARE
    bare.up()
    assert current(bare) == DATA


def test_a_store_on_a_disk_of_its_own_is_counted_there(bare: HostFolder, server: FaultServer, mount: Mount) -> None:
    """Where a link to the received file is impossible both copies are counted, each on its own disk."""
    offer(bare, server, packed=False)
    (bare.root / "models").mkdir(parents=True)
    mount(bare.root / "models", size="1m")
    report = bare.call("upgrade")
    says(report, 6, str(bare.root / "models"), f"{len(DATA):,} bytes needed", "0 to download")


def test_every_file_of_an_archive_needs_an_inode(bare: HostFolder, server: FaultServer, mount: Mount) -> None:
    """The manifest says how many files there will be: a disk with fewer inodes is refused with both numbers."""
    names = [f"part-{number}" for number in range(300)]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    data = packed.getvalue()
    files = {name: {"sha256": sha256(b""), "size_bytes": 0} for name in names}
    release(bare, "2.0.0", data, server.url("/model", good(data)), format="tar.gz", files=files)
    install(bare, "0002", "2.0.0")
    a_small_disk(bare, mount, "64m,nr_inodes=250")
    report = bare.call("upgrade")
    says(report, 6, "inodes needed", "free")
    found = re.search(r"(\d+) inodes needed, (\d+) free", str(report.error))
    assert found is not None
    assert int(found[1]) > 300 > int(found[2])
