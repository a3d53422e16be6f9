"""The walks through a forest, compiled by numba: for one row (see `forest`) and for many (see `bulk`).

They share one file because numba keys its cache by file: code that is inlined from another one would go stale there.
"""

# mypy: disable-error-code="untyped-decorator,assignment,no-untyped-call,call-arg"
# numba has no types, and its integers are not Python's.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from twinscore.scoring.kernels import compiled

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BLOCK", "LEVELS", "add_trees", "walk", "walk_each"]

BLOCK = 64
"""Rows whose features are laid side by side: the bits of one word."""
LEVELS = 8
"""Levels of a tree that are evaluated for a whole block; what lies below is walked."""

BEYOND = np.float32(2**30)
USUAL_LEVELS = 6
"""XGBoost's own depth unless a training says otherwise: the loops over a tree of so many levels are written out."""


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


def _comparing(compare: str) -> Callable[..., Any]:
    """Return a loop-free comparison of a block's row with a threshold, of which numba itself makes no vector code."""

    def typed(_: Any, block: Any, row: Any, threshold: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            wide, one = ir.VectorType(ir.FloatType(), BLOCK), ir.VectorType(ir.FloatType(), 1)
            first = builder.gep(data, [builder.mul(arguments[1], ir.Constant(arguments[1].type, BLOCK))])
            values = builder.load(builder.bitcast(first, wide.as_pointer()))
            values.align = 4
            every = ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [0] * BLOCK)
            limit = builder.bitcast(arguments[2], one)
            limits = builder.shuffle_vector(limit, ir.Constant(one, ir.Undefined), every)
            return builder.bitcast(getattr(builder, compare)(">=", values, limits), ir.IntType(BLOCK))

        return types.uint64(block, types.int64, types.float32), generate

    return typed


# block (n_used, BLOCK) float32, row int64, threshold float32 -> uint64: bit i says whether block[row, i] is at least
# the threshold, and of a missing value no in the first and yes in the second.
_at_least: Any = intrinsic(_comparing("fcmp_ordered"))
_not_below: Any = intrinsic(_comparing("fcmp_unordered"))


