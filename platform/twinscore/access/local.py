"""The key of this machine's own commands, so that `twinscore parity` works on a stack that asks for keys.

It lies in `<home>/access/local-key`, readable by the owner of the home alone, who could make any key anyway. It is made
when it is first needed, good for hours, and then replaced.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from twinscore.access.files import MAY_READ, access_folder, held, read_guarded, write_private
from twinscore.access.grant import ALL_VERBS
from twinscore.access.issuers import issuers_path
from twinscore.access.keys import LOCAL, PREFIX, Key, load_keys, make_key, save_keys

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["LIFETIME", "local_key", "local_key_path"]

LIFETIME = timedelta(hours=12)
"""How long a local key is good."""
_LEFT = timedelta(hours=1)
"""Less left than this, and the next command makes another one."""


def local_key_path(home: Path) -> Path:
    """Return the place of the local key."""
    return access_folder(home) / "local-key"


def local_key(home: Path, *, now: datetime) -> str | None:
    """Return a key for every model and verb of this home's stack; None where no key is asked for.

    Raises:
        SettingsInvalid: the keys file or the local key is broken, or open to others.
        StoreUnavailable: the file system refuses.
    """
    if load_keys(home) is None and not issuers_path(home).exists():
        return None
    with held(access_folder(home)):
        keys = load_keys(home) or ()
        text = _kept(local_key_path(home))
        if text is not None and _good(text, keys, now):
            return text
        made = make_key(label=LOCAL, models=["*"], verbs=ALL_VERBS, lifetime=LIFETIME, now=now)
        # A command that is under way goes on with the key before; what has expired is of no use to anybody.
        others = [key for key in keys if key.label != LOCAL or key.state(now) == "valid"]
        save_keys(home, [*others, made.key])
        write_private(local_key_path(home), made.text.encode(), mode=0o400)
    return made.text


def _kept(path: Path) -> str | None:
    try:
        return read_guarded(path, MAY_READ).decode("ascii", errors="replace").strip()
    except FileNotFoundError:
        return None


def _good(text: str, keys: Sequence[Key], now: datetime) -> bool:
    """Tell whether a key is in the keys file and good for a while."""
    parts = text.removeprefix(PREFIX).split("_", 1)
    key = next((key for key in keys if key.id == parts[0] and key.state(now) == "valid"), None)
    if key is None or len(parts) != 2:
        return False
    right = hashlib.sha256(parts[1].encode()).hexdigest() == key.sha256
    return right and set(key.verbs) == set(ALL_VERBS) and key.expires - now > _LEFT
