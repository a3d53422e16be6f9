"""The look at all float columns at once proves only what the rules themselves say."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from twinscore.contract.cells import batches
from twinscore.contract.compile import compile_contract
from twinscore.contract.model import Column, Contract, Expectation
from twinscore.contract.ranges import Ranges

FLOATS = ("a", "b", "c")
CELLS = st.sampled_from([None, float("nan"), -np.inf, np.inf, -3e38, 3.5e38, -1.0, -0.0, 0.5, 1.0, 1.5])


def between(column: str, low: float | None, high: float | None, *, strict: bool) -> Expectation:
    kwargs = {"column": column, "min_value": low, "max_value": high}
    kwargs |= {"strict_min": strict} if low is not None else {}
    kwargs |= {"strict_max": strict} if high is not None else {}
    return Expectation("expect_column_values_to_be_between", kwargs, "critical", {})


@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=6),
    ends=st.sampled_from([(-1.0, 1.0), (0.0, None), (None, 1.0)]),
    strict=st.booleans(),
)
def test_a_rule_that_is_left_out_is_kept_by_every_row(
    rows: list[tuple[float | None, ...]], ends: tuple[float | None, float | None], strict: bool
) -> None:
    """Whatever stands in the columns, a rule that is not asked would not have found a row; the others keep their order.

    The verdict is that of every rule asked one by one.
    """
    columns = (Column("key", pa.int64()), *(Column(name, pa.float64()) for name in FLOATS))
    expectations = tuple(between(name, *ends, strict=strict) for name in FLOATS)
    contract = Contract("ranges", 1, columns, ("key",), expectations)
    cells = [pa.array(column, pa.float64()) for column in zip(*rows, strict=True)]
    table = pa.table([pa.array(range(len(rows))), *cells], schema=contract.schema)
    checker = compile_contract(contract)
    ((_, found),) = batches(table)

    left = Ranges(contract, checker.rules).left(found, len(rows))
    broken = [rule.broken([found[name] for name in rule.columns]) for rule in checker.rules]
    accepted = ~np.any([mask for mask in broken if mask is not None] or [np.zeros(len(rows), dtype=bool)], axis=0)

    assert [rule for rule in checker.rules if rule in left] == left
    assert all(mask is None for rule, mask in zip(checker.rules, broken, strict=True) if rule not in left)
    np.testing.assert_array_equal(checker.check(table).accepted, accepted)


def test_rules_of_columns_without_a_fault_are_not_asked() -> None:
    """Of three columns, one with a gap and one beyond its range keep their rules; long batches keep all."""
    columns = (Column("key", pa.int64()), *(Column(name, pa.float64()) for name in FLOATS))
    contract = Contract("ranges", 1, columns, ("key",), tuple(between(n, 0.0, 1.0, strict=False) for n in FLOATS))
    rules = compile_contract(contract).rules
    ranges = Ranges(contract, rules)

    def asked(n_rows: int, **cells: float | None) -> set[str]:
        arrays = [pa.array([cells.get(name, 0.5)] * n_rows, pa.float64()) for name in FLOATS]
        ((_, found),) = batches(pa.table([pa.array(range(n_rows)), *arrays], schema=contract.schema))
        return {rule.columns[0] for rule in ranges.left(found, n_rows)}

    assert asked(10) == {"key"}
    assert asked(10, a=None, b=2.0) == {"key", "a", "b"}
    assert asked(9000) == {"key", "a", "b", "c"}
