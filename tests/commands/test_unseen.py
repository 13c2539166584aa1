"""What a user may not look at: a look says so, and does not take it for healthy, or for damaged."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.commands.proof import as_nobody
from tests.conftest import HostFolder
from vvmigrate.report import Report
from vvmigrate.text import Screen, show

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
LOOKS = ("verify", "status", "doctor")


@pytest.fixture
def up(public: HostFolder) -> HostFolder:
    """A host of root's, at its head, which other users may enter."""
    public.up(values={"DVR_IP": "10.0.0.9"})
    return public


@pytest.mark.parametrize("verb", LOOKS)
def test_who_may_not_read_env_is_told_that_nobody_looked_into_it(up: HostFolder, verb: str) -> None:
    """Root finds two required keys gone; another user reads in one line which file, why, and who can see it."""
    env = up.home / ".env"
    kept = [line for line in env.read_text().splitlines() if not line.startswith(("DVR_IP=", "HMAC_SECRET_KEY="))]
    env.write_text("\n".join(kept) + "\n")
    assert up.call(verb).exit_code == 3
    document = as_nobody(up, verb)
    assert document["unseen"] == [{"path": str(env), "reason": "Permission denied"}]
    (warning,) = [text for text in document["warned"] if str(env) in text]
    assert warning.startswith(f"{env}: Permission denied: ")
    assert warning.endswith(f"; who can: sudo vvmigrate --home {up.home} doctor")
    assert up.call(verb).as_json().get("unseen") is None


def close_the_folder(host: HostFolder) -> str:
    (host.root / "fallback").chmod(0o700)
    return str(host.root / "fallback")


def close_the_file(host: HostFolder) -> str:
    path = host.root / "fallback/placeholder.png"
    path.write_bytes(path.read_bytes() + b"more")
    path.chmod(0o600)
    return str(path)


def close_the_store(host: HostFolder) -> str:
    (host.root / "models/.store").chmod(0o700)
    return str(host.root / "models/.store")


@pytest.mark.parametrize("close", [close_the_folder, close_the_file, close_the_store])
@pytest.mark.parametrize("verb", LOOKS)
def test_a_folder_that_is_closed_is_one_line(up: HostFolder, close: Callable[[HostFolder], str], verb: str) -> None:
    """Its own mode is drift that anybody sees; what lies in it is neither damaged nor healthy, and ends no look."""
    path = close(up)
    document = as_nobody(up, verb)
    assert (document["exit_code"], document["error"]) == (3, None)
    assert {item["path"] for item in document["unseen"]} == {path, str(up.home / ".env")}
    differing = [item["path"] for item in document.get("drift", document.get("findings"))]
    assert set(differing) == {path}


def test_a_file_that_may_not_be_read_is_compared_as_far_as_it_may(up: HostFolder) -> None:
    """Its size and mode are anybody's to see."""
    path = close_the_file(up)
    kinds = [item["kind"] for item in as_nobody(up, "verify")["drift"]]
    assert (path, kinds) == (str(up.root / "fallback/placeholder.png"), ["size", "mode"])


def test_two_users_never_print_two_digests_of_one_state(up: HostFolder) -> None:
    """Owners count by what they are to whoever works on the host: another user has none to print, rather than another.

    Nor has one who may not look at all of it.
    """
    assert up.call("status").body["state_digest"]
    status = as_nobody(up, "status")
    assert (status["state_digest"], status["exit_code"]) == (None, 0)


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("verify", "as recorded, as far as this user may look"),
        ("doctor", "nothing looks wrong, as far as this user may look"),
        ("status", "state         not for this user to tell"),
    ],
)
def test_people_are_not_told_that_all_is_well(
    up: HostFolder, capsys: pytest.CaptureFixture[str], verb: str, words: str
) -> None:
    """The last line that they read says how far it goes."""
    document = as_nobody(up, verb)
    show(Screen("never"), Report(verb, body=document))
    assert words in capsys.readouterr().out


def test_why_does_not_say_that_a_file_is_as_it_was_left(up: HostFolder) -> None:
    """Nobody looked into it."""
    document = as_nobody(up, "why", str(up.home / ".env"))
    assert [item["path"] for item in document["unseen"]] == [str(up.home / ".env")]
