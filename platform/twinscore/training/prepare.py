"""From raw rows to what a booster and its bundle need: contract, accepted rows, outcome, features; knows no boosters.

The contract is inferred from every row, those without a label too: they will have to be scored. What the model learns
from are the labelled rows that the contract accepts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from twinscore.bundle.expression import parse
from twinscore.bundle.features import infer_features
from twinscore.contract.compile import compile_contract
from twinscore.contract.conform import canonical_type
from twinscore.contract.infer import infer_contract
from twinscore.errors import InputEmpty, InputError, SchemaMismatch
from twinscore.training.contract_file import accepted_rows, given_contract, keep_contract
from twinscore.training.outcome import read_outcome
from twinscore.training.split import split_by_key, split_by_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from twinscore.bundle.features import FeatureSpec
    from twinscore.contract.check import Checker
    from twinscore.training.data import Columns, TrainingData
    from twinscore.training.outcome import Outcome
    from twinscore.training.split import Split

__all__ = ["MOST_REFUSED", "Prepared", "contract_for", "learnable", "prepare", "split_rows"]

MOST_REFUSED = 0.1
"""Share of refused rows from which data and contract do not belong together."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows to learn from, and what was decided about their columns.

    Args:
        table: (n_rows, contract columns), conformed, accepted and labelled.
        outcome: what to predict, n_rows of it.
        spec: raw columns to features.
        checker: the compiled contract.
        contract_file: where the contract is kept.
        n_refused: labelled rows that the contract refused.
    """

    table: pa.Table
    outcome: Outcome
    spec: FeatureSpec
    checker: Checker
    contract_file: Path
    n_refused: int


def prepare(
    data: TrainingData,
    *,
    model: str,
    contract: Path | None,
    contracts: Path,
    derived: Mapping[str, str],
    task: str | None,
    positive: str | None,
) -> Prepared:
    """Decide contract, features and outcome.

    Args:
        contract: file to use as it is; None infers one and keeps it in `contracts`.
        derived: feature name to expression.

    Raises:
        InputError, ContractError, BundleError: what is wrong with data, contract or expressions.
    """
    columns = data.columns
    for name, text in derived.items():
        if columns.label in parse(text).inputs:
            message = f"The derived feature {name!r} reads the label {columns.label!r}: it would know the answer."
            raise InputError(message, feature=name, column=columns.label)
    checker, file = contract_for(data, model=model, contract=contract, contracts=contracts, derived=derived)
    table, accepted = learnable(data, checker)
    label = pa.chunked_array(data.table[columns.label].filter(pa.array(data.labelled))).filter(pa.array(accepted))
    spec = infer_features(table, exclude=_excluded(columns, table), derived=derived)
    return Prepared(
        table=table,
        outcome=read_outcome(label, name=str(columns.label), task=task, positive=positive),
        spec=spec,
        checker=checker,
        contract_file=file,
        n_refused=int(len(accepted) - accepted.sum()),
    )


def contract_for(
    data: TrainingData, *, model: str, contract: Path | None, contracts: Path, derived: Mapping[str, str]
) -> tuple[Checker, Path]:
    """Return the compiled contract of the data's input columns, and its file."""
    columns = data.columns
    read = {name for text in derived.values() for name in parse(text).inputs}
    apart = (*columns.groups, *columns.segments)
    kept = [
        name
        for name in data.table.column_names
        if name != columns.label and (name not in columns.drop or name in read or name in apart)
    ]
    for name in kept:
        found = data.table.schema.field(name).type
        if canonical_type(found) is None:
            message = (
                f"The column {name!r} of {data.source} has type {found}, which rows of a request could not hold; leave "
                f"it out with --drop {name}, or write it as a number, text, true/false, date or timestamp."
            )
            raise SchemaMismatch(message, column=name, type=str(found))
    if contract is not None:
        return compile_contract(given_contract(contract, key=columns.key, needed=kept)), contract
    features = [name for name in kept if name not in columns.drop or name in read]
    inferred = infer_contract(
        data.table, name=model, key=columns.key, features=features, time=columns.time, groups=apart
    )
    numbered, file = keep_contract(inferred, contracts)
    return compile_contract(numbered), file


def learnable(data: TrainingData, checker: Checker) -> tuple[pa.Table, NDArray[np.bool_]]:
    """Return the labelled rows that the contract accepts, conformed, and which of the labelled rows they are."""
    table = checker.conform(data.table, source=data.source).filter(pa.array(data.labelled))
    accepted = accepted_rows(checker, table, most_refused=MOST_REFUSED, source=data.source)
    if not accepted.any():
        message = f"The contract {checker.contract.name!r} refuses every row of {data.source}."
        raise InputEmpty(message, source=data.source)
    return table.filter(pa.array(accepted)), accepted


def split_rows(table: pa.Table, columns: Columns, *, seed: int) -> Split:
    """Split by time when one is named, else by the key's hash."""
    keys = table.select(list(columns.key))
    if columns.time is None:
        return split_by_key(keys, seed=seed)
    return split_by_time(table[columns.time], keys, name=columns.time, seed=seed)


def group_columns(table: pa.Table, columns: Columns, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Return the group columns of some rows, by name."""
    return {name: pc.take(table[name], pa.array(rows)) for name in columns.groups}


def _excluded(columns: Columns, table: pa.Table) -> list[str]:
    """A time that is a timestamp or a date enters through its calendar; any other kind of time would only count up."""
    excluded = [*columns.key, *columns.drop]
    if columns.time is not None and not pa.types.is_temporal(table.schema.field(columns.time).type):
        excluded.append(columns.time)
    return excluded
