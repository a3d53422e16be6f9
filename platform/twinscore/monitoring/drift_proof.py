"""Whether counts and a reference's can be samples of the same rows: tests of one feature in many windows; pure.

Four things can change, each with a test of its own, and the feature's p-value is the least of theirs times their
number (Bonferroni), which holds however they depend on each other:

- `shape`: Pearson's chi-squared of two samples over the cells that have enough rows;
- `rank`: Wilcoxon's rank sum with ties (Mann and Whitney, 1947), for numbers: one direction, so far more powerful;
- `rare`: rows in cells that the reference hardly has, new categories among them: Fisher's exact test;
- `missing`: rows without a value, by the same.

The reference is a sample too; it weighs by its rows. Cells are put together by the reference's shares and the number
of rows, never by what the window holds, so no test looks for its own result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from twinscore.monitoring.drift_effect import psi_of_shift, rank_of_shift

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinscore.monitoring.drift_counts import Counted

    Numbers = NDArray[np.float64]

__all__ = ["Cells", "Floor", "Proof", "cells_of", "prove", "rank_sum", "same_shape", "same_share"]

EXPECTED = 5.0
"""Rows that a cell must be expected to have in the smaller sample (Cochran, 1954)."""
_EXACT_BELOW = 100.0
"""Expected rows up to which shares are compared exactly; above, by the signed root of G."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The least change that counts; a smaller one is no drift, however well it is proved."""

    effect: float = 0.1
    """Of shape and rank: that of a normal number which moved by so many standard deviations."""
    share: float = 0.01
    """Of missing and rare rows: change of their share."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Which cells are tested together."""

    group: NDArray[np.int64]
    """(n_cells,): the group of each, -1 for those that are rare."""
    n_groups: int

    def grouped(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Add up (..., n_cells) to (..., n_groups)."""
        order = np.argsort(self.group, kind="stable")
        held = self.group[order]
        starts = np.flatnonzero(np.diff(held, prepend=-1) > 0)
        added: NDArray[np.int64] = (
            np.add.reduceat(cells[..., order], starts, axis=-1) if len(starts) else cells[..., :0]
        )
        return added

    def rare(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Add up the rare ones: (..., n_cells) to (...)."""
        held: NDArray[np.int64] = cells[..., self.group < 0].sum(axis=-1)
        return held


@dataclass(frozen=True, slots=True)
class Proof:
    """p-value and effect of each test, (n_windows,) each; a test that does not apply is not among them."""

    p_values: dict[str, Numbers]
    effects: dict[str, Numbers]
    """PSI beyond what chance adds for `shape`; 2 P(later > earlier) - 1 for `rank`; change of a share otherwise."""

    def p_value(self, floor: Floor | None = None) -> Numbers:
        """Return the feature's p-value: (n_windows,).

        With a floor, a test whose effect is below it has no say (its p-value is 1).
        """
        found = []
        for name, p_value in self.p_values.items():
            least = 0.0 if floor is None else _least(name, floor)
            found.append(np.where(np.abs(self.effects[name]) >= least, p_value, 1.0))
        smallest: Numbers = np.min(found, axis=0)
        return np.minimum(1.0, len(found) * smallest)


def cells_of(reference: Counted, rows: int) -> Cells:
    """Put cells together until each group is expected to have 5 of `rows` present rows.

    Neighbours of a number, the rarest categories first. What is left over below 5 is rare.
    """
    cells, total = reference.cells, max(reference.present, 1)
    expected = cells / total * min(rows, total)
    group = np.full(len(cells), -1, dtype=np.int64)
    small = np.flatnonzero(expected < EXPECTED)
    if reference.kind == "categorical":
        small = small[np.argsort(expected[small], kind="stable")]
    number, held, waiting = 0, 0.0, []
    for cell in small:
        waiting.append(cell)
        held += expected[cell]
        if held >= EXPECTED:
            group[waiting] = number
            number, held, waiting = number + 1, 0.0, []
    large = np.flatnonzero(expected >= EXPECTED)
    group[large] = number + np.arange(len(large))
    return Cells(group, number + len(large))


def prove(
    cells: NDArray[np.int64], missing: NDArray[np.int64], reference: Counted, together: Cells | None = None
) -> Proof:
    """Test windows against the reference.

    Args:
        cells: (n_windows, n_cells), see Counted.cells.
        missing: (n_windows,)
        together: from `cells_of` for the present rows of a window; made for the first when left out.
    """
    present = cells.sum(axis=-1)
    together = together or cells_of(reference, int(present[0]))
    known, known_rows = reference.cells, reference.present
    common, known_common = together.grouped(cells), together.grouped(known)
    statistic, p_shape = same_shape(common, known_common)
    chance = 1 / np.maximum(common.sum(axis=-1), 1) + 1 / max(int(known_common.sum()), 1)
    p_values = {"shape": p_shape}
    effects = {"shape": np.maximum(0.0, statistic - max(together.n_groups - 1, 0)) * chance}
    if reference.kind == "numeric":
        effects["rank"], p_values["rank"] = rank_sum(cells, known)
    if (together.group < 0).any():
        rare, known_rare = together.rare(cells), int(together.rare(known))
        effects["rare"] = _difference(rare, present, known_rare, known_rows)
        p_values["rare"] = same_share(rare, present, known_rare, known_rows)
    rows = present + missing
    effects["missing"] = _difference(missing, rows, reference.missing, reference.rows)
    p_values["missing"] = same_share(missing, rows, reference.missing, reference.rows)
    return Proof(p_values, effects)


def same_shape(counts: NDArray[np.int64], reference: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """Return Pearson's chi-squared of (..., n_groups) and (n_groups,) counts, and its p-value: (...) each."""
    from scipy import special

    a, r = counts.astype(np.float64), reference.astype(np.float64)
    n, m = a.sum(axis=-1), float(r.sum())
    both = a + r
    apart = (a * m - r * n[..., None]) ** 2 / np.where(both > 0, both, 1.0)
    statistic = apart.sum(axis=-1) / np.maximum(n * m, 1.0)
    freedom = (both > 0).sum(axis=-1) - 1
    return statistic, np.where(freedom > 0, special.chdtrc(np.maximum(freedom, 1), statistic), 1.0)


def rank_sum(cells: NDArray[np.int64], reference: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """Return 2 P(window > reference) - 1 with ties halved (Cliff, 1993), and its p-value, for ordered cells."""
    from scipy import special

    a, r = cells.astype(np.float64), reference.astype(np.float64)
    n, m = a.sum(axis=-1), float(r.sum())
    both, total = a + r, n + m
    below = np.cumsum(r) - r
    effect = ((a * (below + r / 2)).sum(axis=-1) / np.maximum(n * m, 1.0)) * 2 - 1
    share = both / np.maximum(total, 1.0)[..., None]
    spread = total**2 * (1 - (share**3).sum(axis=-1)) / np.maximum(3 * n * m * (total - 1), 1.0)
    possible = (n > 0) & (m > 0) & (spread > 1e-15)
    z = np.abs(effect) / np.sqrt(np.where(possible, spread, 1.0))
    return np.where(n > 0, effect, 0.0), np.where(possible, special.erfc(z / np.sqrt(2)), 1.0)


def same_share(count: NDArray[np.int64], rows: NDArray[np.int64], reference: int, reference_rows: int) -> Numbers:
    """Return the p-value of two shares being one: twice the smaller tail, exact where few rows are expected."""
    from scipy import special

    total, hits = rows + reference_rows, count + reference
    expected = hits / np.maximum(total, 1) * np.minimum(rows, reference_rows)
    signed = _signed_root(count, rows, reference, reference_rows)
    p_value = np.asarray(special.erfc(np.abs(signed) / np.sqrt(2)))
    few = (expected < _EXACT_BELOW) & (hits > 0) & (rows > 0)
    if few.any():
        pairs, inverse = np.unique(np.stack([count[few], rows[few]]), axis=1, return_inverse=True)
        tails = [_smaller_tail(int(x), int(n), reference, reference_rows) for x, n in pairs.T]
        p_value[few] = np.minimum(1.0, 2 * np.array(tails))[inverse.ravel()]
    return np.where((hits == 0) | (rows == 0) | (reference_rows == 0), 1.0, p_value)


def _smaller_tail(count: int, rows: int, reference: int, reference_rows: int) -> float:
    """Return the smaller of P(X <= count) and P(X >= count) for hypergeometric X, both margins being what they are."""
    from scipy import special

    hits = count + reference
    least = max(0, hits - reference_rows)
    x = np.arange(least, min(hits, rows) + 1)
    log = -(
        special.gammaln(x + 1) + special.gammaln(hits - x + 1)
        + special.gammaln(rows - x + 1) + special.gammaln(reference_rows - hits + x + 1)
    )  # fmt: skip
    share = np.exp(log - log.max())
    share /= share.sum()
    place = count - least
    return float(min(share[: place + 1].sum(), share[place:].sum()))


def _signed_root(count: NDArray[np.int64], rows: NDArray[np.int64], reference: int, reference_rows: int) -> Numbers:
    """Return the root of G (Wilks, 1938) of a two by two table, with the sign of the change."""
    from scipy import special

    x, n, y, m = (np.asarray(value, dtype=np.float64) for value in (count, rows, reference, reference_rows))
    share = (x + y) / np.maximum(n + m, 1.0)
    # The sum of x ln(x / e) is that of x ln(x / e) - (x - e), whose terms are small where little changed.
    g = sum(
        special.xlog1py(held, (held - size * part) / np.maximum(size * part, 1e-300)) - (held - size * part)
        for held, size, part in ((x, n, share), (n - x, n, 1 - share), (y, m, share), (m - y, m, 1 - share))
    )
    signed: Numbers = np.sign(x * m - y * n) * np.sqrt(np.maximum(0.0, 2 * g))
    return signed


def _difference(count: NDArray[np.int64], rows: NDArray[np.int64], reference: int, reference_rows: int) -> Numbers:
    return np.asarray(count / np.maximum(rows, 1) - reference / max(reference_rows, 1))


def _least(name: str, floor: Floor) -> float:
    if name == "shape":
        return psi_of_shift(floor.effect)
    return rank_of_shift(floor.effect) if name == "rank" else floor.share
