"""The loops of the attribution, compiled by numba; imported only when rows are explained. See `attribution_tables`."""

# mypy: disable-error-code="untyped-decorator,assignment"
# numba has no types, and its integers are not Python's.

from __future__ import annotations

from typing import Any

import numpy as np

from twinscore.scoring.kernels import compiled

__all__ = ["BLOCK", "add_contributions", "add_each", "fill_tables"]

BLOCK = 128
"""Rows that go through a tree together; their masks and its tables fit the second cache."""

EVERY = np.uint16(0xFFFF)
NONE = np.uint16(0)


@compiled
def fill_tables(cells: Any, leaves: Any, ratios: Any, points: Any, weights: Any, tables: Any) -> None:
    """Write the contributions of every cell under every pattern.

    Args:
        cells: int64 (n_cells, 5): bits before the node, features, the node's own bit, whether it is new, where the
            cell's table starts.
        leaves: float64 (n_cells, 2, 2): cover ratio and value of the left and the right leaf; NaN where there is none.
        ratios: float64 (n_cells, most_bits): cover ratio of each feature on the path down to the node.
        points, weights: float64 (n, n): Gauss and Legendre's rule of n + 1 points on [0, 1] in row n.
        tables: float32, written: (2**(bits + 1), features) for each cell.
    """
    most = ratios.shape[1] + 1
    met, ratio, total, after = np.empty(most), np.empty(most), np.empty(most), np.empty(most + 1)
    for cell in range(cells.shape[0]):
        bits, n_features, own = cells[cell, 0], cells[cell, 1], cells[cell, 2]
        new, start = cells[cell, 3], cells[cell, 4]
        rule = (n_features + 1) // 2
        for key in range(1 << (bits + 1)):
            total[:n_features] = 0.0
            decided = key >> bits
            for side in range(2):
                value = leaves[cell, side, 1]
                if value != value:
                    continue
                for b in range(bits):
                    met[b] = (key >> b) & 1
                    ratio[b] = ratios[cell, b]
                if new:
                    met[own], ratio[own] = 1.0, 1.0
                met[own] *= 1.0 if decided == side else 0.0
                ratio[own] *= leaves[cell, side, 0]
                for point in range(rule):
                    t = points[rule - 1, point]
                    after[n_features] = 1.0
                    for b in range(n_features - 1, -1, -1):
                        after[b] = after[b + 1] * (met[b] * t + ratio[b] * (1.0 - t))
                    before = weights[rule - 1, point] * value
                    for b in range(n_features):
                        total[b] += (met[b] - ratio[b]) * before * after[b + 1]
                        before *= met[b] * t + ratio[b] * (1.0 - t)
            for b in range(n_features):
                tables[start + key * n_features + b] = total[b]


@compiled
def _decide(column: Any, kind: Any, threshold: Any, chosen: Any, size: Any, right: Any) -> None:
    """Write which rows go right at a node, as all ones or none; kinds are those of `attribution_tables`."""
    if kind == 0:
        for i in range(size):
            right[i] = EVERY if column[i] >= threshold else NONE
    elif kind == 1:
        for i in range(size):
            right[i] = NONE if column[i] < threshold else EVERY
    else:
        for i in range(size):
            value = column[i]
            inside = np.uint32(0)
            if value >= 0 and value < 32 * chosen.size:
                code = np.int64(value)
                inside = (chosen[code >> 5] >> np.uint32(code & 31)) & np.uint32(1)
            goes = inside != 0 or (value != value and kind == 3)
            right[i] = EVERY if goes else NONE


