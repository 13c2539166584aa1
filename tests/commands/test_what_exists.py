"""What exists already and is not recorded as ours: the table of the contract, with --skip-existing and without."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from tests.conftest import HostFolder

both = pytest.mark.parametrize("skip", [False, True], ids=["plain", "skip-existing"])


def result_of(report: Any, revision: str) -> dict[str, Any]:
    """The step of one revision in a report."""
    found: dict[str, Any] = next(step for step in report.body["steps"] if step["revision"] == revision)
    return found


def mode_of(path: Path) -> int:
    return path.lstat().st_mode & 0o7777


@both
def test_a_directory_with_the_right_mode_is_adopted_and_stays(host: HostFolder, skip: bool) -> None:
    """A directory that was there before is taken over as it is, and is still there after downgrade base."""
    (host.root / "input").mkdir(parents=True)
    (host.root / "input").chmod(0o775)
    host.up("0001", skip_existing=skip)
    host.down("base")
    assert mode_of(host.root / "input") == 0o775


def test_a_directory_with_a_wrong_mode_is_mended_and_goes_back_to_it(host: HostFolder) -> None:
    """Without --skip-existing mode and owner are set, and downgrade restores the old mode."""
    (host.root / "input").mkdir(parents=True)
    (host.root / "input").chmod(0o700)
    host.up("0001")
    assert mode_of(host.root / "input") == 0o775
    host.down("base")
    assert mode_of(host.root / "input") == 0o700


def test_skip_existing_leaves_a_directorys_mode_and_warns(host: HostFolder) -> None:
    """With --skip-existing a wrong mode stays, and a warning says what was expected."""
    (host.root / "input").mkdir(parents=True)
    (host.root / "input").chmod(0o700)
    report = host.up("0001", skip_existing=True)
    assert mode_of(host.root / "input") == 0o700
    warnings = " ".join(result_of(report, "0001")["warnings"])
    assert "0700" in warnings
    assert "0775" in warnings


@both
def test_a_model_that_verifies_is_adopted_without_a_download(host: HostFolder, skip: bool) -> None:
    """The manifest's version, put there by hand, is not fetched again and not removed by downgrade."""
    shutil.unpack_archive(host.home / "fallback/models/bitnet_demo.tar.gz", host.root / "models/bitnet_summarizer")
    (host.home / "fallback/models/bitnet_demo.tar.gz").unlink()
    host.up("0002", skip_existing=skip)
    assert not (host.root / "models/bitnet_summarizer").is_symlink()
    host.down("0001")
    assert (host.root / "models/bitnet_summarizer/ggml-model-i2_s.gguf").is_file()


@both
def test_another_model_is_set_aside_and_comes_back(host: HostFolder, skip: bool) -> None:
    """A model that does not verify makes way for the right one, is reported, and is back after downgrade."""
    old = host.root / "models/bitnet_summarizer"
    old.mkdir(parents=True)
    (old / "ggml-model-i2_s.gguf").write_bytes(b"an older model")
    report = host.up("0002", skip_existing=skip)
    assert (old / "ggml-model-i2_s.gguf").read_bytes()[:4] == b"GGUF"
    assert any("set aside" in item["reason"] for item in result_of(report, "0002")["kept"])
    host.down("0001")
    assert (old / "ggml-model-i2_s.gguf").read_bytes() == b"an older model"


@both
def test_an_asset_with_the_same_content_is_adopted(host: HostFolder, skip: bool) -> None:
    """A picture that is right already is left alone, and stays when the step is taken back."""
    (host.root / "fallback").mkdir(parents=True)
    picture = host.root / "fallback/placeholder.png"
    shutil.copyfile(host.home / "fallback/placeholder.png", picture)
    inode = picture.stat().st_ino
    host.up("0003", skip_existing=skip)
    assert picture.stat().st_ino == inode
    host.down("0002")
    assert picture.is_file()


