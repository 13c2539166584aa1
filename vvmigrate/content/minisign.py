"""Keys and signatures in minisign's format (https://jedisct1.github.io/minisign/), made and checked with libsodium.

A signature is over the BLAKE2b-512 of a file (`ED`, prehashed); a second one, the global signature, covers the first
and the trusted comment. The older kind, over the file itself (`Ed`), is not taken. libsodium is what minisign itself
uses: both say yes to the same signatures.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import os
import struct
from base64 import b64decode, b64encode
from dataclasses import dataclass

from vvmigrate.errors import IntegrityError, RefusedError

PUBLIC, SECRET, SIGNATURE = b"Ed", b"Ed", b"ED"
SCRYPT, NO_PASSWORD, BLAKE2B = b"Sc", b"\0\0", b"B2"
OPERATIONS, MEMORY_BYTES = 33554432, 1 << 30
"""How dear a guess of a password is: libsodium's SENSITIVE limits, as minisign's."""

_SECRET = struct.Struct("<2s2s2s32sQQ104s")  # algorithm, kdf, checksum, salt, operations, memory, what is kept secret
_KEPT = struct.Struct("<8s32s32s32s")  # key id, seed, public key, checksum
_COMMENT, _TRUSTED = "untrusted comment: ", "trusted comment: "


@dataclass(frozen=True)
class PublicKey:
    """Who is trusted.

    Attributes:
        id: eight bytes by which a signature names its key; no secret, and no proof.
        point: the Ed25519 key.
    """

    id: bytes
    point: bytes

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Read the line of base64 that `minisign -P` takes, too.

        Raises:
            RefusedError: it is none.
        """
        data = _base64(text)
        if data is None or len(data) != 42 or data[:2] != PUBLIC:
            raise RefusedError(
                f"expected a minisign public key (56 signs, as RWQ...), found {text[:60]!r}",
                hint="the second line of the .pub file that keygen, or minisign -G, has made",
            )
        return cls(data[2:10], data[10:])

    @property
    def name(self) -> str:
        """The key's id as minisign prints it."""
        return _name(self.id)

    def text(self) -> str:
        """The line of base64."""
        return b64encode(PUBLIC + self.id + self.point).decode()

    def file(self) -> bytes:
        """The `.pub` file."""
        return f"{_COMMENT}minisign public key {self.name}\n{self.text()}\n".encode()


@dataclass(frozen=True, repr=False)
class SecretKey:
    """Who signs.

    Attributes:
        id: the key's id.
        seed: the secret itself (RFC 8032).
    """

    id: bytes
    seed: bytes

    @classmethod
    def make(cls) -> SecretKey:
        """A fresh one."""
        return cls(os.urandom(8), os.urandom(32))

    def public(self) -> PublicKey:
        """Its other half."""
        from nacl.signing import SigningKey

        return PublicKey(self.id, bytes(SigningKey(self.seed).verify_key))

    def sign(self, data: bytes, comment: str) -> bytes:
        """The `.minisig` file of some bytes.

        Args:
            comment: the trusted comment: one line, signed too.

        Raises:
            RefusedError: it is more than a line.
        """
        from nacl.signing import SigningKey

        if not comment.replace("\t", "").isprintable():
            raise RefusedError("the comment of a signature is one line of printable signs")
        key = SigningKey(self.seed)
        signature = key.sign(_hashed(data)).signature
        above = key.sign(signature + comment.encode()).signature
        lines = (
            f"{_COMMENT}signature by key {self.public().name}",
            b64encode(SIGNATURE + self.id + signature).decode(),
            _TRUSTED + comment,
            b64encode(above).decode(),
        )
        return "\n".join((*lines, "")).encode()

    # ---- the file ------------------------------------------------------------------------------------------------

    def file(self, password: bytes | None, operations: int = OPERATIONS, memory_bytes: int = MEMORY_BYTES) -> bytes:
        """The secret key file.

        Args:
            password: None for a file that needs none.
            operations: with `memory_bytes`, libsodium's limits, from which scrypt's parameters follow.
        """
        point = self.public().point
        if password is None:
            kept = _KEPT.pack(self.id, self.seed, point, bytes(32))
            data = _SECRET.pack(SECRET, NO_PASSWORD, BLAKE2B, bytes(32), 0, 0, kept)
        else:
            salt = os.urandom(32)
            kept = _KEPT.pack(self.id, self.seed, point, _checksum(self.id, self.seed, point))
            kept = _xor(kept, _stretch(password, salt, operations, memory_bytes))
            data = _SECRET.pack(SECRET, SCRYPT, BLAKE2B, salt, operations, memory_bytes, kept)
        return f"{_COMMENT}minisign encrypted secret key\n{b64encode(data).decode()}\n".encode()

    @classmethod
    def parse(cls, data: bytes, password: bytes | None) -> SecretKey:
        """Read a secret key file, ours or minisign's.

        Args:
            password: of an encrypted one.

        Raises:
            RefusedError: it is none, or the password is another.
        """
        _, kdf, _, salt, operations, memory_bytes, kept = _secret_fields(data)
        if kdf == SCRYPT:
            if password is None:
                raise RefusedError("the secret key is encrypted, and there is no password")
            kept = _xor(kept, _stretch(password, salt, operations, memory_bytes))
        id_, seed, point, checksum = _KEPT.unpack(kept)
        key = cls(id_, seed)
        whole = hmac.compare_digest(checksum, _checksum(id_, seed, point)) or (kdf == NO_PASSWORD and not any(checksum))
        if not whole or key.public().point != point:
            raise RefusedError("the password is not this key's" if kdf == SCRYPT else "the secret key is damaged")
        return key


