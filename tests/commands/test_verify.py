"""What is drift and what is the user's right; how deep a look goes; what a repair leaves."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.models import NAME, current, install, release
from tests.commands.proof import nothing_changes, says
from tests.conftest import HostFolder
from tests.content.fault_server import FaultServer, good
from vvmigrate.engine import drift as drifts
from vvmigrate.engine.effects import CONTENT_BYTES
from vvmigrate.files import Entry, Folder

PICTURE = "fallback/placeholder.png"


@pytest.fixture
def up(host: HostFolder) -> HostFolder:
    """A host at its last revision, with every required value."""
    host.up(values={"DVR_IP": "192.168.1.20"})
    return host


def drift(host: HostFolder, *paths: str, **options: object) -> list[tuple[str, str]]:
    """(path, fact) of everything that `verify` finds."""
    report = host.call("verify", *paths, **options)
    assert report.error is None
    assert report.exit_code == (3 if report.body["drift"] else 0)
    names = [Path(item["path"]) for item in report.body["drift"]]
    tops = [host.root if name.is_relative_to(host.root) else host.home for name in names]
    facts = [item["kind"] for item in report.body["drift"]]
    return [(str(n.relative_to(top)), fact) for n, top, fact in zip(names, tops, facts, strict=True)]


def flip(path: Path) -> None:
    """Change a byte, and nothing that a directory listing shows."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


# ---- what is no drift ------------------------------------------------------------------------------------------------


def edit_a_value(host: HostFolder) -> None:
    path = host.home / ".env"
    path.write_text(path.read_text().replace("DVR_IP=192.168.1.20", "DVR_IP=10.0.0.9") + "MINE=1\n")


def delete_a_key(host: HostFolder) -> None:
    path = host.home / ".env"
    path.write_text("".join(x for x in path.read_text().splitlines(keepends=True) if not x.startswith("LOG_LEVEL")))


def write_rows(host: HostFolder) -> None:
    host.sql(
        "INSERT INTO processed_videos (sha256, file_name, size_bytes, status, first_seen) VALUES ('a','b',1,'c','d')"
    )


def record_a_video(host: HostFolder) -> None:
    (host.root / "raw/cam1.mp4").write_bytes(b"recorded")


@pytest.mark.parametrize("act", [edit_a_value, delete_a_key, write_rows, record_a_video])
def test_what_people_and_the_orchestrator_do_is_no_drift(up: HostFolder, act: Callable[[HostFolder], None]) -> None:
    """An edited value, a deleted key, rows, recordings: verify and status see nothing, and repair does nothing."""
    act(up)
    before = up.tree()
    assert drift(up) == []
    assert up.call("status").body["drift"] == []
    entries = len(up.history())
    assert up.call("repair").body["drift"] == []
    assert (up.tree(), len(up.history())) == (before, entries)


def test_a_required_key_that_is_gone_comes_in_again(up: HostFolder) -> None:
    """Services need it: its line returns at its place, and what was edited beside it stays."""
    edit_a_value(up)
    path = up.home / ".env"
    path.write_text("".join(x for x in path.read_text().splitlines(keepends=True) if not x.startswith("HMAC_SECRET")))
    assert drift(up) == [(".env", "key")]
    assert "HMAC_SECRET_KEY" in str(up.call("doctor").body["findings"])
    secret = json.loads((up.root / ".vvmigrate/secrets").read_text())["HMAC_SECRET_KEY"]
    up.call("repair")
    assert f"HMAC_SECRET_KEY={secret}" in path.read_text()
    assert "DVR_IP=10.0.0.9" in path.read_text()
    assert "MINE=1" in path.read_text()


# ---- how deep, and where ---------------------------------------------------------------------------------------------


