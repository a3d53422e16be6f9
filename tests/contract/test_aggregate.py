"""Aggregates merge to the same bits in any order, and equal those of one pass."""

from __future__ import annotations

import json
import math
import random
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinscore.contract.aggregate import Aggregate
from twinscore.contract.cells import Cells
from twinscore.contract.check import Checker, Verdict
from twinscore.contract.compile import compile_contract
from twinscore.contract.hashing import hash_cells
from twinscore.contract.model import Column, Contract, Expectation
from twinscore.contract.moments import Moments, exact_sum
from twinscore.contract.sketches import MOST_DISTINCT, Counts, Distinct, Spread

COLUMNS = (Column("k", pa.string()), Column("x", pa.float64()), Column("n", pa.int64()))
SUITE = tuple(
    Expectation(f"expect_column_{kind}", kwargs)
    for kind, kwargs in (
        ("values_to_be_between", {"column": "x", "min_value": 0, "mostly": 0.5}),
        ("values_to_be_unique", {"column": "k"}),
        ("values_to_be_unique", {"column": "n", "mostly": 0.5}),
        ("min_to_be_between", {"column": "n", "min_value": 0}),
        ("max_to_be_between", {"column": "x", "max_value": 5}),
        ("mean_to_be_between", {"column": "x", "min_value": -1, "max_value": 1}),
        ("stdev_to_be_between", {"column": "n", "max_value": 2}),
        ("median_to_be_between", {"column": "x", "min_value": 0}),
        ("unique_value_count_to_be_between", {"column": "k", "max_value": 3}),
        ("most_common_value_to_be_in_set", {"column": "k", "value_set": ["a"], "ties_okay": True}),
        ("distinct_values_to_equal_set", {"column": "k", "value_set": ["a", "b"]}),
        ("proportion_of_non_null_values_to_be_between", {"column": "x", "min_value": 0.5}),
    )
)
COMPOUND = Expectation("expect_compound_columns_to_be_unique", {"column_list": ["k", "n"]})
CHECKER = compile_contract(Contract("c", 1, COLUMNS, ("k",), (*SUITE, COMPOUND)))

floats = st.floats(allow_nan=False, allow_infinity=False)
rows = st.lists(st.tuples(st.none() | st.sampled_from("abcd"), st.none() | st.floats(), st.none() | st.integers(-3, 3)),
                max_size=12)  # fmt: skip


def table_of(found: list[tuple[Any, ...]]) -> pa.Table:
    return pa.table({c.name: pa.array([row[n] for row in found], c.type) for n, c in enumerate(COLUMNS)})


def aggregate_of(found: list[tuple[Any, ...]], checker: Checker = CHECKER) -> Aggregate:
    table = table_of(found)
    return checker.aggregate(table, checker.check(table))


def plain(aggregate: Aggregate) -> str:
    return json.dumps(aggregate.to_json(), sort_keys=True, allow_nan=False)


def judged(aggregate: Aggregate) -> list[tuple[str, str, bool]]:
    return [(result.rule, result.observed, result.success) for result in CHECKER.judge(aggregate)]


@given(rows, rows, rows)
def test_merging_is_associative_and_commutative_and_equals_one_pass(a: Any, b: Any, c: Any) -> None:
    """However the rows are cut and joined, the judgement has the same words and answers."""
    one, two, three = aggregate_of(a), aggregate_of(b), aggregate_of(c)
    expected = judged(aggregate_of(a + b + c))

    assert plain(one.merge(two).merge(three)) == plain(one.merge(two.merge(three)))
    assert expected == judged(one.merge(two).merge(three))
    assert expected == judged(three.merge(one).merge(two))
    assert expected == judged(Aggregate.from_json(json.loads(plain(one.merge(two).merge(three)))))


@given(st.lists(floats, max_size=30))
def test_sums_are_exact(values: list[float]) -> None:
    """The sum of any finite floats is the true sum, to the last bit."""
    expected = sum((Fraction(value) for value in values), Fraction(0))

    assert expected * 2**1130 == exact_sum(np.array(values, dtype=np.float64))


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30), st.floats(-1e9, 1e9))
def test_deviation_does_not_cancel(values: list[float], shift: float) -> None:
    """The deviation is right to the last digits even far from zero, where one pass in floats loses all."""
    shifted = [value + shift for value in values]
    mean = sum(map(Fraction, shifted)) / len(shifted)
    variance = sum((Fraction(value) - mean) ** 2 for value in shifted) / (len(shifted) - 1)

    assert Moments.of(np.array(shifted)).deviation == pytest.approx(math.sqrt(variance), rel=1e-12, abs=1e-300)


@given(st.lists(floats | st.sampled_from([math.inf, -math.inf]), min_size=1, max_size=40), st.floats(0, 1))
def test_quantiles_are_those_of_pandas(values: list[float], share: float) -> None:
    """Up to the cap of distinct values a quantile is the value that pandas gives."""
    import pandas as pd

    series, spread = pd.Series(values), Spread.of(np.array(values))
    for method in ("nearest", "lower", "higher"):
        assert spread.quantile(share, method=method) == series.quantile(share, interpolation=method)
    if all(map(math.isfinite, values)) and max(map(abs, values)) < 1e300:
        linear = series.quantile(share, interpolation="linear")
        assert spread.quantile(share, method="linear") == pytest.approx(linear, rel=1e-12, abs=1e-300)
        assert spread.median == pytest.approx(series.median(), rel=1e-12, abs=1e-300)


