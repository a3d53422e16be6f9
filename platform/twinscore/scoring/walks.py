"""The walks through a forest, compiled by numba: for one row (see `forest`) and for many (see `bulk`).

They share one file because numba keys its cache by file: code that is inlined from another one would go stale there.
"""

# mypy: disable-error-code="untyped-decorator,assignment,no-untyped-call,call-arg"
# numba has no types, and its integers are not Python's.

from __future__ import annotations

from typing import Any

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros

from twinscore.scoring.kernels import compiled

__all__ = ["BLOCK", "add_trees", "walk", "walk_each"]

BLOCK = 128
"""Rows whose features are laid side by side; a constant, so that the inner loops become vector code."""
_NO_WORD = -2
"""The word of a value that is in no set: a negative one, or one beyond all categories."""

ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
BEYOND = np.float32(2**30)


@compiled
def _next(forest: Any, values: Any, row: Any, place: Any) -> Any:
    """Return where the walk goes from a numeric node; a leaf leads to itself. No branch: half of them would miss."""
    code = forest[place]
    value = row[code >> 2]
    missing_right = np.int32(value != value) & (((code >> 1) & 1) ^ 1)
    return forest[place + 2] + 4 * (np.int32(value >= values[place + 1]) | missing_right)


@compiled
def _next_of_any(forest: Any, values: Any, row: Any, place: Any) -> Any:
    """Return where the walk goes from a numeric or a categorical node; a category in the node's set goes right.

    There is one way out: with several, numba counts references to the arrays at every node, nine tenths of the time.
    """
    code = forest[place]
    value = row[code >> 2]
    missing_right = np.int32(value != value) & (((code >> 1) & 1) ^ 1)
    right = np.int32(value >= values[place + 1])
    if code & 1:
        start = forest[place + 1]
        right = np.int32(0)
        if value >= 0 and value < 32 * forest[start]:
            number = np.int64(value)
            right = np.int32((forest[start + 1 + (number >> 5)] >> (number & 31)) & 1)
    return forest[place + 2] + 4 * (right | missing_right)


@compiled
def _step(forest: Any, values: Any, sets: Any, row: Any, place: Any) -> Any:
    """Return where the walk goes from a node. Without sets (None) numba leaves the test for them out."""
    if sets is None:
        return _next(forest, values, row, place)
    return _next_of_any(forest, values, row, place)


