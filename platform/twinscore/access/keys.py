"""API keys: made once, shown once, kept as a digest; knows nothing of requests.

A key is `tsk_<id>_<secret>`. The id is public and names the key in lists, logs and the audit; the secret is 256 random
bits, of which only the SHA-256 is kept. That is enough for a random secret: there is nothing to guess from.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from twinscore.access.files import access_folder, held, read_guarded, write_private
from twinscore.access.grant import ALL_VERBS, USUAL_VERBS, Verb
from twinscore.errors import SettingsInvalid, StoreConflict, near

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "LOCAL",
    "PREFIX",
    "Key",
    "NewKey",
    "create_key",
    "keys_path",
    "load_keys",
    "make_key",
    "revoke_key",
    "rotate_key",
    "save_keys",
]

PREFIX = "tsk_"
LOCAL = "local"
"""Label of the key that commands on this machine use; see `twinscore.access.local`."""
MAX_DAYS = 3650

_ID_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # nothing that reads like something else
_ID_CHARS = 12
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of a key: everything but the secret."""

    id: Annotated[str, msgspec.Meta(pattern="^[a-z0-9]{4,32}$")]
    label: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    """Of the secret as it is written in the key."""
    models: tuple[str, ...] | Literal["*"]
    verbs: tuple[Verb, ...]
    created: _Moment
    expires: _Moment
    revoked: _Moment | None = None

    def __repr__(self) -> str:
        return f"Key(id={self.id!r}, label={self.label!r})"

    def state(self, now: datetime) -> Literal["valid", "expired", "revoked"]:
        """Tell whether the key opens anything at `now`."""
        if self.revoked is not None:
            return "revoked"
        return "valid" if now < self.expires else "expired"