@given(st.lists(st.lists(floats, max_size=30), min_size=2, max_size=5), st.integers(2, 8), st.randoms())
def test_beyond_the_cap_spreads_still_merge_to_the_same_bits(
    parts: list[list[float]], most: int, order: random.Random
) -> None:
    """A coarsened spread is that of the whole, in any order, and no value moved by more than it says."""
    whole = Spread.of(np.array([value for part in parts for value in part]), most=most)
    pieces = [Spread.of(np.array(part), most=most) for part in parts]
    order.shuffle(pieces)
    merged = pieces[0]
    for piece in pieces[1:]:
        merged = merged.merge(piece)

    assert whole.to_json() == merged.to_json()
    assert len(whole.keys) <= most
    assert whole.n == sum(map(len, parts))


def test_a_coarse_spread_keeps_its_promise() -> None:
    """A million distinct values are kept in 65,536 bins, and quantiles are off by no more than stated."""
    values = np.random.default_rng(3).lognormal(3.0, 1.0, 200_000)
    spread = Spread.of(values)
    ordered = np.sort(values)

    assert len(spread.keys) <= MOST_DISTINCT
    assert spread.shift > 0
    for share in (0.0, 0.01, 0.5, 0.99, 1.0):
        true = ordered[int(np.around(share * (len(values) - 1)))]
        assert abs(spread.quantile(share) - true) <= true * 2.0 ** (spread.shift - 53)


@settings(deadline=None)
@given(st.lists(st.lists(st.text(max_size=3), max_size=20), min_size=2, max_size=4), st.integers(2, 6))
def test_distinct_counts_merge_to_the_same_bits(parts: list[list[str]], most: int) -> None:
    """Exact up to the cap, the same estimate in any order beyond it."""

    def sketch(texts: list[str]) -> Distinct:
        return Distinct.of(hash_cells(Cells(pa.array(texts, pa.string()))), most=most)

    texts = [text for part in parts for text in part]
    merged = [sketch(part) for part in parts]
    forward, backward = merged[0], merged[-1]
    for part in merged[1:]:
        forward = forward.merge(part)
    for part in merged[-2::-1]:
        backward = backward.merge(part)

    assert sketch(texts).to_json() == forward.to_json() == backward.to_json()
    if len(set(texts)) <= most:
        assert len(set(texts)) == forward.count


def test_distinct_counts_beyond_the_cap_are_near() -> None:
    """Half a million distinct values are estimated within three standard errors."""
    sketch = Distinct.of(hash_cells(Cells(pa.array(np.arange(500_000)))))

    assert not sketch.exact
    assert abs(sketch.count - 500_000) < 500_000 * 3 / math.sqrt(MOST_DISTINCT)


def test_hashes_do_not_depend_on_the_place_in_a_buffer() -> None:
    """A slice, and the same text elsewhere, hash alike; empty texts and nulls differ."""
    array = pa.array(["abc", "", "abc", None, "ab", "cab"])
    hashes = hash_cells(Cells(array))

    assert hashes[0] == hashes[2]
    assert 5 == len(set(hashes.tolist()))
    assert hashes[2:].tolist() == hash_cells(Cells(array.slice(2))).tolist()


def test_a_run_without_rows_does_not_pass() -> None:
    """No rows is never a pass, whatever the suite says."""
    results = {result.rule: result.success for result in CHECKER.judge(aggregate_of([]))}

    assert results["not_empty"] is False
    assert not results["expect_column_mean_to_be_between(x)"]


def test_uniqueness_looks_at_accepted_rows() -> None:
    """A repeated row that was refused for it does not fail the run; one that was accepted does."""
    table = table_of([("a", 1.0, 1), ("a", 1.0, 1), ("b", 1.0, 2)])
    refused = Verdict(np.array([True, False, True]), np.zeros(3, dtype=bool), Verdict.clean(0).faults)
    rule = "expect_column_values_to_be_unique(k)"

    for verdict, expected in ((Verdict.clean(3), False), (refused, True)):
        found = {result.rule: result for result in CHECKER.judge(CHECKER.aggregate(table, verdict))}
        assert expected == found[rule].success
    assert "2 of 2 rows (1)" == found[rule].observed


def test_faults_are_counted_by_rule() -> None:
    """The aggregate says how many rows each rule refused."""
    aggregate = aggregate_of([("a", math.inf, 1), (None, math.inf, 2)])

    assert {"key_not_null": 1, "not_finite": 2} == aggregate.faults
    assert (2, 0, 0) == (aggregate.n_rows, aggregate.n_accepted, aggregate.n_flagged)


def test_source_columns_are_judged_when_told() -> None:
    """Columns that were left out by `conform` count when the caller names the source's."""
    wanted = Expectation("expect_table_columns_to_match_set", {"column_set": ["k", "x", "n", "extra"]})
    checker = compile_contract(Contract("c", 1, COLUMNS, ("k",), (wanted,)))
    table = table_of([("a", 1.0, 1)])

    for columns, expected in ((None, False), (["extra", "k", "x", "n"], True)):
        found = checker.judge(checker.aggregate(table, Verdict.clean(1), columns=columns))
        assert expected == found[-1].success


def test_too_many_values_have_no_most_common() -> None:
    """Beyond the cap the rule fails and says why, in any order of merging."""
    many = Counts(dict.fromkeys(range(MOST_DISTINCT), 1))

    assert many.counts is not None
    assert many.merge(Counts({-1: 1})).counts is None
    assert Counts({-1: 1}).merge(many).merge(Counts({})).counts is None
