"""`keygen` and `sign`: what the author of a release does, so that hosts can tell it from anybody else's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from vvmigrate import settings as settle
from vvmigrate.content import minisign, release
from vvmigrate.content.minisign import SecretKey
from vvmigrate.errors import IntegrityError, RefusedError, UsageError, VvmigrateError
from vvmigrate.files import Entry, Place, Tree
from vvmigrate.report import Report
from vvmigrate.runs.opening import Call

PUBLIC_MODE, SECRET_MODE = 0o644, 0o600
LIMIT_BYTES = 64 << 10


def keygen(call: Call, key: str) -> Report:
    """Make a pair of keys: a file with the secret one, and beside it, with `.pub` for its suffix, the public one.

    Args:
        key: the file for the secret key, relative to the caller's folder; neither file may exist.

    Returns:
        `secret_key` and `public_key_file` (paths), `public_key` (for VV_TRUSTED_KEYS) and `key_id`.
    """

    def make(report: Report) -> None:
        path = Path(os.path.abspath(call.folder / key))
        beside = path.with_suffix(".pub")
        _check_outside(path)
        if beside == path:
            raise UsageError(f"{key}: expected the name of the secret key; .pub is the public one's")
        with _folder(path) as folder:
            secret, public = folder / path.name, folder / beside.name
            for place in (secret, public):
                if place.stat() is not None:
                    raise RefusedError(f"{place.path}: exists already", hint="name another file", path=place.path)
            password = None if call.options.get("no_password") else _password(call, twice=True)
            fresh = SecretKey.make()
            secret.write(fresh.file(password), SECRET_MODE)
            public.write(fresh.public().file(), PUBLIC_MODE)
            folder.fsync()
        report.body = {
            "secret_key": str(path),
            "public_key_file": str(beside),
            "public_key": fresh.public().text(),
            "key_id": fresh.public().name,
        }

    return _carry_out(call, make)


def sign(call: Call, key: str) -> Report:
    """List the release's files with their hashes, and sign the list.

    Args:
        key: the file with the secret key, relative to the caller's folder.

    Returns:
        `release` and `signature` (paths), `files` (how many), `key_id`, `public_key`, `comment`.
    """

    def do(report: Report) -> None:
        home = settle.find_home(call.options.get("home"), call.environ, call.folder)
        path = Path(os.path.abspath(call.folder / key))
        _check_outside(path, home)
        secret = _read_key(call, path)
        with Tree.open(home) as tree:
            files = release.listed_files(tree / "", _storage(call, home))
            _check_fit(tree / "", files)
            data = release.render(files)
            comment = str(call.options.get("comment") or f"timestamp:{time.time():.0f}\tfile:{release.NAME}\thashed")
            signature = secret.sign(data, comment)
            (tree / release.SIGNATURE).remove_file(missing_ok=True)  # never a list with the signature of another
            (tree / release.NAME).replace(data, PUBLIC_MODE)
            (tree / release.SIGNATURE).replace(signature, PUBLIC_MODE)
        report.body = {
            "release": str(home / release.NAME),
            "signature": str(home / release.SIGNATURE),
            "files": len(files),
            "key_id": secret.public().name,
            "public_key": secret.public().text(),
            "comment": comment,
        }

    return _carry_out(call, do)


def _carry_out(call: Call, work: Callable[[Report], None]) -> Report:
    report = Report(call.command)
    try:
        work(report)
    except VvmigrateError as error:
        report.fail(error)
    except OSError as error:
        where = os.fsdecode(error.filename or "")
        report.fail(RefusedError(f"{where}: {error.strerror}", path=where or None))
    return report


def _storage(call: Call, home: Path) -> str:
    """Where recordings may lie below the author's own copy; nothing else of a host's settings matters here."""
    if named := call.options.get("storage_root") or call.environ.get("VIDEO_STORAGE_ROOT"):
        return os.path.realpath(call.folder / named)
    return os.path.realpath(home / settle.read_ini(home)[0].get("storage_root", "storage"))


def _check_outside(path: Path, home: Path | None = None) -> None:
    """A secret key in a release would be shipped with it.

    Raises:
        RefusedError: it lies, or would lie, in one, by its name or by where links on the way to it lead.
    """
    led = path.parent.resolve() / path.name
    for folder in (*path.parents, *led.parents):
        if (home and folder.samefile(home)) or (folder / release.CONFIGURATION).is_file():
            raise _would_be_shipped(str(path))


def _would_be_shipped(path: str) -> RefusedError:
    return RefusedError(
        f"{path}: a secret key in the release's folder would be shipped with it",
        hint="keep it elsewhere, best on another machine or a stick",
        path=path,
    )


def _check_fit(home: Place, files: Mapping[str, Entry]) -> None:
    """What no host would take is not signed, nor what no host should have: the author learns it, not the fleet.

    Raises:
        RefusedError: something is no plain file, does not belong to a release, or is a secret key.
    """
    for name, entry in files.items():
        if entry.size_bytes <= LIMIT_BYTES and minisign.is_secret_key((home / name).read(LIMIT_BYTES)):
            raise _would_be_shipped((home / name).path)
    try:
        release.check_all(home, {name: entry.digest for name, entry in files.items()})
    except IntegrityError as error:
        raise RefusedError(
            f"no host would take this release: {error.message}",
            hint="complete it, remove what does not belong to it, and let no file be a link",
            path=error.path,
        ) from error


def _folder(path: Path) -> Tree:
    """Open the folder that a person named; links on the way to it are theirs.

    Raises:
        RefusedError: it is not there, or may not be read.
    """
    try:
        return Tree.open(path.parent.resolve())
    except OSError as error:
        raise RefusedError(f"{path.parent}: {error.strerror}", path=str(path.parent)) from error


def _read(path: Path) -> bytes:
    with _folder(path) as folder:
        place: Place = folder / path.name
        try:
            return place.read(LIMIT_BYTES)
        except OSError as error:
            raise RefusedError(f"{place.path}: cannot be read: {error.strerror}", path=place.path) from error


def _read_key(call: Call, path: Path) -> SecretKey:
    data = _read(path)
    try:
        return SecretKey.parse(data, _password(call) if minisign.needs_password(data) else None)
    except RefusedError as error:
        raise RefusedError(f"{path}: {error.message}", hint=error.hint, path=str(path)) from error


def _password(call: Call, *, twice: bool = False) -> bytes:
    """The secret key's password: the first line of a file, or what a person types, hidden; never an argument.

    Args:
        twice: it is asked for again: a mistyped one would be lost for ever.

    Raises:
        RefusedError: there is none.
    """
    if named := call.options.get("password_file"):
        password = _read(Path(os.path.abspath(call.folder / named))).split(b"\n", 1)[0]
    else:
        typed = call.ask("Password", "Password of the secret key:", True, lambda _: None) if call.ask else None  # noqa: FBT003 - base.Ask
        if typed and twice:

            def differs(text: str) -> str | None:
                return None if text == typed else "is not the same; empty to give up"

            typed = call.ask("Password", "The same once more:", True, differs)  # noqa: FBT003 - base.Ask
        password = (typed or "").encode()
    if not password:
        without = "; or --no-password" if twice else ""
        raise RefusedError("the secret key needs a password", hint=f"--password-file FILE, or a terminal{without}")
    return password
