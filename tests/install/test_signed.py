"""install.sh looks at the author's signature before anything of the release is run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.signing import Author
from tests.conftest import HostFolder
from tests.install.conftest import Clone, clone_to
from tests.install.test_install import is_up, says

LIST, SIGNATURE = "vv-release.json", "vv-release.json.minisig"
NEEDED = {"minisign": shutil.which("minisign"), "openssl": shutil.which("openssl")}
EACH = [pytest.param(name, marks=pytest.mark.skipif(not path, reason=f"needs {name}")) for name, path in NEEDED.items()]


@pytest.fixture
def author(tmp_path: Path) -> Author:
    return Author.make(tmp_path / "keys")


@pytest.fixture
def signed(tmp_path: Path, author: Author) -> Clone:
    """A signed release that nobody has installed yet, on a machine without libraries."""
    clone = clone_to(tmp_path / "a $HOME for videos", tmp_path / "none")
    author.sign(HostFolder(clone.home, clone.home / "storage"))
    return clone


def without(clone: Clone, *programs: str) -> None:
    """A machine that has every program but these."""
    folder = clone.home.parent / "bin"
    folder.mkdir()
    for path in os.environ["PATH"].split(":"):
        for name in os.listdir(path) if os.path.isdir(path) else ():
            if name not in programs and not os.path.lexists(folder / name):
                (folder / name).symlink_to(os.path.join(path, name))
    clone.environ["PATH"] = str(folder)


def spoil(name: str) -> Callable[[Clone], object]:
    return lambda clone: (clone.home / name).write_bytes((clone.home / name).read_bytes() + b"\n")


def link(clone: Clone) -> None:
    (clone.home / "vvmigrate/errors.py").rename(clone.home.parent / "errors.py")
    (clone.home / "vvmigrate/errors.py").symlink_to(clone.home.parent / "errors.py")


TAMPERED: dict[str, tuple[Callable[[Clone], object], str]] = {
    "the tool": (spoil("vvmigrate/__init__.py"), "vvmigrate/__init__.py"),
    "a module that was added": (lambda c: (c.home / "vvmigrate/click.py").touch(), "not of this release"),
    "a module behind a link": (link, "expected a file"),
    "a revision": (spoil("migrations/versions/0001_storage_directories.py"), "0001_storage_directories.py"),
    "the libraries": (spoil("requirements.lock"), "requirements.lock"),
    "an asset that is gone": (lambda c: (c.home / "fallback/placeholder.png").unlink(), "expected a file"),
    "the list": (spoil(LIST), "does not hold"),
    "no signature": (lambda c: (c.home / SIGNATURE).unlink(), "is not signed"),
}


def only(program: str, *, full: bool = False) -> pytest.MarkDecorator:
    return pytest.mark.full if full else pytest.mark.skipif(not shutil.which(program), reason=f"needs {program}")


QUICK = ("the tool", "the list", "no signature")
CASES = [
    *(pytest.param("minisign", how, marks=only("minisign", full=how not in QUICK)) for how in TAMPERED),
    *(pytest.param("openssl", how, marks=only("openssl", full=how != "the list")) for how in TAMPERED),
]


@pytest.mark.parametrize(("program", "how"), CASES)
def test_a_tampered_release_is_not_installed(signed: Clone, author: Author, how: str, program: str) -> None:
    """Exit 7, whichever program can check signatures here; nothing of the release was run, no library installed."""
    if program == "openssl":
        without(signed, "minisign")
    act, words = TAMPERED[how]
    act(signed)
    says(signed.install("--demo", "--trusted-keys", author.public), 7, words)
    assert not (signed.home / ".venv").exists()


@pytest.mark.parametrize(
    "program", [pytest.param("minisign", marks=pytest.mark.full), pytest.param("openssl", marks=only("openssl"))]
)
def test_a_signed_release_passes(signed: Clone, author: Author, tmp_path: Path, program: str) -> None:
    """Also with a file of keys; caches that came along are thrown away. Here something stands in the libraries' way."""
    if program == "openssl":
        without(signed, "minisign")
    (tmp_path / "trusted").write_text(f"# ours\nuntrusted comment: minisign public key\n{author.public}\n")
    (signed.home / "vvmigrate/__pycache__").mkdir()
    (signed.home / ".venv").touch()
    done = signed.install("--demo", "--trusted-keys", str(tmp_path / "trusted"))
    says(done, 6, f"the release is signed by {author.public}", ".venv: cannot be made")
    assert not (signed.home / "vvmigrate/__pycache__").exists()


def test_another_authors_release_is_not_installed(signed: Clone, tmp_path: Path) -> None:
    """Keys from the environment count as well."""
    signed.environ["VV_TRUSTED_KEYS"] = Author.make(tmp_path / "another").public
    says(signed.install("--demo"), 7, "by nobody who is trusted here")


def test_nothing_that_can_check_signatures_is_no_excuse(signed: Clone, author: Author) -> None:
    """Refused, with what to install; so are keys that are none."""
    says(signed.install("--demo", "--trusted-keys", "RWQ"), 6, "names no key")
    without(signed, "minisign", "openssl")
    says(signed.install("--demo", "--trusted-keys", author.public), 6, "apt-get install minisign")


@pytest.mark.full  # a whole installation
def test_the_installed_command_goes_on_asking_for_the_signature(clone: Clone, author: Author) -> None:
    """Whoever installed with keys need not set them again, neither for the command nor for install.sh."""
    author.sign(HostFolder(clone.home, clone.home / "storage"))
    says(clone.install("--demo", "--trusted-keys", author.public), 0, "done.")
    is_up(clone)
    spoil("model_manifest.json")(clone)
    says(clone.tool("upgrade"), 7, "model_manifest.json")
    says(clone.install("--demo"), 7, "model_manifest.json")
    author.sign(HostFolder(clone.home, clone.home / "storage"))
    says(clone.install("--demo"), 0, "nothing to do")
