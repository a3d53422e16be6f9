"""The signed head of a sealed segment: what is in it and which chain it continues; knows no frames.

The signature is HMAC-SHA256 with a key that only the platform's own user can read, so it proves that the platform
wrote the head to everyone who is shown the key, and to nobody else. A public-key signature would let outsiders check
it without the key; the head has room for one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from typing import TYPE_CHECKING, TypeVar

import msgspec

from twinscore.errors import AuditDamaged, StoreUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from twinscore.audit.tombstone import Tombstone

__all__ = ["Head", "Part", "decode_head", "encode_head", "load_secret", "signed", "signed_by"]


class Part(msgspec.Struct, frozen=True):
    """A Parquet file that records of the segment went to."""

    name: str
    """Relative to the folder of the model's audit log."""
    rows: int
    sha256: str


class Head(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a sealed segment holds; chain values in hex."""

    stream: str
    segment: int
    first_sequence: int
    records: int
    previous_chain: str
    chain: str
    created_us: int
    sealed_us: int
    recovered: bool = False
    """Whether it was sealed by the next writer, because its own was killed."""
    cut_bytes: int = 0
    """Bytes of a write that a crash cut short; nobody was told that they were kept."""
    parts: tuple[Part, ...] | None = None
    """Where the records are since compaction; None before."""
    collapsed: int = 0
    """Rows that were there already, from the same request sent again."""
    conflicts: int = 0
    """Rows kept beside a different row of the same request id."""
    signature: str = ""


Signed = TypeVar("Signed", bound=msgspec.Struct)
_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Head, strict=True).decode


def encode_head(head: Head) -> bytes:
    """Return the head as canonical JSON."""
    return _encode(head)


def decode_head(data: bytes, source: str) -> Head:
    """Read a head.

    Raises:
        AuditDamaged: it is not one.
    """
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"The head of the audit segment {source} cannot be read: {error}."
        raise AuditDamaged(message, path=source, offset=0, sequence=None) from error


def signed(head: Signed, key: bytes) -> Signed:
    """Return a head, or another value with a `signature`, with that of all its other fields."""
    return msgspec.structs.replace(head, signature=_signature(head, key))


def signed_by(head: Head | Tombstone, key: bytes) -> bool:
    """Tell whether a value is as the holder of the key wrote it."""
    return hmac.compare_digest(head.signature, _signature(head, key))


def load_secret(path: Path) -> bytes:
    """Return the 32 random bytes in the file, which is made on first use, readable by its owner only.

    Raises:
        StoreUnavailable: the file is of another length, or cannot be read or written.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, path)  # never over one that another process made meanwhile
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
        secret = path.read_bytes()
    except OSError as error:
        message = f"The secret {path} cannot be read: {error.strerror or error}."
        raise StoreUnavailable(message, path=str(path)) from error
    if len(secret) != 32:
        message = f"The secret {path} has {len(secret)} bytes, not 32; put the right file back."
        raise StoreUnavailable(message, path=str(path))
    return secret


def _signature(head: msgspec.Struct, key: bytes) -> str:
    return hmac.new(key, _encode(msgspec.structs.replace(head, signature="")), hashlib.sha256).hexdigest()
