"""A host goes to head and back."""

from __future__ import annotations

from tests.conftest import BASELINE, HostFolder


def test_a_fresh_host_goes_to_head_and_its_history_says_so(host: HostFolder) -> None:
    """upgrade head applies the six baseline revisions, each recorded once as applied."""
    report = host.up()
    assert [step["revision"] for step in report.body["steps"]] == list(BASELINE)
    assert host.history() == [(revision, "up", "applied") for revision in BASELINE]
    assert host.version() == "0006"
