"""Cells that are tested together: enough rows in each group, every row once, and no bias by what a sample lacks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twinscore.monitoring.drift_cells import EXPECTED, grouped
from twinscore.monitoring.drift_proof import prove_pairs

counts = st.integers(0, 2_000) | st.integers(0, 6)


@given(st.integers(1, 25), st.booleans(), st.data())
def test_groups_hold_enough_rows_and_every_row_once(size: int, ordered: bool, data: st.DataObject) -> None:
    """Each group is expected to have 5 rows of the smaller sample; what is left over has fewer than 5 together."""
    cells = np.array([data.draw(st.lists(counts, min_size=size, max_size=size)) for _ in range(3)])
    reference = np.array(data.draw(st.lists(counts, min_size=size, max_size=size)))
    found = grouped(cells, reference, ordered=ordered)
    n, m = cells.sum(axis=1), reference.sum()
    part = np.minimum(n, m) / np.maximum(n + m, 1)
    both = found.window + found.reference
    expected = both * part[:, None]

    assert (expected[both > 0] >= EXPECTED - 1e-9).all()
    assert ((found.rare + found.rare_reference) * part < EXPECTED + 1e-9).all()
    assert (found.window.sum(axis=1) + found.rare == n).all()
    assert (found.reference.sum(axis=1) + found.rare_reference == m).all()


def test_neighbours_and_the_rarest_are_put_together() -> None:
    """Bins of a number by their order, categories from the rarest; what has enough stays alone."""
    cells, reference = np.array([[4, 90, 3, 1, 2]]), np.array([40, 900, 30, 10, 20])
    bins, kinds = grouped(cells, reference, ordered=True), grouped(cells, reference, ordered=False)

    assert sorted(bins.window[bins.window > 0].tolist()) == [7, 90]
    assert sorted(kinds.window[kinds.window > 0].tolist()) == [6, 90]
    assert (bins.rare.tolist(), kinds.rare.tolist()) == ([3], [4])


def test_what_a_sample_lacks_is_no_drift() -> None:
    """A hundred categories, mostly rare ones, a small reference, large windows: no more small p-values than are due."""
    rng = np.random.default_rng(12)
    share = 1 / np.arange(1, 101) ** 1.5
    share /= share.sum()
    known, windows = rng.multinomial(1_500, share, size=1_500), rng.multinomial(50_000, share, size=1_500)
    nothing = np.zeros(1_500, dtype=np.int64)
    p_values = prove_pairs(windows, nothing, known, nothing, "categorical").p_values["shape"]

    for level in (0.001, 0.01, 0.05):
        assert (p_values <= level).mean() <= level + 3 * np.sqrt(level / 1_500)
