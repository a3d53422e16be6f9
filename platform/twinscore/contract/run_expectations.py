"""The expectations that decide runs; placeholder while the row level is first made usable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinscore.contract.run_rules import RunRule

if TYPE_CHECKING:
    from collections.abc import Callable

    from twinscore.contract.arguments import Arguments

__all__ = ["RUN_EXPECTATIONS"]


def _row_count(args: Arguments) -> RunRule:
    bounds = args.bounds()
    return RunRule(args.id, (), str(bounds), args.severity)


def _unique(args: Arguments) -> RunRule:
    return RunRule(args.id, (args.column().name,), "unique", args.severity)


def _compound(args: Arguments) -> RunRule:
    args.value("column_list")
    return RunRule(args.id, args.expectation.columns, "unique", args.severity)


RUN_EXPECTATIONS: dict[str, Callable[[Arguments], RunRule]] = {
    "expect_table_row_count_to_be_between": _row_count,
    "expect_column_values_to_be_unique": _unique,
    "expect_compound_columns_to_be_unique": _compound,
}
