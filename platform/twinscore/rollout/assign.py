"""From an entity to its arm, the same on every replica and every day; knows no server.

An entity falls into one of 10,000 buckets by a keyed hash (BLAKE2b, the key is the rollout's salt). The canary has the
buckets from 0 upwards and the A/B arm those from 9,999 downwards, so raising a share moves entities into that arm and
no entity anywhere else. Another salt is another, independent division.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from twinscore.rollout.entity_groups import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twinscore.rollout.routing import Challenger, Routing

__all__ = ["BUCKETS", "arm_of", "bucket_of", "entity_id", "place_of", "sampled"]

BUCKETS = 10_000
"""Into which entities are divided; a share is a number of them."""


def entity_id(values: Iterable[object]) -> bytes:
    """Return the identity of an entity from the values of its columns, with no two identities alike.

    A value counts by its text and its type, so the number 7 and the text "7" are two entities.

    >>> entity_id(["order-17"])
    b's8:order-17'
    >>> entity_id([7, None])
    b'i1:7n0:'
    """
    return b"".join([_part(value) for value in values])


def bucket_of(entity: bytes, salt: str) -> int:
    """Return the bucket of an entity, 0 to 9,999.

    >>> bucket_of(entity_id(["order-17"]), "spring")
    6255
    """
    return place_of(entity, salt)[0]


def place_of(entity: bytes, salt: str) -> tuple[int, int]:
    """Return the bucket of an entity, and its group among the entities of an arm, 0 to 63; neither tells the other.

    >>> place_of(entity_id(["order-17"]), "spring")
    (6255, 56)
    """
    digest = blake2b(entity, digest_size=8, key=salt.encode()).digest()
    rest, bucket = divmod(int.from_bytes(digest, "big"), BUCKETS)
    return bucket, rest % GROUPS


def arm_of(bucket: int, routing: Routing) -> Challenger | None:
    """Return the challenger that a bucket belongs to, or None for the live version."""
    for challenger in routing.challengers:
        if challenger.mode == "canary":
            if bucket < challenger.share:
                return challenger
        elif bucket >= BUCKETS - challenger.share:
            return challenger
    return None


def sampled(entity: bytes, salt: str, app: str, sampling: int) -> bool:
    """Tell whether a shadow sees an entity; independent of the entity's arm and of other shadows."""
    return sampling >= BUCKETS or bucket_of(entity, _shadow_salt(salt, app)) < sampling


def _shadow_salt(salt: str, app: str) -> str:
    # BLAKE2b takes a key of at most 64 bytes.
    return blake2b(f"{salt}/{app}".encode(), digest_size=16).hexdigest()


def _part(value: object) -> bytes:
    if value is None:
        return b"n0:"
    if isinstance(value, str):
        tag, text = b"s", value
    elif isinstance(value, bool):
        tag, text = b"b", str(value)
    elif isinstance(value, int):
        tag, text = b"i", str(value)
    elif isinstance(value, float):
        tag, text = b"f", repr(value)
    else:
        isoformat = getattr(value, "isoformat", None)
        tag, text = b"t", str(value) if isoformat is None else isoformat()
    encoded = text.encode("utf-8", "surrogatepass")
    return b"%b%d:%b" % (tag, len(encoded), encoded)
