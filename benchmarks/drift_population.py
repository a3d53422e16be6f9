"""A population of a hundred features that windows and references are drawn from, for `drift.py`.

Features go together in blocks of ten (correlation 0.6 of what they are made of): 40 normal ones, 20 with heavy tails
(lognormal, Cauchy), 10 with ties (counts, mostly zero), 5 truths, 5 with missing cells, 20 categories (2 to 100 of
them, the rarest of which a reference may not hold at all).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from twinscore.bundle.profile import bin_edges
from twinscore.monitoring.drift_counts import Counted, Reference, WindowCounts, counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

BLOCK, CORRELATION = 10, 0.6
CATEGORIES = (2, 3, 5, 10, 20, 30, 50, 100)
MISSING = (0.001, 0.01, 0.05, 0.3, 0.9)


@dataclass(frozen=True)
class Column:
    """One feature of the population: (n_rows,) values, NaN where missing; categories are codes."""

    name: str
    values: NDArray[np.float32]
    categories: int = 0


@dataclass(frozen=True)
class Coded:
    """One feature of the population in the cells of one reference; the last code is missing."""

    codes: NDArray[np.uint8]
    cells: int
    categorical: bool

    def count(self, rows: NDArray[np.int64], weights: NDArray[np.float64] | None) -> Counted:
        """Count a window: rows by their numbers, or all rows by how often each was drawn."""
        if weights is None:
            held = np.bincount(self.codes[rows], minlength=self.cells + 1)
        else:
            held = np.bincount(self.codes, weights=weights, minlength=self.cells + 1).astype(np.int64)
        return counted("categorical" if self.categorical else "numeric", held[:-1], int(held[-1]))

    def count_many(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Count windows: row numbers (n_windows, n_rows) to cells (n_windows, n_cells) and missing (n_windows,)."""
        size = self.cells + 1
        place = self.codes[rows] + size * np.arange(len(rows))[:, None]
        held = np.bincount(place.ravel(), minlength=size * len(rows)).reshape(len(rows), size)
        new = [np.zeros(len(rows), dtype=np.int64)] if self.categorical else []
        return np.column_stack([held[:, :-1], *new]), held[:, -1]


def population(rows: int, seed: int) -> list[Column]:
    """Make the columns."""
    rng = np.random.default_rng(seed)
    columns: list[Column] = []
    for place in range(100):
        if place % BLOCK == 0:
            shared = rng.standard_normal(rows, dtype=np.float32)
        alone = rng.standard_normal(rows, dtype=np.float32)
        z = np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * alone
        columns.append(_column(place, z.astype(np.float32), rng))
    return columns


def _column(place: int, z: NDArray[np.float32], rng: np.random.Generator) -> Column:
    if place < 40:
        return Column(f"normal_{place}", z)
    if place < 50:
        return Column(f"lognormal_{place}", np.exp(1.5 * z))
    if place < 60:
        return Column(f"cauchy_{place}", np.tan(np.pi * (special.ndtr(z) - 0.5)).astype(np.float32))
    if place < 65:
        return Column(f"count_{place}", np.floor(np.exp(z)))
    if place < 70:
        return Column(f"mostly_zero_{place}", np.maximum(0, z - np.float32(0.3 * (place - 64))))
    if place < 75:
        return Column(f"truth_{place}", (z > place - 73).astype(np.float32))
    if place < 80:
        absent = rng.random(len(z)) < MISSING[place - 75]
        return Column(f"missing_{place}", np.where(absent, np.float32("nan"), z))
    many = CATEGORIES[(place - 80) % len(CATEGORIES)]
    shares = 1 / np.arange(1, many + 1) ** 1.5
    ends = np.cumsum(shares / shares.sum())
    codes = np.searchsorted(ends[:-1], special.ndtr(z)).astype(np.float32)
    return Column(f"category_{place}", codes, many)


def reference_from(columns: list[Column], rows: int, seed: int) -> tuple[Reference, dict[str, Coded]]:
    """Draw a reference, choose its edges as a bundle's profile does, and put the population into its cells."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(columns[0].values), size=rows)
    coded = {column.name: code(column, column.values, column.values[drawn]) for column in columns}
    known: Mapping[str, Counted] = {name: one.count(drawn, None) for name, one in coded.items()}
    return Reference(digest=f"simulated-{rows}-{seed}", features=known), coded


def code(column: Column, values: NDArray[np.float32], reference: NDArray[np.float32]) -> Coded:
    """Put values into the cells that a reference gives."""
    absent = np.isnan(values)
    if column.categories:
        return Coded(np.where(absent, column.categories, values).astype(np.uint8), column.categories, True)
    edges = bin_edges(reference[~np.isnan(reference)].astype(np.float64))
    placed = np.searchsorted(edges, values, side="left")
    return Coded(np.where(absent, len(edges) + 1, placed).astype(np.uint8), len(edges) + 1, False)


def window_from(coded: Mapping[str, Coded], rows: int, rng: np.random.Generator) -> tuple[WindowCounts, tuple]:
    """Draw a window of rows with replacement; returns also what was drawn, to count another column of the same rows."""
    size = len(next(iter(coded.values())).codes)
    drawn = rng.integers(0, size, size=rows)
    weights = np.bincount(drawn, minlength=size).astype(np.float64) if rows > size else None
    held = {name: one.count(drawn, weights) for name, one in coded.items()}
    return WindowCounts(features=held, rows=rows), (drawn, weights)