def test_a_quick_look_reads_only_what_was_touched(up: HostFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing at all on a healthy host; an edit that keeps size and times is found, and nothing else was read."""
    read: list[str] = []
    opened = Folder.entry

    def entry(folder: Folder, name: str) -> Entry:
        read.append(name)
        return opened(folder, name)

    monkeypatch.setattr(Folder, "entry", entry)
    assert (drift(up, quick=True), read) == ([], [])
    flip(up.root / PICTURE)
    (up.root / "fallback/loop_silencioso.mp4").unlink()
    found = [("fallback/loop_silencioso.mp4", "kind"), (PICTURE, "content")]
    assert sorted(drift(up, quick=True)) == found
    assert read == [Path(PICTURE).name]
    assert sorted(drift(up)) == sorted(drift(up, deep=True)) == found
    says(up.call("verify", quick=True, deep=True), 2, "--quick", "--deep")


def test_a_quick_look_finds_an_edit_of_the_release(up: HostFolder) -> None:
    """Of the same size, and with its times set back; status, which looks quickly, too."""
    flip(up.home / "fallback/placeholder.png")
    assert drift(up, quick=True) == [("fallback/placeholder.png", "release")]
    assert [item["kind"] for item in up.call("status").body["drift"]] == ["release"]


def lose(path: Path) -> None:
    path.unlink()


def shorten(path: Path) -> None:
    os.truncate(path, 1)


def lead_elsewhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/null")


def open_to_all(path: Path) -> None:
    path.chmod(0o666)


@pytest.mark.parametrize("act", [lose, shorten, lead_elsewhere, open_to_all])
def test_a_quick_look_sees_into_a_model(up: HostFolder, act: Callable[[Path], None]) -> None:
    """A model without its file is no model: status, which looks quickly, says so, and repair brings it back."""
    (model,) = (up.root / "models/.store").glob("*/*.gguf")
    act(model)
    found = [(str(model.parent.relative_to(up.root)), "content")]
    assert drift(up, quick=True) == found
    assert [item["kind"] for item in up.call("status").body["drift"]] == ["content"]
    assert up.call("repair").exit_code == 0
    assert drift(up, quick=True) == drift(up) == []


def test_a_quick_look_reads_no_large_file(up: HostFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who restores a backup touches every file, and still has a status within a moment; verify reads the model."""
    monkeypatch.setattr(drifts, "QUICKLY_READ_BYTES", (up.root / PICTURE).stat().st_size - 1)
    flip(up.root / PICTURE)
    assert drift(up, quick=True) == []
    assert drift(up) == [(PICTURE, "content")]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("{root}/fallback", [(PICTURE, "content")]),
        ("fallback/placeholder.png", [(PICTURE, "content")]),
        ("{root}/models", []),
        ("{root}", [(PICTURE, "content")]),
        (".env", []),
    ],
)
def test_a_path_limits_the_look(up: HostFolder, path: str, found: list[tuple[str, str]]) -> None:
    """Absolute, or relative to where one stands, to the storage root, or to the home."""
    flip(up.root / PICTURE)
    assert drift(up, path.format(root=up.root)) == found


@pytest.mark.parametrize("inside", ["", "/MODEL"])
def test_a_models_own_path_means_the_model(up: HostFolder, inside: str) -> None:
    """The link is as it was, the file behind it is not: by the path that services use all tell it, and repair mends."""
    link = up.root / f"models/{NAME}"
    model = next(link.glob("*.gguf"))
    path = str(link) + inside.replace("MODEL", model.name)
    before = model.read_bytes()
    flip(model)
    generation = f"models/{os.readlink(link)}"
    assert drift(up, path) == [(generation, "content")]
    assert "not as it was left" in up.run("why", path).stdout
    assert up.call("repair", path).exit_code == 0
    assert (drift(up, path), model.read_bytes()) == ([], before)
    assert "is as it was left" in up.run("why", path).stdout


def test_a_file_of_the_release_may_be_named(up: HostFolder) -> None:
    """What verify lists can be looked at alone; why says what mends it, and repair that it cannot."""
    for name in ("migrations/env.py", str(up.home / "migrations"), "model_manifest.json"):
        assert drift(up, name) == []
    assert "is as it was left" in up.run("why", "migrations/env.py").stdout
    with (up.home / "migrations/env.py").open("a") as file:
        file.write("# changed\n")
    assert drift(up, "migrations") == drift(up, "migrations/env.py") == [("migrations/env.py", "release")]
    assert drift(up, "model_manifest.json") == []
    told = up.run("why", "migrations/env.py").stdout
    assert "install the release again" in told
    assert "vvmigrate repair migrations" not in told
    entries = len(up.history())
    report = up.call("repair", "migrations/env.py")
    assert (report.exit_code, report.error, len(report.body["left"]), len(up.history())) == (3, None, 1, entries)


