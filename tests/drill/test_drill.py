"""The moment for which this tool exists: a bad release is taken back, offline, while the orchestrator works on."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.conftest import HostFolder
from tests.content.fault_server import FaultServer
from tests.crash import dying
from tests.drill import orchestrator
from tests.drill.releases import DATA, Release, model_in_use

EDITED = "\n# Mine, and it stays.\nVV_LOG_LEVEL=DEBUG\nMY_OWN_KEY='a value of mine'\n"
OUTPUTS = (".env", "vv-signature.json")
MADE_AT = re.compile(rb'"created_at": "[^"]*"')


@pytest.fixture
def host(tmp_path: Path, releases: dict[str, Release]) -> HostFolder:
    """A host that came up with 1.0, and then with 1.1; its user has edited `.env` since, and put a file of hers."""
    (tmp_path / "home").mkdir(mode=0o755)
    found = HostFolder(tmp_path / "home", tmp_path / "storage")
    releases["1.0"].install(found)
    found.up(values={"DVR_IP": "192.168.1.20"})
    releases["1.1"].install(found)
    found.up()
    env = found.home / ".env"
    text = env.read_text()
    assert "\nVV_LOG_LEVEL=INFO\n" in text
    env.write_text(text.replace("\nVV_LOG_LEVEL=INFO\n", EDITED))
    (found.root / "thumbnails/of mine.jpg").write_bytes(b"a picture")
    for number in range(3):
        found.sql("INSERT INTO stage_runs (video_sha256, stage, started) VALUES ('x', 'scan', ?)", str(number))
    return found


@contextmanager
def working(host: HostFolder) -> Iterator[Path]:
    """The orchestrator writes all the while; its journal. It must never have waited in vain, nor failed otherwise."""
    journal = host.root.parent / "journal"
    command = [sys.executable, orchestrator.__file__, str(host.database), str(journal)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"at work\n", process.communicate()
        try:
            yield journal
        finally:
            _, errors = process.communicate()
    assert (process.returncode, errors) == (0, b"")


def nothing_written_is_lost(host: HostFolder, journal: Path) -> None:
    """Every video that the orchestrator knows to be committed is there, once, with all that it wrote of it."""
    written: dict[str, dict[str, object]] = {}
    for line in journal.read_text().splitlines():
        values = json.loads(line)
        written.setdefault(values["sha256"], {}).update(values)
    with closing(sqlite3.connect(host.database)) as connection:
        connection.row_factory = sqlite3.Row
        rows = {row["sha256"]: dict(row) for row in connection.execute("SELECT * FROM processed_videos")}
    assert rows.keys() == written.keys()
    for key, values in written.items():
        assert {name: rows[key][name] for name in values if name in rows[key]} == {
            name: value for name, value in values.items() if name in rows[key]
        }


def managed(host: HostFolder) -> dict[str, tuple[str, int, bytes]]:
    """Everything that a release makes on a host, byte by byte, with its mode; and what the user has beside it.

    The release's own files are the package's business, and generations in the store stay until they are pruned. When
    the signature was made is left out: an upgrade makes it anew.
    """
    return {
        name: (kind, mode, MADE_AT.sub(b"", content))
        for name, (kind, mode, content) in host.tree().items()
        if "/.store" not in name and (name.startswith("storage") or name in [f"home/{output}" for output in OUTPUTS])
    }


def schema(host: HostFolder) -> list[tuple[object, ...]]:
    """The orchestrator's tables and indexes, as they are declared."""
    tables = host.sql("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'vv\\_%' ESCAPE '\\' ORDER BY name")
    columns = {name: host.sql(f"PRAGMA table_info({name})") for name, _ in tables}
    return [(name, sorted(row[1:3] for row in columns[name])) for name, _ in tables]


