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

__all__ = ["compiled", "exponential", "log_odds", "logarithm", "logistic", "softmax"]

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
