"""`check` and the inputs of a release: what no revision covers is a finding, at its line; a revision ends it."""

from __future__ import annotations

from tests.authoring.release import add_directory, add_key, write
from tests.commands.proof import nothing_changes
from tests.conftest import HostFolder


def test_an_input_that_no_revision_covers_is_a_finding(host: HostFolder) -> None:
    """File, line and remedy, exit 3; autogenerate's revision is clean by every other check too."""
    add_key(host, "GREETING", "hi")
    add_directory(host, "faces")
    (host.home / "fallback/night.png").write_bytes(b"dark")
    with nothing_changes(host):
        report = host.call("check")
    assert report.exit_code == 3
    lines = (host.home / ".env.example").read_text().splitlines()
    assert [(item["path"], item["line"], item["kind"]) for item in report.body["findings"]] == [
        (".env.example", lines.index("GREETING=hi") + 1, "uncovered"),
        ("alembic.ini", 1, "uncovered"),
        ("fallback/night.png", 1, "uncovered"),
    ]
    assert {item["remedy"] for item in report.body["findings"]} == {"vvmigrate revision -m TEXT --autogenerate"}
    write(host)
    assert (host.call("check").exit_code, host.call("check").body["findings"]) == (0, [])


def test_an_input_that_cannot_be_read_is_a_finding(host: HostFolder) -> None:
    """A template in which a key stands twice, a manifest that is none: named, with what to do."""
    add_key(host, "LOG_LEVEL")
    (finding,) = host.call("check").body["findings"]
    assert (finding["path"], finding["kind"], finding["remedy"]) == (".env.example", "unusable", "keep one of them")


def test_a_release_that_is_not_dared_to_be_run_is_not_compared(host: HostFolder) -> None:
    """What a revision brings is found by running it: not on a machine to which it may write."""
    add_key(host, "GREETING", "hi")
    host.revision("0007", "import os\nos.remove('/tmp/no-such-file-at-all')")
    assert {item["kind"] for item in host.call("check").body["findings"]} == {"outside"}
