"""keygen and sign, as the author of a release uses them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.proof import nothing_changes
from tests.commands.signing import Author
from tests.conftest import HostFolder, copy_release
from vvmigrate.content.minisign import SecretKey

LIST, SIGNATURE = "vv-release.json", "vv-release.json.minisig"
PASSWORD = "correct horse battery staple"
CHEAP = {"operations": 32768, "memory_bytes": 1 << 20}


@pytest.fixture
def author(tmp_path: Path) -> Author:
    return Author.make(tmp_path / "keys")


@pytest.fixture
def encrypted(author: Author) -> Author:
    """A key with a password, under limits that cost milliseconds."""
    key = SecretKey.parse(author.key.read_bytes(), None)
    author.key.write_bytes(key.file(PASSWORD.encode(), **CHEAP))
    return author


# ---- keys ------------------------------------------------------------------------------------------------------------


def test_a_pair_of_keys_is_made_and_never_made_again(host: HostFolder, tmp_path: Path) -> None:
    """The secret one is nobody else's to read; a second keygen does not touch either file."""
    report = host.call("keygen", str(tmp_path / "release.key"), no_password=True)
    assert report.exit_code == 0
    assert (tmp_path / "release.key").stat().st_mode & 0o777 == 0o600
    assert report.body["public_key"] in (tmp_path / "release.pub").read_text()
    before = (tmp_path / "release.key").read_bytes()
    for gone in ("release.key", "release.pub"):
        (tmp_path / gone).rename(tmp_path / "away")
        assert host.call("keygen", str(tmp_path / "release.key"), no_password=True).exit_code == 6
        (tmp_path / "away").rename(tmp_path / gone)
    assert (tmp_path / "release.key").read_bytes() == before
    assert host.call("sign", str(tmp_path / "release.key")).body["public_key"] == report.body["public_key"]


def answering(*answers: str) -> Callable[..., str | None]:
    """A person at a terminal; one whose answer is refused gives up."""
    rest = iter(answers)

    def ask(_name: str, _description: str, hidden: bool, problem: Callable[[str], str | None]) -> str | None:
        assert hidden
        answer = next(rest)
        return None if problem(answer) else answer

    return ask


@pytest.mark.parametrize("answers", [("",), ("one", "other")])
def test_without_a_password_there_is_no_key(host: HostFolder, tmp_path: Path, answers: tuple[str, ...]) -> None:
    """Nothing typed, or something else the second time: refused, and no file is left."""
    report = host.call("keygen", str(tmp_path / "k"), ask=answering(*answers))
    assert report.exit_code == 6
    assert host.call("keygen", str(tmp_path / "k")).exit_code == 6  # and nobody there to be asked
    assert not (tmp_path / "k").exists()
    assert not (tmp_path / "k.pub").exists()


@pytest.mark.full  # scrypt with minisign's limits: a gigabyte, seconds
def test_a_password_protects_the_key(host: HostFolder, tmp_path: Path) -> None:
    """What keygen asked for, sign asks for again; the stock minisign takes the same."""
    assert host.call("keygen", str(tmp_path / "k"), ask=answering(PASSWORD, PASSWORD)).exit_code == 0
    assert host.call("sign", str(tmp_path / "k"), ask=answering("wrong")).exit_code == 6
    assert host.call("sign", str(tmp_path / "k"), ask=answering(PASSWORD)).exit_code == 0


# ---- signing ---------------------------------------------------------------------------------------------------------


def test_the_list_is_the_same_wherever_it_is_made(host: HostFolder, author: Author, tmp_path: Path) -> None:
    """Of the same files, at another place, at another time, with other times, modes, caches and outputs."""
    (tmp_path / "elsewhere").mkdir()
    other = copy_release(tmp_path / "elsewhere")
    (other.home / ".env").write_text("SECRET=1\n")
    (other.home / "migrations/__pycache__").mkdir()
    (other.home / "migrations/__pycache__/env.cpython-311.pyc").touch()
    (other.home / "alembic.ini").chmod(0o600)
    os.utime(other.home / "alembic.ini", (1, 1))
    for release in (host, other, host):
        author.sign(release)
    assert (host.home / LIST).read_bytes() == (other.home / LIST).read_bytes()
    files = json.loads((host.home / LIST).read_text())["files"]
    assert list(files) == sorted(files)
    assert not {".env", LIST, SIGNATURE} & files.keys()
    assert files["alembic.ini"]["size_bytes"] == (host.home / "alembic.ini").stat().st_size


