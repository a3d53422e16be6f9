"""The level at which features are said to drift: chosen by simulation on the reference itself; pure, seeded.

Windows without drift are drawn from the reference's shares, and with each another reference of as many rows as the
real one has, from the same shares: the reference is a sample too, which is why a large window held against a small one
is not believed too much.
Each is put through the tests, the floor and Benjamini-Hochberg as a real window is, and the level is the one that
a third as many windows pass as may be false alarms.

Features are drawn independently. Where they go together, alarms come together as well, so windows with any are fewer.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from twinscore.monitoring.drift_proof import Floor, prove_pairs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from twinscore.monitoring.drift_counts import Counted, Reference

__all__ = ["adjusted", "draw_windows", "grid_rows", "level_of", "null_p_values", "simes"]

WINDOWS = 4_000
"""Simulated ones per level."""
_AIM = 1 / 3
"""Of the alarms that are permitted: the simulation has an error, and no reference knows its rarest cells."""
_PER_DECADE = 6
_EXACT_UP_TO = 120
_NUMBERS_AT_A_TIME = 500_000
"""Cells of windows in memory together: features with a thousand categories stay small."""


def level_of(reference: Reference, rows: int, *, alarms: float, floor: Floor, scores: bool = False) -> float:
    """Return the level for the corrected p-values of a window of so many rows, at most `alarms`.

    Kept per reference and number of rows, the latter rounded, see `grid_rows`.

    Args:
        reference: that windows are held against.
        rows: in the window.
        alarms: share of windows without drift that may say that anything drifts.
        floor: the least change that counts.
        scores: of the scores alone, instead of all features.
    """
    return _level(reference, grid_rows(rows), alarms, floor, scores)


def grid_rows(rows: int) -> int:
    """Return the number of rows rounded to six steps per decade; few rows as they are, as each changes the cells.

    >>> [grid_rows(rows) for rows in (1, 50, 1_000, 1_200, 123_456)]
    [1, 50, 1000, 1000, 146780]
    """
    if rows <= _EXACT_UP_TO:
        return max(rows, 1)
    return round(10 ** (round(math.log10(rows) * _PER_DECADE) / _PER_DECADE))


def adjusted(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values corrected for their number: Benjamini and Hochberg (1995); (n_features,)."""
    from scipy import stats

    return np.asarray(stats.false_discovery_control(p_values, method="bh")) if len(p_values) else p_values


def simes(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the least corrected p-value of each window: (n_windows, n_features) to (n_windows,) (Simes, 1986)."""
    count = p_values.shape[1]
    ordered = np.sort(p_values, axis=1) * (count / np.arange(1, count + 1))
    return np.asarray(ordered.min(axis=1))


def draw_windows(
    reference: Counted, rows: int, windows: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw windows of so many rows with the reference's shares: cells (n_windows, n_cells), missing (n_windows,)."""
    known = np.append(reference.cells, reference.missing)
    drawn = rng.multinomial(rows, known / known.sum(), size=windows)
    return drawn[:, :-1], drawn[:, -1]


def null_p_values(
    features: Mapping[str, Counted], rows: int, floor: Floor | None, *, windows: int = WINDOWS, seed: int = 0
) -> NDArray[np.float64]:
    """Return p-values of windows without drift: (n_windows, n_features)."""
    rng = np.random.default_rng(seed)
    found = np.empty((windows, len(features)))
    for place, one in enumerate(features.values()):
        step = max(250, _NUMBERS_AT_A_TIME // len(one.cells))
        for first in range(0, windows, step):
            part = slice(first, min(first + step, windows))
            drawn = draw_windows(one, rows, part.stop - first, rng)
            references = draw_windows(one, one.rows, part.stop - first, rng)
            found[part, place] = prove_pairs(*drawn, *references, one.kind).p_value(floor)
    return found


@lru_cache(maxsize=512)
def _level(reference: Reference, rows: int, alarms: float, floor: Floor, scores: bool) -> float:
    features = {"": reference.score} if scores and reference.score is not None else reference.features
    features = {name: one for name, one in features.items() if one.rows}
    if not features:
        return 0.0
    smallest = np.sort(simes(null_p_values(features, rows, floor)))
    allowed = int(WINDOWS * alarms * _AIM)
    return min(alarms, float(np.nextafter(smallest[allowed], 0.0)))
