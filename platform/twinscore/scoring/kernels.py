"""Loops compiled by numba: the links, and how all loops are compiled; imported only when a model is loaded.

All arithmetic is float32 in XGBoost's own order, so that the bits agree with the booster's; no fast-math. The compiled
code is cached beside this file, else in the user's cache folder, or in NUMBA_CACHE_DIR; without a place it is compiled
anew in every process.
"""

# mypy: disable-error-code="untyped-decorator,assignment"
# numba has no types, and its integers are not Python's.

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

__all__ = ["compiled", "exponential", "log_odds", "logarithm", "logistic", "softmax", "spell"]

ONE = np.float32(1.0)
# XGBoost's Sigmoid caps the exponent so that float32 does not overflow, and adds a hair against a zero divisor.
LARGEST = np.float32(88.7)
HAIR = np.float32(1e-16)


def compiled(function: Any) -> Any:
    """Compile a loop for the types it is called with, without the interpreter's lock, and keep the code on disk."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder that it may write to
        return numba.njit(**options)(function)


@compiled
def log_odds(shares: Any, out: Any) -> None:
    """-log(1 / p - 1), float32 (n,): the margin of a base probability."""
    for i in range(shares.size):
        out[i] = -np.float32(math.log(ONE / shares[i] - ONE))


@compiled
def logarithm(values: Any, out: Any) -> None:
    """log(x), float32 (n,): the margin of a base mean."""
    for i in range(values.size):
        out[i] = np.float32(math.log(values[i]))


@compiled
def logistic(margins: Any, out: Any) -> None:
    """1 / (1 + e**-x), float32 (n,)."""
    for i in range(margins.size):
        x = -margins[i]
        x = min(x, LARGEST)
        out[i] = ONE / (np.float32(math.exp(x)) + ONE + HAIR)


@compiled
def exponential(margins: Any, out: Any) -> None:
    """e**x, float32 (n,)."""
    for i in range(margins.size):
        out[i] = np.float32(math.exp(margins[i]))


@compiled
def softmax(margins: Any, out: Any) -> None:
    """Shares per row, float32 (n, n_classes); summed in float64 as XGBoost does."""
    for i in range(margins.shape[0]):
        largest = margins[i, 0]
        for k in range(1, margins.shape[1]):
            largest = max(largest, margins[i, k])
        total = 0.0
        for k in range(margins.shape[1]):
            out[i, k] = np.float32(math.exp(margins[i, k] - largest))
            total += out[i, k]
        for k in range(margins.shape[1]):
            out[i, k] = out[i, k] / np.float32(total)


@compiled
def spell(places: Any, text: Any, word_ends: Any, out: Any, ends: Any, valid: Any) -> None:
    """Write words one behind the other, as an Arrow column of text has them.

    Args:
        places: int8 or wider (n,), which word each row says; negative for none.
        text: uint8, the words one behind the other; word_ends: int32 (n_words + 1,) from 0.
        out: uint8, long enough for n of the longest word; ends: int32 (n + 1,); both out.
        valid: uint8 (n / 8 rounded up,), zero before; a bit is set for each row that says a word.
    """
    at = 0
    ends[0] = 0
    for i in range(places.size):
        place = places[i]
        if place >= 0:
            for k in range(word_ends[place], word_ends[place + 1]):
                out[at] = text[k]
                at += 1
            valid[i >> 3] |= np.uint8(1 << (i & 7))
        ends[i + 1] = at
