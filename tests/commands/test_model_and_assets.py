"""Models and assets: what is fetched, what is pending again, what is degraded."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from tests.conftest import HostFolder


def manifest(host: HostFolder) -> dict:
    return json.loads((host.home / "model_manifest.json").read_text())


def release_version(host: HostFolder, version: str, *, url: str = "fallback/models/bitnet_demo.tar.gz") -> None:
    """Add a version to the manifest: the same artefact as 1.0.0's demo, under another address."""
    found = manifest(host)
    versions = found["models"]["bitnet_summarizer"]
    versions[version] = json.loads(json.dumps(versions["1.0.0"]))
    versions[version]["variants"]["demo"]["urls"] = [url]
    (host.home / "model_manifest.json").write_text(json.dumps(found))


def another_variant(host: HostFolder) -> None:
    """A third variant: the picture, as a plain file."""
    found = manifest(host)
    picture = (host.home / "fallback/placeholder.png").read_bytes()
    found["models"]["bitnet_summarizer"]["1.0.0"]["variants"]["tiny"] = {
        "urls": ["fallback/placeholder.png"],
        "format": "file",
        "filename": "tiny.bin",
        "size_bytes": len(picture),
        "sha256": hashlib.sha256(picture).hexdigest(),
    }
    (host.home / "model_manifest.json").write_text(json.dumps(found))


def info(host: HostFolder) -> dict:
    return json.loads((host.root / "models/.current_model_info.json").read_text())["models"]["bitnet_summarizer"]


def test_the_current_model_is_a_relative_link_and_says_what_it_is(host: HostFolder) -> None:
    """A container that mounts only models/ can follow the link; the information file names version and variant."""
    host.up("0002")
    link = host.root / "models/bitnet_summarizer"
    assert str(link.readlink()).startswith(".store/bitnet_summarizer-1.0.0-")
    assert (host.root / "models" / info(host)["path"]).is_file()
    assert (info(host)["model_version"], info(host)["variant"]) == ("1.0.0", "demo")


def test_a_version_that_a_later_revision_supersedes_is_not_fetched(host: HostFolder) -> None:
    """A fresh host that skips a release does not download a gigabyte that the same run replaces."""
    release_version(host, "1.1.0")
    versions = manifest(host)
    versions["models"]["bitnet_summarizer"]["1.0.0"]["variants"]["demo"]["urls"] = ["fallback/models/gone.tar.gz"]
    (host.home / "model_manifest.json").write_text(json.dumps(versions))
    host.revision("0007", 'op.install_model("bitnet_summarizer", "1.1.0")')
    report = host.up()
    results = {step["revision"]: step["result"] for step in report.body["steps"]}
    assert (results["0002"], results["0007"]) == ("superseded", "applied")
    assert info(host)["model_version"] == "1.1.0"
    host.down("base")
    assert not (host.root / "models/bitnet_summarizer").is_symlink()


def test_going_back_to_an_older_model_needs_no_network(host: HostFolder) -> None:
    """A summariser that misbehaves is taken back to the version before, whose archive is long gone, entry and all."""
    release_version(host, "1.1.0", url="fallback/models/newer.tar.gz")
    shutil.copy(host.home / "fallback/models/bitnet_demo.tar.gz", host.home / "fallback/models/newer.tar.gz")
    host.up()
    before = (host.root / "models/bitnet_summarizer").readlink(), info(host)
    host.revision("0007", 'op.install_model("bitnet_summarizer", "1.1.0")')
    host.up()
    assert info(host)["model_version"] == "1.1.0"
    shutil.rmtree(host.home / "fallback/models")
    host.down("-1")
    assert ((host.root / "models/bitnet_summarizer").readlink(), info(host)) == before