@compiled
def walk(forest: Any, sets: Any, roots: Any, depths: Any, outputs: Any, row: Any, margins: Any) -> None:
    """Add every tree's leaf for one row to its margin, in the order of the trees.

    Args:
        forest: int32, nodes and sets as `forest` lays them out.
        sets: the same array, or None where no node is categorical.
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
            a = _step(forest, values, sets, row, a)
            b = _step(forest, values, sets, row, b)
            c = _step(forest, values, sets, row, c)
            d = _step(forest, values, sets, row, d)
        _add(values, outputs, tree, margins, a, b, c, d)


@compiled
def walk_each(forest: Any, sets: Any, roots: Any, depths: Any, outputs: Any, rows: Any, margins: Any) -> None:
    """Walk some rows, one after the other: (n_rows, n_features) and (n_rows, n_outputs). See `walk`."""
    for i in range(rows.shape[0]):
        walk(forest, sets, roots, depths, outputs, rows[i], margins[i])


@compiled
def _add(values: Any, outputs: Any, tree: Any, margins: Any, a: Any, b: Any, c: Any, d: Any) -> None:
    """Add the leaves of four trees, one after the other; the last group may have fewer."""
    margins[outputs[tree]] += values[a + 3]
    if tree + 1 < outputs.size:
        margins[outputs[tree + 1]] += values[b + 3]
    if tree + 2 < outputs.size:
        margins[outputs[tree + 2]] += values[c + 3]
    if tree + 3 < outputs.size:
        margins[outputs[tree + 3]] += values[d + 3]


@compiled
def _lay(rows: Any, start: Any, size: Any, used: Any, block: Any) -> None:
    """Lay the used features of some rows side by side: block[k, i] = rows[start + i, used[k]]."""
    for k in range(used.size):
        feature = used[k]
        for i in range(size):
            block[k, i] = rows[start + i, feature]


@compiled
def _lay_codes(rows: Any, start: Any, size: Any, coded: Any, word: Any, bit: Any) -> None:
    """Lay out, for categorical features, which word of a set holds a row's category, and the bit in it.

    A missing value is bit 31 of word -1, so that "missing goes right" is one more word of the set.
    """
    for k in range(coded.size):
        feature = coded[k]
        for i in range(size):
            value = rows[start + i, feature]
            if value != value:
                word[k, i] = -1
                bit[k, i] = np.uint32(1) << np.uint32(31)
            elif value >= 0 and value < BEYOND:
                code = np.int64(value)
                word[k, i] = code >> 5
                bit[k, i] = np.uint32(1) << np.uint32(code & 31)
            else:
                word[k, i] = _NO_WORD
                bit[k, i] = np.uint32(0)


@compiled
def _at_least(block: Any, rows_of: Any, thresholds: Any, keep: Any, first: Any, last: Any, left: Any) -> None:
    """Strike out exits by conditions under which a missing value goes left: four of them per pass over the rows."""
    for k in range(first, last, 4):
        a, b, c, d = block[rows_of[k]], block[rows_of[k + 1]], block[rows_of[k + 2]], block[rows_of[k + 3]]
        at_a, at_b, at_c, at_d = thresholds[k], thresholds[k + 1], thresholds[k + 2], thresholds[k + 3]
        keep_a, keep_b, keep_c, keep_d = keep[k], keep[k + 1], keep[k + 2], keep[k + 3]
        for i in range(BLOCK):
            of_a = keep_a if a[i] >= at_a else ALL
            of_b = keep_b if b[i] >= at_b else ALL
            of_c = keep_c if c[i] >= at_c else ALL
            of_d = keep_d if d[i] >= at_d else ALL
            left[i] &= (of_a & of_b) & (of_c & of_d)


@compiled
def _not_below(block: Any, rows_of: Any, thresholds: Any, keep: Any, first: Any, last: Any, left: Any) -> None:
    """Do as `_at_least` for conditions under which a missing value goes right."""
    for k in range(first, last, 4):
        a, b, c, d = block[rows_of[k]], block[rows_of[k + 1]], block[rows_of[k + 2]], block[rows_of[k + 3]]
        at_a, at_b, at_c, at_d = thresholds[k], thresholds[k + 1], thresholds[k + 2], thresholds[k + 3]
        keep_a, keep_b, keep_c, keep_d = keep[k], keep[k + 1], keep[k + 2], keep[k + 3]
        for i in range(BLOCK):
            of_a = ALL if a[i] < at_a else keep_a
            of_b = ALL if b[i] < at_b else keep_b
            of_c = ALL if c[i] < at_c else keep_c
            of_d = ALL if d[i] < at_d else keep_d
            left[i] &= (of_a & of_b) & (of_c & of_d)


@compiled
def _in_set(
    word: Any, bit: Any, rows_of: Any, numbers: Any, words: Any, keep: Any, first: Any, last: Any, left: Any
) -> None:
    """Strike out exits by one word of a set of categories at a time."""
    for k in range(first, last):
        of_word, of_bit = word[rows_of[k]], bit[rows_of[k]]
        number, chosen, kept = numbers[k], words[k], keep[k]
        for i in range(BLOCK):
            inside = (of_word[i] == number) & ((of_bit[i] & chosen) != 0)
            left[i] &= kept if inside else ALL


@compiled
def add_trees(
    rows: Any,
    margins: Any,
    used: Any,
    coded: Any,
    tests: Any,
    set_tests: Any,
    spans: Any,
    exits: Any,
    below: Any,
    outputs: Any,
    forest: Any,
    sets: Any,
) -> None:
    """Add every tree's leaf to the margins of many rows, in the order of the trees.

    Args:
        rows: (n_rows, n_features) float32, NaN for missing.
        margins: (n_rows, n_outputs) float32, holding the base margins; changed in place.
        used: features with numeric conditions; coded: features with sets.
        tests: numeric conditions: place in `used` int32, threshold float32, exits to keep uint64; each (n,).
        set_tests: words of sets: place in `coded` int32, number of the word int32, word uint32, exits to keep uint64.
        spans: (n_trees, 5) int64: conditions where missing goes left [0:1], right [1:2]; words of sets [3:4].
        exits: (n_trees, 64) int32, where each exit stands in the flat forest.
        below: (n_trees,) int64, steps from the exits to the deepest leaf.
        outputs, forest, sets: as for `walk`.
    """
    values = forest.view(np.float32)
    rows_of, thresholds, keep = tests
    set_rows, numbers, words, set_keep = set_tests
    block = np.zeros((used.size, BLOCK), np.float32)
    word = np.zeros((coded.size, BLOCK), np.int32)
    bit = np.zeros((coded.size, BLOCK), np.uint32)
    left = np.empty(BLOCK, np.uint64)
    at = np.empty(BLOCK, np.int32)
    for start in range(0, rows.shape[0], BLOCK):
        size = min(BLOCK, rows.shape[0] - start)
        _lay(rows, start, size, used, block)
        _lay_codes(rows, start, size, coded, word, bit)
        for tree in range(outputs.size):
            for i in range(BLOCK):
                left[i] = ALL
            _at_least(block, rows_of, thresholds, keep, spans[tree, 0], spans[tree, 1], left)
            _not_below(block, rows_of, thresholds, keep, spans[tree, 1], spans[tree, 2], left)
            _in_set(word, bit, set_rows, numbers, words, set_keep, spans[tree, 3], spans[tree, 4], left)
            of_tree = exits[tree]
            for i in range(size):
                at[i] = of_tree[trailing_zeros(left[i])]
            for _ in range(below[tree]):
                for i in range(size):
                    at[i] = _step(forest, values, sets, rows[start + i], at[i])
            output = outputs[tree]
            for i in range(size):
                margins[start + i, output] += values[at[i] + 3]
