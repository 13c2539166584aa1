"""What doctor and status say of what lies ahead: what an upgrade would do, and what it would end with."""

from __future__ import annotations

import pytest

from tests.commands.proof import nothing_changes
from tests.conftest import HostFolder


def findings(host: HostFolder) -> tuple[int, str]:
    """doctor's exit code and all its words; looking changes nothing."""
    with nothing_changes(host):
        report = host.call("doctor")
    assert report.error is None
    return report.exit_code, str(report.body["findings"])


@pytest.mark.parametrize("broken", [True, False])
def test_what_an_upgrade_would_be_refused_for_is_told_beside_what_is_pending(host: HostFolder, broken: bool) -> None:
    """Nobody is sent to a command that is refused: its error stands there too."""
    host.up("0001")
    if broken:
        (host.home / "model_manifest.json").write_text("{")
    code, words = findings(host)
    assert "0002" in words
    assert (code, "model_manifest.json" in words) == ((6, True) if broken else (3, False))


def test_a_pending_revision_that_failed_is_told_with_its_error(two: HostFolder) -> None:
    """Whoever comes after a failed boot sees why without reading the history; once it is applied it is past."""
    two.revision("0002", "op.make_directories(['second'])\nraise ValueError('the disk is not there')")
    assert two.call("upgrade").exit_code == 1
    assert "the disk is not there" in findings(two)[1]
    two.revision("0002", "op.make_directories(['second'])")
    two.up()
    assert "the disk is not there" not in findings(two)[1]


def test_another_variant_in_env_is_told(host: HostFolder) -> None:
    """An edited `.env` asks for another model: status and doctor say so, until it is here or asked for no more."""
    host.up(values={"DVR_IP": "192.168.1.20", "VV_MODEL_VARIANT": "demo"})
    host.environ["VV_MODEL_VARIANT"] = ""
    assert (host.call("status").exit_code, findings(host)[0]) == (0, 0)
    env = host.home / ".env"
    before = env.read_text()
    assert "VV_MODEL_VARIANT=demo" in before
    env.write_text(before.replace("VV_MODEL_VARIANT=demo", "VV_MODEL_VARIANT=full"))
    report = host.call("status")
    assert (report.exit_code, report.body["other_variant"]) == (3, {"installed": ["demo"], "asked": "full"})
    assert "full is asked for, demo is installed" in host.run("status").stdout
    assert "full is asked for, demo is installed" in findings(host)[1].replace("model variant ", "")
    env.write_text(before)
    assert (host.call("status").exit_code, findings(host)[0]) == (0, 0)


def test_a_variant_that_the_release_does_not_have_is_told_with_the_way_out(host: HostFolder) -> None:
    """A typing error in `.env`: doctor says what an upgrade ends with, and the command that it names mends it."""
    host.environ["VV_MODEL_VARIANT"] = ""
    host.up(values={"DVR_IP": "192.168.1.20", "VV_MODEL_VARIANT": "demo"})
    env = host.home / ".env"
    env.write_text(env.read_text().replace("VV_MODEL_VARIANT=demo", "VV_MODEL_VARIANT=dmeo"))
    done, doctor = host.call("upgrade"), host.call("doctor")
    assert (done.exit_code, doctor.exit_code) == (6, 6)
    assert done.error is not None
    assert "'dmeo'; there are: " in done.error.message
    assert any(done.error.message in finding["what"] for finding in doctor.body["findings"])
    assert done.error.hint == "vvmigrate upgrade head --set VV_MODEL_VARIANT=demo"
    host.up(values={"VV_MODEL_VARIANT": "demo"})
    assert host.call("doctor").body["findings"] == []
