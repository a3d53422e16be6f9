"""The trees of a booster as arrays, read from XGBoost's own JSON and checked; knows nothing of walking them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from twinscore.errors import BundleInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xgboost

__all__ = ["Tree", "Trees", "base_margins", "levels_below", "read_trees"]

Longs = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree; every array is (n_nodes,), node 0 is the root.

    Args:
        left: int64, the left child; -1 in a leaf. The right child follows it.
        feature: int64, what an inner node tests.
        value: float32, the threshold (at least that much goes right), or the value of a leaf.
        default_left: bool, where a missing value goes.
        cover: float32, sum of the hessian of the training rows that came by.
        sets: the categories that go right, for each categorical node.
        depth: steps to the deepest leaf.
    """

    left: Longs
    feature: Longs
    value: npt.NDArray[np.float32]
    default_left: npt.NDArray[np.bool_]
    cover: npt.NDArray[np.float32]
    sets: Mapping[int, Longs]
    depth: int

    @property
    def inner(self) -> npt.NDArray[np.bool_]:
        """Which nodes test something, (n_nodes,)."""
        return self.left >= 0


@dataclass(frozen=True, slots=True)
class Trees:
    """All trees of a booster, in the order in which their leaves are added.

    Args:
        base: float32 (n_outputs,), the margins every row starts from.
        outputs: int32 (n_trees,), which margin each tree adds to.
        n_features: what a row holds.
    """

    base: npt.NDArray[np.float32]
    outputs: npt.NDArray[np.int32]
    n_features: int
    trees: tuple[Tree, ...]


def read_trees(booster: xgboost.Booster) -> Trees:
    """Read the trees of a `gbtree` booster.

    Raises:
        BundleInvalid: the booster has another form (dart, linear, vector leaves), or trees that lead nowhere; the
            message says which.
    """
    learner = json.loads(bytes(booster.save_raw("json")).decode())["learner"]
    gradient = learner["gradient_booster"]
    if gradient["name"] != "gbtree":
        message = f"A booster of kind {gradient['name']!r} has no flat form; only gbtree has."
        raise BundleInvalid(message, kind=gradient["name"])
    trees = gradient["model"]["trees"]
    if any(int(tree["tree_param"]["size_leaf_vector"]) > 1 for tree in trees):
        message = "A booster with vector leaves (multi_strategy=multi_output_tree) has no flat form."
        raise BundleInvalid(message, kind="vector leaves")
    n_features = int(learner["learner_model_param"]["num_feature"])
    return Trees(
        base=base_margins(learner),
        outputs=np.array(gradient["model"]["tree_info"], dtype=np.int32),
        n_features=n_features,
        trees=tuple(_tree(tree, n_features) for tree in trees),
    )


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


def levels_below(left: Longs, start: Longs) -> int:
    """Return the number of steps from the nodes `start` to the deepest leaf under them.

    Raises:
        BundleInvalid: the walk would not end.
    """
    level = start
    for depth in range(len(left)):
        level = level[left[level] >= 0]
        if not len(level):
            return depth
        level = np.concatenate([left[level], left[level] + 1])
        if len(level) > len(left):
            break
    message = "A tree leads in a circle."
    raise BundleInvalid(message, kind="layout")


def _tree(tree: dict[str, Any], n_features: int) -> Tree:
    left = np.array(tree["left_children"], dtype=np.int64)
    right = np.array(tree["right_children"], dtype=np.int64)
    feature = np.array(tree["split_indices"], dtype=np.int64)
    inner = left >= 0
    if np.any(right[inner] != left[inner] + 1) or np.any(right[inner] >= len(left)):
        message = "A tree's right children do not follow its left ones; XGBoost's layout has changed."
        raise BundleInvalid(message, kind="layout")
    if np.any(feature[inner] >= n_features) or np.any(feature[inner] < 0):
        message = f"A tree splits on feature {feature[inner].max()}, the booster has {n_features}."
        raise BundleInvalid(message, kind="layout")
    categories = np.array(tree["categories"], dtype=np.int64)
    splits = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    return Tree(
        left=np.where(inner, left, -1),
        feature=feature,
        value=np.array(tree["split_conditions"], dtype=np.float32),
        default_left=np.array(tree["default_left"], dtype=bool),
        cover=np.array(tree["sum_hessian"], dtype=np.float32),
        sets={int(node): categories[first : first + size] for node, first, size in splits},
        depth=levels_below(left, np.zeros(1, dtype=np.int64)),
    )
