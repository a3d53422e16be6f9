"""The contract of a model in training: inferred and written down, or read as given; knows nothing of boosters.

Inferred contracts live in `<home>/contracts/<model>/v<N>.yaml`. A released file is never changed: the same content is
the same version, other content is the next one.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from twinscore.contract.document import dumps_contract, load_contract
from twinscore.errors import ContractBroken, ContractInvalid, StoreUnavailable, near

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from twinscore.contract.check import Checker
    from twinscore.contract.model import Contract

__all__ = ["accepted_rows", "given_contract", "keep_contract"]


def keep_contract(contract: Contract, folder: Path) -> tuple[Contract, Path]:
    """Write the contract as the next version in `folder`, or find the version that says the same.

    Returns:
        the contract with its version number, and its file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            held = {int(file.stem[1:]): file for file in folder.glob("v*.yaml") if file.stem[1:].isdigit()}
            for number, file in sorted(held.items()):
                same = replace(contract, version=number)
                if load_contract(file).digest == same.digest:
                    return same, file
            number = max(held, default=0) + 1
            file = folder / f"v{number}.yaml"
            numbered = replace(contract, version=number)
            if _create(file, dumps_contract(numbered)):
                return numbered, file
    except OSError as error:
        message = f"The contract cannot be written to {folder}: {error.strerror}."
        raise StoreUnavailable(message, path=str(folder)) from error


def given_contract(path: Path, *, key: Sequence[str], needed: Sequence[str]) -> Contract:
    """Read the contract to use as it is.

    Raises:
        ContractInvalid: it has another key, or lacks a column that the model needs.
    """
    contract = load_contract(path)
    if tuple(key) != contract.key:
        message = f"The contract {path} has the key {', '.join(contract.key)}, training has {', '.join(key)}; use one."
        raise ContractInvalid(message, path=str(path), key=list(contract.key))
    known = [column.name for column in contract.columns]
    lacking = [name for name in needed if name not in known]
    if lacking:
        message = (
            f"The contract {path} does not speak of the column {lacking[0]!r}, which the model would use. "
            f"{near(lacking[0], known)} Add it to the contract, or leave it out with --drop {lacking[0]}."
        )
        raise ContractInvalid(message, path=str(path), columns=lacking)
    return contract


def accepted_rows(checker: Checker, table: pa.Table, *, most_refused: float, source: str) -> NDArray[np.bool_]:
    """Hold the training rows against their contract.

    Args:
        table: (n_rows, contract columns), conformed.
        most_refused: share of refused rows from which the contract counts as broken.

    Returns:
        (n_rows,) rows that the contract accepts.

    Raises:
        ContractBroken: too many rows are refused, or a critical run-level rule fails.
    """
    verdict = checker.check(table)
    n_refused = verdict.n_refused
    if n_refused > most_refused * table.num_rows:
        critical = verdict.faults.filter(pc.equal(verdict.faults["severity"], "critical"))
        worst = critical.group_by(["rule", "column"]).aggregate([("row", "count_distinct")])
        rows = sorted(worst.to_pylist(), key=lambda one: -one["row_count_distinct"])
        named = ", ".join(
            f"{one['rule']} on {one['column']!r} ({one['row_count_distinct']:,} rows)" for one in rows[:5]
        )
        message = (
            f"The contract {checker.contract.name!r} refuses {n_refused:,} of {table.num_rows:,} rows of {source}, "
            f"more than {most_refused:.0%}: {named}. Correct the data or the contract."
        )
        raise ContractBroken(message, contract=checker.contract.name, refused=n_refused, rows=table.num_rows)
    failed = [
        result
        for result in checker.judge(checker.aggregate(table, verdict))
        if not result.success and result.severity == "critical"
    ]
    if failed:
        named = "; ".join(f"{one.rule}: expected {one.expected}, observed {one.observed}" for one in failed[:5])
        message = f"The contract {checker.contract.name!r} is broken by {source} as a whole: {named}."
        raise ContractBroken(message, contract=checker.contract.name, rules=[one.rule for one in failed])
    return verdict.accepted


def _create(file: Path, text: str) -> bool:
    """Write a new file whole or not at all; False when somebody else made it first."""
    handle, name = tempfile.mkstemp(prefix=".contract-", dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        os.link(name, file)
        return True
    except FileExistsError:
        return False
    finally:
        Path(name).unlink()
