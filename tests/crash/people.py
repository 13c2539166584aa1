"""What people do to a host while it is being changed, and where the things that they wrote are found again."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tests.conftest import REPOSITORY, HostFolder

MINE = b"written by the user, kept for ever"
OLD = b"stood there before the release came"
EVERYTHING = """op.make_directories(['extra'])
op.install_model('bitnet_summarizer', '1.0.0')
op.install_assets('fallback', 'fallback', ['loop_silencioso.mp4', 'placeholder.png'])
op.merge_env()
op.write_signature()"""
_DEMO = json.loads((REPOSITORY / "model_manifest.json").read_bytes())["models"]["bitnet_summarizer"]["1.0.0"][
    "variants"
]
GENERATION = f"models/.store/bitnet_summarizer-1.0.0-{_DEMO['demo']['sha256'][:12]}"
HOME_NAMES = (".env", "vv-signature.json")
#: What the one revision manages, by the names that effects have.
MANAGED = (
    *HOME_NAMES,
    *("extra", "fallback/placeholder.png", "models/bitnet_summarizer", "models/.current_model_info.json"),
    *(GENERATION, GENERATION + ".json"),
)


def release(host: HostFolder) -> HostFolder:
    """A host at its first revision, whose second one does everything that there is to do."""
    host.up()
    host.revision("0002", EVERYTHING)
    return host


def live_before(host: HostFolder) -> None:
    """The user had things of all kinds where the release is going to put its own."""
    (host.root / "extra").mkdir(mode=0o700)
    (host.root / "fallback/placeholder.png").write_bytes(OLD)
    (host.root / "models/bitnet_summarizer").mkdir()
    (host.root / "models/bitnet_summarizer/old.gguf").write_bytes(OLD)
    (host.root / "models/.current_model_info.json").write_bytes(b'{"models": {"old": "' + OLD + b'"}}')
    (host.root / GENERATION).mkdir(parents=True)
    (host.root / GENERATION / "README.txt").write_bytes(OLD)
    (host.home / ".env").write_bytes(b"OLD='" + OLD + b"'\nLOG_LEVEL=DEBUG\n")
    (host.home / "vv-signature.json").write_bytes(b'{"old": "' + OLD + b'"}')


def place_of(host: HostFolder, name: str) -> Path:
    """Where a managed name is."""
    return (host.home if name in HOME_NAMES else host.root) / name


def save(path: Path, line: bytes = b"MINE='" + MINE + b"'\n") -> None:
    """Save as an editor does: the file with one more line, under a new name, renamed over the old one."""
    old = path.read_bytes() if path.is_file() else b""
    fresh = path.with_name("editor's.tmp")
    fresh.write_bytes(old + b"\n" * (not old.endswith(b"\n")) + line)
    fresh.replace(path)


def act(path: Path, how: str, elsewhere: Path) -> None:
    """Edit or delete what stands at a path, or put a directory, or a link to elsewhere, in its place."""
    if how == "edit" and path.is_symlink():
        path.unlink()
        path.symlink_to(os.fsdecode(MINE))
    elif how == "edit" and path.is_dir():
        (path / "mine.txt").write_bytes(MINE)
    elif how == "edit":
        save(path)
    else:
        remove(path)
    if how == "directory":
        path.mkdir()
        (path / "mine.txt").write_bytes(MINE)
    elif how == "link":
        elsewhere.write_bytes(MINE)
        path.symlink_to(elsewhere)


def remove(path: Path) -> None:
    """Remove whatever stands there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def holders(host: HostFolder, words: bytes, *, private: bool = False) -> list[str]:
    """Where some words are found: in a file, behind a link, or in its target.

    Args:
        private: also in our state directories, where before-images lie.
    """
    found = []
    for top in (host.home, host.root):
        for folder, folders, files in os.walk(top):
            folders[:] = [name for name in folders if private or name != ".vvmigrate"]
            for path in (Path(folder) / name for name in files + folders):
                data = b""
                if path.is_symlink():
                    data = os.readlink(os.fsencode(path)) + (path.read_bytes() if path.is_file() else b"")
                elif path.is_file():
                    data = path.read_bytes()
                if words in data:
                    found.append(str(path))
    return found
