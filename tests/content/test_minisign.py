"""Keys and signatures: what the stock minisign makes we read, what we make it reads, and nothing else passes."""

from __future__ import annotations

import os
import shutil
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from vvmigrate.content.minisign import PublicKey, SecretKey, needs_password, verify
from vvmigrate.errors import IntegrityError, RefusedError

DATA = b"the release's files\n"
COMMENT = "timestamp:1700000000\tfile:vv-release.json\thashed"
CHEAP = {"operations": 32768, "memory_bytes": 1 << 20}
"""Limits under which scrypt takes milliseconds; the file says them, so whoever reads it uses the same."""

stock = pytest.mark.skipif(not shutil.which("minisign"), reason="needs the stock minisign program")


def minisign(folder: Path, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["minisign", *arguments], cwd=folder, input=typed, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def key() -> SecretKey:
    return SecretKey.make()


# ---- both ways -------------------------------------------------------------------------------------------------------


@stock
@pytest.mark.parametrize("data", [b"", DATA, bytes(range(256)) * 5000], ids=["nothing", "text", "megabyte"])
def test_minisign_verifies_what_we_sign(tmp_path: Path, key: SecretKey, data: bytes) -> None:
    """With our public key file, the trusted comment included, and as a signature over the hash (-H)."""
    (tmp_path / "f").write_bytes(data)
    (tmp_path / "f.minisig").write_bytes(key.sign(data, COMMENT))
    (tmp_path / "key.pub").write_bytes(key.public().file())
    done = minisign(tmp_path, "-V", "-H", "-m", "f", "-p", "key.pub", "-Q")
    assert (done.returncode, done.stdout.strip()) == (0, COMMENT)
    (tmp_path / "f").write_bytes(data + b"!")
    assert minisign(tmp_path, "-V", "-m", "f", "-p", "key.pub").returncode != 0


@stock
def test_we_verify_what_minisign_signs(tmp_path: Path) -> None:
    """Its key without a password, its public key, its signature, its comment."""
    assert minisign(tmp_path, "-G", "-W", "-p", "key.pub", "-s", "key").returncode == 0
    (tmp_path / "f").write_bytes(DATA)
    assert minisign(tmp_path, "-S", "-s", "key", "-m", "f", "-t", "theirs").returncode == 0
    public = PublicKey.parse((tmp_path / "key.pub").read_text().splitlines()[1])
    assert verify(DATA, (tmp_path / "f.minisig").read_bytes(), (public,)) == (public, "theirs")
    theirs = SecretKey.parse((tmp_path / "key").read_bytes(), None)
    assert theirs.public() == public
    assert public.name in (tmp_path / "key.pub").read_text()


@stock
@pytest.mark.parametrize("last", [0xBD, 0x0C, 0x00], ids=["sixteen digits", "fifteen", "fourteen or less"])
def test_a_key_has_the_name_that_minisign_gives_it(tmp_path: Path, last: int) -> None:
    """One key in sixteen has an id that begins with a zero: who compares two names by eye must find them the same."""
    key = SecretKey(os.urandom(7) + bytes([last]), os.urandom(32))
    (tmp_path / "key").write_bytes(key.file(None))
    assert minisign(tmp_path, "-R", "-s", "key", "-p", "key.pub", typed="\n").returncode == 0
    assert (tmp_path / "key.pub").read_bytes() == key.public().file()


@stock
@pytest.mark.parametrize("password", [None, "a long pass word, and ünïcode"])
def test_minisign_signs_with_our_keys(tmp_path: Path, key: SecretKey, password: str | None) -> None:
    """The secret key file is minisign's too, encrypted or not; a wrong password opens it for neither."""
    (tmp_path / "key").write_bytes(key.file(password.encode() if password else None, **CHEAP))
    (tmp_path / "f").write_bytes(DATA)
    if password:
        assert minisign(tmp_path, "-S", "-s", "key", "-m", "f", typed="wrong\n").returncode != 0
    assert minisign(tmp_path, "-S", "-s", "key", "-m", "f", typed=f"{password}\n").returncode == 0
    assert verify(DATA, (tmp_path / "f.minisig").read_bytes(), (key.public(),))[0] == key.public()


@stock
@pytest.mark.full  # scrypt with minisign's own limits: a gigabyte, seconds
def test_we_open_what_minisign_encrypted(tmp_path: Path) -> None:
    """With its own limits, and ours are the same: what keygen makes it opens."""
    assert minisign(tmp_path, "-G", "-p", "key.pub", "-s", "key", typed="pw\npw\n").returncode == 0
    data = (tmp_path / "key").read_bytes()
    assert needs_password(data)
    theirs = SecretKey.parse(data, b"pw")
    assert theirs.public().text() == (tmp_path / "key.pub").read_text().splitlines()[1]
    with pytest.raises(RefusedError, match="password"):
        SecretKey.parse(data, b"pw2")
    (tmp_path / "ours").write_bytes(theirs.file(b"other"))
    (tmp_path / "f").write_bytes(DATA)
    assert minisign(tmp_path, "-S", "-s", "ours", "-m", "f", typed="other\n").returncode == 0


@stock
def test_a_signature_of_the_older_kind_is_refused(tmp_path: Path) -> None:
    """minisign -l signs the file itself; one kind is enough, and the sentence says what to do."""
    minisign(tmp_path, "-G", "-W", "-p", "key.pub", "-s", "key")
    (tmp_path / "f").write_bytes(DATA)
    assert minisign(tmp_path, "-S", "-l", "-s", "key", "-m", "f").returncode == 0
    public = PublicKey.parse((tmp_path / "key.pub").read_text().splitlines()[1])
    with pytest.raises(IntegrityError, match="older kind"):
        verify(DATA, (tmp_path / "f.minisig").read_bytes(), (public,))


# ---- what does not pass ----------------------------------------------------------------------------------------------


def flipped(line: int, byte: int) -> Callable[[bytes], bytes]:
    """One bit of one byte of what a line says in base64."""

    def spoil(signature: bytes) -> bytes:
        lines = signature.split(b"\n")
        data = bytearray(b64decode(lines[line]))
        data[byte] ^= 1
        lines[line] = b64encode(data)
        return b"\n".join(lines)

    return spoil


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "cut": lambda s: s[:-60],
    "text": lambda _: b"untrusted comment: x\nnot base64!\ntrusted comment: y\nnot either\n",
    "more lines": lambda s: s + b"trusted comment: another\n",
    "not a text": lambda s: b"\xff" * len(s),
    "another comment": lambda s: s.replace(b"timestamp:17", b"timestamp:18"),
    "algorithm": flipped(1, 1),
    "key id": flipped(1, 2),
    **{f"signature byte {n}": flipped(1, n) for n in (10, 41, 42, 73)},
    **{f"global signature byte {n}": flipped(3, n) for n in (0, 31, 32, 63)},
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_signature_does_not_hold(key: SecretKey, how: str) -> None:
    """Whatever was changed, in the signature or in what is said beside it."""
    spoiled = SPOILED[how](key.sign(DATA, COMMENT))
    with pytest.raises(IntegrityError):
        verify(DATA, spoiled, (key.public(),))


@pytest.mark.parametrize("last", [0xBD, 0x0C])
def test_other_bytes_and_other_keys_do_not_pass(last: int) -> None:
    """Also where another key calls itself by the same id; and one of several trusted keys is enough."""
    key, other = SecretKey(os.urandom(7) + bytes([last]), os.urandom(32)), SecretKey.make()
    signature = key.sign(DATA, COMMENT)
    with pytest.raises(IntegrityError, match="does not hold"):
        verify(DATA + b" ", signature, (key.public(),))
    with pytest.raises(IntegrityError, match=f"is by key {key.public().name}; trusted is {other.public().name}"):
        verify(DATA, signature, (other.public(),))
    namesake = PublicKey(key.id, other.public().point)
    with pytest.raises(IntegrityError, match="does not hold"):
        verify(DATA, signature, (namesake,))
    assert verify(DATA, signature, (other.public(), namesake, key.public()))[0] == key.public()


@pytest.mark.parametrize("text", ["", "RWQ", "not base64", "A" * 56, "RWQ6CAefFR0HUSrlMW+MA7y4jbxuAdm+KzKlK8HH5iKV"])
def test_what_is_no_public_key_is_refused(text: str) -> None:
    """A host that trusts nobody by mistake says so; it does not run everything."""
    with pytest.raises(RefusedError, match="public key"):
        PublicKey.parse(text)


@pytest.mark.parametrize("data", [b"", b"x\n", b"x\nRWQ=\n", b"\xff" * 300, b"untrusted comment: x\n" + b"A" * 212])
def test_what_is_no_secret_key_is_refused(data: bytes) -> None:
    """A public key, or any other file, in its place."""
    with pytest.raises(RefusedError, match="secret key"):
        SecretKey.parse(data, None)


def test_a_secret_key_is_opened_by_its_password_alone(key: SecretKey) -> None:
    """And its secret is neither in the encrypted file nor in its representation."""
    data = key.file(b"right", **CHEAP)
    assert SecretKey.parse(data, b"right") == key
    for wrong in (b"", b"Right", None):
        with pytest.raises(RefusedError, match="password"):
            SecretKey.parse(data, wrong)
    assert key.seed not in b64decode(data.split(b"\n")[1])
    assert repr(key.seed) not in repr(key)


def test_a_damaged_key_without_password_is_refused(key: SecretKey) -> None:
    """Its public half would not fit: nothing is signed that nobody could verify."""
    with pytest.raises(RefusedError, match="damaged"):
        SecretKey.parse(flipped(1, 70)(key.file(None)), None)


def test_a_comment_is_one_line(key: SecretKey) -> None:
    """A second line would be read as a signature."""
    with pytest.raises(RefusedError, match="one line"):
        key.sign(DATA, "one\ntwo")
