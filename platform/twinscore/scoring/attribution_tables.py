"""The exact contributions of every leaf under every pattern of its path, as tables; knows nothing of rows.

For a leaf of value v and the k distinct features on its path let r_j be the product of cover(child) / cover(node) over
the nodes that test feature j, and o_j = 1 when a row meets all of those tests, else 0. Its path-dependent Shapley value
(Lundberg et al., "From local explanations to global understanding with explainable AI for trees", 2020) is

    phi_j = v (o_j - r_j) sum over S of |S|! (k - 1 - |S|)! / k!  prod_{i in S} o_i  prod_{i not in S} r_i
          = v (o_j - r_j) integral over t from 0 to 1 of  prod_{i != j} (o_i t + r_i (1 - t)) dt

(Owen, "Multilinear extensions of games", 1972). The integrand is a polynomial of degree k - 1, so Gauss and Legendre's
rule of ceil(k / 2) points gives it exactly. It depends on the row through the k bits o alone: all 2**k patterns are
computed once per model, as in Fast TreeSHAP v2 (Yang, 2021) and WOODELF (Nadel and Wettenstein, 2025).

Two leaves of one parent share their features, and so one table: a *cell* is a node with one or two leaves, its key
the pattern at the node with the node's decision as one bit more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from twinscore.scoring.forest import category_words

if TYPE_CHECKING:
    from twinscore.scoring.trees import Tree, Trees

__all__ = ["LARGEST_TABLES", "PathTables", "expected_margins", "refusal", "tabulate"]

LARGEST_TABLES = 256 * 2**20
"""Bytes that the tables of one model may take."""
_MOST_BITS = 15
"""Bits of a pattern; with the decision they fill 16."""
_EVERY = 0xFFFF

Longs = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PathTables:
    """All that the kernel reads; see `attribution_kernels.add_contributions` for the shapes.

    Kinds in `tests`: 0 number, missing goes left; 1 number, missing goes right; 2 and 3 the same for a set.
    """

    firsts: Longs
    tests: npt.NDArray[np.int32]
    thresholds: npt.NDArray[np.float32]
    words: npt.NDArray[np.uint32]
    pushes: npt.NDArray[np.int32]
    sums: Longs
    places: npt.NDArray[np.int32]
    tables: npt.NDArray[np.float32]
    used: Longs


@dataclass(slots=True)
class _Paths:
    """The inner nodes of one tree in an order that has parents before children, and the way to each."""

    nodes: list[int]
    parent: list[int]
    right: list[bool]
    features: list[list[int]]
    ratios: list[list[float]]


def refusal(trees: Trees) -> str | None:
    """Return why a model has no tables (too large, or covers that are not positive), or None."""
    for number, tree in enumerate(trees.trees):
        cover = tree.cover[tree.inner]
        if not np.all(np.isfinite(cover) & (cover > 0)):
            return f"tree {number} has a node that no training row came by (its cover is not positive)"
    size = 0
    for tree in trees.trees:
        path = _paths(tree)
        for node, features in zip(path.nodes, path.features, strict=True):
            if len(features) > _MOST_BITS:
                return f"a path tests more than {_MOST_BITS} features"
            if _has_leaf(tree, node):
                n_features = len(features) + (int(tree.feature[node]) not in features)
                size += (2 << len(features)) * n_features * 4
        if size > LARGEST_TABLES:
            return f"the tables would take more than {LARGEST_TABLES / 2**20:.0f} MiB"
    return None


def expected_margins(trees: Trees) -> npt.NDArray[np.float64]:
    """Return where contributions start from: the mean margin by cover, float64 (n_outputs,)."""
    base = trees.base.astype(np.float64)
    for tree, output in zip(trees.trees, trees.outputs, strict=True):
        mean = tree.value.astype(np.float64)
        levels = [np.zeros(1, dtype=np.int64)]
        while len(level := levels[-1][tree.left[levels[-1]] >= 0]):
            levels.append(np.concatenate([tree.left[level], tree.left[level] + 1]))
        cover = tree.cover.astype(np.float64)
        for reached in reversed(levels):
            inner = reached[tree.left[reached] >= 0]
            left = tree.left[inner]
            mean[inner] = (cover[left] * mean[left] + cover[left + 1] * mean[left + 1]) / cover[inner]
        base[output] += mean[0]
    return base


def tabulate(trees: Trees) -> PathTables:
    """Compute the tables of a model that `refusal` has nothing against."""
    from twinscore.scoring import attribution_kernels

    paths = [_paths(tree) for tree in trees.trees]
    firsts = np.concatenate([[0], np.cumsum([len(path.nodes) for path in paths])]).astype(np.int64)
    used = np.unique(np.concatenate([tree.feature[tree.inner] for tree in trees.trees] or [np.empty(0, np.int64)]))
    column = {int(feature): place for place, feature in enumerate(used)}
    tests, thresholds, words, pushes, sums, cells, leaves, ratios = [], [], [], [], [], [], [], []
    places: list[int] = []
    n_words, size = 0, 0
    for tree, path in zip(trees.trees, paths, strict=True):
        left, feature, default_left = tree.left.tolist(), tree.feature.tolist(), tree.default_left.tolist()
        for place, node in enumerate(path.nodes):
            tested, above = feature[node], path.features[place]
            bits = category_words(tree.sets[node]) if node in tree.sets else np.empty(0, dtype=np.uint32)
            kind = (2 if node in tree.sets else 0) + (not default_left[node])
            tests.append((column[tested], kind, n_words, n_words + len(bits)))
            thresholds.append(tree.value[node])
            words.append(bits)
            n_words += len(bits)
            parent = path.parent[place]
            bit = 1 << path.features[place].index(feature[path.nodes[parent]]) if place else 0
            new = bool(place) and len(above) > len(path.features[parent])
            pushes.append((parent, 0 if path.right[place] else _EVERY, bit * new, _EVERY if new else _EVERY ^ bit))
            if not _has_leaf(tree, node):
                sums.append((-1, 0, 0, 0))
                continue
            fresh = tested not in above
            n_features = len(above) + fresh
            sums.append((size, n_features, 1 << len(above), len(places)))
            own = len(above) if fresh else above.index(tested)
            cells.append((len(above), n_features, own, fresh, size))
            children = (left[node], left[node] + 1)
            leaves.append([(_ratio(tree, node, at), tree.value[at] if left[at] < 0 else np.nan) for at in children])
            ratios.append(path.ratios[place])
            places += [column[name] for name in above] + [column[tested]] * fresh
            size += (2 << len(above)) * n_features
    widest = max([1, *map(len, ratios)])
    tables = np.empty(size, dtype=np.float32)
    attribution_kernels.fill_tables(
        np.array(cells, dtype=np.int64).reshape(-1, 5),
        np.array(leaves, dtype=np.float64).reshape(-1, 2, 2),
        np.array([row + [1.0] * (widest - len(row)) for row in ratios], dtype=np.float64).reshape(-1, widest),
        *_rules(widest // 2 + 1),
        tables,
    )
    return PathTables(
        firsts=firsts,
        tests=np.array(tests, dtype=np.int32).reshape(-1, 4),
        thresholds=np.array(thresholds, dtype=np.float32),
        words=np.concatenate([*words, np.empty(0, dtype=np.uint32)]),
        pushes=np.array(pushes, dtype=np.int32).reshape(-1, 4),
        sums=np.array(sums, dtype=np.int64).reshape(-1, 4),
        places=np.array(places, dtype=np.int32),
        tables=tables,
        used=used.astype(np.int64),
    )


def _paths(tree: Tree) -> _Paths:
    left, feature = tree.left.tolist(), tree.feature.tolist()
    paths = _Paths([], [], [], [], [])
    if left[0] < 0:
        return paths
    paths.nodes.append(0)
    paths.parent.append(0)
    paths.right.append(False)
    paths.features.append([])
    paths.ratios.append([])
    for place, node in enumerate(paths.nodes):
        tested = feature[node]
        for child in (left[node], left[node] + 1):
            if left[child] < 0:
                continue
            features, ratios = paths.features[place], list(paths.ratios[place])
            if tested in features:
                ratios[features.index(tested)] *= _ratio(tree, node, child)
            else:
                features, ratios = [*features, tested], [*ratios, _ratio(tree, node, child)]
            paths.nodes.append(child)
            paths.parent.append(place)
            paths.right.append(child != left[node])
            paths.features.append(features)
            paths.ratios.append(ratios)
    return paths


def _ratio(tree: Tree, node: int, child: int) -> float:
    return float(tree.cover[child]) / float(tree.cover[node])


def _has_leaf(tree: Tree, node: int) -> bool:
    left = int(tree.left[node])
    return bool(tree.left[left] < 0 or tree.left[left + 1] < 0)


def _rules(most: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return points and weights on [0, 1] of the rules of 1 to `most` points, one rule a row."""
    points, weights = np.zeros((most, most)), np.zeros((most, most))
    for n in range(1, most + 1):
        at, weight = np.polynomial.legendre.leggauss(n)
        points[n - 1, :n], weights[n - 1, :n] = (at + 1) / 2, weight / 2
    return points, weights
