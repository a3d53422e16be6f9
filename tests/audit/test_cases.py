"""Drawing rows for people: which ones, how many of each kind, and that nothing but their names decides."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinscore.audit.cases import CaseDraw, chosen_rows, features_of, strata_of


def rows(count: int, *, cities: tuple[str | None, ...] = ("Rome", "Oslo", None), version: str = "3") -> pa.Table:
    """Return rows as the log has them, as far as drawing looks at them."""
    numbers = range(count)
    return pa.table(
        {
            "request_id": pa.array([f"q-{n // 2}" for n in numbers]),
            "row": pa.array([n % 2 for n in numbers], pa.int32()),
            "version": pa.array([version] * count),
            "score": pa.array([None if n % 7 == 6 else n / count for n in numbers]),
            "decision": pa.array([("approve", "decline")[n % 5 == 0] for n in numbers]),
            "review": pa.array([n % 3 == 0 for n in numbers]),
            "feature_city": pa.array([cities[n % len(cities)] for n in numbers]).dictionary_encode(),
            "feature_age": pa.array([20 + n % 3 for n in numbers]),
        }
    )


def drawn(pieces: list[pa.Table], cases: int = 12, seed: int = 3) -> list[tuple[str, str, int]]:
    """Return stratum, request and row of what is drawn of pieces, in order."""
    draw = CaseDraw(cases=cases, seed=seed)
    for piece in pieces:
        kept = chosen_rows(piece, [("city", None)], "", "")
        draw.add(kept, strata_of(kept, ["city"]))
    return [(stratum, row["request_id"], row["row"]) for stratum, row in draw.drawn()]


@given(
    count=st.integers(1, 60),
    cuts=st.lists(st.integers(0, 60), max_size=3),
    order=st.randoms(use_true_random=False),
    seed=st.integers(0, 2**60),
)
@settings(max_examples=12, deadline=None)
def test_only_seed_and_names_decide(count: int, cuts: list[int], order: Random, seed: int) -> None:
    """The same rows are drawn however the log is cut, ordered or repeated; none twice."""
    table = rows(count)
    edges = sorted({0, count, *[min(cut, count) for cut in cuts]})
    pieces = [table.slice(start, stop - start) for start, stop in pairwise(edges)]
    order.shuffle(pieces)
    once = drawn([table], seed=seed)

    assert once == drawn([*pieces, *pieces[:1]], seed=seed)
    assert len(set(once)) == len(once)
    assert min(12, len(set(drawn([table], cases=10**6, seed=seed)))) == len(once)


def test_each_kind_has_its_share() -> None:
    """Of every group and decision as many, however rare; a rare one gives what it has to the others."""
    found = Counter(stratum for stratum, _, _ in drawn([rows(2_000)], cases=40))
    few = Counter(stratum for stratum, _, _ in drawn([rows(2_000), rows(1, cities=("Nowhere",))], cases=40))

    assert {"city=Rome, approve", "city=Rome, decline", "city=Oslo, approve", "city=Oslo, decline"} == set(found)
    assert {10} == set(found.values())
    assert 1 == few["city=Nowhere, decline"]
    assert 40 == sum(few.values())


def test_another_seed_draws_others() -> None:
    """Cases are not the first ones, nor always the same ones."""
    table = rows(2_000)

    assert drawn([table], seed=1) != drawn([table], seed=2)


@pytest.mark.parametrize(
    ("groups", "segment", "version", "cities"),
    [
        ([("city", "Rome")], "", "", {"Rome"}),
        ([("city", "Rome"), ("city", "Oslo")], "", "", {"Rome", "Oslo"}),
        ([("city", None)], "", "3", {"Rome", "Oslo"}),
        ([], "", "", {"Rome", "Oslo", None}),
        ([], "age=21", "", {"Oslo"}),
        ([("nothing", None)], "", "", set()),
        ([], "", "4", set()),
    ],
)
def test_only_the_groups_in_question_are_drawn_from(
    groups: list[tuple[str, str | None]], segment: str, version: str, cities: set[str | None]
) -> None:
    """Values of a column, a whole column, a segment, a version; a column that the log does not have gives none."""
    kept = chosen_rows(rows(300), groups, segment, version)

    assert cities == set(kept["feature_city"].to_pylist())
    assert None not in kept["score"].to_pylist()


def test_outcomes_are_kinds_where_they_are_known() -> None:
    """With a column of outcomes the wrong answers are told apart; a model without decisions goes by reviews."""
    table = rows(40).set_column(4, "decision", pa.nulls(40, pa.string()))
    known = table.append_column("outcome", pa.array(["bad", None] * 20))

    assert {"review", "answered"} == set(strata_of(table, []).to_pylist())
    assert {"review, was bad", "answered, not known"} < set(strata_of(known, [], "outcome").to_pylist())
    assert {"city": "Rome", "age": 20} == features_of(table.slice(0, 1).to_pylist()[0])