def test_what_lies_in_a_folder_that_we_made_is_not_ours(up: HostFolder) -> None:
    """A recording has no verdict; of the folder it is said that it is the folder."""
    (up.root / "raw/cam1.mp4").write_bytes(b"recorded")
    report = up.call("why", str(up.root / "raw/cam1.mp4"))
    assert (report.body["managed"], report.body["part_of"]) == (False, str(up.root / "raw"))
    told = up.run("why", str(up.root / "raw/cam1.mp4")).stdout
    assert f"its folder: {up.root / 'raw'}" in told
    assert "is as it was left" not in told
    assert "is as it was left" in up.run("why", str(up.root / "raw")).stdout


def test_a_path_of_which_nothing_is_recorded(up: HostFolder) -> None:
    """It is said, instead of a healthy answer about nothing."""
    (up.root / "mine").mkdir()
    says(up.call("verify", str(up.root / "mine")), 2, "mine", "nothing is recorded")
    says(up.call("verify", "/etc/hostname"), 2, "/etc/hostname", str(up.root))
    says(up.call("why", str(up.root / "nowhere")), 2, "nowhere")
    assert not up.call("why", str(up.root / "mine")).body["managed"]


def test_a_host_that_has_nothing_yet(host: HostFolder) -> None:
    """Neither verify nor doctor makes anything; doctor names the command that brings the host up."""
    with nothing_changes(host):
        assert drift(host) == []
        findings = host.call("doctor").body["findings"]
    assert "vvmigrate upgrade head" in [item["remedy"] for item in findings]


# ---- the release's own files -----------------------------------------------------------------------------------------


def test_a_file_of_the_release_that_was_changed_is_found_and_not_repaired(up: HostFolder) -> None:
    """Only its author has the right bytes; whoever changed it on purpose says so by naming the list."""
    with (up.home / ".env.example").open("a") as file:
        file.write("# changed\n")
    assert drift(up) == [(".env.example", "release")]
    report = up.call("repair")
    assert (report.exit_code, [item["kind"] for item in report.body["left"]]) == (3, ["release"])
    assert "release again" in str(up.call("doctor").body["findings"])
    assert up.call("why", ".env.example").body["drift"]
    assert up.call("repair", str(up.home / "vv-signature.json")).exit_code == 0
    assert drift(up) == []


REVISION = "migrations/versions/0003_fallback_assets.py"


def advice(host: HostFolder, verb: str) -> dict[str, str]:
    """The first words of what is advised next below each path that differs."""
    found: dict[str, str] = {}
    waiting: list[str] = []
    for line in host.run(verb).stdout.splitlines():
        if "to mend it: " in line:
            words = line.partition("to mend it: ")[2].split()
            found |= dict.fromkeys(waiting, " ".join(words[:6]))
            waiting = []
        elif line.startswith(("drift: ", "not mended: ")):
            waiting.append(Path(line.split(": ")[1]).name)
    return found


def test_what_a_repair_cannot_mend_has_its_own_advice(up: HostFolder) -> None:
    """Under each finding of status, verify and repair stands what mends that one; not what would mend others."""
    with (up.home / REVISION).open("a") as file:
        file.write("# changed\n")
    up.sql("DROP TABLE stage_runs")
    (up.root / "raw").rmdir()
    release = {Path(REVISION).name: "install the release again; if it"}
    schema = {up.database.name: "put a copy of the database"}
    assert advice(up, "verify") == {**release, **schema, "raw": "vvmigrate repair"}
    assert advice(up, "status") == {**release, "raw": "vvmigrate repair"}
    assert advice(up, "repair") == {**release, **schema}
    ways = {item["kind"]: item["remedy"] for item in up.json("verify")["drift"]}
    assert ways["release"].startswith("install the release again")
    assert "sqlite3" in ways["schema"]
    (up.home / PICTURE).unlink()
    (up.root / PICTURE).unlink()
    (left,) = [item for item in up.call("repair").body["left"] if item["path"] == str(up.root / PICTURE)]
    assert left["remedy"].startswith("install the release again, then: vvmigrate repair")
    assert "nor in the release" in left["reason"]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("named", [(), ("vv-signature.json",)])
