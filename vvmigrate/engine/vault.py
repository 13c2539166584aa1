"""The small private files of the storage root's state directory: ledger id, key, anchor, reserve, secrets, sources."""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from typing import Any

from vvmigrate.engine.contents import FOLDERS, RESERVE, beside, move_away
from vvmigrate.engine.ledger import Ledger
from vvmigrate.engine.rows import LAST_SEQ, RECONCILE, Head
from vvmigrate.errors import IntegrityError, RefusedError, StateError
from vvmigrate.files import Place, Tree

RESERVE_BYTES = 256 << 10  # enough for the pages of one row of the history and of the rollback journal
KEY, NEXT_KEY, LEDGER_ID = "key", "key.next", "ledger_id"
KEY_BYTES, KEY_LIMIT_BYTES = 32, 200
RESTORE_KEY = "put the file back from a backup; or: vvmigrate adopt --rekey"
SOURCE, WAY_BACK, TEXT = ".py", ".back.json", ".txt"

_ID = re.compile("[0-9a-f]{32}")
_KEY = re.compile(rb"[0-9a-fA-F]{%d}" % (2 * KEY_BYTES))


def prepare(state: Tree, ledger_id: str) -> None:
    """Make what a state directory of a storage root holds from its first day; repeatable."""
    for name in FOLDERS:
        with suppress(FileExistsError):
            (state / name).make_directory(0o700)
    if (state / LEDGER_ID).stat() is None:
        (state / LEDGER_ID).replace(ledger_id.encode() + b"\n")
    ensure_reserve(state)
    state.fsync()


def is_id(text: object) -> bool:
    """Whether it may be a ledger's id: what is damaged is not another home's."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def ledger_id(state: Tree | None) -> str:
    """The ledger id that the storage root was given; empty if it was given none. It may be damaged: see `is_id`.

    Raises:
        RefusedError: what stands there cannot be read.
    """
    if state is None or (place := state / LEDGER_ID).stat() is None:
        return ""
    try:
        return place.read(200).decode("ascii", "replace").strip()
    except OSError as error:
        raise RefusedError(
            f"{place.path}: expected the id of this root's ledger, cannot be read: {error.strerror}",
            hint=f"{move_away(place)}; then the same command says how to write it again",
            path=place.path,
        ) from error


# ---- the chain's key -------------------------------------------------------------------------------------------------


def key(state: Tree | None) -> bytes | None:
    """The chain's key, or None where it is lost: nothing stands there, or what is none; `require_key` says which."""
    if state is None:
        return None
    found, _ = _read_key(state / KEY)
    return found


def _read_key(place: Place) -> tuple[bytes | None, str]:
    """A key, or None and what is wrong with it. Whoever may not read it, or whose disk cannot, has none either."""
    try:
        data = place.read(KEY_LIMIT_BYTES)
    except FileNotFoundError:
        return None, "is missing"
    except OSError as error:
        return None, f"cannot be read ({error.strerror})"
    if found := _KEY.fullmatch(data.strip()):
        return bytes.fromhex(found[0].decode()), ""
    return None, f"is damaged (expected {2 * KEY_BYTES} hex digits, found {len(data)} bytes of something else)"


def require_key(state: Tree, ledger: Ledger) -> None:
    """A chain that has rows must have its key.

    Raises:
        StateError: it is lost.
    """
    place = state / KEY
    found, wrong = _read_key(place)
    if found is None and ledger.head().seq:
        raise StateError(
            f"{place.path}: the key {wrong} although the history has rows: it cannot be verified or continued",
            hint=RESTORE_KEY,
            path=place.path,
        )


def check_key(state: Tree, ledger: Ledger) -> bytes | None:
    """The chain's key, also that of an epoch that a kill came right after; None only where the chain has no rows.

    Raises:
        StateError: it is lost although the chain has rows.
    """
    finish_rekey(state, ledger)
    require_key(state, ledger)
    return key(state)


def make_key(state: Tree) -> bytes:
    """Make the key of a chain that has no rows yet: 32 random bytes, as long as the hash (RFC 2104, section 3)."""
    set_aside_key(state)
    return _fresh_key(state / KEY)


def next_key(state: Tree) -> bytes:
    """Make the key of the next epoch, durably, beside the place of the one that is lost."""
    return _fresh_key(state / NEXT_KEY)


def _fresh_key(place: Place) -> bytes:
    fresh = os.urandom(KEY_BYTES)
    _put(place, fresh.hex().encode() + b"\n")
    return fresh


def settle_key(state: Tree) -> None:
    """The epoch has begun: its key takes its place."""
    set_aside_key(state)
    (state / NEXT_KEY).move(state / KEY)
    state.fsync()


def set_aside_key(state: Tree) -> str:
    """Make room for a key where something stands that is none: it is kept, for whoever may yet read a key out of it.

    Returns:
        The path that it has now; empty where nothing had to go.
    """
    place = state / KEY
    return "" if place.stat() is None or key(state) is not None else _set_aside(place)


def finish_rekey(state: Tree, ledger: Ledger) -> bool:
    """Let the key of an epoch that a kill came right after take its place; whether there was one."""
    fresh, _ = _read_key(state / NEXT_KEY)
    waits = fresh is not None and key(state) is None and ledger.installed()
    if not waits or not ledger.epoch_seq() or Ledger(ledger.connection, fresh).problems():
        return False
    settle_key(state)
    return True


# ---- the anchor ------------------------------------------------------------------------------------------------------


