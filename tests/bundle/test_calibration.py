"""Conformal quantiles cover, adapt and survive JSON."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.bundle.calibration import Calibration, conformal_quantile, fit_classes, fit_interval
from twinscore.errors import BundleInvalid


def test_quantile_has_the_finite_sample_rank() -> None:
    """Of n values the ceil((n + 1) * coverage)-th smallest is taken, infinity when there is none."""
    assert conformal_quantile(np.arange(1.0, 20.0), 0.9) == 18.0
    assert conformal_quantile(np.arange(5.0), 0.9) == math.inf


def test_sets_cover_new_rows() -> None:
    """On exchangeable rows the sets hold the true class about as often as promised."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(3), 20_000)
    truth = np.array([rng.choice(3, p=p) for p in shares])
    fitted = fit_classes(shares[:5000], truth[:5000])
    covered = shares[5000:][np.arange(15_000), truth[5000:]] >= fitted.least_probability

    assert abs(covered.mean() - 0.9) < 0.02


def test_intervals_cover_new_rows_and_adapt() -> None:
    """Coverage holds, and where the noise is larger the interval is wider."""
    rng = np.random.default_rng(1)
    predicted = rng.uniform(0, 10, 20_000)
    truth = predicted + rng.normal(0, 0.1 + predicted)
    fitted = fit_interval(predicted[:5000], truth[:5000])
    lower, upper = fitted.intervals(predicted[5000:])

    assert abs(np.mean((truth[5000:] >= lower) & (truth[5000:] <= upper)) - 0.9) < 0.02
    assert fitted.quantiles[-1] > 3 * fitted.quantiles[0]


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=50))
def test_one_row_gives_the_bits_of_many(values: list[float]) -> None:
    """`interval` and `intervals` agree bit by bit."""
    rng = np.random.default_rng(2)
    fitted = fit_interval(rng.normal(0, 300, 2000), rng.normal(0, 300, 2000))
    lower, upper = fitted.intervals(np.array(values))

    assert [fitted.interval(value) for value in values] == list(zip(lower.tolist(), upper.tolist(), strict=True))


def test_ties_do_not_starve_a_bin() -> None:
    """When most predictions are equal, bins are joined until each holds enough rows."""
    predicted = np.concatenate([np.zeros(950), np.arange(50.0)])
    fitted = fit_interval(predicted, predicted + 1.0)

    assert all(math.isfinite(value) for value in fitted.quantiles)
    assert Calibration.from_json(fitted.to_json()) == fitted


def test_broken_documents_are_refused() -> None:
    """Quantiles that do not fit the bins are no calibration."""
    with pytest.raises(BundleInvalid, match="quantiles"):
        Calibration.from_json({"kind": "interval", "coverage": 0.9, "edges": [1], "quantiles": [1], "n_rows": 5})
