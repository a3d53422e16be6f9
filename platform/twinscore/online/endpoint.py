"""The request core of one model version: bytes in, bytes out; knows no HTTP library, no Ray and no registry.

Any listener hands it the body, the content type and a request id, and sends back what it returns. Nothing
that a caller can send raises out of it.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from twinscore.contract.rows import RowDecoder, rows_to_table, table_to_rows
from twinscore.contract.verdict import Fault, pointer
from twinscore.errors import BundleInvalid, ModelNotReady, RequestError
from twinscore.online.answer import (
    MAX_FAULTS,
    Answer,
    Prediction,
    Predictions,
    Uncertainty,
    as_json,
    contract_problem,
    internal_problem,
    refusal,
)
from twinscore.online.request import Limits, RowsRefusedError, read_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from twinscore.bundle.files import Bundle

__all__ = ["ROW_WISE_MAX", "Endpoint"]

ROW_WISE_MAX = 8
"""Most rows that go through the single-row scorer; above, the table path is cheaper. The bits are the same."""

_log = structlog.get_logger("twinscore.online")


class Endpoint:
    """One verified model version that answers requests.

    Building it compiles and verifies the scorer on the bundle's own reference rows, so an endpoint that
    exists is ready. It holds no state of a request and may be called from several threads.
    """

    def __init__(self, bundle: Bundle, *, model: str, version: str, limits: Limits | None = None) -> None:
        from twinscore.scoring.row import RowScorer
        from twinscore.scoring.table import check_and_score

        self.bundle = bundle
        self.model = model
        self.version = version
        self.limits = limits or Limits()
        self._contract = bundle.contract
        self._key = bundle.contract.key
        self._has_instances_column = any(column.name == "instances" for column in bundle.contract.columns)
        self._decode = RowDecoder(bundle.contract).decode
        self._scorer = RowScorer(bundle)
        self._check_row = bundle.checker.check_row
        self._check_and_score = check_and_score

    @property
    def scorer(self) -> str:
        """What scores single rows: `forest` or, when that differed on a reference row, `booster`."""
        return "forest" if self._scorer.uses_forest else "booster"

    @property
    def mismatch(self) -> str | None:
        """Why the forest was set aside, or None."""
        return self._scorer.mismatch

    def facts(self) -> dict[str, Any]:
        """Return what identifies this version, as `/version` shows it."""
        return {
            "model": self.model,
            "version": self.version,
            "bundle_digest": self.bundle.digest,
            "contract_digest": self.bundle.contract_digest,
            "scorer": self.scorer,
            "mismatch": self.mismatch,
        }

    def example(self) -> dict[str, Any]:
        """Return a real row that the contract accepts, from the bundle's reference rows, ready for JSON.

        Raises:
            BundleInvalid: the contract refuses every reference row, so the two do not belong together.
        """
        checker = self.bundle.checker
        table = checker.conform(self.bundle.golden, source="the reference rows of the bundle").combine_chunks()
        accepted = np.flatnonzero(checker.check(table).accepted)
        if len(accepted) == 0:
            message = f"The contract of {self.model} refuses every reference row of its own bundle; train it again."
            raise BundleInvalid(message, model=self.model)
        missing = np.sum([column.is_null(nan_is_null=True).to_numpy() for column in table.columns], axis=0)
        fullest = int(accepted[np.argmin(missing[accepted])])
        rows: list[dict[str, Any]] = table_to_rows(table.slice(fullest, 1))
        return rows[0]

    def predict(self, body: bytes, content_type: str | None, request_id: str) -> Answer:
        """Answer one prediction request; every outcome is an answer, none an exception.

        Args:
            body: JSON in UTF-8, one flat row or `{"instances": [row, ..]}`.
            content_type: what the caller says the body is; only `application/json` is read.
            request_id: goes into the answer and the log.
        """
        try:
            instances, at = read_rows(
                body,
                content_type,
                self.limits,
                n_columns=len(self._contract.columns),
                has_instances_column=self._has_instances_column,
            )
            return self._answer_rows(instances, at, request_id)
        except (RequestError, ModelNotReady) as error:
            return refusal(error, request_id)
        except RowsRefusedError as broken:
            return contract_problem(broken.faults, broken.n_faults, broken.n_rows, request_id)
        except Exception:  # noqa: BLE001 - the promise is an answer to every request
            # Not reachable by any input we know of; the caller learns the id, the log the cause.
            _log.error(
                "predict_failed",
                request_id=request_id,
                model=self.model,
                version=self.version,
                trace=traceback.format_exc(),  # plain: a pretty one prints local variables, and so the payload
            )
            return internal_problem(request_id)

    def _answer_rows(self, instances: Sequence[object], at: str, request_id: str) -> Answer:
        rows, broken = self._decode(instances, at=at)
        if broken or len(rows) <= ROW_WISE_MAX:
            predictions = self._row_by_row(rows, broken, at)
        else:
            predictions = self._as_table(rows, at)
        return as_json(Predictions(request_id, self.model, self.version, "live", predictions), request_id)

    def _row_by_row(self, rows: Sequence[Mapping[str, Any]], broken: list[Fault], at: str) -> list[Prediction]:
        """Check and score each row by itself; with faults from decoding, only check the rest to list all faults."""
        score = self._scorer.score
        faults = list(broken)
        known = {fault.path for fault in broken}
        predictions = []
        for position, row in enumerate(rows):
            place = f"{at}/{position}" if at else ""
            if place in known:
                continue
            found = self._check_row(row, at=place)
            faults += [fault for fault in found if fault.severity == "critical" and fault.path not in known]
            if not faults:
                predictions.append(self._prediction(position, self._key_of(row), score(row, flagged=bool(found))))
        if faults:
            raise RowsRefusedError(faults, len(faults), len(rows))
        return predictions

    def _as_table(self, rows: Sequence[Mapping[str, Any]], at: str) -> list[Prediction]:
        table = rows_to_table(rows, self._contract)
        verdict, scored = self._check_and_score(table, self.bundle)
        if not verdict.accepted.all():
            raise RowsRefusedError(*_critical(verdict.faults, at), len(rows))
        keys = table_to_rows(table.select(list(self._key)))
        return [
            self._prediction(position, key, values)
            for position, (key, values) in enumerate(zip(keys, scored.to_pylist(), strict=True))
        ]

    def _key_of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: row[name] for name in self._key}

    def _prediction(self, position: int, key: dict[str, Any], values: Mapping[str, Any]) -> Prediction:
        return Prediction(
            position,
            key,
            values["score"],
            values["decision"],
            Uncertainty(values["uncertainty"], values["lower"], values["upper"], values["prediction_set"]),
            values["review"],
            values["review_reason"],
        )


def _critical(faults: pa.Table, at: str) -> tuple[list[Fault], int]:
    """Return the first critical faults of a verdict with their paths, and how many there are."""
    import pyarrow.compute as pc

    critical = faults.filter(pc.field("severity") == "critical")
    listed = [
        Fault(
            pointer(f"{at}/{fault['row']}", fault["column"]),
            fault["column"],
            fault["rule"],
            fault["expected"],
            fault["value"],
            fault["severity"],
        )
        for fault in critical.slice(0, MAX_FAULTS).to_pylist()
    ]
    return listed, critical.num_rows