@compiled
def add_contributions(
    rows: Any,
    out: Any,
    trees: Any,
    firsts: Any,
    tests: Any,
    thresholds: Any,
    words: Any,
    pushes: Any,
    sums: Any,
    places: Any,
    tables: Any,
    used: Any,
) -> None:
    """Write the contributions of some trees to the margin of each row.

    Args:
        rows: (n_rows, n_features) float32, NaN for missing.
        out: (n_rows, n_features) float64, written where a feature is used.
        trees: which trees.
        firsts: (n_trees + 1,) where the inner nodes of each tree begin; parents stand before children.
        tests: (n_nodes, 4) int32: place in `used`, kind, first and last word of the set.
        thresholds: (n_nodes,) float32.
        words: uint32, the sets.
        pushes: (n_nodes, 4) int32: parent within the tree, bits that flip its decision, bit to set, bits to keep.
        sums: (n_nodes, 4) int64: where the cell's table starts or -1, features, top bit, where its features stand.
        places: int32, features of the cells as places in `used`.
        tables: what `fill_tables` wrote.
        used: features that occur.
    """
    most = 0
    for tree in trees:
        most = max(most, firsts[tree + 1] - firsts[tree])
    block = np.empty((used.size, BLOCK), np.float32)
    found = np.empty((used.size, BLOCK), np.float64)
    right = np.empty((most, BLOCK), np.uint16)
    masks = np.zeros((most, BLOCK), np.uint16)
    lines = np.empty(BLOCK, np.int64)
    for start in range(0, rows.shape[0], BLOCK):
        size = min(BLOCK, rows.shape[0] - start)
        for k in range(used.size):
            for i in range(size):
                block[k, i] = rows[start + i, used[k]]
                found[k, i] = 0.0
        for tree in trees:
            first = firsts[tree]
            for node in range(first, firsts[tree + 1]):
                own, mask = right[node - first], masks[node - first]
                if node > first:
                    above, met = masks[pushes[node, 0]], right[pushes[node, 0]]
                    flip, bit = np.uint16(pushes[node, 1]), np.uint16(pushes[node, 2])
                    keep = np.uint16(pushes[node, 3])
                    for i in range(size):
                        hold = met[i] ^ flip
                        mask[i] = (above[i] | (hold & bit)) & (hold | keep)
                chosen = words[tests[node, 2] : tests[node, 3]]
                _decide(block[tests[node, 0]], tests[node, 1], thresholds[node], chosen, size, own)
                table, n_features = sums[node, 0], sums[node, 1]
                if table < 0:
                    continue
                top = np.uint16(sums[node, 2])
                for i in range(size):
                    lines[i] = table + np.int64(mask[i] | (own[i] & top)) * n_features
                for b in range(n_features):
                    feature = found[places[sums[node, 3] + b]]
                    for i in range(size):
                        feature[i] += tables[lines[i] + b]
        for k in range(used.size):
            for i in range(size):
                out[start + i, used[k]] = found[k, i]


@compiled
def add_each(
    rows: Any,
    out: Any,
    trees: Any,
    firsts: Any,
    tests: Any,
    thresholds: Any,
    words: Any,
    pushes: Any,
    sums: Any,
    places: Any,
    tables: Any,
    used: Any,
) -> None:
    """Do what `add_contributions` does, one row after the other: for few rows, without a slice per node."""
    most = 0
    for tree in trees:
        most = max(most, firsts[tree + 1] - firsts[tree])
    right = np.empty(most, np.uint16)
    masks = np.zeros(most, np.uint16)
    for i in range(rows.shape[0]):
        for tree in trees:
            first = firsts[tree]
            for node in range(first, firsts[tree + 1]):
                value = rows[i, used[tests[node, 0]]]
                kind = tests[node, 1]
                if kind < 2:
                    goes = value >= thresholds[node] or (value != value and kind == 1)
                else:
                    goes = value != value and kind == 3
                    if value >= 0 and value < 32 * (tests[node, 3] - tests[node, 2]):
                        code = np.int64(value)
                        goes = ((words[tests[node, 2] + (code >> 5)] >> np.uint32(code & 31)) & np.uint32(1)) != 0
                own = EVERY if goes else NONE
                right[node - first] = own
                mask = NONE
                if node > first:
                    hold = right[pushes[node, 0]] ^ np.uint16(pushes[node, 1])
                    mask = (masks[pushes[node, 0]] | (hold & np.uint16(pushes[node, 2]))) & (
                        hold | np.uint16(pushes[node, 3])
                    )
                    masks[node - first] = mask
                if sums[node, 0] >= 0:
                    line = sums[node, 0] + np.int64(mask | (own & np.uint16(sums[node, 2]))) * sums[node, 1]
                    for b in range(sums[node, 1]):
                        out[i, used[places[sums[node, 3] + b]]] += tables[line + b]
