"""The keys as a request meets them: an id looked up, a digest compared; knows no file and no clock."""

from __future__ import annotations

import hashlib
from hmac import compare_digest
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from twinscore.access.grant import Caller, Grant
from twinscore.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.access.keys import Key

__all__ = ["Keyring", "not_accepted"]

_PREFIX = b"tsk"


class _Held(NamedTuple):
    digest: bytes
    expires_s: float
    revoked: bool
    grant: Grant


class Keyring:
    """All keys of a home; made anew when the file changes."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = {key.id.encode(): _held(key) for key in keys}

    def __repr__(self) -> str:
        return f"Keyring({len(self._keys)} keys)"

    def knows(self, credential: bytes) -> bool:
        """Tell whether there is a key of that id, whatever its secret."""
        parts = credential.split(b"_", 2)
        return len(parts) == 3 and parts[1] in self._keys

    def find(self, credential: bytes, now_s: float) -> Grant:
        """Return what the key of `tsk_<id>_<secret>` may do.

        Raises:
            Unauthenticated: there is no such key, the secret is another, or its time is over.
        """
        parts = credential.split(b"_", 2)
        if len(parts) != 3 or parts[0] != _PREFIX:
            not_accepted("key")
        found = self._keys.get(parts[1])
        if found is None or not compare_digest(hashlib.sha256(parts[2]).digest(), found.digest):
            not_accepted("key")
        # Only who has the secret learns what became of the key.
        if found.revoked:
            message = f"The key {found.grant.caller.id} was revoked."
            raise Unauthenticated(message, reason="revoked")
        if not now_s < found.expires_s:
            message = f"The key {found.grant.caller.id} has expired."
            raise Unauthenticated(message, reason="expired")
        return found.grant


def not_accepted(kind: str) -> NoReturn:
    """Refuse without telling a stranger anything.

    Raises:
        Unauthenticated: always.
    """
    message = f"The {kind} is not accepted."
    raise Unauthenticated(message, reason="invalid") from None


def _held(key: Key) -> _Held:
    models = None if key.models == "*" else frozenset(key.models)
    grant = Grant(Caller(key.id, "key", key.label, f"key {key.id}"), models, frozenset(key.verbs))
    return _Held(bytes.fromhex(key.sha256), key.expires.timestamp(), key.revoked is not None, grant)