def needs_password(data: bytes) -> bool:
    """Whether a secret key file is encrypted.

    Raises:
        RefusedError: it is no secret key file.
    """
    return bool(_secret_fields(data)[1] != NO_PASSWORD)


def is_secret_key(data: bytes) -> bool:
    """Whether these bytes are a secret key file, whoever's, with a password or without."""
    try:
        _secret_fields(data)
    except RefusedError:
        return False
    return True


def verify(data: bytes, signature: bytes, keys: tuple[PublicKey, ...]) -> tuple[PublicKey, str]:
    """Let bytes through that one of the keys has signed.

    Args:
        signature: the `.minisig` file.

    Returns:
        Which key, and the trusted comment.

    Raises:
        IntegrityError: none of them has, or the file is no signature.
    """
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey

    lines = signature.decode("utf-8", "surrogateescape").split("\n")
    first, above = (_base64(lines[1]), _base64(lines[3])) if len(lines) >= 4 and not any(lines[4:]) else (None, None)
    if first is None or len(first) != 74 or above is None or len(above) != 64 or not lines[2].startswith(_TRUSTED):
        raise IntegrityError("is no signature in minisign's format")
    if first[:2] != SIGNATURE:
        raise IntegrityError("is a signature of an older kind: expected one over the hash (minisign 0.11, without -l)")
    comment = lines[2].removeprefix(_TRUSTED)
    for key in keys:
        if key.id != first[2:10]:
            continue
        try:
            VerifyKey(key.point).verify(_hashed(data), first[10:])
            VerifyKey(key.point).verify(first[10:] + comment.encode("utf-8", "surrogateescape"), above)
        except BadSignatureError:
            continue  # another key may have the same id
        return key, comment
    if named := [key.name for key in keys if key.id == first[2:10]]:
        raise IntegrityError(f"does not hold: key {named[0]} has not signed these bytes")
    trusted = ", ".join(key.name for key in keys)
    raise IntegrityError(f"is by key {_name(first[2:10])}; trusted is {trusted}")


# ---- bytes -----------------------------------------------------------------------------------------------------------


def _hashed(data: bytes) -> bytes:
    return hashlib.blake2b(data).digest()


def _checksum(id_: bytes, seed: bytes, point: bytes) -> bytes:
    return hashlib.blake2b(SECRET + id_ + seed + point, digest_size=32).digest()


def _stretch(password: bytes, salt: bytes, operations: int, memory_bytes: int) -> bytes:
    from nacl import bindings
    from nacl.exceptions import CryptoError

    log_n, r, p = bindings.nacl_bindings_pick_scrypt_params(operations, memory_bytes)
    try:
        return bytes(
            bindings.crypto_pwhash_scryptsalsa208sha256_ll(
                password, salt, 1 << log_n, r, p, dklen=_KEPT.size, maxmem=2 * MEMORY_BYTES
            )
        )
    except (CryptoError, MemoryError) as error:
        raise RefusedError(f"this secret key needs {memory_bytes:,} bytes of memory, which are not here") from error


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _secret_fields(data: bytes) -> tuple[bytes, bytes, bytes, bytes, int, int, bytes]:
    lines = data.decode("ascii", "replace").splitlines()
    found = _base64(lines[1]) if len(lines) >= 2 else None
    if found is None or len(found) != _SECRET.size:
        raise RefusedError("expected a minisign secret key file: a comment, then a line of 212 signs")
    fields = _SECRET.unpack(found)
    if fields[0] != SECRET or fields[1] not in (SCRYPT, NO_PASSWORD):
        raise RefusedError("expected a minisign secret key, found a key of another kind")
    return fields


def _base64(text: str) -> bytes | None:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _name(key_id: bytes) -> str:
    """A number in hex, without zeros in front."""
    return f"{int.from_bytes(key_id, 'little'):X}"
