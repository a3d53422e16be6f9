"""Loops compiled by numba: links, decisions, texts, and how all loops are compiled; imported only with a model.

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

__all__ = ["compiled", "decide", "exponential", "log_odds", "logarithm", "logistic", "softmax", "spell"]

ONE = np.float32(1.0)
# XGBoost's Sigmoid caps the exponent so that float32 does not overflow, and adds a hair against a zero divisor.
LARGEST = np.float32(88.7)
HAIR = np.float32(1e-16)
WHOLE = 1.0


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


@compiled
def decide(
    shares: Any, threshold: Any, least: Any, decided: Any, shown: Any, doubt: Any, ends: Any, members: Any
) -> None:
    """Say of each row which class it is, how sure that is, and which classes cannot be ruled out.

    Args:
        shares: float64 (n, n_classes), or (n, 1) of the second of two.
        threshold: from which share on a row of two classes is of the second.
        least: share that a class of the set has at least; NaN makes no sets.
        decided: int32 (n,), shown and doubt: float64 (n,), out: the class, its share (of two the second's), and 1 - the
            largest share.
        ends: int32 (n + 1,), members: int32 (n * n_classes + 1,), out: where each row's set ends, and the classes.
    """
    n_columns = shares.shape[1]
    n_classes = max(n_columns, 2)
    at = 0
    ends[0] = 0
    for i in range(shares.shape[0]):
        share = largest = WHOLE - shares[i, 0] if n_columns == 1 else shares[i, 0]
        best = 0
        for k in range(n_classes):
            if k:
                share = shares[i, k - (n_classes - n_columns)]
                if share > largest or (share != share and largest == largest):  # as numpy's max has it
                    largest, best = share, k
            members[at] = k
            at += np.int64(share >= least)
        shown[i], decided[i] = largest, best
        if n_classes == 2:
            shown[i], decided[i] = share, np.int64(share >= threshold)
        doubt[i] = WHOLE - largest
        ends[i + 1] = at
