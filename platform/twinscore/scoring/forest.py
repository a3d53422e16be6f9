"""A booster's trees as one flat array, walked for a single row; knows nothing of features' meaning.

`Booster.inplace_predict` spends most of its time for one row on set-up (about 270 of 330 microseconds on the reference
model of 200 trees). Walking the trees themselves takes about 4: a node is 16 bytes, four trees are walked side by side
without a branch per node, and every leaf is added in XGBoost's order, in float32, so the margin has the booster's bits.

    node   code   feature << 2 | missing goes left << 1 | categorical; a leaf is a node that is its own left child
           value  threshold as float32 bits, or where the set of categories that go right stands; NaN in a leaf
           left   where the left child stands; the right child follows it
           leaf   the leaf's value as float32 bits
    set    number of 32-bit words, then the words
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from twinscore.errors import BundleInvalid
from twinscore.scoring.trees import Tree, Trees, read_trees

if TYPE_CHECKING:
    import xgboost

__all__ = ["WIDTH", "FlatForest", "category_words"]

Ints = npt.NDArray[np.int32]

WIDTH = 4
"""int32 numbers per node."""
_SIDE_BY_SIDE = 4
"""Trees per step of the walk; the kernel is written out for this many."""
_NO_TEST = np.float32(np.nan).view(np.int32)
"""Nothing is at least NaN, so every value stays in a leaf."""


class FlatForest:
    """The trees of a `gbtree` booster, ready to walk; immutable, safe to share between threads.

    Args:
        booster: the booster, or its trees when they were read already.

    Raises:
        BundleInvalid: the booster has a form that `read_trees` refuses, or too many nodes.
    """

    def __init__(self, booster: xgboost.Booster | Trees) -> None:
        from twinscore.scoring import walks

        read = booster if isinstance(booster, Trees) else read_trees(booster)
        trees = read.trees
        self.base = read.base
        self.n_features = read.n_features
        self.outputs = read.outputs
        sizes = [len(tree.left) for tree in trees]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64) * WIDTH
        """Where each tree stands, and where the sets begin: (n_trees + 1,)."""
        nodes, sets = [], []
        place = int(self.starts[-1])
        for tree, start in zip(trees, self.starts, strict=False):
            flat, words = _flat_tree(tree, int(start), place)
            nodes.append(flat.reshape(-1))
            sets.append(words)
            place += len(words)
        if place > np.iinfo(np.int32).max:
            message = f"A booster of {sum(sizes):,} nodes is too large for the flat form."
            raise BundleInvalid(message, nodes=sum(sizes))
        self.nodes: Ints = np.concatenate([*nodes, *sets]) if nodes else np.zeros(WIDTH, dtype=np.int32)
        self.sets: Ints | None = self.nodes if any(map(len, sets)) else None
        """Where the sets stand, or None: a walk that meets numbers only is compiled for it."""
        short = -len(trees) % _SIDE_BY_SIDE
        self.roots = np.concatenate([self.starts[:-1], np.zeros(short)]).astype(np.int32)
        depths = [tree.depth for tree in trees] + [0] * short
        self.depths = np.array(depths, dtype=np.int64).reshape(-1, _SIDE_BY_SIDE).max(axis=1)
        self._walk, self._walk_each = walks.walk, walks.walk_each

    def margins(self, row: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the margins of one encoded row: float32 (n_features,) to (1,), or (n_classes,)."""
        margins = self.base.copy()
        self._walk(self.nodes, self.sets, self.roots, self.depths, self.outputs, row, margins)
        return margins

    def add_each(self, rows: npt.NDArray[np.float32], margins: npt.NDArray[np.float32]) -> None:
        """Add the trees to `margins`, float32 (n_rows, n_outputs), one row after the other."""
        self._walk_each(self.nodes, self.sets, self.roots, self.depths, self.outputs, rows, margins)


def category_words(chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """Return a set of categories as 32-bit words, the first category in the lowest bit: (n_words,)."""
    words = np.zeros(int(chosen.max()) // 32 + 1 if len(chosen) else 0, dtype=np.uint32)
    np.bitwise_or.at(words, chosen // 32, np.left_shift(np.uint32(1), (chosen % 32).astype(np.uint32)))
    return words


def _flat_tree(tree: Tree, start: int, place: int) -> tuple[Ints, Ints]:
    """Return the nodes of one tree, int32 (n_nodes, 4), and its sets of categories.

    Args:
        start: where the tree's nodes will stand.
        place: where its sets will stand.
    """
    inner = tree.inner
    value = tree.value.view(np.int32)
    nodes = np.empty((len(inner), WIDTH), dtype=np.int32)
    nodes[:, 0] = np.where(inner, tree.feature << 2 | tree.default_left.astype(np.int64) << 1, 2)
    nodes[:, 1] = np.where(inner, value, _NO_TEST)
    nodes[:, 2] = start + WIDTH * np.where(inner, tree.left, np.arange(len(inner)))
    nodes[:, 3] = value
    words: list[npt.NDArray[np.uint32]] = []
    for node, categories in tree.sets.items():
        bits = category_words(categories)
        nodes[node, 0] |= 1
        nodes[node, 1] = place
        place += len(bits) + 1
        words += [np.array([len(bits)], dtype=np.uint32), bits]
    return nodes, np.concatenate([*words, np.empty(0, dtype=np.uint32)]).view(np.int32)