def test_another_variant_is_a_pending_change(host: HostFolder) -> None:
    """VV_MODEL_VARIANT asks for another variant: the next upgrade installs it, though its revision is applied."""
    another_variant(host)
    host.up()
    host.environ["VV_MODEL_VARIANT"] = "tiny"
    report = host.up()
    assert [(step["revision"], step["result"]) for step in report.body["steps"]] == [("0002", "applied")]
    assert (info(host)["variant"], info(host)["path"]) == ("tiny", "bitnet_summarizer/tiny.bin")
    assert host.up().body["steps"] == []
    host.down("base")
    assert not (host.root / "models/bitnet_summarizer").exists()


def test_a_missing_asset_is_a_degraded_step_that_is_tried_again(host: HostFolder) -> None:
    """Without the video the step is degraded, with exit 0; once it is there the next upgrade installs it."""
    video = host.home / "fallback/loop_silencioso.mp4"
    aside = video.rename(host.home.parent / "aside.mp4")
    report = host.up()
    assert report.body["degraded"] == [
        {
            "revision": "0003",
            "title": "Fallback video and picture",
            "reason": "fallback/loop_silencioso.mp4: missing from the release",
        }
    ]
    assert (host.root / "fallback/placeholder.png").is_file()
    assert host.call("status").exit_code == 3
    Path(aside).rename(video)
    report = host.up()
    assert [(step["revision"], step["result"]) for step in report.body["steps"]] == [("0003", "applied")]
    assert (host.root / "fallback/loop_silencioso.mp4").is_file()
    assert report.body["degraded"] == []
    host.down("base")
    assert not (host.root / "fallback").exists()


def test_a_retry_that_changes_nothing_leaves_no_trace(host: HostFolder) -> None:
    """A host that boots for years with the video missing warns each time; its history does not grow."""
    (host.home / "fallback/loop_silencioso.mp4").unlink()
    host.up()
    before = host.history()
    for _ in range(2):
        assert [item["revision"] for item in host.up().body["degraded"]] == ["0003"]
    assert host.history() == before


def test_a_pinned_asset_with_other_bytes_is_an_integrity_error(host: HostFolder) -> None:
    """A release whose picture is not the one that its revision pins is refused with exit 7, nothing installed."""
    host.up()
    host.revision("0007", f'op.install_assets("fallback", "fallback", {{"placeholder.png": "{"0" * 64}"}})')
    before = host.tree()
    report = host.call("upgrade", "head")
    assert report.exit_code == 7
    assert host.tree() == before


def test_a_modified_asset_is_kept_when_its_step_is_taken_back(host: HostFolder) -> None:
    """A picture that somebody replaced after we had installed it stays, and is named."""
    host.up()
    (host.root / "fallback/placeholder.png").write_bytes(b"our own logo")
    steps = {step["revision"]: step for step in host.down("base").body["steps"]}
    assert (host.root / "fallback/placeholder.png").read_bytes() == b"our own logo"
    assert str(host.root / "fallback/placeholder.png") in {item["path"] for item in steps["0003"]["kept"]}


def test_two_models_of_one_revision_stand_side_by_side(host: HostFolder) -> None:
    """The information file names both, and going back takes both out again."""
    manifest = json.loads((host.home / "model_manifest.json").read_text())
    manifest["models"]["second"] = manifest["models"]["bitnet_summarizer"]
    manifest["models"]["third"] = manifest["models"]["bitnet_summarizer"]
    (host.home / "model_manifest.json").write_text(json.dumps(manifest))
    host.revision("0007", 'op.install_model("second", "1.0.0")\nop.install_model("third", "1.0.0")')
    host.up("0006")
    before = host.tree()["storage/models/.current_model_info.json"]
    host.up()
    models = json.loads((host.root / "models/.current_model_info.json").read_text())["models"]
    assert sorted(models) == ["bitnet_summarizer", "second", "third"]
    assert all((host.root / "models" / entry["path"]).is_file() for entry in models.values())
    host.down("-1")
    assert host.tree()["storage/models/.current_model_info.json"] == before
    assert not (host.root / "models/second").exists()
