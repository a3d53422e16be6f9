"""Compile a contract into a checker, or refuse it by name; knows nothing of files and tables."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pyarrow as pa

from twinscore.contract.arguments import Arguments, kind_of
from twinscore.contract.check import Checker
from twinscore.contract.model import COLUMN_TYPES
from twinscore.contract.row_expectations import ROW_EXPECTATIONS
from twinscore.contract.rules import Finite, Present, Rule
from twinscore.contract.run_expectations import RUN_EXPECTATIONS
from twinscore.contract.run_rules import Mostly, RunRule
from twinscore.errors import ContractInvalid, near

if TYPE_CHECKING:
    from twinscore.contract.model import Contract

__all__ = ["SUPPORTED", "compile_contract", "rule_ids"]

SUPPORTED = frozenset(ROW_EXPECTATIONS) | frozenset(RUN_EXPECTATIONS)
"""Types of the expectations that compile."""


def compile_contract(contract: Contract) -> Checker:
    """Compile a contract.

    Raises:
        ContractInvalid: the suite is empty, or an expectation cannot be compiled; all are named.
    """
    problems = _shape_problems(contract)
    if not contract.expectations:
        problems.append("the suite has no expectations, so everything would pass; infer or write some")
    rules: list[Rule] = []
    run_rules: list[RunRule] = []
    for expectation, rule_id in zip(contract.expectations, rule_ids(contract), strict=True):
        args = Arguments(contract, expectation, rule_id)
        try:
            _compile_one(args, rules, run_rules)
        except ContractInvalid as exc:
            problems.append(exc.message)
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        message = f"contract {contract.name!r} version {contract.version} cannot be compiled: {shown}."
        raise ContractInvalid(message, contract=contract.name, problems=problems)
    return Checker(contract, [*_built_in(contract, rules), *rules], run_rules)


def rule_ids(contract: Contract) -> list[str]:
    """Return the name that each expectation has in faults and results: its id, with `#2` for a second one."""
    seen: Counter[str] = Counter()
    ids = []
    for expectation in contract.expectations:
        seen[expectation.id] += 1
        count = seen[expectation.id]
        ids.append(expectation.id if count == 1 else f"{expectation.id}#{count}")
    return ids


def _compile_one(args: Arguments, rules: list[Rule], run_rules: list[RunRule]) -> None:
    kind = args.expectation.type
    if kind in RUN_EXPECTATIONS:
        run_rule = RUN_EXPECTATIONS[kind](args)
        args.close()
        run_rules.append(run_rule)
    elif kind in ROW_EXPECTATIONS:
        rule = ROW_EXPECTATIONS[kind](args)
        mostly = args.number("mostly")
        args.close()
        if mostly is not None and not 0 <= mostly <= 1:
            message = f"mostly must be a share from 0 to 1, not {mostly}"
            raise args.fault(message)
        if rule is not None and args.has("mostly"):
            run_rules.append(Mostly(rule, 1.0 if mostly is None else float(mostly)))
        elif rule is not None:
            rules.append(rule)
    else:
        message = f"this expectation is not one that can be compiled. {near(kind, SUPPORTED)}"
        raise args.fault(message)


def _shape_problems(contract: Contract) -> list[str]:
    names = [column.name for column in contract.columns]
    problems = [f"column {name!r} is there twice" for name in sorted({n for n in names if names.count(n) > 1})]
    problems += [
        f"column {column.name!r} has type {column.type}, not one of {', '.join(COLUMN_TYPES)}"
        for column in contract.columns
        if column.type not in COLUMN_TYPES.values()
    ]
    if not contract.key:
        problems.append("the key names no column")
    problems += [f"the key column {name!r} is not a column" for name in contract.key if name not in names]
    return problems


def _built_in(contract: Contract, rules: list[Rule]) -> list[Rule]:
    """Return what every contract wants: keys that are there, and numbers that the booster can see."""
    asked = {rule.columns[0] for rule in rules if isinstance(rule, Present) and rule.severity == "critical"}
    built: list[Rule] = [
        Present("key_not_null", (name,), "not null, because it is part of the key", "critical")
        for name in contract.key
        if name not in asked
    ]
    for column in contract.columns:
        if kind_of(column) != "number":
            continue
        if pa.types.is_floating(column.type):
            built += [Finite(column, wants_finite=True), Finite(column, wants_finite=False)]
        elif column.name not in contract.key:
            # A key is never given to the booster, and 64-bit identifiers are common.
            built.append(Finite(column, wants_finite=False))
    return built
