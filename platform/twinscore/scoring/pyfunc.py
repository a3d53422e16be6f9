"""MLflow's door to the scoring core: what `MLmodel` names as loader; imports no MLflow.

`mlflow.pyfunc.load_model` calls `_load_pyfunc` with the bundle's folder; `mlflow models serve` serves what it returns.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.bundle.files import Bundle, read_bundle
from twinscore.errors import SchemaMismatch
from twinscore.scoring.table import check_and_score

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ScoringModel"]

REFUSED = "refused"
"""Column of the answer with the rules that a refused row broke; null for scored rows."""


class ScoringModel:
    """A bundle with the `predict` that MLflow expects."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Check and score rows with the bits of both paths.

        Args:
            model_input: a pandas frame, or columns as a dict, or rows as a list of dicts; (n_rows, contract columns).
            params: MLflow's inference parameters; there are none.

        Returns:
            Frame (n_rows,) of SCORE_SCHEMA columns and `refused`; refused rows have no score but the rules they broke.

        Raises:
            SchemaMismatch: columns are missing or of another type.
        """
        table = self._conform(model_input)
        verdict, scored = check_and_score(table, self.bundle)
        places = np.full(table.num_rows, -1, dtype=np.int64)
        places[verdict.accepted] = np.arange(scored.num_rows)
        whole = scored.take(pa.array(places, mask=places < 0))
        critical = verdict.faults.filter(pc.equal(verdict.faults["severity"], "critical"))
        broken = critical.group_by("row", use_threads=False).aggregate([("rule", "list")])
        reasons = np.full(table.num_rows, None, dtype=object)
        reasons[broken["row"].to_numpy()] = pc.binary_join(broken["rule_list"], "; ").to_numpy(zero_copy_only=False)
        frame: pd.DataFrame = whole.append_column(REFUSED, pa.array(reasons, pa.string())).to_pandas()
        for name in frame.columns[frame.isna().any()]:
            # None becomes null where MLflow's server writes JSON; NaN would become a word that JSON does not have.
            frame[name] = frame[name].astype(object).where(frame[name].notna(), None)
        return frame

    def _conform(self, model_input: Any) -> pa.Table:
        if isinstance(model_input, pa.Table):
            table = model_input
        elif isinstance(model_input, list):
            table = pa.Table.from_pylist(model_input)
        elif isinstance(model_input, dict):
            table = pa.table({name: np.atleast_1d(values) for name, values in model_input.items()})
        else:
            table = pa.Table.from_pandas(model_input, preserve_index=False)
        return self.bundle.checker.conform(_whole_numbers(table, self.bundle), source="model input")


def _whole_numbers(table: pa.Table, bundle: Bundle) -> pa.Table:
    """Undo what pandas and JSON do to columns: integers with a gap became floats, times became text."""
    for column in bundle.contract.columns:
        place = table.schema.get_field_index(column.name)
        if place < 0:
            continue
        found = table.schema.field(place).type
        mend = (pa.types.is_integer(column.type) and pa.types.is_floating(found)) or (
            pa.types.is_temporal(column.type) and (pa.types.is_string(found) or pa.types.is_large_string(found))
        )
        if not mend:
            continue
        values = table.column(place)
        if pa.types.is_floating(found):
            values = pc.if_else(pc.is_nan(values), pa.scalar(None, found), values)
        try:
            table = table.set_column(place, column.name, values.cast(column.type))
        except pa.ArrowInvalid as error:
            message = f"model input: column {column.name!r} is {found}, the contract wants {column.type}: {error}"
            raise SchemaMismatch(message, column=column.name) from error
    return table


def _load_pyfunc(path: str) -> ScoringModel:
    """Load the bundle at `path`; the name is MLflow's."""
    return ScoringModel(read_bundle(Path(path)))
