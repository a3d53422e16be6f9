"""What one pass over the float columns finds is what the encoder and the contract's rules find column by column."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from twinscore.bundle.features import infer_features
from twinscore.contract.compile import compile_contract
from twinscore.contract.model import Column, Contract, Expectation
from twinscore.scoring import kernels
from twinscore.scoring.float_columns import FloatColumns

CELLS = st.sampled_from([None, float("nan"), -np.inf, np.inf, -3e38, 3.5e38, -1.0, -0.0, 0.1, 1.0, 1.5])
COLUMNS = (
    Column("key", pa.int64()), Column("a", pa.float64()), Column("n", pa.int64()), Column("b", pa.float64()),
    Column("c", pa.float64()),
)  # fmt: skip
RULES = tuple(
    Expectation("expect_column_values_to_be_between", {"column": name, "min_value": -1.0, "max_value": 1.0},
                "critical", {}) for name in "ab"
)  # fmt: skip
CONTRACT = Contract("floats", 1, COLUMNS, ("key",), RULES)


def made(rows: list[tuple[float | None, ...]], cuts: list[int], start: int) -> pa.Table:
    """Return rows as a table of several batches that begin somewhere inside their memory."""
    a, b, c = [pa.array(column, pa.float64()) for column in zip(*rows, strict=True)]
    numbers = pa.array(range(len(rows)))
    table = pa.table([numbers, a, numbers, b, c], schema=CONTRACT.schema).slice(start)
    ends = sorted({0, table.num_rows, *(cut for cut in cuts if cut < table.num_rows)})
    return pa.concat_tables([table.slice(first, last - first) for first, last in pairwise(ends)] or [table])


CHECKER = compile_contract(CONTRACT)
SPEC = infer_features(made([(0.5, 0.5, 0.5)] * 3, [], 0), exclude=["key", "b"], derived={"twice": "a * 2"})
FLOATS = FloatColumns(SPEC, CHECKER)


@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=40),
    cuts=st.lists(st.integers(1, 30), max_size=3),
    start=st.integers(0, 20),
)
def test_one_pass_reads_what_the_columns_hold(
    rows: list[tuple[float | None, ...]], cuts: list[int], start: int
) -> None:
    """The matrix has the encoder's bits; every rule that is left out would have found nothing."""
    table = made(rows, cuts, start)

    read = FLOATS.read(table)

    assert read is not None
    with np.errstate(over="ignore"):
        expected = SPEC.encode(table)
        encoded = SPEC.encode(table, known=(read.matrix, read.features))
    np.testing.assert_array_equal(encoded.view(np.uint32), expected.view(np.uint32))
    found, plain = CHECKER.check(table, within=read.within), CHECKER.check(table)
    np.testing.assert_array_equal(found.accepted, plain.accepted)
    np.testing.assert_array_equal(found.flagged, plain.flagged)
    assert found.faults.equals(plain.faults)


def test_gaps_are_within_every_range() -> None:
    """A column with missing values needs no rule of ranges; one with a value beyond its range keeps its own."""
    gaps, beyond = FLOATS.read(made([(None, 0.5, 7.0)] * 9, [], 0)), FLOATS.read(made([(2.0, None, 7.0)] * 9, [], 0))

    assert gaps is not None
    assert beyond is not None
    assert gaps.features == {"a", "c"}
    assert gaps.within == {"a", "b", "c"}
    assert beyond.within == {"b", "c"}


def test_other_columns_are_not_read() -> None:
    """A table in another order, or with another type, has other memory, so none of it is touched."""
    table = made([(0.5, 0.5, 0.5)] * 3, [], 0)

    assert FLOATS.read(table.select(["a", "key", "n", "b", "c"])) is None
    assert FLOATS.read(table.set_column(1, "a", table["a"].cast(pa.float32()))) is None


@given(
    scores=st.lists(
        st.tuples(*[st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0, float("nan")])] * 3), min_size=1, max_size=30
    ),
    n_columns=st.integers(1, 3),
    least=st.sampled_from([0.0, 0.25, 0.6, float("nan")]),
)
def test_classes_are_decided_as_their_definition_says(
    scores: list[tuple[float, ...]], n_columns: int, least: float
) -> None:
    """The loop over rows gives what whole columns of numpy give: the class, its share, the doubt and the set."""
    given_shares = np.array(scores)[:, :n_columns].copy()
    shares = np.stack([1.0 - given_shares[:, 0], given_shares[:, 0]], axis=1) if n_columns == 1 else given_shares
    n_rows, n_classes = shares.shape
    decided, ends = np.empty(n_rows, np.int32), np.empty(n_rows + 1, np.int32)
    shown, doubt, members = np.empty(n_rows), np.empty(n_rows), np.empty(n_rows * n_classes + 1, np.int32)

    kernels.decide(given_shares, 0.5, least, decided, shown, doubt, ends, members)

    best = np.argmax(shares, axis=1)
    expected = (shares[:, 1] >= 0.5).astype(int) if n_classes == 2 else best
    np.testing.assert_array_equal(decided, expected)
    np.testing.assert_array_equal(shown, shares[:, 1] if n_classes == 2 else shares[np.arange(n_rows), best])
    np.testing.assert_array_equal(doubt, 1.0 - shares.max(axis=1))
    inside = shares >= least
    np.testing.assert_array_equal(np.diff(ends), inside.sum(axis=1))
    np.testing.assert_array_equal(members[: ends[-1]], np.nonzero(inside)[1])
