"""Loops compiled by numba: the forest walk and the links; imported only when a model is loaded.

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

__all__ = ["exponential", "log_odds", "logarithm", "logistic", "softmax", "walk", "walk_numbers"]

ONE = np.float32(1.0)
# XGBoost's Sigmoid caps the exponent so that float32 does not overflow, and adds a hair against a zero divisor.
LARGEST = np.float32(88.7)
HAIR = np.float32(1e-16)


def _compile(function: Any) -> Any:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder that it may write to
        return numba.njit(**options)(function)


@_compile
def _next(forest: Any, values: Any, row: Any, place: Any) -> Any:
    """Return where the walk goes from a numeric node; a leaf leads to itself. No branch: half of them would miss."""
    code = forest[place]
    value = row[code >> 2]
    missing_right = np.int32(value != value) & (((code >> 1) & 1) ^ 1)
    return forest[place + 2] + 4 * (np.int32(value >= values[place + 1]) | missing_right)


@_compile
def _next_of_any(forest: Any, values: Any, row: Any, place: Any) -> Any:
    """Return where the walk goes from a numeric or a categorical node; a category in the node's set goes right."""
    code = forest[place]
    if code & 1 == 0:
        return _next(forest, values, row, place)
    value = row[code >> 2]
    if value != value:
        return forest[place + 2] + 4 * (((code >> 1) & 1) ^ 1)
    start = forest[place + 1]
    right = 0
    if value >= 0 and value < 32 * forest[start]:
        number = np.int64(value)
        right = (forest[start + 1 + (number >> 5)] >> (number & 31)) & 1
    return forest[place + 2] + 4 * right


@_compile
def walk_numbers(forest: Any, roots: Any, depths: Any, outputs: Any, row: Any, margins: Any) -> None:
    """Add every tree's leaf for one row to its margin; no node is categorical. See `walk`."""
    values = forest.view(np.float32)
    for group in range(depths.size):
        tree = 4 * group
        a, b, c, d = roots[tree], roots[tree + 1], roots[tree + 2], roots[tree + 3]
        for _ in range(depths[group]):
            a = _next(forest, values, row, a)
            b = _next(forest, values, row, b)
            c = _next(forest, values, row, c)
            d = _next(forest, values, row, d)
        _add(values, outputs, tree, margins, a, b, c, d)


@_compile
def walk(forest: Any, roots: Any, depths: Any, outputs: Any, row: Any, margins: Any) -> None:
    """Add every tree's leaf for one row to its margin, in the order of the trees.

    Args:
        forest: int32, nodes and sets as `forest` lays them out.
        roots: (n_trees rounded up to 4,) where each tree stands.
        depths: (n_groups,) steps to the deepest leaf of each four trees.
        outputs: (n_trees,) which margin each tree adds to.
        row: (n_features,) float32, NaN for missing.
        margins: (n_outputs,) float32, holding the base margins; changed in place.
    """
    values = forest.view(np.float32)
    for group in range(depths.size):
        tree = 4 * group
        a, b, c, d = roots[tree], roots[tree + 1], roots[tree + 2], roots[tree + 3]
        for _ in range(depths[group]):
            a = _next_of_any(forest, values, row, a)
            b = _next_of_any(forest, values, row, b)
            c = _next_of_any(forest, values, row, c)
            d = _next_of_any(forest, values, row, d)
        _add(values, outputs, tree, margins, a, b, c, d)


@_compile
def _add(values: Any, outputs: Any, tree: Any, margins: Any, a: Any, b: Any, c: Any, d: Any) -> None:
    """Add the leaves of four trees, one after the other; the last group may have fewer."""
    margins[outputs[tree]] += values[a + 3]
    if tree + 1 < outputs.size:
        margins[outputs[tree + 1]] += values[b + 3]
    if tree + 2 < outputs.size:
        margins[outputs[tree + 2]] += values[c + 3]
    if tree + 3 < outputs.size:
        margins[outputs[tree + 3]] += values[d + 3]


@_compile
def log_odds(shares: Any, out: Any) -> None:
    """-log(1 / p - 1), float32 (n,): the margin of a base probability."""
    for i in range(shares.size):
        out[i] = -np.float32(math.log(ONE / shares[i] - ONE))


@_compile
def logarithm(values: Any, out: Any) -> None:
    """log(x), float32 (n,): the margin of a base mean."""
    for i in range(values.size):
        out[i] = np.float32(math.log(values[i]))


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