class _KeysFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Literal[1]
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key at the only moment when its secret is known."""

    key: Key
    text: str = field(repr=False)
    """`tsk_<id>_<secret>`: to be handed over, never to be logged."""


def keys_path(home: Path) -> Path:
    """Return the place of the keys file."""
    return access_folder(home) / "keys.json"


def load_keys(home: Path) -> tuple[Key, ...] | None:
    """Read the keys; None when no key was ever made.

    Raises:
        SettingsInvalid: the file is not what `twinscore keys` writes, or others may change it.
    """
    path = keys_path(home)
    try:
        keys = msgspec.json.decode(read_guarded(path), type=_KeysFile).keys
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        message = f"{path} is not a keys file: {error}. Restore it from a copy, or make its keys anew."
        raise SettingsInvalid(message, path=str(path)) from error
    if len({key.id for key in keys}) != len(keys):
        message = f"{path} names a key twice. Restore it from a copy, or make its keys anew."
        raise SettingsInvalid(message, path=str(path))
    return keys


def save_keys(home: Path, keys: Sequence[Key]) -> None:
    """Replace the keys file; the caller holds the folder.

    Raises:
        StoreUnavailable: the file system refuses; the old keys stay.
    """
    document = msgspec.to_builtins(_KeysFile(version=1, keys=tuple(keys)))
    write_private(keys_path(home), (json.dumps(document, indent=2) + "\n").encode())


def create_key(
    home: Path, *, label: str, models: Sequence[str], verbs: Sequence[str] = USUAL_VERBS, days: float, now: datetime
) -> NewKey:
    """Make the first key of a label, for those models (`*` is every one) and verbs, good for `days`.

    Raises:
        SettingsInvalid: label, models, verbs or days are not possible.
        StoreConflict: the label has a valid key; rotate it.
    """
    if label == LOCAL or not _LABEL.fullmatch(label):
        message = f"The label must be 1 to 64 characters of A-Z a-z 0-9 . _ - and not {LOCAL!r}, got {label!r}."
        raise SettingsInvalid(message, label=label)
    made = make_key(label=label, models=models, verbs=verbs, lifetime=_days(days), now=now)
    with held(access_folder(home)):
        keys = load_keys(home) or ()
        if _valid(keys, label, now):
            message = f"The label {label} has a valid key already. `twinscore keys rotate {label}` makes its successor."
            raise StoreConflict(message, label=label)
        save_keys(home, [*keys, made.key])
    return made


def rotate_key(home: Path, label: str, *, days: float, grace_days: float, now: datetime) -> NewKey:
    """Make the successor of a label's key, and let the old one expire after the grace.

    Raises:
        SettingsInvalid: the label has no valid key, or the days are not possible.
        StoreConflict: two keys of the label are valid already.
    """
    lifetime, grace = _days(days), timedelta(days=grace_days)
    if not timedelta(0) <= grace <= lifetime:
        message = f"The grace must be 0 to {days:g} days, got {grace_days:g}."
        raise SettingsInvalid(message, grace_days=grace_days)
    with held(access_folder(home)):
        keys = load_keys(home) or ()
        valid = _valid(keys, label, now)
        if not valid or label == LOCAL:
            labels = {key.label for key in keys if key.state(now) == "valid" and key.label != LOCAL}
            message = f"There is no valid key labelled {label!r}. {near(label, labels)}"
            raise SettingsInvalid(message, label=label)
        if len(valid) > 1:
            message = (
                f"The label {label} has two valid keys, {valid[0].id} and {valid[1].id}. "
                f"Revoke one, or wait until {min(key.expires for key in valid):%Y-%m-%d %H:%M} UTC."
            )
            raise StoreConflict(message, label=label)
        old = valid[0]
        made = make_key(label=label, models=old.models, verbs=old.verbs, lifetime=lifetime, now=now)
        ending = msgspec.structs.replace(old, expires=min(old.expires, _whole(now + grace)))
        save_keys(home, [*(ending if key.id == old.id else key for key in keys), made.key])
    return made


def revoke_key(home: Path, key_id: str, *, now: datetime) -> Key:
    """Revoke a key, from now on and for good; a second time changes nothing.

    Raises:
        SettingsInvalid: there is no key of that id.
    """
    with held(access_folder(home)):
        keys = load_keys(home) or ()
        old = next((key for key in keys if key.id == key_id), None)
        if old is None:
            # A whole key typed by mistake must not be shown again.
            message = f"There is no key of that id. {near(key_id[:_ID_CHARS], {key.id for key in keys})}"
            raise SettingsInvalid(message)
        if old.revoked is not None:
            return old
        gone = msgspec.structs.replace(old, revoked=_whole(now))
        save_keys(home, [gone if key.id == key_id else key for key in keys])
    return gone


def make_key(*, label: str, models: Sequence[str], verbs: Sequence[str], lifetime: timedelta, now: datetime) -> NewKey:
    """Return a new key that is kept nowhere yet.

    Raises:
        SettingsInvalid: models or verbs are not possible.
    """
    unknown = sorted(set(verbs) - set(ALL_VERBS))
    if unknown or not verbs:
        message = f"A key needs verbs of {', '.join(ALL_VERBS)}, got {', '.join(map(repr, unknown)) or 'none'}."
        raise SettingsInvalid(message, verbs=list(verbs))
    if not models or any(not name.strip() or ("*" in name and name != "*") for name in models):
        message = f"A key needs names of models, or `*` for every one, got {list(models)!r}."
        raise SettingsInvalid(message, models=list(models))
    key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_CHARS))
    secret = secrets.token_urlsafe(32)
    key = Key(
        id=key_id,
        label=label,
        sha256=hashlib.sha256(secret.encode()).hexdigest(),
        models="*" if "*" in models else tuple(sorted(set(models))),
        verbs=tuple(verb for verb in ALL_VERBS if verb in verbs),
        created=_whole(now),
        expires=_whole(now + lifetime),
    )
    return NewKey(key, f"{PREFIX}{key_id}_{secret}")


def _valid(keys: Sequence[Key], label: str, now: datetime) -> list[Key]:
    return [key for key in keys if key.label == label and key.state(now) == "valid"]


def _days(days: float) -> timedelta:
    if not 0 < days <= MAX_DAYS:
        message = f"A key is good for more than 0 and at most {MAX_DAYS} days, got {days:g}."
        raise SettingsInvalid(message, days=days)
    return timedelta(days=days)


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
