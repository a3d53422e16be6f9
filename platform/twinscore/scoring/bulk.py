"""A booster's trees for many rows at once: one tree at a time over a block of rows, without a branch.

A tree's upper part, of at most 64 exits, is not walked. For each of its conditions that a row meets, the exits that
the condition rules out are struck from a word of 64 bits; the lowest bit that is left is the row's exit. Conditions
are compared with a block of rows at once, in vector code, in any order. Source: Lucchese et al., "QuickScorer",
SIGIR 2015, and "Exploiting CPU SIMD extensions to speed-up document scoring with tree ensembles", SIGIR 2016.

What lies below an exit (trees deeper than six levels) is walked in the flat forest. Leaves are added per row in the
order of the trees, in float32: the bits are the booster's, and a version is held against it before its first use.
"""

from __future__ import annotations

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from twinscore.errors import BundleInvalid
from twinscore.scoring.forest import WIDTH, FlatForest, category_words
from twinscore.scoring.trees import Tree, Trees, levels_below, read_trees

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xgboost

    from twinscore.bundle.files import Bundle

__all__ = ["MOST_EXITS", "Bulk", "BulkForest", "booster_margins", "bulk_of"]

Float32 = npt.NDArray[np.float32]

MOST_EXITS = 64
"""Bits of the word that holds a tree's exits."""
_FEW_ROWS = 32
"""Up to here one row after the other is faster than a block that is mostly empty."""
_ROWS_PER_THREAD = 2048
"""Fewer are not worth a thread."""
_ALL = (1 << MOST_EXITS) - 1


class BulkForest:
    """The trees of a `gbtree` booster for many rows; immutable, safe to share between threads.

    Raises:
        BundleInvalid: the booster has a form that `read_trees` refuses.
    """

    def __init__(self, booster: xgboost.Booster | Trees) -> None:
        from twinscore.scoring import walks

        read = booster if isinstance(booster, Trees) else read_trees(booster)
        self.flat = FlatForest(read)
        cuts = [_Cut.of(tree) for tree in read.trees]
        self._used = np.unique([tree.feature[node] for tree, cut in zip(read.trees, cuts, strict=True)
                                for node, _ in cut.numeric]).astype(np.int64)  # fmt: skip
        self._coded = np.unique([tree.feature[node] for tree, cut in zip(read.trees, cuts, strict=True)
                                 for node, _ in cut.sets]).astype(np.int64)  # fmt: skip
        tests: list[tuple[int, float, int]] = []
        words: list[tuple[int, int, int, int]] = []
        spans = np.zeros((len(cuts), 5), dtype=np.int64)
        exits = np.zeros((len(cuts), MOST_EXITS), dtype=np.int32)
        below = np.zeros(len(cuts), dtype=np.int64)
        for number, (tree, cut) in enumerate(zip(read.trees, cuts, strict=True)):
            spans[number, 0], spans[number, 3] = len(tests), len(words)
            for place, goes_left in ((1, True), (2, False)):
                chosen = [(node, keep) for node, keep in cut.numeric if tree.default_left[node] == goes_left]
                columns = np.searchsorted(self._used, [tree.feature[node] for node, _ in chosen])
                tests += sorted(
                    (int(column), float(tree.value[node]), keep)
                    for column, (node, keep) in zip(columns, chosen, strict=True)
                )
                # The kernel takes four at a time; one that keeps every exit does nothing.
                tests += [(0, 0.0, _ALL)] * (-len(tests) % 4)
                spans[number, place] = len(tests)
            for node, keep in cut.sets:
                column = int(np.searchsorted(self._coded, tree.feature[node]))
                chosen_words = enumerate(category_words(tree.sets[node]))
                words += [(column, place, int(word), keep) for place, word in chosen_words if word]
                if not tree.default_left[node]:
                    words.append((column, -1, 0xFFFFFFFF, keep))
            spans[number, 4] = len(words)
            exits[number, : len(cut.exits)] = self.flat.starts[number] + WIDTH * cut.exits
            below[number] = levels_below(tree.left, cut.exits)
        self._tests = _columns(tests, (np.int32, np.float32, np.uint64))
        self._words = _columns(words, (np.int32, np.int32, np.uint32, np.uint64))
        self._spans, self._exits, self._below = spans, exits, below
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
                rows[:whole], margins[:whole], self._used, self._coded, self._tests, self._words, self._spans,
                self._exits, self._below, flat.outputs, flat.nodes, flat.sets,
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
class _Cut:
    """The upper part of a tree: its exits from left to right, and what each of its nodes strikes out.

    Args:
        exits: nodes, (at most 64,).
        numeric: nodes and the exits that stay when a row goes right: the left ones are struck out.
        sets: the same for categorical nodes.
    """

    exits: npt.NDArray[np.int64]
    numeric: list[tuple[int, int]]
    sets: list[tuple[int, int]]

    @classmethod
    def of(cls, tree: Tree) -> _Cut:
        """Open a tree from the root, level by level, as far as 64 exits allow."""
        left = tree.left.tolist()
        waiting, opened = [0], set[int]()
        for node in waiting:
            if left[node] >= 0 and len(opened) + 1 < MOST_EXITS:
                opened.add(node)
                waiting += [left[node], left[node] + 1]
        exits: list[int] = []
        numeric: list[tuple[int, int]] = []
        sets: list[tuple[int, int]] = []
        # Depth first; a node comes by a second time (with the exits before it) when its left side is done.
        stack: list[tuple[int, int | None]] = [(0, None)]
        while stack:
            node, first = stack.pop()
            if node not in opened:
                exits.append(node)
            elif first is None:
                stack += [(left[node] + 1, None), (node, len(exits)), (left[node], None)]
            else:
                struck = ((1 << len(exits)) - 1) ^ ((1 << first) - 1)
                (sets if node in tree.sets else numeric).append((node, _ALL ^ struck))
        return cls(np.array(exits, dtype=np.int64), numeric, sets)


def _columns(rows: Sequence[tuple[int | float, ...]], types: tuple[type, ...]) -> tuple[npt.NDArray[np.generic], ...]:
    parts: list[tuple[int | float, ...]] = list(zip(*rows, strict=True)) if rows else [()] * len(types)
    return tuple(np.array(part, dtype=kind) for part, kind in zip(parts, types, strict=True))
