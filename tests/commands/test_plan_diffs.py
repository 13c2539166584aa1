"""What changes in a text is shown in its lines, on the way up, back, and by a repair; and no secret among them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.commands.models import MODELS, install, release
from tests.conftest import HostFolder
from tests.content.fault_server import FaultServer, good
from vvmigrate.operations import shown

ASSET = "fallback/signs.txt"
BEFORE, AFTER = "Saída\nfechado\n", "Saída\naberto\n"


def planned(host: HostFolder, *arguments: str) -> list[dict[str, Any]]:
    """The changes of each step of a plan."""
    return [change for step in host.json(*arguments)["steps"] for change in step["changes"]]


def diffs(host: HostFolder, *arguments: str) -> dict[str, str]:
    """The diff of each path that has one, by its last name."""
    return {c["path"].rpartition("/")[2]: c["diff"] for c in planned(host, *arguments) if c["diff"]}


@pytest.fixture
def signs(bare: HostFolder) -> HostFolder:
    """A host whose release brings a text, and a later one that brings another."""
    (bare.home / ASSET).write_text(BEFORE)
    bare.revision("0002", 'op.make_directories(["signs"])\nop.install_assets("fallback", "signs", ["signs.txt"])')
    bare.up()
    (bare.home / ASSET).write_text(AFTER)
    bare.revision("0003", 'op.install_assets("fallback", "signs", ["signs.txt"])')
    return bare


def test_a_text_is_shown_in_its_lines_there_and_back(signs: HostFolder) -> None:
    """The way up shows what the new release says, the way back what it said before."""
    up = diffs(signs, "plan")["signs.txt"].splitlines()
    assert up[2:] == ["@@ -1,2 +1,2 @@", " Saída", "-fechado", "+aberto"]
    signs.up()
    down = diffs(signs, "downgrade", "-1", "--plan")["signs.txt"].splitlines()
    assert down[2:] == ["@@ -1,2 +1,2 @@", " Saída", "-aberto", "+fechado"]


def test_each_step_is_shown_against_what_the_one_before_it_leaves(signs: HostFolder) -> None:
    """On the way back over two revisions the second begins with what the first brings, not with what stands there."""
    signs.up()
    (signs.home / ASSET).write_text("outro\n")
    signs.revision("0004", 'op.install_assets("fallback", "signs", ["signs.txt"])')
    signs.up()
    first, second = [change["diff"] for change in planned(signs, "downgrade", "0002", "--plan")]
    assert first.endswith("\n-outro\n+Saída\n+aberto\n")
    assert second.endswith("\n Saída\n-aberto\n+fechado\n")


def test_what_ends_a_line_is_part_of_it(signs: HostFolder) -> None:
    """A text that differs in nothing else is not the same text."""
    (signs.home / ASSET).write_bytes(b"Sa\xc3\xadda\r\nfechado")
    diff = diffs(signs, "plan")["signs.txt"]
    assert diff.endswith("-Saída\n+Saída\r\n fechado\n+\\ no end of line\n")


def test_what_not_everybody_may_read_is_not_repeated(signs: HostFolder) -> None:
    """Who keeps a password in it has closed it; plans are mailed, and pasted into tickets."""
    (signs.root / "signs/signs.txt").write_text("PASSWORD=hunter2\n")
    (signs.root / "signs/signs.txt").chmod(0o640)
    assert diffs(signs, "plan") == {}


@pytest.mark.parametrize("what", ["no text", "latin-1", "long", "many lines"])
def test_what_nobody_could_read_is_named_only(signs: HostFolder, what: str) -> None:
    """A picture, text in another encoding, and what fills a hundred screens."""
    if what == "many lines":
        (signs.home / ASSET).write_text("a\n" * (shown.READABLE_LINES + 1))
    elif what == "long":
        (signs.home / ASSET).write_text(AFTER * (shown.READABLE_BYTES // len(AFTER) + 1))
    else:
        (signs.home / ASSET).write_bytes(b"\0\1\2" if what == "no text" else AFTER.encode("latin-1"))
    assert [(change["action"], change["diff"]) for change in planned(signs, "plan")] == [("place file", None)]


def test_the_way_back_says_which_keys_go(host: HostFolder) -> None:
    """With harmless values, and of a secret only how long it is."""
    host.up(values={"DVR_IP": "192.168.1.20"})
    secret = next(
        line.partition("=")[2] for line in (host.home / ".env").read_text().splitlines() if "HMAC_SECRET_KEY=" in line
    )
    diff = diffs(host, "downgrade", "0003", "--plan")[".env"]
    assert "-LOG_LEVEL=INFO\n" in diff
    assert "-HMAC_SECRET_KEY=(set, 64 characters)\n" in diff
    assert " DVR_IP=192.168.1.20\n" in diff
    assert secret not in diff


def test_without_a_template_every_value_is_a_secret(host: HostFolder) -> None:
    """The package before may have none that this one can read."""
    host.up(values={"DVR_IP": "192.168.1.20"})
    (host.home / ".env.example").write_bytes(b"\xff\xfe not a template")
    diff = diffs(host, "downgrade", "0003", "--plan")[".env"]
    assert "-LOG_LEVEL=(set, 4 characters)\n" in diff
    assert "192.168.1.20" not in diff


def test_a_models_version_is_shown_in_what_services_are_told(bare: HostFolder, server: FaultServer) -> None:
    """`.current_model_info.json` is read by people too; on the way up it tells where the model came from in the end."""
    for revision, (version, data) in zip(("0002", "0003"), list(MODELS.items())[:2], strict=True):
        release(bare, version, data, server.url(f"/{version}", good(data)))
        install(bare, revision, version)
        bare.up()
    diff = diffs(bare, "downgrade", "-1", "--plan")[".current_model_info.json"]
    assert '-   "model_version": "3.0.0",\n+   "model_version": "2.0.0",\n' in diff
