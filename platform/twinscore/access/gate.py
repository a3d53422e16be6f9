"""The gate: who asks, and may they? Knows no HTTP library and no Ray; reads its files again when they change.

    access = Access.load(home)
    caller = access.admit(authorization, api_key, model="loans", verb=verb_of("/predict"), now_s=time.time())

With neither a keys file nor a file of issuers there is nothing to hold a caller against, and everybody is anonymous.
Once there was one, the gate stays shut for this process: a broken file leaves what was last read, a removed one takes
away what it allowed, and neither lets anybody in.
"""

from __future__ import annotations

import threading
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import structlog

from twinscore.access.files import Stamp, stamp
from twinscore.access.grant import ANONYMOUS, Caller, Grant
from twinscore.access.issuers import issuers_path, key_path, load_issuers
from twinscore.access.keyring import Keyring, not_accepted
from twinscore.access.keys import keys_path, load_keys
from twinscore.access.tokens import TokenVerifier
from twinscore.errors import AccessDenied, Forbidden, SettingsInvalid, Unauthenticated

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RECHECK_S", "Access", "challenge", "require_access", "status_of"]

RECHECK_S = 1.0
"""Seconds between two looks at the files; a key that is not known is looked for at once."""

_KEY = b"tsk_"
_BEARER = b"bearer "
_log = structlog.get_logger("twinscore.access")


class Access:
    """Keys and issuers of one home; may be used by several threads, and travels by its home alone."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._checked_s = float("-inf")
        self._keys_stamp: Stamp = None
        self._issuers_stamps: tuple[object, ...] = ()
        self._keyring = Keyring(())
        self._tokens = TokenVerifier({})
        self._configured = False

    @classmethod
    def load(cls, home: Path) -> Access:
        """Read the keys and issuers of a home.

        Raises:
            SettingsInvalid: a file is broken, or others may change it; there is no last good one to go on with.
        """
        access = cls(home)
        access._keys_stamp = stamp(keys_path(home))
        access._read_keys()
        access._issuers_stamps = _stamps_of_issuers(home)
        access._read_issuers()
        return access

    def __repr__(self) -> str:
        return f"Access({str(self._home)!r}, configured={self._configured})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Access.load, (self._home,))

    @property
    def configured(self) -> bool:
        """Whether callers are held against keys or tokens; False only where neither was ever set up."""
        return self._configured

    def admit(
        self, authorization: bytes | None, api_key: bytes | None, *, model: str, verb: str | None, now_s: float
    ) -> Caller:
        """Return who asks, when they may.

        Args:
            authorization: value of the header `authorization`: `Bearer` and a key or a token.
            api_key: value of the header `x-api-key`: a key.
            model: the model that is asked.
            verb: what `verb_of` says of the path; None lets everybody in.
            now_s: seconds since the epoch.

        Raises:
            Unauthenticated: no key and no token, or one that is not accepted.
            Forbidden: the key or token does not cover the model or the verb.
        """
        if not 0.0 <= now_s - self._checked_s < RECHECK_S:
            self._refresh(now_s)
        if verb is None or not self._configured:
            return ANONYMOUS
        credential = _credential(authorization, api_key)
        if credential.startswith(_KEY):
            return self._by_key(credential, now_s).admit(model, verb)
        return self._tokens.find(credential, now_s).admit(model, verb)

    def _by_key(self, credential: bytes, now_s: float) -> Grant:
        try:
            return self._keyring.find(credential, now_s)
        except Unauthenticated:
            # It may have been made a moment ago; to look costs a few microseconds, whoever asks.
            if self._keyring.knows(credential):
                raise
        with self._lock:
            self._refresh_keys()
        return self._keyring.find(credential, now_s)

    def _refresh(self, now_s: float) -> None:
        """Look at the files, and read again what changed; what cannot be read leaves the last good one."""
        with self._lock:
            self._checked_s = now_s
            self._refresh_keys()
            issuers_stamps = _stamps_of_issuers(self._home)
            if issuers_stamps != self._issuers_stamps:
                self._issuers_stamps = issuers_stamps
                self._again(self._read_issuers, "issuers")

    def _refresh_keys(self) -> None:
        keys_stamp = stamp(keys_path(self._home))
        if keys_stamp != self._keys_stamp:
            self._keys_stamp = keys_stamp
            self._again(self._read_keys, "keys")

    def _again(self, read: Any, what: str) -> None:
        try:
            read()
        except SettingsInvalid as error:
            self._configured = True  # somebody meant to shut the gate
            _log.error("access_not_reloaded", what=what, reason=error.message)
        else:
            _log.info("access_reloaded", what=what)

    def _read_keys(self) -> None:
        keys = load_keys(self._home)
        self._keyring = Keyring(keys or ())
        self._configured = self._configured or keys is not None

    def _read_issuers(self) -> None:
        trusted = load_issuers(self._home)
        self._tokens = TokenVerifier(trusted or {})
        self._configured = self._configured or trusted is not None


def require_access(home: Path, host: str) -> None:
    """Refuse to listen beyond this machine while nobody is asked for a key.

    Args:
        host: the address to bind; a name other than `localhost` counts as one of the outside.

    Raises:
        SettingsInvalid: the address is not loopback and there are neither keys nor issuers, or a file is broken.
    """
    try:
        inside = ip_address(host.strip("[]")).is_loopback
    except ValueError:
        inside = host == "localhost"
    if not inside and not Access.load(home).configured:
        message = (
            f"The setting TWINSCORE_HOST is {host}, which others can reach, and no key was made for {home}. "
            "Make one with `twinscore keys create` first, or stay on 127.0.0.1."
        )
        raise SettingsInvalid(message, setting="TWINSCORE_HOST", host=host)


def status_of(error: AccessDenied) -> int:
    """Return the HTTP status of a refusal: 403 for who is known, 401 for who is not."""
    return 403 if isinstance(error, Forbidden) else 401


def challenge(error: AccessDenied) -> bytes:
    """Return the value of `www-authenticate` for a refusal (RFC 6750).

    >>> challenge(Unauthenticated("no key", reason="missing"))
    b'Bearer realm="twinscore"'
    """
    if isinstance(error, Forbidden):
        return b'Bearer realm="twinscore", error="insufficient_scope"'
    if error.fields.get("reason") == "missing":
        return b'Bearer realm="twinscore"'
    return b'Bearer realm="twinscore", error="invalid_token"'


def _stamps_of_issuers(home: Path) -> tuple[object, ...]:
    """Return what changes when the file of issuers or any key beside it does."""
    keys = ((path.name, stamp(path)) for path in key_path(home, "any").parent.glob("*.pem"))
    return (stamp(issuers_path(home)), *sorted(keys, key=lambda entry: entry[0]))


def _credential(authorization: bytes | None, api_key: bytes | None) -> bytes:
    if authorization is not None:
        if api_key is not None:
            message = "Both authorization and x-api-key were sent. Send one of them."
            raise Unauthenticated(message, reason="ambiguous")
        if authorization[:7].lower() != _BEARER:
            message = "The header authorization must be `Bearer` and a key or a token."
            raise Unauthenticated(message, reason="invalid")
        return authorization[7:].strip()
    if api_key is None:
        message = "A key or a token is needed: send the header authorization with `Bearer` and it, or x-api-key."
        raise Unauthenticated(message, reason="missing")
    if not api_key.startswith(_KEY):
        not_accepted("key")
    return api_key
