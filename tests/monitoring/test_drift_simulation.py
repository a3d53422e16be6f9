"""A small version of `benchmarks/drift.py`: windows of real rows, without drift and with a little of it."""

from __future__ import annotations

import numpy as np
import pytest

from twinscore.bundle.profile import bin_edges
from twinscore.monitoring.drift_counts import Counted, Reference, WindowCounts, counted
from twinscore.monitoring.drift_finding import findings_of
from twinscore.monitoring.drift_level import adjusted, level_of, simes
from twinscore.monitoring.drift_proof import Floor, prove
from twinscore.monitoring.spec import WatchedDrift

REFERENCE_ROWS = 10_000
NUMBERS, KINDS, KIND_SIZE = 20, 5, 12
RULE = WatchedDrift()
FLOOR = Floor(RULE.effect, RULE.share)


def rows_of(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return (count, 25): normal and lognormal numbers that go together, then codes of twelve categories."""
    shared = rng.standard_normal((count, 1))
    numbers = np.sqrt(0.6) * shared + np.sqrt(0.4) * rng.standard_normal((count, NUMBERS))
    numbers[:, 10:] = np.exp(2 * numbers[:, 10:])
    share = 1 / np.arange(1, KIND_SIZE + 1) ** 1.5
    return np.hstack([numbers, rng.choice(KIND_SIZE, size=(count, KINDS), p=share / share.sum())])


def counts_of(rows: np.ndarray, edges: list[np.ndarray]) -> list[np.ndarray]:
    """Count windows in the bins of a reference: (n_windows, n_rows, 25) to (n_windows, n_bins) of every feature."""
    found = []
    for place in range(NUMBERS + KINDS):
        values, size = rows[..., place], KIND_SIZE
        if place < NUMBERS:
            values, size = np.searchsorted(edges[place], values, side="left"), len(edges[place]) + 1
        shifted = values.astype(np.int64) + size * np.arange(len(rows))[:, None]
        found.append(np.bincount(shifted.ravel(), minlength=size * len(rows)).reshape(len(rows), size))
    return found


def of_window(counts: list[np.ndarray], number: int) -> dict[str, Counted]:
    """Return one of the windows."""
    return {
        f"feature_{place}": counted("numeric" if place < NUMBERS else "categorical", one[number])
        for place, one in enumerate(counts)
    }


def p_values_of(counts: list[np.ndarray], reference: Reference) -> np.ndarray:
    """Return the p-values of all windows: (n_windows, 25)."""
    found = np.empty((len(counts[0]), len(counts)))
    for place, one in enumerate(counts):
        known = reference.features[f"feature_{place}"]
        cells = one if known.kind == "numeric" else np.column_stack([one, np.zeros(len(one), dtype=np.int64)])
        found[:, place] = prove(cells, np.zeros(len(one), dtype=np.int64), known).p_value(FLOOR)
    return found


@pytest.mark.parametrize(("size", "windows", "found"), [(50, 1_000, 0.0), (500, 400, 0.4), (20_000, 10, 0.99)])
def test_windows_alarm_when_something_moved_and_only_then(size: int, windows: int, found: float) -> None:
    """At most one false alarm in a hundred windows; a fifth of a standard deviation is found as often as stated."""
    rng = np.random.default_rng(size)
    drawn = rows_of(REFERENCE_ROWS, rng)
    edges = [bin_edges(drawn[:, place]) for place in range(NUMBERS)]
    reference = Reference(digest=f"simulated {size}", features=of_window(counts_of(drawn[None], edges), 0))
    rows = rows_of(windows * size, rng).reshape(windows, size, -1)
    counts = counts_of(rows, edges)
    rows[..., 0] += 0.2
    moved = [counts_of(rows, edges)[0], *counts[1:]]
    level = level_of(reference, size, alarms=RULE.alarms, floor=FLOOR)
    still, later = p_values_of(counts, reference), p_values_of(moved, reference)
    told = findings_of(WindowCounts(features=of_window(moved, 1)), reference, RULE)

    assert (simes(still) <= level).mean() <= 0.01
    assert np.mean([adjusted(one)[0] <= level for one in later]) >= found
    assert [one.p_value for one in told.features.values()] == pytest.approx(adjusted(later[1]).tolist(), abs=1e-12)
