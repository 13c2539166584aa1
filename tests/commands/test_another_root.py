"""Another storage root is named than the bound one: who names it is said, and the command that is named mends it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.commands.proof import says
from tests.conftest import HostFolder

NAMED = {"option": "--storage-root names", "environment": "in the environment names", "file": ".env names"}


@pytest.mark.parametrize("how", NAMED)
def test_who_names_the_other_root_is_said(worked: HostFolder, tmp_path: Path, how: str) -> None:
    """Writers are refused and doctor says so, with the same words and the same way out."""
    other, options = tmp_path / "other", {}
    worked.environ["VIDEO_STORAGE_ROOT"] = str(other) if how == "environment" else ""
    if how == "option":
        options = {"storage_root": str(other)}
    if how == "file":
        env = worked.home / ".env"
        env.write_text(env.read_text().replace(str(worked.root), str(other)))
    for verb in ("upgrade", "repair"):
        says(worked.call(verb, **options), 6, NAMED[how], repr(str(worked.root)), repr(str(other)))
    report = worked.call("doctor", **options)
    finding = next(item for item in report.body["findings"] if NAMED[how] in item["what"])
    assert (report.exit_code, finding["exit_code"]) == (6, 6)
    assert "refused" in finding["why"]
    assert f"adopt --storage-root {other}" in finding["remedy"]
    if how == "file":
        command = finding["remedy"].partition("is right: ")[2].partition(";")[0]
        done = worked.run(*shlex.split(command)[1:])
        assert done.returncode == 0, done.stderr
        assert worked.call("doctor").exit_code == 0
