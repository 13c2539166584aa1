"""Owner and mode come from the configuration, whatever the umask is."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator

import pytest

from tests.conftest import HostFolder

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives things away")
DIRECTORIES = ("input", "raw", "processed", "tv_curado", "analytic", "summaries", "loglines", "playlists", "fallback")


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=["umask-000", "umask-022", "umask-077"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(host: HostFolder) -> dict[str, int]:
    names = (*DIRECTORIES, "models", "orchestrator_data", "orchestrator_data/orchestrator_db.sqlite")
    found = {name: (host.root / name).lstat().st_mode & 0o7777 for name in names}
    for name in (".env", "vv-signature.json", ".vvmigrate"):
        found[name] = (host.home / name).lstat().st_mode & 0o7777
    for name in ("fallback/placeholder.png", "models/.current_model_info.json", ".vvmigrate"):
        found[f"root {name}"] = (host.root / name).lstat().st_mode & 0o7777
    found["model"] = (host.root / "models/bitnet_summarizer/ggml-model-i2_s.gguf").lstat().st_mode & 0o7777
    return found


def test_modes_do_not_depend_on_the_umask(host: HostFolder, umask: int) -> None:
    """Directories are 0775, .env is 0600, state directories 0700, whoever ran the tool with whatever umask."""
    host.up()
    found = modes(host)
    assert {found[name] for name in (*DIRECTORIES, "models", "orchestrator_data")} == {0o775}
    assert (found[".env"], found[".vvmigrate"], found["root .vvmigrate"]) == (0o600, 0o700, 0o700)
    assert found["model"] == found["root fallback/placeholder.png"] == found["vv-signature.json"] == 0o644


def test_the_configured_mode_is_used(host: HostFolder, umask: int) -> None:
    """VV_DIR_MODE sets the mode of every directory below the storage root."""
    host.environ["VV_DIR_MODE"] = "2750"
    host.up()
    found = modes(host)
    assert {found[name] for name in (*DIRECTORIES, "models", "orchestrator_data")} == {0o2750}


def test_a_mode_that_is_none_is_a_usage_error(host: HostFolder) -> None:
    """VV_DIR_MODE=rwx is refused before anything is made."""
    host.environ["VV_DIR_MODE"] = "rwx"
    assert host.call("upgrade", "head").exit_code == 2
    assert not host.root.exists()


@root_only
def test_everything_that_services_use_belongs_to_the_application(host: HostFolder, umask: int) -> None:
    """As root, directories, model, assets, .env and database go to VV_APP_USER; the state directories stay root's."""
    nobody = pwd.getpwnam("nobody")
    host.environ["VV_APP_USER"] = "nobody"
    host.up()
    theirs = [host.root, *host.root.rglob("*"), host.home / ".env", host.home / "vv-signature.json"]
    for path in theirs:
        if ".vvmigrate" not in path.parts:
            assert (path.lstat().st_uid, path.lstat().st_gid) == (nobody.pw_uid, nobody.pw_gid), path
    for state in (host.home / ".vvmigrate", host.root / ".vvmigrate"):
        assert {path.lstat().st_uid for path in (state, *state.rglob("*"))} == {0}


@root_only
def test_an_owner_is_restored_on_the_way_back(host: HostFolder) -> None:
    """A directory that was root's before it was given to the application is root's again afterwards."""
    (host.root / "input").mkdir(parents=True)
    host.environ["VV_APP_USER"] = "nobody"
    host.up("0001")
    assert (host.root / "input").stat().st_uid == pwd.getpwnam("nobody").pw_uid
    host.down("base")
    assert (host.root / "input").stat().st_uid == 0


@root_only
def test_what_was_given_away_stays_so_when_edited_keys_go_back(host: HostFolder) -> None:
    """After a downgrade that leaves the user's key in .env the file is still 0600 and the application's."""
    host.environ["VV_APP_USER"] = "nobody"
    host.up()
    env = host.home / ".env"
    env.write_text(env.read_text().replace("LOG_LEVEL=INFO", "LOG_LEVEL=DEBUG"))
    host.down("base")
    info = env.stat()
    assert (info.st_mode & 0o7777, info.st_uid) == (0o600, pwd.getpwnam("nobody").pw_uid)


def test_an_unknown_user_is_refused(host: HostFolder) -> None:
    """VV_APP_USER with a typing error is exit 6 naming it, before anything is made."""
    host.environ["VV_APP_USER"] = "nobdoy"
    report = host.call("upgrade", "head")
    assert report.exit_code == 6
    assert report.error is not None
    assert "nobdoy" in report.error.message
    assert not host.root.exists()


@root_only
def test_root_without_an_application_user_is_warned(host: HostFolder) -> None:
    """Root that names nobody is told that everything will be root's."""
    told: list[tuple[str, dict[str, str]]] = []
    host.up("0001", told=told)
    assert any("VV_APP_USER" in facts.get("text", "") for event, facts in told if event == "warning")
