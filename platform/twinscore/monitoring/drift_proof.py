"""Whether counts and a reference's can be samples of the same rows: tests of one feature in many windows; pure.

Four things can change, each with a test of its own, and the feature's p-value is the least of theirs times their
number (Bonferroni), which holds however they depend on each other:

- `shape`: Pearson's chi-squared of two samples over the cells that have enough rows;
- `rank`: Wilcoxon's rank sum with ties (Mann and Whitney, 1947), for numbers: one direction, so far more powerful;
- `rare`: rows in the cells that are left over, new categories often among them: Fisher's exact test;
- `missing`: rows without a value, by the same.

The reference is a sample too; it weighs by its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from twinscore.monitoring.drift_cells import grouped
from twinscore.monitoring.drift_effect import psi_of_shift, rank_of_shift

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinscore.monitoring.drift_counts import Counted, Kind

    Numbers = NDArray[np.float64]
    Whole = NDArray[np.int64] | int

__all__ = ["Floor", "Proof", "prove", "prove_pairs", "rank_sum", "same_shape", "same_share"]

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
class Proof:
    """p-value and effect of each test, (n_windows,) each."""

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


def prove(cells: NDArray[np.int64], missing: NDArray[np.int64], reference: Counted) -> Proof:
    """Test windows against the reference.

    Args:
        cells: (n_windows, n_cells), see Counted.cells.
        missing: (n_windows,)
        reference: what all are held against.
    """
    return prove_pairs(cells, missing, reference.cells, np.array(reference.missing), reference.kind)


def prove_pairs(
    cells: NDArray[np.int64],
    missing: NDArray[np.int64],
    known: NDArray[np.int64],
    known_missing: NDArray[np.int64],
    kind: Kind,
) -> Proof:
    """Test each window against its own reference: known (n_windows, n_cells) and known_missing (n_windows,).

    One reference for all has (n_cells,) and ().
    """
    present, known_present = cells.sum(axis=1), known.sum(axis=-1)
    together = grouped(cells, known, ordered=kind == "numeric")
    statistic, freedom, p_shape = same_shape(together.window, together.reference)
    common, known_common = together.window.sum(axis=1), together.reference.sum(axis=1)
    chance = 1 / np.maximum(common, 1) + 1 / np.maximum(known_common, 1)
    rare = (together.rare, present, together.rare_reference, known_present)
    absent = (missing, present + missing, known_missing, known_present + known_missing)
    p_values = {"shape": p_shape, "rare": same_share(*rare), "missing": same_share(*absent)}
    effects = {
        "shape": np.maximum(0.0, statistic - freedom) * chance,
        "rare": _difference(*rare),
        "missing": _difference(*absent),
    }
    if kind == "numeric":
        effects["rank"], p_values["rank"] = rank_sum(cells, known)
    return Proof(p_values, effects)


def same_shape(counts: NDArray[np.int64], reference: NDArray[np.int64]) -> tuple[Numbers, NDArray[np.int64], Numbers]:
    """Return Pearson's chi-squared of (..., n_groups) counts, its degrees of freedom and p-value: (...) each."""
    from scipy import special

    a, r = counts.astype(np.float64), reference.astype(np.float64)
    n, m = a.sum(axis=-1), r.sum(axis=-1)
    both = a + r
    apart = (a * m[..., None] - r * n[..., None]) ** 2 / np.where(both > 0, both, 1.0)
    statistic = apart.sum(axis=-1) / np.maximum(n * m, 1.0)
    freedom = np.maximum((both > 0).sum(axis=-1) - 1, 0)
    some = (freedom > 0) & (n > 0) & (m > 0)
    return statistic, freedom, np.where(some, special.chdtrc(np.maximum(freedom, 1), statistic), 1.0)


def rank_sum(cells: NDArray[np.int64], reference: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """Return 2 P(window > reference) - 1 with ties halved (Cliff, 1993), and its p-value, for ordered cells."""
    from scipy import special

    a, r = cells.astype(np.float64), reference.astype(np.float64)
    n, m = a.sum(axis=-1), r.sum(axis=-1)
    both, total = a + r, n + m
    below = np.cumsum(r, axis=-1) - r
    effect = ((a * (below + r / 2)).sum(axis=-1) / np.maximum(n * m, 1.0)) * 2 - 1
    share = both / np.maximum(total, 1.0)[..., None]
    spread = total**2 * (1 - (share**3).sum(axis=-1)) / np.maximum(3 * n * m * (total - 1), 1.0)
    possible = (n > 0) & (m > 0) & (spread > 1e-15)
    z = np.abs(effect) / np.sqrt(np.where(possible, spread, 1.0))
    return np.where(n > 0, effect, 0.0), np.where(possible, special.erfc(z / np.sqrt(2)), 1.0)


def same_share(count: Whole, rows: Whole, reference: Whole, reference_rows: Whole) -> Numbers:
    """Return the p-value of two shares being one: twice the smaller tail, exact where few rows are expected.

    All are (n_windows,), or () for one number to all windows.
    """
    from scipy import special

    count, rows, reference, reference_rows = np.broadcast_arrays(count, rows, reference, reference_rows)
    total, hits = rows + reference_rows, count + reference
    expected = hits / np.maximum(total, 1) * np.minimum(rows, reference_rows)
    signed = _signed_root(count, rows, reference, reference_rows)
    p_value = np.asarray(special.erfc(np.abs(signed) / np.sqrt(2)))
    few = (expected < _EXACT_BELOW) & (hits > 0) & (rows > 0)
    if few.any():
        tables = np.stack([one[few] for one in (count, rows, reference, reference_rows)])
        tables, inverse = np.unique(tables, axis=1, return_inverse=True)
        tails = [_smaller_tail(*(int(one) for one in table)) for table in tables.T]
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


def _signed_root(count: Whole, rows: Whole, reference: Whole, reference_rows: Whole) -> Numbers:
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


def _difference(count: Whole, rows: Whole, reference: Whole, reference_rows: Whole) -> Numbers:
    return np.asarray(count / np.maximum(rows, 1) - reference / np.maximum(reference_rows, 1))


def _least(name: str, floor: Floor) -> float:
    if name == "shape":
        return psi_of_shift(floor.effect)
    return rank_of_shift(floor.effect) if name == "rank" else floor.share