@pytest.mark.skipif(not shutil.which("minisign"), reason="needs the stock minisign program")
def test_anybody_can_check_it_with_the_stock_program(host: HostFolder, author: Author) -> None:
    """The comment, too; by default minisign's own."""
    for comment in ("", "release 1.4, made by the build"):
        assert host.call("sign", str(author.key), comment=comment).exit_code == 0
        done = subprocess.run(
            ["minisign", "-V", "-Q", "-H", "-m", LIST, "-P", author.public],
            cwd=host.home, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert comment in done.stdout
        assert comment or "\tfile:vv-release.json\thashed" in done.stdout


def test_a_password_comes_from_a_file_or_a_terminal(host: HostFolder, encrypted: Author, tmp_path: Path) -> None:
    """The file's first line; a wrong one, or none with nobody to ask, signs nothing; no word of it is printed."""
    file = tmp_path / "password"
    for text, code in ((f"{PASSWORD}\n", 0), (PASSWORD, 0), ("wrong\n", 6), ("\n", 6)):
        file.write_text(text)
        assert host.call("sign", str(encrypted.key), password_file=str(file)).exit_code == code
    assert host.call("sign", str(encrypted.key), ask=answering(PASSWORD)).exit_code == 0
    with nothing_changes(host):
        assert host.call("sign", str(encrypted.key)).exit_code == 6
    file.write_text(PASSWORD)
    done = host.run("-v", "sign", "--key", str(encrypted.key), "--password-file", str(file))
    assert done.returncode == 0
    assert "minisign -Vm" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr


def _drop(name: str) -> Callable[[HostFolder], None]:
    return lambda host: (host.home / name).unlink()


def _link(name: str) -> Callable[[HostFolder], None]:
    def spoil(host: HostFolder) -> None:
        (host.home / name).rename(host.home.parent / "elsewhere")
        (host.home / name).symlink_to(host.home.parent / "elsewhere")

    return spoil


UNFIT = {
    "no env.py": _drop("migrations/env.py"),
    "a revision behind a link": _link("migrations/versions/0002_bitnet_model.py"),
    "a compiled file": lambda h: (h.home / "migrations/versions/0009.pyc").touch(),
}


@pytest.mark.parametrize("how", UNFIT)
def test_what_no_host_would_take_is_not_signed(host: HostFolder, author: Author, how: str) -> None:
    """The author learns it, not the fleet."""
    UNFIT[how](host)
    with nothing_changes(host):
        report = host.call("sign", str(author.key))
    assert report.exit_code == 6
    assert report.error is not None
    assert "no host would take" in report.error.message


def test_a_secret_key_in_the_release_is_refused(host: HostFolder, author: Author) -> None:
    """It would be shipped to every host."""
    shutil.copy2(author.key, host.home / "release.key")
    for verb, key in (("sign", "release.key"), ("keygen", "another.key"), ("keygen", "fallback/another.key")):
        with nothing_changes(host):
            report = host.call(verb, key, no_password=True)
        assert report.exit_code == 6
        assert report.error is not None
        assert "shipped" in report.error.message


@pytest.mark.parametrize("name", ["old.key", "fallback/keys/minisign.key", "docs.txt"])
@pytest.mark.parametrize("password", [None, PASSWORD.encode()], ids=["open", "encrypted"])
def test_no_other_secret_key_is_shipped_either(
    host: HostFolder, author: Author, name: str, password: bytes | None
) -> None:
    """One that was forgotten there, of whoever, under whatever name, with a password or without."""
    path = host.home / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(SecretKey.make().file(password, **(CHEAP if password else {})).replace(b"\n", b"\r\n"))
    with nothing_changes(host):
        report = host.call("sign", str(author.key))
    assert (report.exit_code, report.error and report.error.path) == (6, str(path))
    assert report.error is not None
    assert "shipped" in report.error.message
    path.unlink()
    (host.home / "release.pub").write_bytes(SecretKey.parse(author.key.read_bytes(), None).public().file())
    author.sign(host)


def test_a_link_does_not_lead_a_secret_key_into_the_release(host: HostFolder, author: Author, tmp_path: Path) -> None:
    """Named through a link, or lying beside a link of the release: the folder that it is in counts, not its name."""
    (host.home / "keys").mkdir()
    shutil.copy2(author.key, host.home / "keys/release.key")
    (tmp_path / "short").symlink_to(host.home / "keys")
    (host.home / "out").symlink_to(author.key.parent)
    for verb, key in (("sign", "short/release.key"), ("keygen", "short/new.key"), ("sign", "home/out/release.key")):
        with nothing_changes(host):
            report = host.call(verb, str(tmp_path / key), no_password=True)
        assert report.exit_code == 6
        assert report.error is not None
        assert "shipped" in report.error.message


@pytest.mark.parametrize("what", ["missing", "public", "folder"])
def test_what_is_no_key_is_named(host: HostFolder, author: Author, what: str) -> None:
    """Exit 6, with the path, and nothing is written."""
    path = author.key.parent / what
    if what == "public":
        path.write_bytes(SecretKey.parse(author.key.read_bytes(), None).public().file())
    elif what == "folder":
        path.mkdir()
    with nothing_changes(host):
        report = host.call("sign", str(path))
    assert report.exit_code == 6
    assert report.error is not None
    assert str(path) in report.error.message
