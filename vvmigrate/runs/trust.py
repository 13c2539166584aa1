"""Whether the release is as somebody signed it whom this host trusts; asked before anything of it is run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from vvmigrate.content import minisign, release
from vvmigrate.engine.roots import check_keys
from vvmigrate.engine.sources import Check, unchecked
from vvmigrate.errors import IntegrityError, RefusedError
from vvmigrate.files import Place, Tree
from vvmigrate.settings import Settings, read_ini, with_trusted_keys

LIST_LIMIT_BYTES = 8 << 20
SIGNATURE_LIMIT_BYTES = 64 << 10


def with_signed_files(settings: Settings) -> Settings:
    """Check the release's signature and compare the release with what was signed, where an author is trusted.

    Returns:
        The settings with the keys, and `signed`; without it where nobody asks for a signature.

    Raises:
        IntegrityError: there is no signature, it does not hold, or the release is not what was signed.
        RefusedError: the keys cannot be read, are none, or others than root may have written them.
    """
    if settings.signed is not None:
        return settings
    settings = with_trusted_keys(settings)
    if not settings.trusted_keys:
        return settings
    check_keys(settings.trusted_file)
    with Tree.open(settings.home) as tree:
        listed = _signed_list(tree, trusted_keys(settings))
        release.check(listed, release.CONFIGURATION, settings.ini_sha256, str(settings.home / release.CONFIGURATION))
        try:
            release.check_all(tree / "", listed)
        except OSError as error:
            where = str(error.filename)
            raise RefusedError(f"{where}: cannot be read: {error.strerror}", path=where) from error
    return settings._replace(signed=listed)


def signed_only(home: Path, environ: Mapping[str, str]) -> Check:
    """What an author's command asks before it runs a revision: where this host trusts somebody, it must be theirs.

    Raises:
        IntegrityError, RefusedError: see `with_signed_files`.
    """
    settings = with_trusted_keys(Settings(home, None, home, environment=environ))
    if not settings.trusted_keys:
        return unchecked
    return partial(check_signed, with_signed_files(settings._replace(ini_sha256=read_ini(home)[1])))


def trusted_keys(settings: Settings) -> tuple[minisign.PublicKey, ...]:
    """Whoever may sign a release for this host.

    Raises:
        RefusedError: one of the keys is none.
    """
    try:
        return tuple(minisign.PublicKey.parse(text) for text in settings.trusted_keys)
    except RefusedError as error:
        raise RefusedError(f"{settings.trusted_file or 'VV_TRUSTED_KEYS'}: {error.message}", hint=error.hint) from error


def check_signed(settings: Settings, place: Place, data: bytes) -> None:
    """Let bytes through that are about to be run: the very ones that were signed.

    Raises:
        IntegrityError: they are others.
    """
    if settings.signed is not None:
        release.check(settings.signed, place.name, hashlib.sha256(data).hexdigest(), place.path)


def _signed_list(home: Tree, keys: tuple[minisign.PublicKey, ...]) -> Mapping[str, str]:
    signature = _read(home / release.SIGNATURE, SIGNATURE_LIMIT_BYTES)
    data = _read(home / release.NAME, LIST_LIMIT_BYTES)
    try:
        minisign.verify(data, signature, keys)
    except IntegrityError as error:
        path = (home / release.SIGNATURE).path
        raise IntegrityError(f"{path}: {error.message}", hint=_FROM_AUTHOR, path=path) from error
    return release.parse(data)


_FROM_AUTHOR = "install the release again, from its author"


def _read(place: Place, limit_bytes: int) -> bytes:
    try:
        return place.read(limit_bytes)
    except FileNotFoundError as error:
        raise IntegrityError(
            f"{place.path}: expected the author's signed list, found nothing: this host takes signed releases only",
            hint="install a signed release; for its author: vvmigrate sign",
            path=place.path,
        ) from error
    except OSError as error:
        raise IntegrityError(
            f"{place.path}: cannot be read: {error.strerror}", hint=_FROM_AUTHOR, path=place.path
        ) from error