def _spelling(_: Any, turns: Any, exits: Any) -> Any:
    """Turn bits by level into numbers by row: exits[i] = sum of (bit i of turns[level]) << level.

    turns: (LEVELS,) uint64; exits: (BLOCK,) uint8, out.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words, out = [
            context.make_array(kind)(context, builder, value).data
            for kind, value in zip(signature.args, arguments, strict=True)
        ]
        wide, bits = ir.VectorType(ir.IntType(8), BLOCK), ir.VectorType(ir.IntType(1), BLOCK)
        total = nothing = ir.Constant(wide, [0] * BLOCK)
        for level in range(LEVELS):
            word = builder.load(builder.gep(words, [ir.Constant(ir.IntType(64), level)]))
            value = ir.Constant(wide, [1 << level] * BLOCK)
            total = builder.or_(total, builder.select(builder.bitcast(word, bits), value, nothing))
        builder.store(total, builder.bitcast(out, wide.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(turns, exits), generate


_spell: Any = intrinsic(_spelling)


@compiled
def _lay(rows: Any, start: Any, size: Any, used: Any, block: Any) -> None:
    """Lay the used features of some rows side by side: block[k, i] = rows[start + i, used[k]]."""
    for k in range(used.size):
        feature = used[k]
        for i in range(size):
            block[k, i] = rows[start + i, feature]


@compiled
def _lay_codes(rows: Any, start: Any, size: Any, coded: Any, first: Any, holders: Any) -> None:
    """Note for each category which rows hold it, and behind a feature's categories which rows miss it.

    A value that is in no set, such as a negative one or one beyond all categories, is noted nowhere.
    """
    holders[:] = 0
    for k in range(coded.size):
        feature = coded[k]
        missing = first[k + 1] - 1
        for i in range(size):
            value = rows[start + i, feature]
            place = np.int64(-1)
            if value != value:
                place = missing
            elif value >= 0 and value < BEYOND:
                place = first[k] + np.int64(value)
                if place >= missing:
                    place = np.int64(-1)
            if place >= 0:
                holders[place] |= np.uint64(1) << np.uint64(i)


@compiled
def _turn(met: Any, of_tree: Any, levels: Any, turns: Any, kept: Any) -> None:
    """Find for a block of rows where each turns at each level of a tree.

    A level has one condition per node; the turns above pick, half by half, the one of the node that a row comes to.

    Args:
        met: (n_conditions,) uint64, which rows meet each condition.
        of_tree: (2**LEVELS - 1,) the tree's conditions, level by level from left to right.
        levels: how many to look at.
        turns: (LEVELS,) uint64, out: which rows turn right.
        kept: (2**LEVELS / 4,) uint64, to work in.
    """
    turns[0] = met[of_tree[0]]
    turns[levels:] = 0
    for level in range(1, levels):
        half = 1 << (level - 1)
        left, right, above = 2 * half - 1, 3 * half - 1, turns[0]
        for j in range(half):
            a = met[of_tree[left + j]]
            kept[j] = a ^ ((a ^ met[of_tree[right + j]]) & above)
        for up in range(1, level):
            half >>= 1
            above = turns[up]
            for j in range(half):
                kept[j] ^= (kept[j] ^ kept[j + half]) & above
        turns[level] = kept[0]


@compiled
def add_trees(
    rows: Any, margins: Any, tests: Any, set_tests: Any, tree_tests: Any, levels: Any, exits: Any, leaves: Any,
    below: Any, outputs: Any, forest: Any, sets: Any,
) -> None:  # fmt: skip
    """Add every tree's leaf to the margins of many rows, in the order of the trees.

    Args:
        rows: (n_rows, n_features) float32, NaN for missing.
        margins: (n_rows, n_outputs) float32, holding the base margins; changed in place.
        tests: features with numeric conditions (n_used,) int64; of each condition the place in them int64 and the
            threshold float32, (n_numeric,); and how many come first that a missing value does not meet.
        set_tests: features with sets (n_coded,) int64; where the categories of each begin among all, (n_coded + 1,)
            int64, the last of each meaning "missing"; what each set holds of them, one set behind the other, int32,
            and where each begins, (n_sets + 1,) int64.
        tree_tests: (n_trees, 2**LEVELS - 1) int32, conditions as `_turn` wants them: numeric ones, then sets.
        levels: (n_trees,) int64, how many of them the tree has.
        exits: (n_trees, 2**LEVELS) int32, where each exit stands in the flat forest; leaves: its float32 value.
        below: (n_trees,) int64, steps from the exits to the deepest leaf.
        outputs, forest, sets: as for `walk`.
    """
    values = forest.view(np.float32)
    used, places, thresholds, n_ordered = tests
    coded, first, members, spans = set_tests
    n_numeric, n_sets = places.size, spans.size - 1
    block = np.zeros((used.size, BLOCK), np.float32)
    holders = np.zeros(first[-1], np.uint64)
    met = np.zeros(n_numeric + n_sets + 1, np.uint64)
    turns, kept = np.zeros(LEVELS, np.uint64), np.zeros(1 << (LEVELS - 2), np.uint64)
    at = np.zeros(BLOCK, np.uint8)
    sums = np.zeros((margins.shape[1], BLOCK), np.float32)
    for start in range(0, rows.shape[0], BLOCK):
        size = min(BLOCK, rows.shape[0] - start)
        _lay(rows, start, size, used, block)
        for k in range(n_ordered):
            met[k] = _at_least(block, places[k], thresholds[k])
        for k in range(n_ordered, n_numeric):
            met[k] = _not_below(block, places[k], thresholds[k])
        if n_sets:
            _lay_codes(rows, start, size, coded, first, holders)
            for k in range(n_sets):
                inside = np.uint64(0)
                for member in range(spans[k], spans[k + 1]):
                    inside |= holders[members[member]]
                met[n_numeric + k] = inside
        for output in range(margins.shape[1]):
            for i in range(size):
                sums[output, i] = margins[start + i, output]
        for tree in range(outputs.size):
            if levels[tree] == USUAL_LEVELS:
                _turn(met, tree_tests[tree], USUAL_LEVELS, turns, kept)
            else:
                _turn(met, tree_tests[tree], levels[tree], turns, kept)
            _spell(turns, at)
            output = outputs[tree]
            if below[tree] == 0:
                of_tree = leaves[tree]
                for i in range(BLOCK):
                    sums[output, i] += of_tree[at[i]]
            else:
                for i in range(size):
                    place = exits[tree, at[i]]
                    for _ in range(below[tree]):
                        place = _step(forest, values, sets, rows[start + i], place)
                    sums[output, i] += values[place + 3]
        for output in range(margins.shape[1]):
            for i in range(size):
                margins[start + i, output] = sums[output, i]
