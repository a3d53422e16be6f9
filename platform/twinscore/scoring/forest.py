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

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from twinscore.errors import BundleInvalid

if TYPE_CHECKING:
    import xgboost

__all__ = ["FlatForest", "base_margins"]

Ints = npt.NDArray[np.int32]

_WIDTH = 4
"""int32 numbers per node."""
_SIDE_BY_SIDE = 4
"""Trees per step of the walk; the kernel is written out for this many."""
_NO_TEST = np.float32(np.nan).view(np.int32)
"""Nothing is at least NaN, so every value stays in a leaf."""


class FlatForest:
    """The trees of a `gbtree` booster, ready to walk; immutable, safe to share between threads.

    Raises:
        BundleInvalid: the booster has another form (dart, linear, vector leaves), or trees that lead nowhere; the
            message says which.
    """

    def __init__(self, booster: xgboost.Booster) -> None:
        from twinscore.scoring import kernels

        learner = json.loads(bytes(booster.save_raw("json")).decode())["learner"]
        gradient = learner["gradient_booster"]
        if gradient["name"] != "gbtree":
            message = f"A booster of kind {gradient['name']!r} has no flat form; only gbtree has."
            raise BundleInvalid(message, kind=gradient["name"])
        trees = gradient["model"]["trees"]
        if any(int(tree["tree_param"]["size_leaf_vector"]) > 1 for tree in trees):
            message = "A booster with vector leaves (multi_strategy=multi_output_tree) has no flat form."
            raise BundleInvalid(message, kind="vector leaves")
        self.base = base_margins(learner)
        self.n_features = int(learner["learner_model_param"]["num_feature"])
        self._outputs = np.array(gradient["model"]["tree_info"], dtype=np.int32)
        sizes = [len(tree["left_children"]) for tree in trees]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64) * _WIDTH
        nodes, sets, depths = [], [], []
        place = int(starts[-1])
        for tree, start in zip(trees, starts, strict=False):
            flat, words, depth = _flat_tree(tree, int(start), place, self.n_features)
            nodes.append(flat.reshape(-1))
            sets.append(words)
            depths.append(depth)
            place += len(words)
        if place > np.iinfo(np.int32).max:
            message = f"A booster of {sum(sizes):,} nodes is too large for the flat form."
            raise BundleInvalid(message, nodes=sum(sizes))
        self._forest: Ints = np.concatenate([*nodes, *sets]) if nodes else np.zeros(_WIDTH, dtype=np.int32)
        short = -len(trees) % _SIDE_BY_SIDE
        self._roots = np.concatenate([starts[:-1], np.zeros(short)]).astype(np.int32)
        self._depths = np.array(depths + [0] * short, dtype=np.int64).reshape(-1, _SIDE_BY_SIDE).max(axis=1)
        self._walk: Any = kernels.walk if any(map(len, sets)) else kernels.walk_numbers

    def margins(self, row: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the margins of one encoded row: float32 (n_features,) to (1,), or (n_classes,)."""
        margins = self.base.copy()
        self._walk(self._forest, self._roots, self._depths, self._outputs, row, margins)
        return margins


def base_margins(learner: dict[str, Any]) -> npt.NDArray[np.float32]:
    """Return the margins every row starts from: float32 (n_outputs,).

    XGBoost stores its base score as a probability or a mean, in the shortest text that reads back to the same float32,
    and turns it into a margin in float32 with libm's logf; so does the kernel (numpy's own logarithm differs).
    """
    from twinscore.scoring import kernels

    params = learner["learner_model_param"]
    text = params["base_score"]
    scores = np.array(json.loads(text) if text.startswith("[") else [float(text)], dtype=np.float32)
    n_outputs = max(int(params["num_class"]), int(params["num_target"]), 1)
    objective = learner["objective"]["name"]
    margins = np.empty_like(scores)
    if objective in ("binary:logistic", "reg:logistic"):
        kernels.log_odds(scores, margins)
    elif objective in ("count:poisson", "reg:gamma", "reg:tweedie"):
        kernels.logarithm(scores, margins)
    else:
        margins[:] = scores
    return np.ascontiguousarray(np.broadcast_to(margins, n_outputs), dtype=np.float32)


def _flat_tree(tree: dict[str, Any], start: int, place: int, n_features: int) -> tuple[Ints, Ints, int]:
    """Return the nodes of one tree, int32 (n_nodes, 4), its sets of categories, and its depth.

    Args:
        start: where the tree's nodes will stand.
        place: where its sets will stand.
    """
    left = np.array(tree["left_children"], dtype=np.int64)
    feature = np.array(tree["split_indices"], dtype=np.int64)
    inner = left >= 0
    depth = _depth(left, np.array(tree["right_children"], dtype=np.int64), inner)
    if np.any(feature[inner] >= n_features) or np.any(feature[inner] < 0):
        message = f"A tree splits on feature {feature[inner].max()}, the booster has {n_features}."
        raise BundleInvalid(message, kind="layout")
    value = np.array(tree["split_conditions"], dtype=np.float32).view(np.int32)
    nodes = np.empty((len(left), _WIDTH), dtype=np.int32)
    nodes[:, 0] = np.where(inner, feature << 2 | np.array(tree["default_left"], dtype=np.int64) << 1, 2)
    nodes[:, 1] = np.where(inner, value, _NO_TEST)
    nodes[:, 2] = start + _WIDTH * np.where(inner, left, np.arange(len(left)))
    nodes[:, 3] = value
    words: list[npt.NDArray[np.uint32]] = []
    categories = np.array(tree["categories"], dtype=np.int64)
    splits = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    for node, first, size in splits:
        bits = _bits(categories[first : first + size])
        nodes[node, 0] |= 1
        nodes[node, 1] = place
        place += len(bits)
        words.append(bits)
    return nodes, np.concatenate([*words, np.empty(0, dtype=np.uint32)]).view(np.int32), depth


def _bits(chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """Return a set of categories as its number of words and the words."""
    n_words = int(chosen.max()) // 32 + 1 if len(chosen) else 0
    bits = np.zeros(1 + n_words, dtype=np.uint32)
    bits[0] = n_words
    np.bitwise_or.at(bits, 1 + chosen // 32, np.left_shift(np.uint32(1), (chosen % 32).astype(np.uint32)))
    return bits


def _depth(left: npt.NDArray[np.int64], right: npt.NDArray[np.int64], inner: npt.NDArray[np.bool_]) -> int:
    """Return the number of steps to the deepest leaf.

    Raises:
        BundleInvalid: a child is outside of the tree, or the walk would not end.
    """
    if np.any(right[inner] != left[inner] + 1) or np.any(right[inner] >= len(left)):
        message = "A tree's right children do not follow its left ones; XGBoost's layout has changed."
        raise BundleInvalid(message, kind="layout")
    level = np.zeros(1, dtype=np.int64)
    for depth in range(len(left)):
        level = level[inner[level]]
        if not len(level):
            return depth
        level = np.concatenate([left[level], right[level]])
        if len(level) > len(left):
            break
    message = "A tree leads in a circle."
    raise BundleInvalid(message, kind="layout")
