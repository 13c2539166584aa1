"""The storage root may lie below the home, as it does by default, or the home below the root: a path means both."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.proof import says
from tests.conftest import HostFolder, copy_release


@pytest.fixture(params=["storage", "data/storage", ".."])
def nested(request: pytest.FixtureRequest, tmp_path: Path) -> HostFolder:
    """A host at its last revision, one of whose trees lies in the other."""
    (tmp_path / "top").mkdir()
    host = copy_release(tmp_path / "top")
    host.root = (host.home / request.param).resolve()
    host.up(values={"DVR_IP": "192.168.1.20"})
    return host


def outer(host: HostFolder) -> Path:
    """The tree that holds the other."""
    return host.home if host.root.is_relative_to(host.home) else host.root


def names(host: HostFolder, path: str) -> list[str]:
    """What `verify PATH` finds."""
    report = host.call("verify", path)
    assert report.error is None
    assert report.exit_code == (3 if report.body["drift"] else 0)
    return sorted(Path(item["path"]).name for item in report.body["drift"])


def test_a_path_that_holds_the_other_tree_means_that_too(nested: HostFolder) -> None:
    """verify and repair look at what is named and all below it, wherever home and storage root lie."""
    (nested.root / "raw").rmdir()
    (nested.root / "fallback/placeholder.png").unlink()
    (nested.home / ".env").unlink()
    nested.sql("DROP TABLE stage_runs")
    database = nested.database.name
    lost = [".env", database, database, "placeholder.png", "raw"]
    assert names(nested, str(outer(nested))) == lost
    if outer(nested) == nested.home:
        assert names(nested, ".") == lost
        (top, *_) = nested.root.relative_to(nested.home).parts
        assert names(nested, top) == names(nested, str(nested.root)) == [database, database, "placeholder.png", "raw"]
    else:
        assert names(nested, str(nested.home)) == [".env"]
    report = nested.call("repair", str(outer(nested)))
    assert {Path(item["path"]).name for item in report.body["left"]} == {database}
    assert (nested.home / ".env").is_file()
    assert (nested.root / "raw").is_dir()
    assert (nested.root / "fallback/placeholder.png").is_file()


def test_a_file_of_either_tree_is_found_by_its_path(nested: HostFolder) -> None:
    """Each path belongs to the innermost of the two trees."""
    (nested.home / ".env").chmod(0o644)
    (nested.root / "fallback/placeholder.png").chmod(0o600)
    assert names(nested, str(nested.home / ".env")) == [".env"]
    assert names(nested, str(nested.root / "fallback")) == ["placeholder.png"]
    assert nested.call("why", str(nested.home / ".env")).body["managed"]
    (outer(nested) / "mine").mkdir()
    says(nested.call("verify", str(outer(nested) / "mine")), 2, "mine", "nothing is recorded")


def test_a_repair_of_some_paths_speaks_of_these(host: HostFolder) -> None:
    """That one folder is as recorded does not say that everything is."""
    host.up(values={"DVR_IP": "192.168.1.20"})
    (host.root / "raw").rmdir()
    said = host.run("repair", str(host.root / "input")).stdout
    assert "what was named is as recorded" in said
    assert "everything" not in said
    assert host.json("repair", str(host.root / "input"))["named"] == [str(host.root / "input")]
    assert host.call("repair").exit_code == 0
    assert "everything is as recorded" in host.run("repair").stdout
