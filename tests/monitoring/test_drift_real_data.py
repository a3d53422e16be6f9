"""Drift of the air of Beijing by month, held against what scipy says of the raw values."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from twinscore.bundle.features import infer_features
from twinscore.bundle.profile import bin_counts, build_profile
from twinscore.monitoring.drift_cells import grouped
from twinscore.monitoring.drift_counts import Counted, WindowCounts, counted, reference_of
from twinscore.monitoring.drift_finding import Finding, findings_of, proof_of
from twinscore.monitoring.spec import WatchedDrift

CALENDAR = ("row_id", "year", "month", "day", "hour", "event_time")


class Month(NamedTuple):
    """One feature of one month."""

    name: str
    month: int
    values: np.ndarray
    known_values: np.ndarray
    held: Counted
    known: Counted
    finding: Finding

    @property
    def present(self) -> tuple[np.ndarray, np.ndarray]:
        """Raw values that are there, of the month and of the reference."""
        return self.values[~np.isnan(self.values)], self.known_values[~np.isnan(self.known_values)]


@pytest.fixture(scope="module")
def months(beijing: Path) -> list[Month]:
    """Every feature of every month from 2012 on; the reference is 2010 and 2011."""
    table = pq.read_table(beijing)
    table = table.set_column(table.schema.get_field_index("cbwd"), "cbwd", pc.cast(table["cbwd"], pa.string()))
    spec = infer_features(table, exclude=CALENDAR)
    early = pc.less(table["year"], 2012)
    profile = build_profile(table.filter(early), spec, np.zeros(pc.sum(early).as_py()))
    reference = reference_of(profile)
    rows, of_reference = spec.encode(table).astype(np.float64), early.to_numpy(zero_copy_only=False)
    month = table["year"].to_numpy() * 100 + table["month"].to_numpy()
    found = []
    for number in np.unique(month[~of_reference]):
        held = {}
        for place, feature in enumerate(spec.features):
            values = rows[month == number, place]
            there = values[~np.isnan(values)]
            if feature.kind == "categorical":
                counts = np.bincount(there.astype(int), minlength=len(feature.categories))
            else:
                counts = bin_counts(there, np.array(profile["features"][feature.name]["edges"]))
            held[feature.name] = counted(feature.kind, counts, len(values) - len(there))
        told = findings_of(WindowCounts(features=held), reference, WatchedDrift())
        found += [
            Month(name, int(number), rows[month == number, place], rows[of_reference, place], held[name],
                  reference.features[name], told.features[name])
            for place, name in enumerate(spec.names)
        ]  # fmt: skip
    return found


def test_figures_are_those_of_scipy_and_of_the_formula(months: list[Month]) -> None:
    """In the same bins, to 1e-9: PSI, Jensen-Shannon, Cramér's V, KS of the bins, missing shares, p-values."""
    assert len(months) == 36 * 8
    for one in months:
        a, r, effects = one.held.counts, one.known.counts, one.finding.effects
        share, known = np.maximum(a / a.sum(), 1e-4), np.maximum(r / r.sum(), 1e-4)
        missing = np.isnan(one.values).mean() - np.isnan(one.known_values).mean()

        assert sum((share - known) * np.log(share / known)) == pytest.approx(effects["psi"].value, abs=1e-9)
        assert jensenshannon(a, r, base=2) == pytest.approx(effects["js_distance"].value, abs=1e-9)
        assert missing == pytest.approx(effects["missing_shift"].value, abs=1e-9)
        if one.held.kind == "categorical":
            table = np.array([a * r.sum(), r * a.sum()])
            expected = stats.contingency.association(table, method="cramer", correction=False)
            assert expected == pytest.approx(effects["cramers_v"].value, abs=1e-9)
        else:
            codes = [np.repeat(np.arange(len(a)), counts) for counts in (a, r)]
            binned, ranks = stats.ks_2samp(*codes, method="asymp"), stats.mannwhitneyu(*codes, use_continuity=False)
            assert binned.statistic == pytest.approx(effects["ks"].value, abs=1e-9)
            assert ranks.pvalue == pytest.approx(proof_of(one.held, one.known).p_values["rank"][0], abs=1e-9)
        together = grouped(one.held.cells[None, :], one.known.cells, ordered=one.held.kind == "numeric")
        table = np.stack([together.window[0], together.reference[0]])
        if (table.sum(axis=0) > 0).sum() > 1:
            expected = stats.chi2_contingency(table[:, table.sum(axis=0) > 0], correction=False).pvalue
            assert expected == pytest.approx(effects["psi"].p_value, abs=1e-9)


def test_ks_of_the_bins_is_that_of_the_raw_values_within_a_bin(months: list[Month]) -> None:
    """It is never larger, and smaller by less than the largest share that month or reference has between two edges."""
    for one in months:
        if one.held.kind == "numeric":
            raw = stats.ks_2samp(*one.present, method="asymp").statistic
            widest = max(float((held.counts / held.present).max()) for held in (one.held, one.known))
            binned = one.finding.effects["ks"].value or 0.0
            assert binned - 1e-12 <= raw <= binned + widest


def test_findings_are_those_of_an_independent_computation(months: list[Month]) -> None:
    """Of 216 findings on five numbers and the wind, at least 96 in 100 are those of raw KS or chi-squared."""
    watched = [one for one in months if one.name in ("pm25", "dewp", "temp", "pres", "iws", "cbwd")]
    expected = []
    for number in sorted({one.month for one in watched}):
        raw = [
            stats.chi2_contingency([one.held.counts, one.known.counts], correction=False).pvalue
            if one.held.kind == "categorical" else stats.ks_2samp(*one.present, method="asymp").pvalue
            for one in watched if one.month == number
        ]  # fmt: skip
        expected += (stats.false_discovery_control(raw) <= 0.01).tolist()
    found = [bool(one.finding.changed) for one in watched]

    assert len(found) == 216
    assert np.mean(np.array(found) == np.array(expected)) >= 0.96
    assert all(one.finding.changed for one in watched if one.name in ("dewp", "temp", "pres"))
