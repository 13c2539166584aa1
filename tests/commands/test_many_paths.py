"""A host with many recorded paths: looks stay right, and walk to each folder once."""

from __future__ import annotations

import gc
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import HostFolder, copy_release
from tests.crash.dying import at_calls
from vvmigrate.engine.ledger import PARSED_AT_ONCE

COUNT = PARSED_AT_ONCE + 10
"""More than the ledger reads at once."""

FOLDERS = ("many", "many/deep", "many/deep/er")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> HostFolder:
    """A host with many installed assets, in folders within each other; each test leaves it as it was."""
    host = copy_release(tmp_path_factory.mktemp("many"))
    for number, name in enumerate(FOLDERS):
        (host.home / name).mkdir()
        for asset in range(number, COUNT, len(FOLDERS)):
            (host.home / name / f"{asset:04d}.bin").write_bytes(b"%d" % asset * 2000)
    installs = [f'op.make_directories(["{name}"])\nop.install_assets("{name}", "{name}")' for name in FOLDERS]
    host.revision("0007", "\n".join(installs))
    host.up(values={"DVR_IP": "192.168.1.20"})
    return host


def test_verify_finds_each_of_many(many: HostFolder) -> None:
    """The first, the last, and those around the place where the ledger's rows are read on, each by what is wrong."""
    assert many.call("verify").body["drift"] == []
    (many.root / "many/0000.bin").write_bytes(b"another")
    (many.root / "many/deep/0256.bin").chmod(0o600)
    (many.root / "many/deep/er/0254.bin").unlink()
    last = next((many.root / "many").rglob(f"{COUNT - 1:04d}.bin"))
    last.write_bytes(last.read_bytes()[::-1])
    found = {Path(item["path"]).name: item["kind"] for item in many.call("verify").body["drift"]}
    assert found == {"0000.bin": "size", "0256.bin": "mode", "0254.bin": "kind", last.name: "content"}
    many.call("repair")
    assert many.call("verify").body["drift"] == []


def test_a_look_walks_to_each_folder_once(many: HostFolder) -> None:
    """Not once for every file: fifty thousand files would be walked to through all that is above them."""
    with at_calls({}) as seen:
        report = many.call("verify")
    assert report.body["checked"] > 2 * COUNT  # what was installed, and the release's own
    walks = [name for name in seen if name.startswith("many")]
    assert len(walks) < 10 * len(FOLDERS), walks


def test_a_folder_that_is_a_link_now_holds_nothing_of_ours(many: HostFolder) -> None:
    """The files are found where the link leads, but that is not where they were put."""
    (many.root / "many/deep").rename(many.root / "elsewhere")
    (many.root / "many/deep").symlink_to(many.root / "elsewhere")
    found = many.call("verify").body["drift"]
    assert {item["kind"] for item in found} == {"kind"}
    assert all("many/deep" in item["path"] for item in found)
    assert len(found) > COUNT // 2
    (many.root / "many/deep").unlink()
    (many.root / "elsewhere").rename(many.root / "many/deep")


def test_a_long_look_tells_how_far_it_is(many: HostFolder) -> None:
    """In bytes, forwards only, to the end; but not of every small file."""
    told: list[tuple[str, dict[str, object]]] = []
    many.call("verify", told=told)
    steps = [(int(str(facts["done"])), int(str(facts["total"]))) for event, facts in told if event == "progress"]
    assert steps[-1][0] == steps[-1][1] > 1 << 20
    assert all(before[0] < after[0] for before, after in pairwise(steps))
    assert len(steps) < COUNT // 10


def test_a_look_leaves_the_collector_as_it_was(many: HostFolder) -> None:
    """It rests while a look lasts, also one that fails."""
    for collecting in (True, False):
        (gc.enable if collecting else gc.disable)()
        try:
            many.call("verify")
            many.call("verify", "nowhere")
            assert gc.isenabled() == collecting
        finally:
            gc.enable()
