"""Tokens (JWT) of issuers that are known: verified once, remembered until they expire; fetches nothing.

The algorithm is the key's, never the token's, so that neither `none` nor a public key used as a password can pass.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from twinscore.access.grant import ALL_VERBS, Caller, Grant
from twinscore.access.keyring import not_accepted
from twinscore.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.access.issuers import TrustedKey

__all__ = ["LEEWAY_S", "MAX_REMEMBERED", "TokenVerifier"]

LEEWAY_S = 60.0
"""Seconds by which the clocks of an issuer and of this machine may differ."""
MAX_REMEMBERED = 1024
"""Most verified tokens in memory; beyond that the oldest is verified again when it comes back."""

_LARGEST_BYTES = 8 * 1024
_LONGEST_SUBJECT = 200


class _Verified(NamedTuple):
    grant: Grant
    from_s: float
    until_s: float


class TokenVerifier:
    """Verifies tokens against the keys of known issuers; made anew when their files change.

    Tokens are remembered by digest, so that no memory of the process holds one that could be used again.
    """

    def __init__(self, trusted: Mapping[str, TrustedKey]) -> None:
        self._trusted = dict(trusted)
        self._seen: dict[bytes, _Verified] = {}
        self._lock = threading.Lock()
        if trusted:
            import_module("jwt")  # now, and not in the middle of the first request

    def __repr__(self) -> str:
        return f"TokenVerifier({len(self._trusted)} keys)"

    def find(self, token: bytes, now_s: float) -> Grant:
        """Return what the bearer of a token may do.

        Raises:
            Unauthenticated: the token is not of a known issuer, not for us, not valid now, or not a token.
        """
        digest = hashlib.sha256(token).digest()
        found = self._seen.get(digest)
        if found is None:
            found = self._verify(token)
            _in_time(found, now_s)  # before it is kept: a token that is over would only push out a good one
            self._remember(digest, found)
            return found.grant
        _in_time(found, now_s)
        return found.grant

    def _remember(self, digest: bytes, found: _Verified) -> None:
        with self._lock:
            while len(self._seen) >= MAX_REMEMBERED:
                del self._seen[next(iter(self._seen))]
            self._seen[digest] = found

    def _verify(self, token: bytes) -> _Verified:
        import jwt

        if not self._trusted or len(token) > _LARGEST_BYTES or not _canonical(token):
            not_accepted("token")
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = self._trusted.get(kid) if isinstance(kid, str) else None
            if key is None:
                not_accepted("token")
            claims: dict[str, Any] = jwt.decode(
                token,
                key.public,
                algorithms=[key.algorithm],
                issuer=key.issuer.issuer,
                audience=key.issuer.audience,
                # The times are held against the clock that was handed in, below.
                options={
                    "require": ["exp", "iss", "aud"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidAudienceError:
            _refuse("is for another audience", "audience")
        except jwt.InvalidIssuerError:
            _refuse("is of another issuer than its key", "issuer")
        except jwt.MissingRequiredClaimError as error:
            _refuse(f"has no {error.claim}", "claims")
        except (jwt.PyJWTError, ValueError, RecursionError):
            not_accepted("token")
        return _read(claims, key)


def _read(claims: Mapping[str, Any], key: TrustedKey) -> _Verified:
    until_s = _moment(claims, "exp")
    starts_s = [_moment(claims, name) for name in ("nbf", "iat") if name in claims]
    subject = claims.get("sub", "")
    if len(subject) > _LONGEST_SUBJECT or not subject.isprintable():
        _refuse(f"has a sub that is not at most {_LONGEST_SUBJECT} printable characters", "claims")
    models = _words(claims, key.issuer.models_claim)
    verbs = _words(claims, key.issuer.verbs_claim)
    issuer = key.issuer.issuer
    caller = Caller(subject or issuer, "token", subject, f"token of {issuer}")
    grant = Grant(caller, None if "*" in models else models, verbs & set(ALL_VERBS))
    return _Verified(grant, max(starts_s, default=-math.inf) - LEEWAY_S, until_s + LEEWAY_S)


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        _refuse(f"has an {name} that is no time", "claims")
    return float(value)


def _words(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    """Return the words of a claim: a list of text, or one text with spaces; nothing else grants anything."""
    value = claims.get(name, ())
    if isinstance(value, str):
        return frozenset(value.split())
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return frozenset(value)
    return frozenset()


def _in_time(found: _Verified, now_s: float) -> None:
    if not now_s < found.until_s:
        _refuse("has expired", "expired")
    if not now_s >= found.from_s:
        _refuse("is not valid yet", "not_yet")


def _canonical(token: bytes) -> bool:
    """Tell whether the token is written in the one way it can be; decoders let other ways pass as the same."""
    parts = token.split(b".")
    try:
        return len(parts) == 3 and all(
            base64.urlsafe_b64encode(base64.b64decode(part + b"=" * (-len(part) % 4), b"-_", validate=True)).rstrip(
                b"="
            )
            == part
            for part in parts
        )
    except binascii.Error:
        return False


def _refuse(why: str, reason: str) -> NoReturn:
    message = f"The token {why}."
    raise Unauthenticated(message, reason=reason) from None