def test_a_list_that_is_gone_comes_back_as_it_was(up: HostFolder, named: tuple[str, ...], large: bool) -> None:
    """Whoever changes a file of the release and removes the list does not get it called right by a repair."""
    if large:  # than what the history itself holds
        (up.home / "docs").mkdir()
        for n in range(200):
            (up.home / f"docs/{n:03d}.md").write_text(f"{n}")
        up.call("repair", str(up.home / "vv-signature.json"))
        assert drift(up) == []
    before = (up.home / "vv-signature.json").read_bytes()
    assert (len(before) > CONTENT_BYTES) == large
    with (up.home / ".env.example").open("a") as file:
        file.write("# changed\n")
    (up.home / "vv-signature.json").unlink()
    report = up.call("repair", *named)
    assert (report.exit_code, (up.home / "vv-signature.json").read_bytes()) == (3, before)
    assert [item["kind"] for item in report.body["left"]] == ["release"]
    assert drift(up) == [(".env.example", "release")]


def test_a_list_that_cannot_be_had_is_made_anew_with_a_warning(up: HostFolder) -> None:
    """The kept text and the list are gone, and it is too large for the history: nothing hides that."""
    (up.home / "docs").mkdir()
    for n in range(200):
        (up.home / f"docs/{n:03d}.md").write_text(f"{n}")
    path = up.home / "vv-signature.json"
    up.call("repair", str(path))
    (up.root / f".vvmigrate/sources/{hashlib.sha256(path.read_bytes()).hexdigest()}.txt").unlink()
    path.unlink()
    report = up.call("repair", str(path))
    assert report.exit_code == 0
    assert "made anew" in str(report.body["steps"][0]["warnings"])


def test_a_release_that_is_not_applied_yet_is_no_drift(up: HostFolder) -> None:
    """Between unpacking a release and the upgrade its files differ from the host's list: that is pending, not wrong."""
    up.revision("0007", "op.write_signature()")
    (up.home / ".env.example").write_text("# of the next release\n")
    assert drift(up) == []


# ---- repair ----------------------------------------------------------------------------------------------------------


def test_only_what_is_really_gone_is_downloaded(bare: HostFolder, server: FaultServer) -> None:
    """A link, a mode and the information file cost no request; a damaged model is fetched once more, once."""
    data = hashlib.shake_128(b"model").digest(70_001)
    release(bare, "2.0.0", data, server.url("/m", good(data)))
    install(bare, "0002", "2.0.0")
    bare.up()
    server.requests.clear()
    generation = bare.root / "models" / os.readlink(bare.root / f"models/{NAME}")
    (bare.root / f"models/{NAME}").unlink()
    next(generation.iterdir()).chmod(0o600)
    (bare.root / "models/.current_model_info.json").write_text("{}")
    assert bare.call("repair").exit_code == 0
    assert (drift(bare), server.requests) == ([], [])
    flip(next(generation.iterdir()))
    assert bare.call("repair", offline=True).exit_code == 3
    assert bare.call("repair").exit_code == 0
    assert (drift(bare), current(bare), len(server.requests)) == ([], data, 1)


def test_what_cannot_be_had_does_not_hold_up_the_rest(up: HostFolder) -> None:
    """The release's picture is gone too: it is named, exit 3, and everything else is mended."""
    (up.home / PICTURE).unlink()
    (up.root / PICTURE).unlink()
    (up.root / "tv_curado").rmdir()
    report = up.call("repair", str(up.root))
    assert (report.exit_code, [item["path"] for item in report.body["left"]]) == (3, [str(up.root / PICTURE)])
    assert (up.root / "tv_curado").is_dir()


