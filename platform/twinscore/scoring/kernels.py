"""Loops compiled by numba: the forest walk and the links; imported only when a model is loaded.

All arithmetic is float32 in XGBoost's own order, so that the bits agree with the booster's; no fast-math. The compiled
code is cached beside this file, or in NUMBA_CACHE_DIR where that is not writable.
"""

# mypy: disable-error-code="untyped-decorator,assignment"
# numba has no types, and its integers are not Python's.

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

__all__ = ["exponential", "logistic", "softmax", "walk"]

ONE = np.float32(1.0)
# XGBoost's Sigmoid caps the exponent so that float32 does not overflow, and adds a hair against a zero divisor.
LARGEST = np.float32(88.7)
HAIR = np.float32(1e-16)

_compile: Any = numba.njit(cache=True, nogil=True, error_model="numpy")


@_compile
def walk(nodes: Any, roots: Any, outputs: Any, words: Any, row: Any, margins: Any) -> None:
    """Add every tree's leaf for one row to its margin.

    Args:
        nodes: (n_nodes,) records of feature, value, left, cats, n_words; see `forest.NODE`.
        roots: (n_trees,) node numbers.
        outputs: (n_trees,) which margin each tree adds to.
        words: (n_words,) bit sets of categories that go right.
        row: (n_features,) float32, NaN for missing.
        margins: (n_outputs,) float32, holding the base margins; changed in place.
    """
    for tree in range(roots.size):
        node = roots[tree]
        while nodes[node].feature >= 0:
            value = row[nodes[node].feature]
            left = nodes[node].left >> 1
            if np.isnan(value):
                node = left + 1 - (nodes[node].left & 1)
            elif nodes[node].n_words < 0:
                node = left if value < nodes[node].value else left + 1
            else:
                code = int(value)
                word = code >> 5
                right = 0
                if value >= 0 and word < nodes[node].n_words:
                    # In int64: numba would mix signed and unsigned to a float.
                    right = (np.int64(words[nodes[node].cats + word]) >> (code & 31)) & 1
                node = left + right
        margins[outputs[tree]] += nodes[node].value


@_compile
def logistic(margins: Any, out: Any) -> None:
    """1 / (1 + e**-x), float32 (n,)."""
    for i in range(margins.size):
        x = -margins[i]
        x = min(x, LARGEST)
        out[i] = ONE / (np.float32(math.exp(x)) + ONE + HAIR)


@_compile
def exponential(margins: Any, out: Any) -> None:
    """e**x, float32 (n,)."""
    for i in range(margins.size):
        out[i] = np.float32(math.exp(margins[i]))


@_compile
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