def anchor(state: Tree) -> Head:
    """The end of the chain when a step last ended; the beginning where there is no anchor.

    Raises:
        StateError: what stands there is none.
    """
    place = state / "anchor"
    try:
        value = read_json(state, "anchor")
        at = Head() if value is None else Head(value["seq"], value["hash"])
    except (RefusedError, KeyError) as error:
        raise _no_anchor(place, "holds something else") from error
    if not (type(at.seq) is int and 0 <= at.seq <= LAST_SEQ and isinstance(at.hash, str)):
        raise _no_anchor(place, "holds something else")
    return at


def drop_anchor(state: Tree, head: Head) -> None:
    """Say, durably, how far the chain has come; whatever stands there."""
    place, text = state / "anchor", json.dumps({"seq": head.seq, "hash": head.hash}).encode()
    with suppress(OSError):
        if place.read(4096) == text:
            return
    _put(place, text)


def _no_anchor(place: Place, what: str) -> StateError:
    return StateError(
        f"{place.path}: the anchor {what}: whether rows at the history's end were removed cannot be told",
        hint=f"put the file back from a backup; or, if the history is whole: {RECONCILE}",
        path=place.path,
    )


def check_anchor(state: Tree, ledger: Ledger, path: str) -> None:
    """The database must have come at least as far as the anchor, which is there before the first row is.

    Raises:
        StateError: it was restored from a copy, or truncated; or the anchor is lost.
    """
    if (state / "anchor").stat() is None and ledger.head().seq:
        raise _no_anchor(state / "anchor", "is missing although the history has rows")
    at = anchor(state)
    if not ledger.reaches(at):
        raise StateError(
            f"{path}: expected a history of at least {at.seq} rows, found {ledger.head().seq}: "
            "rows at its end were removed, or the database is an older copy, or another one",
            hint=f"put the right database back; or, if the older one is meant: {RECONCILE}",
            path=path,
        )


# ---- room for the last words -----------------------------------------------------------------------------------------


def ensure_reserve(state: Tree) -> None:
    """Hold a little space, so that a failure on a full disk can still be recorded."""
    if (state / RESERVE).stat() is None:
        with suppress(OSError):  # a disk without room for the reserve is met by the preflight, with figures
            (state / RESERVE).write(bytes(RESERVE_BYTES))


def free_reserve(state: Tree) -> None:
    """Give the reserve up."""
    (state / RESERVE).remove_file(missing_ok=True)


# ---- secrets and sources ---------------------------------------------------------------------------------------------


def secrets_of(state: Tree | None) -> dict[str, str]:
    """The secrets that were generated on this host.

    Raises:
        RefusedError: the file holds something else.
    """
    try:
        values = read_json(state, "secrets") or {}
    except RefusedError as error:
        error.hint = "put the file back from a backup; without one remove it: then what .env holds counts"
        raise
    return {str(name): str(value) for name, value in values.items()}


def keep_secrets(state: Tree, values: dict[str, str]) -> None:
    """Remember generated secrets for ever, durably: the same name never gets a second value."""
    known = secrets_of(state)
    if values.keys() - known.keys():
        (state / "secrets").replace(json.dumps(values | known, sort_keys=True).encode())


def keep_source(state: Tree, source: bytes, kind: str = SOURCE) -> str:
    """Store a revision's source, the record of its way back, or a template of its release under its SHA-256, durably.

    Args:
        kind: the ending of its name.

    Returns:
        The SHA-256 in hex.
    """
    digest = hashlib.sha256(source).hexdigest()
    place = state / f"sources/{digest}{kind}"
    if place.stat() is None or place.read() != source:
        place.replace(source)
    return digest


def source(state: Tree, digest: str, kind: str = SOURCE) -> bytes:
    """What was stored, whose SHA-256 a genuine row of the history names.

    Raises:
        IntegrityError: it is missing or was changed.
    """
    what = {SOURCE: "source", WAY_BACK: "recorded way back"}.get(kind, "text")
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise IntegrityError(f"expected the SHA-256 of the {what}, found {digest!r}")
    place = state / f"sources/{digest}{kind}"
    if place.stat() is None or hashlib.sha256(data := place.read()).hexdigest() != digest:
        raise IntegrityError(
            f"{place.path}: expected the {what} with SHA-256 {digest}",
            hint="install the release that it belongs to, then: vvmigrate repair",
            path=place.path,
        )
    return data


def read_json(state: Tree | None, name: str) -> dict[str, Any] | None:
    """One of our JSON files, or None where it is missing.

    Raises:
        RefusedError: it cannot be read, or is not JSON.
    """
    if state is None or (place := state / name).stat() is None:
        return None
    try:
        value = json.loads(place.read(1 << 20))
    except OSError as error:
        raise RefusedError(f"{place.path}: cannot be read: {error.strerror}", path=place.path) from error
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"{place.path}: not readable as JSON: {error}", path=place.path) from error
    if not isinstance(value, dict):
        raise RefusedError(f"{place.path}: expected a JSON object", path=place.path)
    return value


def _put(place: Place, data: bytes) -> None:
    """Put one of our files in its place, whatever stands there: what is no directory is replaced by the rename."""
    if place.identity()[0] == "dir":
        _set_aside(place)
    place.replace(data)


def _set_aside(place: Place) -> str:
    """Give what stands in the way of one of our files another name beside it, durably; the path that it has now."""
    aside = beside(place)
    place.move(aside)
    place.parent.fsync()
    return aside.path
