"""A booster's trees as one flat array, walked for a single row; knows nothing of features' meaning.

`Booster.inplace_predict` spends most of its time for one row on set-up (about 270 of 330 microseconds on the reference
model). The trees themselves take a few: every node is 20 bytes in one array, and a leaf's value is added in the order
in which XGBoost adds it, in float32, so the margin has the booster's bits.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from twinscore.errors import BundleInvalid

if TYPE_CHECKING:
    import xgboost

__all__ = ["NODE", "FlatForest"]

NODE = np.dtype(
    [
        ("feature", np.int32),  # -1 in a leaf
        ("value", np.float32),  # threshold, or the leaf's value
        ("left", np.int32),  # 2 * left child + (1 when missing goes left); the right child follows the left one
        ("cats", np.int32),  # first word of the set of categories that go right
        ("n_words", np.int32),  # length of that set; -1 for a numeric split
    ]
)


class FlatForest:
    """The trees of a `gbtree` booster, ready to walk.

    Raises:
        BundleInvalid: the booster has another form (dart, linear, vector leaves); the message says which.
    """

    def __init__(self, booster: xgboost.Booster) -> None:
        from twinscore.scoring.kernels import walk

        learner = json.loads(bytes(booster.save_raw("json")).decode())["learner"]
        gradient = learner["gradient_booster"]
        if gradient["name"] != "gbtree":
            message = f"A booster of kind {gradient['name']!r} has no flat form; only gbtree has."
            raise BundleInvalid(message, kind=gradient["name"])
        model = gradient["model"]
        trees = model["trees"]
        if any(int(tree["tree_param"]["size_leaf_vector"]) > 1 for tree in trees):
            message = "A booster with vector leaves (multi_strategy=multi_output_tree) has no flat form."
            raise BundleInvalid(message, kind="vector leaves")
        self.base = base_margins(learner)
        words: list[npt.NDArray[np.uint32]] = []
        parts, roots, start, n_words = [], [], 0, 0
        for tree in trees:
            nodes = _flat_tree(tree, start, words, n_words)
            n_words = sum(len(word) for word in words)
            roots.append(start)
            parts.append(nodes)
            start += len(nodes)
        self._roots = np.array(roots, dtype=np.int64)
        self._outputs = np.array(model["tree_info"], dtype=np.int64)
        self._words = np.concatenate(words) if words else np.zeros(1, dtype=np.uint32)
        self._nodes = np.concatenate(parts)
        self._walk = walk

    def margins(self, row: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the margins of one encoded row: (n_features,) to (1,), or (n_classes,)."""
        margins = self.base.copy()
        self._walk(self._nodes, self._roots, self._outputs, self._words, row, margins)
        return margins


def base_margins(learner: dict[str, Any]) -> npt.NDArray[np.float32]:
    """Return the margins every row starts from: float32 (n_outputs,).

    XGBoost stores its base score as a probability or a mean, and turns it into a margin in float32.
    """
    params = learner["learner_model_param"]
    text = params["base_score"]
    scores = np.array(json.loads(text) if text.startswith("[") else [float(text)], dtype=np.float32)
    n_outputs = max(int(params["num_class"]), int(params["num_target"]), 1)
    objective = learner["objective"]["name"]
    if objective in ("binary:logistic", "reg:logistic"):
        one = np.float32(1.0)
        scores = -_log(one / scores - one)
    elif objective in ("count:poisson", "reg:gamma", "reg:tweedie"):
        scores = _log(scores)
    return np.ascontiguousarray(np.broadcast_to(scores, n_outputs), dtype=np.float32)


def _log(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return logarithms as libm's logf rounds them; numpy's float32 log differs in the last bit."""
    return np.log(values.astype(np.float64)).astype(np.float32)


def _flat_tree(tree: dict[str, Any], start: int, words: list[npt.NDArray[np.uint32]], n_words: int) -> npt.NDArray[Any]:
    left = np.array(tree["left_children"], dtype=np.int64)
    right = np.array(tree["right_children"], dtype=np.int64)
    inner = left >= 0
    if np.any(right[inner] != left[inner] + 1):
        message = "A tree's right children do not follow its left ones; XGBoost's layout has changed."
        raise BundleInvalid(message, kind="layout")
    nodes = np.zeros(len(left), dtype=NODE)
    nodes["feature"] = np.where(inner, np.array(tree["split_indices"], dtype=np.int64), -1)
    nodes["value"] = np.array(tree["split_conditions"], dtype=np.float32)
    nodes["left"] = np.where(inner, 2 * (left + start) + np.array(tree["default_left"], dtype=np.int64), -1)
    nodes["n_words"] = -1
    categories = np.array(tree["categories"], dtype=np.int64)
    sets = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    for node, first, size in sets:
        chosen = categories[first : first + size]
        bits = np.zeros(int(chosen.max()) // 32 + 1 if size else 0, dtype=np.uint32)
        np.bitwise_or.at(bits, chosen // 32, np.left_shift(np.uint32(1), (chosen % 32).astype(np.uint32)))
        nodes["cats"][node] = n_words
        nodes["n_words"][node] = len(bits)
        n_words += len(bits)
        words.append(bits)
    return nodes
