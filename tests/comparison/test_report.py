"""The comparison's figures: those of scipy and pandas on real data, and intervals that hold what they promise."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from twinscore.comparison.estimate import Clusters, Estimate, quantile_of_t, wilson
from twinscore.comparison.page import comparison_page, in_words
from twinscore.comparison.pairs import Pairs
from twinscore.comparison.ranks import kendall, rank_correlation, spearman
from twinscore.comparison.report import Side, compare
from twinscore.comparison.segments import segments_of
from twinscore.errors import SchemaMismatch

LIVE, CANDIDATE = Side("1", "a" * 64, 0.5), Side("2", "b" * 64, 0.5)


def pairs_of(live: Any, candidate: Any, **more: Any) -> pa.Table:
    decisions = {
        f"{side}_decision": np.where(np.asarray(scores) >= 0.5, "yes", "no")
        for side, scores in (("live", live), ("candidate", candidate))
    }
    return pa.table({"live_score": live, "candidate_score": candidate, **decisions, **more})


def report_of(adult: Any, **more: Any) -> dict[str, Any]:
    return compare(
        adult.pairs, LIVE, CANDIDATE, score_profile=adult.live.profile["score"], positive=adult.live.card.positive,
        segments=["education", "age"], groups=["sex"], facts={"model": "adult", "source": "replay"}, **more,
    )  # fmt: skip


def test_figures_are_those_of_scipy_and_pandas(adult: Any) -> None:
    """On 16,000 real rows: quantiles, means, ranks, flips by segment and group, rates; each inside its interval."""
    report = report_of(adult)
    frame = adult.pairs.to_pandas()
    frame["signed"] = frame.candidate_score - frame.live_score
    frame["flip"] = frame.live_decision != frame.candidate_decision
    positive = adult.live.card.positive
    rates = [(frame[f"{side}_decision"] == positive).mean() for side in ("candidate", "live")]
    found = report["difference"]
    drawn = np.sort(np.random.default_rng(0).choice(len(frame), min(20_000, len(frame)), replace=False))
    sample = frame.iloc[drawn]
    crossed = pd.crosstab(frame.live_decision, frame.candidate_decision)

    for share, one in found["size"].items():
        assert math.isclose(frame.signed.abs().quantile(float(share)), one["value"], rel_tol=1e-12)
        assert one["low"] <= one["value"] <= one["high"]
    for share, one in found["signed"].items():
        assert math.isclose(frame.signed.quantile(float(share)), one["value"], rel_tol=1e-9, abs_tol=1e-15)
    assert math.isclose(frame.signed.mean(), found["mean"]["value"], abs_tol=1e-12)
    assert math.isclose(
        stats.spearmanr(sample.live_score, sample.candidate_score).statistic,
        report["ranks"]["spearman"]["value"], abs_tol=1e-12,
    )  # fmt: skip
    assert math.isclose(
        stats.kendalltau(sample.live_score, sample.candidate_score).statistic,
        report["ranks"]["kendall"]["value"], abs_tol=1e-12,
    )  # fmt: skip
    assert frame.flip.mean() == report["decisions"]["flips"]["value"] > 0
    assert {(one["live"], one["candidate"]): one["rows"] for one in report["decisions"]["matrix"]} == {
        (live, candidate): crossed.loc[live, candidate] for live in crossed.index for candidate in crossed.columns
    }
    assert math.isclose(rates[0] - rates[1], report["decisions"]["rate_difference"]["value"], abs_tol=1e-12)
    (by_sex,) = report["groups"]
    assert frame.groupby("feature_sex").flip.mean().to_dict() == {
        one["value"]: one["flips"]["value"] for one in by_sex["parts"]
    }
    assert ["education", "age"] == [one["column"] for one in report["segments"]]
    assert len(frame) == sum(one["rows"] for one in report["segments"][1]["parts"])


def test_intervals_are_those_of_scipy_where_rows_are_independent(adult: Any) -> None:
    """Wilson's for flips within the design effect that noise makes, Student's for means, the PSI in its bins."""
    report = report_of(adult)
    pairs = Pairs.of(adult.pairs)
    flips, signed = pairs.flips(), pairs.candidate - pairs.live
    exact = stats.binomtest(int(flips.sum()), len(flips)).proportion_ci(method="wilson")
    ours = report["decisions"]["flips"]
    student = stats.t.interval(0.95, len(signed) - 1, signed.mean(), stats.sem(signed))
    mean = report["difference"]["mean"]
    edges = adult.live.profile["score"]["edges"]
    shares = [np.histogram(one, [-np.inf, *np.nextafter(edges, np.inf), np.inf])[0] / len(one)
              for one in (pairs.candidate, pairs.live)]  # fmt: skip
    floor = [np.maximum(one, 1e-4) for one in shares]

    assert 0.99 < (ours["high"] - ours["low"]) / (exact.high - exact.low) < 1.5
    assert 0.6 < (mean["high"] - mean["low"]) / (student[1] - student[0]) < 1.5
    assert math.isclose(((floor[0] - floor[1]) * np.log(floor[0] / floor[1])).sum(), report["shift"]["psi"]["value"])
    assert "reference" == report["shift"]["bins_from"]
    assert [stats.t.ppf(0.975, freedom) for freedom in (5, 10, 39)] == pytest.approx(
        [quantile_of_t(freedom) for freedom in (5, 10, 39)], rel=2e-3
    )
    found = stats.binomtest(7, 90).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx(wilson(7 / 90, 90))


@pytest.mark.parametrize("flipped", [0.003, 0.02, 0.2])
def test_a_known_perturbation_lies_in_the_interval(adult: Any, flipped: float) -> None:
    """Scores of a known share of real rows are moved over the threshold: the share is inside, in 19 of 20 draws."""
    live = adult.pairs["live_score"].to_numpy()
    kept = np.abs(live - 0.5) > 1e-6
    live, inside, draws = live[kept], 0, 60
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        rows = rng.choice(len(live), 4_000, replace=False)
        moved = rng.random(4_000) < flipped
        before = live[rows]
        table = pairs_of(before, np.where(moved, 1.0 - before, before))
        pairs = Pairs.of(table)
        one = pairs.clusters.share(pairs.flips())
        assert one.low is not None
        assert one.high is not None
        inside += one.low <= flipped <= one.high

    assert inside >= 0.9 * draws


def test_rows_of_one_entity_do_not_make_a_figure_surer() -> None:
    """Each entity asked ten times: intervals hold in nine of ten draws at least, where those of rows would not."""
    inside, naive, draws = 0, 0, 150
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        unit = np.repeat(np.arange(200), 10)
        clusters = Clusters.of(pa.array(unit))
        hits = np.repeat(rng.random(200) < 0.1, 10)
        one = clusters.share(hits)
        plain = wilson(float(hits.mean()), len(hits))
        assert one.low is not None
        assert one.high is not None
        inside += one.low <= 0.1 <= one.high
        naive += plain[0] <= 0.1 <= plain[1]
    print(f"of {draws}: {inside} with units, {naive} by rows")

    assert inside >= 0.9 * draws
    assert naive < 0.7 * draws


def test_means_ratios_and_quantiles_hold_what_they_promise() -> None:
    """95 % intervals of a mean, a ratio and a quantile hold the truth in nine of ten draws at least."""
    held, draws = np.zeros(3), 200
    truth = (1.0, 2.0, math.log(2.0))
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        values, others = rng.exponential(1.0, 1_000), rng.exponential(2.0, 1_000)
        clusters = Clusters.of(pa.array(np.arange(1_000)))
        for place, one in enumerate(
            (clusters.mean(values), clusters.ratio(others, values), clusters.quantile(values, 0.5))
        ):
            assert one.low is not None
            assert one.high is not None
            held[place] += one.low <= truth[place] <= one.high

    assert (held >= 0.9 * draws).all(), held


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=60),
)
def test_ranks_are_those_of_scipy(rows: list[tuple[int, int]]) -> None:
    """With ties and constant columns alike."""
    one, other = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    constant = len(set(one)) == 1 or len(set(other)) == 1

    if constant:
        assert math.isnan(kendall(one, other))
        assert math.isnan(spearman(one, other))
    else:
        assert math.isclose(stats.kendalltau(one, other).statistic, kendall(one, other), abs_tol=1e-12)
        assert math.isclose(stats.spearmanr(one, other).statistic, spearman(one, other), abs_tol=1e-12)


@given(st.lists(st.one_of(st.none(), st.integers(-50, 50)), max_size=200), st.booleans())
def test_every_row_is_in_one_segment(values: list[int | None], as_text: bool) -> None:
    """Words, numbers, many and few, missing ones too."""
    column = pa.array([None if one is None else str(one) for one in values] if as_text else values,
                      pa.string() if as_text else pa.int64())  # fmt: skip
    found = segments_of(column)

    assert [1] * len(values) == np.sum([rows for _, rows in found], axis=0, dtype=int).tolist() if values else True
    assert len(found) == len({name for name, _ in found})


def test_equal_versions_differ_in_nothing() -> None:
    """Zero differences, PSI and flips; the upper end of the flips is what so many units can rule out."""
    scores = np.linspace(0.01, 0.99, 500)
    report = compare(pairs_of(scores, scores), LIVE, CANDIDATE, positive="yes")

    assert {"value": 0.0, "low": 0.0, "high": 0.0} == report["shift"]["psi"]
    assert (0.0, 1.0) == (report["difference"]["largest_size"], report["ranks"]["spearman"]["value"])
    assert 0.0 == report["decisions"]["flips"]["value"] < report["decisions"]["flips"]["high"] < 0.01
    assert [] == report["largest"]


@pytest.mark.parametrize("n_rows", [0, 1, 3])
def test_few_rows_have_no_false_certainty(n_rows: int) -> None:
    """Nothing is invented for an empty or a tiny table, and its page can be read."""
    scores = np.linspace(0.1, 0.9, n_rows)
    report = compare(pairs_of(scores, scores[::-1]), LIVE, CANDIDATE, positive="yes", segments=["absent"])
    text = json.dumps(report, allow_nan=False)

    assert n_rows == report["rows"]["compared"]
    assert Estimate(0.0) == Clusters.of(pa.array([1, 2])).mean(np.zeros(2))
    assert "<h1>" in comparison_page(json.loads(text))
    assert in_words(report).startswith("No row" if n_rows == 0 else str(n_rows))


def test_numbers_are_compared_without_decisions() -> None:
    """A regression has differences and ranks, and no flips; rows that one side has not scored are counted."""
    nothing = pa.nulls(4, pa.string())
    table = pa.table({"live_score": [1.0, 2.0, 3.0, 4.0], "candidate_score": [1.5, 2.5, None, math.nan],
                      "live_decision": nothing, "candidate_decision": nothing})  # fmt: skip
    report = compare(table, Side("1", "a"), Side("2", "b"))

    assert (2, 2, None) == (report["rows"]["compared"], report["rows"]["unscored"], report["decisions"])
    assert 0.5 == report["difference"]["mean"]["value"]
    with pytest.raises(SchemaMismatch, match="Did you mean 'candidate_scores'"):
        compare(table.rename_columns(["live_score", "candidate_scores", "a", "b"]), LIVE, CANDIDATE)


def test_latency_and_cost_are_compared() -> None:
    """A candidate that takes twice the time has a ratio of two within its interval; rows timed together stay so."""
    rng = np.random.default_rng(1)
    took = rng.gamma(4.0, 100.0, 2_000)
    table = pairs_of(
        rng.random(2_000), rng.random(2_000), live_us=took, candidate_us=took + 500.0, live_row_us=took,
        candidate_row_us=2.0 * took * rng.uniform(0.9, 1.1, 2_000), block=np.repeat(np.arange(100), 20),
    )  # fmt: skip
    report = compare(table, LIVE, CANDIDATE)
    ratio, latency = report["cost"]["ratio"], report["latency"]["median_difference"]

    assert ratio["low"] < 2.0 < ratio["high"] < 2.05
    assert [0.5] * 3 == pytest.approx([latency[name] for name in ("value", "low", "high")])


def test_rank_intervals_stay_on_their_scale() -> None:
    """A correlation near one has an upper end below one, and holds the truth of a known one."""
    rng = np.random.default_rng(3)
    one = rng.normal(size=3_000)
    near = rank_correlation(spearman, one, one + 0.01 * rng.normal(size=3_000), Clusters.of(pa.array(np.arange(3_000))))
    half = rank_correlation(
        kendall, one, one + rng.normal(size=3_000), Clusters.of(pa.array(np.arange(3_000)))
    )  # tau = 2 / pi * asin(r) = 0.5 for r = sqrt(0.5)

    assert near.low is not None
    assert near.high is not None
    assert 0.99 < near.low <= near.value <= near.high <= 1.0
    assert half.low is not None
    assert half.high is not None
    assert half.low < 0.5 < half.high


def test_the_page_has_every_part_and_no_markup_of_data(adult: Any) -> None:
    """Pictures and tables of every part; a name with markup in it is text; nothing is loaded from anywhere."""
    report = report_of(adult)
    report["facts"]["model"] = "<script>x</script>"
    html = comparison_page(report)

    for heading in ("How far the scores are apart", "Scores", "Decisions", "Order", "By education", "By sex (group)"):
        assert f"<h2>{heading}</h2>" in html
    assert html.count("<svg") > 10
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "")
    assert len(html) < 200_000