def test_a_bad_release_goes_back_with_the_package_before_it(
    host: HostFolder, releases: dict[str, Release], server: FaultServer
) -> None:
    """1.2 is put on, turns out to be bad, and goes back with 1.1's package, no server in reach: all is as before it."""
    before, shape, runs = managed(host), schema(host), host.sql("SELECT * FROM stage_runs")
    digest = host.call("status").body["state_digest"]
    with working(host) as journal:
        releases["1.2"].install(host)
        host.up()
        assert model_in_use(host) == "1.2.0"
        assert managed(host) != before
        asked = len(server.requests)
        releases["1.1"].install(host)
        refused = host.call("upgrade")
        assert refused.exit_code == 4
        assert refused.error is not None
        assert refused.error.hint.startswith("vvmigrate downgrade head;")
        back = host.down("head")
        assert [(step["revision"], step["result"]) for step in back.body["steps"]] == [
            ("0011", "reverted"),
            ("0010", "reverted"),
        ]
        assert len(server.requests) == asked
        again = host.up()
        assert again.body["steps"] == []
    assert (managed(host), schema(host)) == (before, shape)
    assert host.sql("SELECT * FROM stage_runs") == runs
    assert host.call("status").body["state_digest"] == digest
    assert model_in_use(host) == "1.1.0"
    assert (host.root / "models/bitnet_summarizer/model.bin").read_bytes() == DATA["1.1.0"]
    assert EDITED in (host.home / ".env").read_text()
    nothing_written_is_lost(host, journal)
    assert host.call("history", verify=True).exit_code == 0


def test_a_release_that_fails_its_health_check_takes_itself_back(
    host: HostFolder, releases: dict[str, Release], server: FaultServer
) -> None:
    """1.2 asks how the host is, hears that it is not well, and goes back by itself; 1.1's package then has no work."""
    before, shape = managed(host), schema(host)
    well = f'grep -q \'"model_version": "1.1.0"\' {host.root}/models/.current_model_info.json'
    with working(host) as journal:
        releases["1.2"].install(host)
        report = host.call("upgrade", verify_with=well)
        assert report.exit_code == 1
        assert [item["revision"] for item in report.body["reverted"]] == ["0011", "0010"]
        asked = len(server.requests)
        releases["1.1"].install(host)
        assert host.up().body["steps"] == []
        assert len(server.requests) == asked
    assert (managed(host), schema(host)) == (before, shape)
    assert model_in_use(host) == "1.1.0"
    nothing_written_is_lost(host, journal)
    told = [entry for entry in host.call("history").body["entries"] if entry["result"] == "reverted"]
    assert all("health check" in str(entry["error"]) for entry in told)
    releases["1.2"].install(host)
    assert host.call("upgrade").exit_code == 3


@pytest.mark.parametrize("moment", dying.PROTOCOL, ids=lambda moment: moment.function)
def test_killed_on_the_way_back(
    host: HostFolder, releases: dict[str, Release], server: FaultServer, moment: dying.Moment
) -> None:
    """kill -9 at each moment of the way back: the next command carries on, and the end is the same."""
    before, shape = managed(host), schema(host)
    with working(host) as journal:
        releases["1.2"].install(host)
        host.up()
        releases["1.1"].install(host)
        asked = len(server.requests)
        dying.crash(host, moment, "downgrade", "head")
        assert host.version() in ("0011", "0010")
        host.down("head")
        assert len(server.requests) == asked
    assert (managed(host), schema(host)) == (before, shape)
    nothing_written_is_lost(host, journal)
    results = [result for revision, direction, result in host.history() if direction == "down"]
    assert results.count("reverted") == 2
    assert set(results) <= {"reverted", "interrupted"}
    assert host.call("history", verify=True).exit_code == 0


def test_a_good_release_goes_back_and_comes_again(host: HostFolder, releases: dict[str, Release]) -> None:
    """1.1 → 1.0 with 1.0's package → 1.1: each time that release's state, with what the user and the rows gained."""
    second, shape = managed(host), schema(host)
    with working(host) as journal:
        releases["1.0"].install(host)
        host.down("head")
        assert host.version() == "0006"
        text = (host.home / ".env").read_text()
        assert "\nLOG_LEVEL=DEBUG\n" in text
        assert "MIRROR_SECONDS" not in text
        assert "MY_OWN_KEY='a value of mine'" in text
        assert (host.root / "thumbnails/of mine.jpg").read_bytes() == b"a picture"
        assert model_in_use(host) == "1.0.0"
        assert host.up().body["steps"] == []
        releases["1.1"].install(host)
        held = host.call("upgrade")
        assert held.exit_code == 3
        host.up(release_hold=True)
    assert (managed(host), schema(host)) == (second, shape)
    nothing_written_is_lost(host, journal)
