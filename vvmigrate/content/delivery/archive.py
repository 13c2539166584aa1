"""From an artefact's bytes to the directory that is installed: out of sight, checked, durable."""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from vvmigrate.content.delivery import tar, zip_file
from vvmigrate.content.delivery.decompress import ByteStream, gunzip, unzstd
from vvmigrate.content.delivery.disk import naming_full_disk
from vvmigrate.content.delivery.lanes import DEPTH, ahead
from vvmigrate.content.delivery.received import BLOCK_BYTES, Progress, silent
from vvmigrate.content.delivery.unpacker import DIRECTORY_MODE, FILE_MODE, Unpacker
from vvmigrate.errors import RefusedError
from vvmigrate.files import Owner

if TYPE_CHECKING:
    from vvmigrate.content.manifest import Artefact
    from vvmigrate.files import Place

# A member's headers, padding and pax records; and the zeros that fill the last record.
_OVERHEAD_BYTES, _END_BYTES = 4096, 1 << 20
_PLAIN_DEPTH = 16  # pieces of at most 128 KiB each
# link(2): other file system, too many names, no such names here, protected_hardlinks.
_NO_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


def extract(
    artefact: Artefact,
    source: Place,
    target: Place,
    owner: Owner | None = None,
    progress: Callable[[Progress], None] = silent,
    *,
    threaded: bool = False,
) -> Mapping[str, str]:
    """Make the directory that an artefact is installed as.

    Directories get the mode 0755 and files 0644, whatever the archive says. When this returns, everything below
    `target` is durable; the entry of `target` itself becomes so with the rename that publishes it. When it raises,
    what is there is for whoever owns the place to sweep.

    Args:
        artefact: says format, limits, and (if it does) the files.
        source: its bytes, verified.
        target: where nothing stands yet, in a directory that only we may write.
        owner: of everything; None leaves it the caller's.
        progress: called with the bytes of `source` that were read.
        threaded: whether to read, to decompress and to write in threads of their own.

    Returns:
        SHA-256 in hex of each file, by its name relative to `target`.

    Raises:
        ArchiveError: the archive holds something that is refused, or is damaged.
        ChecksumError: a file differs from the manifest.
        DeliveryError: the disk is full.
    """
    with naming_full_disk(target, lambda: f"while {artefact.filename} was unpacked"):
        if artefact.format == "file":
            digests = _place_raw(artefact, source, target, owner)
        elif artefact.format == "zip":
            digests = _unpack_zip(artefact, source, target, owner, progress, threaded=threaded)
        else:
            with closing(_beside(_chunks(source, artefact.size_bytes, progress), DEPTH, threaded=threaded)) as chunks:
                digests = unpack_tar(artefact, chunks, target, owner, threaded=threaded)
    progress(Progress("extract", artefact.size_bytes, artefact.size_bytes))
    return digests


def unpack_tar(
    artefact: Artefact, chunks: Iterable[bytes], target: Place, owner: Owner | None, *, threaded: bool
) -> Mapping[str, str]:
    """Unpack a compressed tar archive from chunks, which may still be coming in; see `extract`."""
    unpacker = Unpacker(artefact, target, owner)
    limits = artefact.limits
    allowed = min(limits.max_bytes, limits.max_ratio * artefact.size_bytes)
    allowed += limits.max_files * _OVERHEAD_BYTES + _END_BYTES
    decompressed = gunzip(chunks) if artefact.format == "tar.gz" else unzstd(chunks)
    with closing(_beside(decompressed, _PLAIN_DEPTH, threaded=threaded)) as plain:
        for member in tar.members(ByteStream(plain, allowed)):
            if member.is_directory:
                unpacker.directory(member.name, member.mode)
            else:
                unpacker.file(member.name, member.mode, member.size_bytes, member.data)
    return unpacker.finish()


def _beside(items: Generator[bytes], depth: int, *, threaded: bool) -> Generator[bytes]:
    return ahead(items, depth) if threaded else items


def _unpack_zip(
    artefact: Artefact,
    source: Place,
    target: Place,
    owner: Owner | None,
    progress: Callable[[Progress], None],
    *,
    threaded: bool,
) -> Mapping[str, str]:
    unpacker = Unpacker(artefact, target, owner)
    with source.reader() as file:
        for member in zip_file.members(file, artefact.limits.max_files):
            if member.is_directory:
                unpacker.directory(member.name, member.mode)
            else:
                large = threaded and member.size_bytes > BLOCK_BYTES
                with closing(_beside(zip_file.content(file, member), _PLAIN_DEPTH, threaded=large)) as data:
                    unpacker.file(member.name, member.mode, member.size_bytes, data)
            progress(Progress("extract", member.end, artefact.size_bytes))
    return unpacker.finish()


def _place_raw(artefact: Artefact, source: Place, target: Place, owner: Owner | None) -> Mapping[str, str]:
    """Give the received bytes a second name, which costs no time and no space; copy them where that is impossible."""
    target.make_directory(DIRECTORY_MODE, owner)
    place = target / artefact.filename
    try:
        _set_attributes(source, owner)
        source.make_hard_link(place)
    except (OSError, RefusedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LINK:
            raise
        with place.create(FILE_MODE, owner) as file:
            file.writelines(_chunks(source, artefact.size_bytes, silent))
    target.fsync()
    return {artefact.filename: artefact.sha256}


def _set_attributes(source: Place, owner: Owner | None) -> None:
    info = source.stat()
    same_owner = info is not None and (owner is None or owner == Owner(info.st_uid, info.st_gid))
    if info is None or info.st_mode & 0o7777 != FILE_MODE or not same_owner:
        source.set_attributes(FILE_MODE, owner)


def _chunks(source: Place, size_bytes: int, progress: Callable[[Progress], None]) -> Generator[bytes]:
    done = 0
    with source.reader() as file:
        while chunk := file.read(BLOCK_BYTES):
            done += len(chunk)
            yield chunk
            progress(Progress("extract", done, size_bytes))
