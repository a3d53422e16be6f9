"""A booster's trees for many rows at once: a block of 64 rows at a time, without a branch.

Each condition of the forest, and many trees share them, is compared once with the 64 rows of a block in vector code,
and leaves a word of 64 bits: which rows meet it. A tree then picks, level by level, among the words of its conditions
by the words of the levels above, so that a few operations move all the rows of the block through a node. Source of the
bits: Lucchese et al., "QuickScorer", SIGIR 2015, which keeps a word per row and tree; here a word is of many rows.

What lies below the eighth level is walked in the flat forest. Leaves are added per row in the order of the trees, in
float32: the bits are the booster's, and a version is held against it before its first use.
"""

from __future__ import annotations

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from twinscore.errors import BundleInvalid
from twinscore.scoring.forest import WIDTH, FlatForest
from twinscore.scoring.trees import Tree, Trees, levels_below, read_trees

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xgboost

    from twinscore.bundle.files import Bundle

__all__ = ["Bulk", "BulkForest", "booster_margins", "bulk_of"]

Float32 = npt.NDArray[np.float32]

_FEW_ROWS = 8
"""Up to here one row after the other is faster than a block that is mostly empty."""
_ROWS_PER_THREAD = 2048
"""Fewer are not worth a thread."""


class BulkForest:
    """The trees of a `gbtree` booster for many rows; immutable, safe to share between threads.

    Raises:
        BundleInvalid: the booster has a form that `read_trees` refuses.
    """

    def __init__(self, booster: xgboost.Booster | Trees) -> None:
        from twinscore.scoring import walks

        read = booster if isinstance(booster, Trees) else read_trees(booster)
        self.flat = FlatForest(read)
        tops = [_Top.of(tree, walks.LEVELS) for tree in read.trees]
        numeric = sorted({test for top in tops for test in top.numeric.values()})
        sets = sorted({test for top in tops for test in top.sets.values()})
        numbers: dict[tuple[object, ...], int] = {test: number for number, test in enumerate([*numeric, *sets])}
        tree_tests = np.zeros((len(tops), 2**walks.LEVELS - 1), dtype=np.int32)
        exits = np.zeros((len(tops), 2**walks.LEVELS), dtype=np.int32)
        leaves = np.zeros(exits.shape, dtype=np.float32)
        for number, (tree, top) in enumerate(zip(read.trees, tops, strict=True)):
            for place, test in [*top.numeric.items(), *top.sets.items()]:
                tree_tests[number, place] = numbers[test]
            exits[number] = self.flat.starts[number] + WIDTH * top.exits
            leaves[number] = tree.value[top.exits]
        self._tests = _numeric_tests(numeric)
        self._set_tests = _set_tests(sets)
        self._tree_tests, self._exits, self._leaves = tree_tests, exits, leaves
        self._levels = np.array([min(tree.depth, walks.LEVELS) for tree in read.trees], dtype=np.int64)
        self._below = np.array(
            [levels_below(tree.left, np.unique(top.exits)) for tree, top in zip(read.trees, tops, strict=True)],
            dtype=np.int64,
        )
        self._add_trees, self._block = walks.add_trees, walks.BLOCK

    def margins(self, encoded: Float32, *, threads: int = 1) -> Float32:
        """Return the margins of encoded rows, with the bits of `Booster.inplace_predict`.

        Args:
            encoded: C-contiguous float32 (n_rows, n_features), NaN for missing.
            threads: rows are split over so many threads when there are enough of them.

        Returns:
            float32 (n_rows,), or (n_rows, n_classes) for more than one output.
        """
        n_rows, n_outputs = len(encoded), len(self.flat.base)
        margins = np.empty((n_rows, n_outputs), dtype=np.float32)
        margins[:] = self.flat.base
        n_parts = max(min(threads, n_rows // _ROWS_PER_THREAD), 1)
        if n_parts == 1:
            self._add(encoded, margins)
        else:
            ends = np.linspace(0, n_rows, n_parts + 1).astype(int)
            with ThreadPoolExecutor(n_parts) as pool:
                parts = [slice(first, last) for first, last in pairwise(ends)]
                list(pool.map(lambda part: self._add(encoded[part], margins[part]), parts))
        return margins if n_outputs > 1 else margins[:, 0]

    def _add(self, rows: Float32, margins: Float32) -> None:
        flat = self.flat
        rest = len(rows) % self._block
        whole = len(rows) - (rest if rest <= _FEW_ROWS else 0)
        if whole:
            self._add_trees(
                rows[:whole], margins[:whole], self._tests, self._set_tests, self._tree_tests, self._levels,
                self._exits, self._leaves, self._below, flat.outputs, flat.nodes, flat.sets,
            )  # fmt: skip
        if whole < len(rows):
            flat.add_each(rows[whole:], margins[whole:])


@dataclass(frozen=True, slots=True)
class Bulk:
    """How a version's tables are scored.

    Args:
        forest: the flat trees, or None when the booster answers itself.
        mismatch: why it does, or None.
    """

    forest: BulkForest | None
    mismatch: str | None


def bulk_of(bundle: Bundle) -> Bulk:
    """Return the bulk forest of a bundle, made and held against the booster on its golden rows at the first call.

    When one bit differs the forest is set aside, and the booster answers: slower, never different.
    """
    with _LOCK:
        if bundle.booster not in _MADE:
            _MADE[bundle.booster] = _proved(bundle)
        return _MADE[bundle.booster]


def booster_margins(encoded: Float32, bundle: Bundle) -> Float32:
    """Return XGBoost's own margins of encoded rows: float32 (n_rows,) or (n_rows, n_classes)."""
    margins = bundle.booster.inplace_predict(encoded, predict_type="margin", validate_features=False)
    return np.ascontiguousarray(margins, dtype=np.float32)


_MADE: weakref.WeakKeyDictionary[xgboost.Booster, Bulk] = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()


def _proved(bundle: Bundle) -> Bulk:
    try:
        forest = BulkForest(bundle.booster)
    except (BundleInvalid, KeyError, ValueError) as error:
        return Bulk(None, f"no flat form: {error}")
    encoded = bundle.spec.encode(bundle.checker.conform(bundle.golden, source="golden rows"))
    expected = booster_margins(encoded, bundle)
    # Few rows take the single-row walk, so the golden rows are scored often enough to fill whole blocks, too.
    times = -(-256 // len(encoded))
    found = forest.margins(np.tile(encoded, (times, 1)))
    off = np.flatnonzero((found.view(np.int32) != np.concatenate([expected] * times).view(np.int32)).reshape(
        len(encoded) * times, -1).any(axis=1))  # fmt: skip
    if len(off):
        row = off[0] % len(encoded)
        text = (
            f"{len(np.unique(off % len(encoded)))} of {len(encoded)} golden rows differ; row {row}: forest "
            f"{found[off[0]].tolist()}, booster {expected[row].tolist()}"
        )
        return Bulk(None, text)
    return Bulk(forest, None)


@dataclass(frozen=True, slots=True)
class _Top:
    """The upper levels of a tree, as if every node down to the last of them were there.

    Args:
        numeric: conditions by the node's place, level by level from left to right.
        sets: the same for categorical nodes.
        exits: (2**levels,) the node that a row comes to, by its turns: bit k is set when it turns right at level k.
    """

    numeric: dict[int, _Numeric]
    sets: dict[int, _Set]
    exits: npt.NDArray[np.int64]

    @classmethod
    def of(cls, tree: Tree, levels: int) -> _Top:
        """Return the upper `levels` of a tree."""
        numeric: dict[int, _Numeric] = {}
        sets: dict[int, _Set] = {}
        exits = np.zeros(2**levels, dtype=np.int64)
        stack = [(0, 0, 0, 0)]
        while stack:
            node, level, across, turns = stack.pop()
            left = int(tree.left[node])
            if left < 0 or level == levels:
                # Whatever turns a row takes below, it is there.
                exits[turns :: 2**level] = node
                continue
            place, feature = 2**level - 1 + across, int(tree.feature[node])
            missing_meets = not tree.default_left[node]
            if node in tree.sets:
                sets[place] = _Set(feature, tuple(tree.sets[node].tolist()), missing_meets)
            else:
                numeric[place] = _Numeric(missing_meets, feature, float(tree.value[node]))
            stack += [(left, level + 1, 2 * across, turns), (left + 1, level + 1, 2 * across + 1, turns + 2**level)]
        return cls(numeric, sets, exits)


class _Numeric(NamedTuple):
    """Turns right what is at least the threshold."""

    missing_meets: bool
    feature: int
    threshold: float


class _Set(NamedTuple):
    """Turns right what is one of the categories."""

    feature: int
    categories: tuple[int, ...]
    missing_meets: bool


def _numeric_tests(tests: Sequence[_Numeric]) -> tuple[npt.NDArray[np.generic] | int, ...]:
    """Return sorted conditions as `walks.add_trees` wants them."""
    used, places = np.unique(np.array([test.feature for test in tests], dtype=np.int64), return_inverse=True)
    thresholds = np.array([test.threshold for test in tests], dtype=np.float32)
    return used, places.astype(np.int64), thresholds, sum(not test.missing_meets for test in tests)


def _set_tests(tests: Sequence[_Set]) -> tuple[npt.NDArray[np.generic], ...]:
    """Return sorted conditions as `walks.add_trees` wants them."""
    sizes: dict[int, int] = {}
    for test in tests:
        sizes[test.feature] = max(sizes.get(test.feature, 1), *(code + 2 for code in test.categories), 1)
    first = dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))
    members = [
        [*(first[test.feature] + code for code in test.categories)]
        + [first[test.feature] + sizes[test.feature] - 1] * test.missing_meets
        for test in tests
    ]
    return (
        np.array(list(sizes), dtype=np.int64),
        np.array(list(accumulate(sizes.values(), initial=0)), dtype=np.int64),
        np.array([place for one in members for place in one], dtype=np.int32),
        np.array(list(accumulate(map(len, members), initial=0)), dtype=np.int64),
    )
