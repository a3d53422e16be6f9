"""Which cells are tested together, so that chi-squared has enough rows in each; for many windows at once; pure.

Cells are put together by what window and reference hold of them *together*. When nothing changed, the sum says nothing
of how the rows are divided between the two, so the tests stay honest. By the reference's rows alone it would not: the
rarest cells of a sample are those that it happens to hold too few of, and a large window would show it every time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EXPECTED", "Grouped", "grouped"]

EXPECTED = 5.0
"""Rows that a group must be expected to have in the smaller sample (Cochran, 1954)."""


@dataclass(frozen=True, slots=True)
class Grouped:
    """Windows and the reference in groups of cells that each hold enough rows, and the few rows in no group."""

    window: NDArray[np.int64]
    """(n_windows, n_groups): rows of each window; groups that a window does not need are empty on both sides."""
    reference: NDArray[np.int64]
    """(n_windows, n_groups): rows of the reference in the same groups."""
    rare: NDArray[np.int64]
    """(n_windows,): rows of each window in cells that both hardly hold."""
    rare_reference: NDArray[np.int64]
    """(n_windows,): rows of the reference in the same cells."""


def grouped(cells: NDArray[np.int64], reference: NDArray[np.int64], *, ordered: bool) -> Grouped:
    """Put cells together until each group is expected to have 5 rows in the smaller sample.

    Args:
        cells: (n_windows, n_cells)
        reference: (n_cells,), or (n_windows, n_cells) for another reference to each window.
        ordered: whether neighbours belong together, as bins of a number do; otherwise the rarest come first.
    """
    both = cells + reference
    n, m = cells.sum(axis=1), reference.sum(axis=-1)
    expected = both * (np.minimum(n, m) / np.maximum(n + m, 1))[:, None]
    if (expected >= EXPECTED).all():
        nothing = np.zeros(len(cells), dtype=np.int64)
        return Grouped(cells, np.broadcast_to(reference, cells.shape), nothing, nothing)
    known = np.broadcast_to(reference, cells.shape)
    if not ordered:
        order = np.argsort(both, axis=1, kind="stable")
        cells, known, expected = (np.take_along_axis(one, order, axis=1) for one in (cells, known, expected))
    label = _labels(expected)
    window, of_reference = _added(cells, label), _added(known, label)
    return Grouped(window[:, 1:], of_reference[:, 1:], window[:, 0], of_reference[:, 0])


def _labels(expected: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the group of each cell, from 1; 0 for those that are left over: (n_windows, n_cells)."""
    windows, size = expected.shape
    label = np.empty((windows, size), dtype=np.int64)
    number, held = np.ones(windows, dtype=np.int64), np.zeros(windows)
    for cell in range(size):
        large = expected[:, cell] >= EXPECTED
        held = held + np.where(large, 0.0, expected[:, cell])
        label[:, cell] = np.where(large, size + 1 + cell, number)
        full = held >= EXPECTED
        number, held = number + full, np.where(full, 0.0, held)
    label[label == number[:, None]] = 0
    return label


def _added(cells: NDArray[np.int64], label: NDArray[np.int64]) -> NDArray[np.int64]:
    windows, size = cells.shape
    width = 2 * size + 1
    place = label + width * np.arange(windows)[:, None]
    added = np.bincount(place.ravel(), weights=cells.ravel(), minlength=width * windows)
    return added.astype(np.int64).reshape(windows, width)
