"""Requests by which the platform checks itself, told from traffic by their id; knows no HTTP.

An id carries a keyed hash of itself under the salt of the audit log, so nobody without the salt can keep requests out
of what is counted as traffic by naming them so.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["are_checks", "check_id", "checks_between", "is_check"]

_PREFIX = "parity-"
_WORD = 8


def check_id(salt: bytes) -> str:
    """Return an id for one more request that checks."""
    word = secrets.token_hex(_WORD)
    return f"{_PREFIX}{word}-{_mark(word, salt)}"


def is_check(request_id: str, salt: bytes) -> bool:
    """Tell whether `check_id` made an id with this salt.

    >>> is_check(check_id(b"salt"), b"salt"), is_check(check_id(b"other"), b"salt"), is_check("order-17", b"salt")
    (True, False, False)
    """
    if not request_id.startswith(_PREFIX):
        return False
    word, _, mark = request_id.removeprefix(_PREFIX).partition("-")
    return hmac.compare_digest(mark.encode(), _mark(word, salt).encode())


def are_checks(request_ids: pa.ChunkedArray, salt: bytes) -> NDArray[np.bool_]:
    """Tell which ids are of checks: (n_rows,)."""
    found = np.zeros(len(request_ids), bool)
    named = np.flatnonzero(pc.starts_with(request_ids, _PREFIX).to_numpy(zero_copy_only=False))
    for place in named.tolist():
        found[place] = is_check(request_ids[place].as_py(), salt)
    return found


def checks_between(lowest: str, highest: str) -> bool:
    """Tell whether any id between two, both included, may be of a check.

    >>> checks_between("0198", "01a2"), checks_between("0198", "q-7")
    (False, True)
    """
    return lowest < f"{_PREFIX}\x7f" and highest >= _PREFIX


def _mark(word: str, salt: bytes) -> str:
    return hashlib.blake2b(word.encode(), digest_size=_WORD, key=salt[:64], person=b"parity check").hexdigest()