def test_a_repair_that_can_mend_nothing_is_no_repair(up: HostFolder) -> None:
    """No row says "repaired" of it, however often it is tried; what to do instead is said."""
    (up.home / PICTURE).unlink()
    (up.root / PICTURE).unlink()
    up.call("repair", str(up.home / "vv-signature.json"))
    before = up.history()
    for _ in range(2):
        done = up.run("repair")
        assert (done.returncode, "install the release again" in done.stdout) == (3, True)
    assert up.history() == before


def test_a_child_whose_folder_is_gone_is_mended_with_it(up: HostFolder) -> None:
    """Who names one picture gets it back, and the folders that it needs; what lies beside it waits."""
    shutil.rmtree(up.root / "fallback")
    report = up.call("repair", str(up.root / PICTURE))
    assert (report.exit_code, report.error) == (0, None)
    assert drift(up, str(up.root / PICTURE)) == []
    assert drift(up) == [("fallback/loop_silencioso.mp4", "kind")]


def test_another_picture_of_the_release_is_not_what_was_recorded(up: HostFolder) -> None:
    """A repair never brings what no revision has applied."""
    (up.home / PICTURE).write_bytes(b"of the next release")
    (up.root / PICTURE).unlink()
    assert up.call("repair", str(up.root)).exit_code == 3
    assert not (up.root / PICTURE).exists()


def test_a_downgrade_after_a_repair_is_exact(up: HostFolder) -> None:
    """A repair is the same revision's work: going back and coming again leaves the same host."""
    before = up.tree()
    flip(up.root / PICTURE)
    (up.root / "tv_curado").rmdir()
    (up.root / f"models/{NAME}").unlink()
    assert up.call("repair").exit_code == 0
    assert up.tree() == before
    up.down("base")
    assert not (up.root / PICTURE).exists()
    assert not (up.root / "tv_curado").exists()
    up.up(values={"DVR_IP": "192.168.1.20"})
    assert drift(up) == []
    assert {k: v[:2] for k, v in up.tree().items()} == {k: v[:2] for k, v in before.items()}


def test_a_repair_of_something_else_does_not_hide_a_degraded_step(bare: HostFolder) -> None:
    """What could not be had when it was applied is still missing, whatever else was mended."""
    (bare.home / PICTURE).unlink()
    bare.revision("0002", "op.install_assets('fallback', 'fallback', ['placeholder.png', 'loop_silencioso.mp4'])")
    bare.up()
    (bare.root / "fallback/loop_silencioso.mp4").unlink()
    assert bare.call("repair").exit_code == 0
    assert [item["revision"] for item in bare.call("status").body["degraded"]] == ["0002"]
    assert "degraded" in str(bare.call("doctor").body["findings"])


def test_a_changed_history_row_is_an_integrity_error_everywhere(up: HostFolder) -> None:
    """Nobody believes a row that somebody else wrote: doctor and repair say so, exit 7."""
    up.sql("UPDATE vv_step SET user = 'nobody' WHERE revision = '0003'")
    assert up.call("doctor").exit_code == 7
    (up.root / PICTURE).unlink()
    says(up.call("repair"), 7, "history")
    assert not (up.root / PICTURE).exists()


def test_people_read_it(up: HostFolder) -> None:
    """One line for a path that differs, the commands that follow, and a life that reads from the oldest on."""
    flip(up.root / PICTURE)
    found = up.run("verify").stdout
    assert f"{up.root / PICTURE}: expected SHA-256" in found
    assert "vvmigrate repair" in found
    told = up.run("why", str(up.root / PICTURE)).stdout
    assert told.index("applied 0003") < told.index("not as it was left")
    assert "from fallback/placeholder.png" in told
    advised = up.run("doctor")
    assert (advised.returncode, "1 finding" in advised.stdout) == (3, True)
    assert "nothing looks wrong" in (up.run("repair"), up.run("doctor"))[1].stdout