def test_an_asset_with_other_content_is_replaced_and_comes_back(host: HostFolder) -> None:
    """Without --skip-existing the release's picture replaces another one, which downgrade brings back, mode and all."""
    (host.root / "fallback").mkdir(parents=True)
    picture = host.root / "fallback/placeholder.png"
    picture.write_bytes(b"our own logo")
    picture.chmod(0o600)
    host.up("0003")
    assert picture.read_bytes() == (host.home / "fallback/placeholder.png").read_bytes()
    host.down("0002")
    assert (picture.read_bytes(), mode_of(picture)) == (b"our own logo", 0o600)


def test_skip_existing_keeps_an_asset_with_other_content(host: HostFolder) -> None:
    """With --skip-existing another picture stays, and the report says so."""
    (host.root / "fallback").mkdir(parents=True)
    picture = host.root / "fallback/placeholder.png"
    picture.write_bytes(b"our own logo")
    report = host.up("0003", skip_existing=True)
    assert picture.read_bytes() == b"our own logo"
    assert [item["path"] for item in result_of(report, "0003")["kept"]] == [str(picture)]


@both
def test_an_asset_that_we_once_recorded_is_replaced_by_a_newer_one(host: HostFolder, skip: bool) -> None:
    """An untouched asset of an older release gives way to the newer one, also with --skip-existing."""
    host.up("0003")
    (host.home / "fallback/placeholder.png").write_bytes(b"a newer picture")
    for path in (host.home / "migrations/versions").glob("000[456]*"):
        path.unlink()
    host.revision("0004", 'op.install_assets("fallback", "fallback", ["placeholder.png"])')
    host.up("0004", skip_existing=skip)
    assert (host.root / "fallback/placeholder.png").read_bytes() == b"a newer picture"


@both
def test_values_in_env_are_kept_and_missing_keys_added(host: HostFolder, skip: bool) -> None:
    """A user's values and comments stay; each added key is warned of; downgrade gives the file back byte by byte."""
    env = host.home / ".env"
    env.write_text("# mine\nLOG_LEVEL=WARNING\nEXTRA='kept as it is'\n")
    env.chmod(0o600)
    before = env.read_bytes()
    warnings = result_of(host.up("0004", skip_existing=skip), "0004")["warnings"]
    values = dotenv_values(env)
    assert (values["LOG_LEVEL"], values["EXTRA"]) == ("WARNING", "kept as it is")
    assert values["VIDEO_STORAGE_ROOT"] == str(host.root)
    assert any("PROMETHEUS_PORT" in warning for warning in warnings)
    assert not any("LOG_LEVEL" in warning for warning in warnings)
    host.down("0003")
    assert env.read_bytes() == before


def complete_env(host: HostFolder, mode: int) -> Path:
    """A `.env` with every key of the template, left by nobody's step."""
    host.up("0004", values={"DVR_IP": "192.168.1.20"})
    content = (host.home / ".env").read_bytes()
    host.down("0003", no_hold=True)
    (host.home / ".env").write_bytes(content)
    (host.home / ".env").chmod(mode)
    return host.home / ".env"


def test_a_wrong_mode_of_env_is_mended(host: HostFolder) -> None:
    """Without --skip-existing a readable .env becomes 0600 though no key is missing; downgrade restores its mode."""
    env = complete_env(host, 0o644)
    host.up("0004")
    assert mode_of(env) == 0o600
    host.down("0003")
    assert mode_of(env) == 0o644


def test_skip_existing_only_warns_of_the_mode_of_env(host: HostFolder) -> None:
    """With --skip-existing a readable .env that has every key stays so, with a warning."""
    env = complete_env(host, 0o644)
    warnings = result_of(host.up("0004", skip_existing=True), "0004")["warnings"]
    assert mode_of(env) == 0o644
    assert any("0644" in warning for warning in warnings)


def old_database(host: HostFolder, *tables: str) -> None:
    """The database of an older system, with rows."""
    host.database.parent.mkdir(parents=True)
    for table in tables:
        host.sql(table)


