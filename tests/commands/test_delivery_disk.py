"""A disk that fills while a model is delivered, and one that takes nothing at all: called so, and nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.commands import models
from tests.commands.conftest import Mount
from tests.conftest import HostFolder
from tests.content.delivery_desk import FORMS, Desk, Form, both_paths
from tests.content.fault_server import Act, FaultServer, good
from vvmigrate.errors import DeliveryError
from vvmigrate.files import Tree

LARGE = 9 << 20  # more than is handled without threads
DISK = "64m"
POINTS = range(10)


def leave_room(folder: Path, size_bytes: int) -> Path:
    """Fill a file system but for so many bytes; returns what fills it."""
    filler, info = folder / "filler", os.statvfs(folder)
    with filler.open("wb") as file:
        taken = info.f_bavail * info.f_frsize - size_bytes
        if taken > 0:
            os.posix_fallocate(file.fileno(), 0, taken)
    return filler


@both_paths
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("keep", [True, False], ids=["kept", "not kept"])
def test_a_disk_that_fills_at_ten_points(
    tmp_path: Path, server: FaultServer, mount: Mount, form: Form, threaded: bool, keep: bool
) -> None:
    """Wherever the disk ends: "disk full" with figures, what came so far is right and stays, and is gone on with."""
    (tmp_path / "disk").mkdir()
    mount(tmp_path / "disk", size=DISK)
    installed = sum(len(data) for data in form.files.values())
    needed = installed if form.format == "file" else installed + len(form.data) * (keep or form.format == "zip")
    url = server.url("/model", good(form.data))
    for point in POINTS:
        with Tree.open(tmp_path / "disk") as tree:
            desk = Desk(tree, tree)
            desk.pace = replace(desk.pace, rounds=2)
            filler = leave_room(tree.path, needed * point // len(POINTS))
            with pytest.raises(DeliveryError, match=r"disk full: .* bytes and \d+ inodes are free") as caught:
                desk.deliver(form.artefact(url), threaded=threaded, keep=keep)
            assert caught.value.exit_code == 1
            desk.slot.remove_tree()
            held = desk.held() if desk.partial.stat() else b""
            assert form.data.startswith(held)
            filler.unlink()
            asked = len(server.requests)
            desk.deliver(form.artefact(url), threaded=threaded, keep=keep)
            assert desk.installed() == form.files
            assert [request.start for request in server.requests[asked:]] in ([len(held)], [])
            for path in (desk.partial, desk.tree / "model.part.meta", desk.slot):
                path.remove_tree()


@pytest.mark.parametrize("form", ["file", "tar.gz"])
def test_a_disk_that_fills_in_an_upgrade(bare: HostFolder, server: FaultServer, mount: Mount, form: str) -> None:
    """The step fails cleanly with exit 1 and "disk full", nothing is visible; with room again it goes on there."""
    data = os.urandom(LARGE)
    packed = data if form == "file" else models.archive(data)
    bare.root.mkdir()
    mount(bare.root, size=DISK)
    bare.up("0001")
    fillers: list[Path] = []

    def filling(then: Act) -> Act:
        def act(*words: Any) -> None:
            fillers.append(leave_room(bare.root, LARGE // 2))
            then(*words)

        return act

    url = server.url("/model", filling(good(packed)), good(packed))
    more: dict[str, Any] = {} if form == "file" else {"format": form, "filename": "model.tar.gz"}
    models.release(bare, "2.0.0", packed, url, **more)
    models.install(bare, "0002", "2.0.0")
    before = bare.tree()
    report = bare.call("upgrade", "head")
    assert report.exit_code == 1
    assert report.error is not None
    assert "disk full" in report.error.message
    assert report.error.hint
    fillers[0].unlink()
    assert {name: entry for name, entry in bare.tree().items() if "filler" not in name} == before
    (held,) = models.received(bare).values()
    assert held
    assert packed.startswith(held)
    assert (bare.version(), models.current(bare)) == ("0001", None)
    bare.up()
    assert models.current(bare) == data
    assert server.requests[-1].start == len(held)


def _read_only_models(host: HostFolder, mount: Mount) -> None:
    mount(host.root / "models/.store", size="8m", options="ro")


def _read_only_root(host: HostFolder, mount: Mount) -> None:
    mount(host.root, bind=host.root, options="ro")


def before_an_update(bare: HostFolder, server: FaultServer) -> None:
    """A host with one model, whose release brings the next."""
    models.release(bare, "1.1.0", models.DATA, server.url("/one", good(models.DATA)))
    models.release(bare, "1.2.0", models.NEWER, server.url("/two", good(models.NEWER)))
    models.install(bare, "0002", "1.1.0")
    bare.up()
    models.install(bare, "0003", "1.2.0")


@pytest.mark.parametrize("protect", [_read_only_models, _read_only_root], ids=["store", "storage root"])
def test_a_read_only_store_is_refused(
    bare: HostFolder, server: FaultServer, mount: Mount, protect: Callable[[HostFolder, Mount], None]
) -> None:
    """A store that cannot be written is exit 6 before a byte is downloaded, names the place, and changes nothing."""
    before_an_update(bare, server)
    before = bare.tree()
    protect(bare, mount)
    shown = bare.tree()
    report = bare.call("upgrade", "head")
    assert report.exit_code == 6
    assert report.error is not None
    assert str(bare.root) in report.error.message
    assert bare.tree() == shown
    assert len(server.requests) == 1
    assert models.DATA in {entry[2] for entry in before.values()}


@pytest.mark.usefixtures("root_only")
def test_a_store_that_nobody_may_change_is_refused(
    bare: HostFolder, server: FaultServer, immutable: Callable[[Path], None]
) -> None:
    """An immutable store is exit 6 too, and the model that is current stays so."""
    before_an_update(bare, server)
    immutable(bare.root / "models/.store")
    before = bare.tree()
    assert bare.call("upgrade", "head").exit_code == 6
    assert bare.tree() == before
    assert models.current(bare) == models.DATA
    assert len(server.requests) == 1