@both
def test_an_older_systems_database_is_adopted_with_its_rows(host: HostFolder, skip: bool) -> None:
    """Tables that no revision makes stay as they are, through up and down to base."""
    old_database(host, "CREATE TABLE cameras (name TEXT)", "INSERT INTO cameras VALUES ('door')")
    host.up(skip_existing=skip)
    assert host.sql("SELECT * FROM cameras") == [("door",)]
    host.down("base")
    assert host.sql("SELECT * FROM cameras") == [("door",)]


def schema_of_0005(host: HostFolder, tmp: Path) -> list[str]:
    other = HostFolder(host.home, tmp / "elsewhere")
    other.up("0005")
    found = other.sql("SELECT sql FROM sqlite_master WHERE name NOT LIKE 'vv_%' AND sql IS NOT NULL ORDER BY rowid")
    for name in (".vvmigrate", "logs"):
        shutil.rmtree(host.home / name)
    (host.home / ".env").unlink()
    return [sql for (sql,) in found]


@both
def test_tables_that_equal_the_revisions_are_adopted(host: HostFolder, tmp_path: Path, skip: bool) -> None:
    """An older orchestrator made the same tables: the revision takes them over, and their rows outlive a downgrade."""
    old_database(host, *schema_of_0005(host, tmp_path))
    host.sql("INSERT INTO processed_videos VALUES ('x', 'a.mp4', 1, 'done', 'then', NULL, NULL)")
    host.up(skip_existing=skip)
    assert host.sql("SELECT sha256 FROM processed_videos") == [("x",)]
    host.down("0004", no_hold=True)
    host.up(skip_existing=skip)
    assert host.sql("SELECT sha256 FROM processed_videos") == [("x",)]


@both
def test_a_table_that_differs_needs_a_person(host: HostFolder, skip: bool) -> None:
    """An older table of the same name but another shape: exit 4 naming adopt, rows untouched."""
    old_database(host, "CREATE TABLE processed_videos (sha256 TEXT)", "INSERT INTO processed_videos VALUES ('x')")
    report = host.call("upgrade", "head", skip_existing=skip)
    assert report.exit_code == 4
    assert report.error is not None
    assert "processed_videos" in report.error.message
    assert "adopt" in (report.error.hint or "")
    assert host.sql("SELECT * FROM processed_videos") == [("x",)]


@both
def test_an_old_log_of_processed_videos_is_imported_once_and_stays(host: HostFolder, skip: bool) -> None:
    """Videos of the old log are rows afterwards, so that none is processed twice; the log itself is left."""
    log = host.root / "orchestrator_data/processed_videos.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"{'a' * 64}\nnot a hash\n{'B' * 64}\r\n")
    warnings = result_of(host.up(skip_existing=skip), "0005")["warnings"]
    assert host.sql("SELECT sha256, status FROM processed_videos ORDER BY 1") == [
        ("a" * 64, "processed"),
        ("b" * 64, "processed"),
    ]
    assert any("line 2" in warning for warning in warnings)
    assert log.is_file()


@both
def test_an_old_signature_is_made_anew_and_comes_back(host: HostFolder, skip: bool) -> None:
    """vv-signature.json is an output: a stale one is replaced in both cases and restored by downgrade."""
    old = host.home / "vv-signature.json"
    old.write_text('{"files": {}}')
    host.up(skip_existing=skip)
    assert "alembic.ini" in json.loads(old.read_text())["files"]
    host.down("0005")
    assert old.read_text() == '{"files": {}}'


@both
def test_a_file_where_a_directory_belongs_is_refused(host: HostFolder, skip: bool) -> None:
    """A file called input is not ours to remove: exit 6 before anything is written, naming it."""
    host.root.mkdir()
    (host.root / "input").write_text("oops")
    report = host.call("upgrade", "head", skip_existing=skip)
    assert report.exit_code == 6
    assert report.error is not None
    assert str(host.root / "input") in report.error.message
    assert (host.root / "input").read_text() == "oops"
    assert os.listdir(host.root / "orchestrator_data") == ["orchestrator_db.sqlite"]
