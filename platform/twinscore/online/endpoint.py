"""The scoring core of one model version behind HTTP: rows in, outcomes out; knows no wire format, no Ray, no registry.

Every wire format and every listener comes here, so a row gets the same bits however it was sent.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from twinscore.contract.columns import ColumnDecoder
from twinscore.contract.rows import RowDecoder, rows_to_table, table_to_rows
from twinscore.contract.verdict import Fault, pointer
from twinscore.errors import BundleInvalid
from twinscore.online import json_rows
from twinscore.online.answer import MAX_FAULTS, Prediction, Uncertainty
from twinscore.online.asked import NOT_REQUESTED, Asked, Outcome, RowsRefusedError
from twinscore.online.json_columns import JsonColumns
from twinscore.online.request import Limits, check_body
from twinscore.online.scored import predictions_of, refused
from twinscore.online.typed_rows import TypedRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twinscore.bundle.files import Bundle

__all__ = ["FEW_ROWS", "Endpoint", "ScoreRow", "row_of"]

FEW_ROWS = 8
"""Most rows that every version scores one by one."""

_ROW_WISE_MAX = 32  # a table costs as much as some fifty rows one by one
_ROW_US, _DERIVED_US, _TABLE_US = 14, 5, 900  # of a row, of each derived feature of a row, of a short table


class ScoreRow(Protocol):
    """Answers one row that the contract accepts."""

    def __call__(self, position: int, row: Mapping[str, Any], *, flagged: bool) -> Prediction:
        """Return the prediction; `flagged` when the contract warns of the row."""
        ...


class Endpoint:
    """One verified model version that scores requests.

    Building it compiles and verifies the scorer on the bundle's own reference rows, so an endpoint that
    exists is ready. It holds no state of a request and may be called from several threads.

    Args:
        bundle: the version.
        model: its name, which the paths start with.
        version: its number in the registry.
        limits: what one request may ask for.
    """

    def __init__(self, bundle: Bundle, *, model: str, version: str, limits: Limits | None = None) -> None:
        from twinscore.scoring.row import RowScorer
        from twinscore.scoring.table import check_and_score

        self.bundle = bundle
        self.model = model
        self.version = version
        self.limits = limits or Limits()
        self.n_columns = len(bundle.contract.columns)
        self.text_columns = [one.name for one in bundle.contract.columns if not pa.types.is_primitive(one.type)]
        self.has_instances_column = any(column.name == "instances" for column in bundle.contract.columns)
        self.columns = ColumnDecoder(bundle.contract)
        self.decode = RowDecoder(bundle.contract).decode
        self.row_wise_max = _row_wise_max(sum(feature.expression is not None for feature in bundle.spec.features))
        """Most rows that go through the single-row scorer; above, the table path is cheaper. The bits are the same."""
        self._typed = TypedRows(bundle.contract, most_rows=min(self.row_wise_max, self.limits.max_rows))
        self._contract = bundle.contract
        self.key = bundle.contract.key
        self._scorer = RowScorer(bundle)
        self._check_row = bundle.checker.check_row
        self._check_and_score = check_and_score

    @cached_property
    def _json(self) -> JsonColumns:
        return JsonColumns(self._contract, fewest_rows=self.row_wise_max + 1, most_rows=self.limits.max_rows)

    def prepare(self) -> None:
        """Compile what reads, scores and writes many rows, so that no caller waits for it; others leave it out."""
        self._json  # noqa: B018 - made by being asked for
        golden = self.bundle.checker.conform(self.bundle.golden, source="the reference rows of the bundle")
        self._check_and_score(golden, self.bundle)
        json_rows.prepare()

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

    def read(self, body: bytes, content_type: str | None, *, partial: bool) -> Asked | None:
        """Return what a native JSON body asks for when its rows are clean, many as a table, or None in doubt.

        Raises:
            MediaTypeUnsupported, RequestTooLarge, RequestMalformed: as `read_rows`.
        """
        check_body(body, content_type, self.limits)
        if len(body) >= self._json.fewest_bytes:
            table = self._json.table_of(body)
            if table is not None:
                return Asked((), at="/instances", table=table, partial=partial)
        found = self._typed.rows_of(body)
        return None if found is None else Asked(found[0], at=found[1], partial=partial)

    def ask(self, instances: Sequence[object], *, at: str, partial: bool, extra: Any = None) -> Asked:
        """Return what JSON rows ask for: many clean ones as a table, few or faulty ones row by row."""
        if len(instances) > self.row_wise_max:
            table = self.columns.table_of_rows(instances)
            if table is not None:
                return Asked((), at=at, table=table, partial=partial, extra=extra)
        rows, faults = self.decode(instances, at=at)
        return Asked(rows, faults, at, partial=partial, extra=extra)

    def score(self, asked: Asked) -> Outcome:
        """Check and score the rows of a request.

        Raises:
            RowsRefusedError: a row broke the contract, and the request did not ask for a partial answer.
        """
        if asked.table is not None:
            return self._as_table(asked.table, asked)
        if asked.faults or len(asked.rows) <= self.row_wise_max:
            return self._row_by_row(asked)
        return self._as_table(rows_to_table(asked.rows, self._contract), asked)

    def score_by(self, asked: Asked, score_row: ScoreRow) -> Outcome:
        """Check the rows of a request one by one, and let `score_row` answer those that may be; raises as `score`."""
        return self._row_by_row(asked, score_row)

    def stored(self, position: int, row: Mapping[str, Any], values: Mapping[str, Any]) -> Prediction:
        """Return a prediction of values that this version gave a row before, by the names of SCORE_SCHEMA."""
        return self._prediction(position, self._key_of(row), values)

    def predictions(self, outcome: Outcome) -> list[Prediction]:
        """Return one prediction per row of an outcome, in the order sent."""
        if outcome.predictions is not None:
            return outcome.predictions
        assert outcome.table is not None
        assert outcome.scored is not None
        assert outcome.accepted is not None
        accepted = outcome.accepted.tolist()
        found = predictions_of(outcome.table, outcome.scored, accepted, self.key, outcome.faults)
        if outcome.no_explanation != NOT_REQUESTED:
            for prediction in found:
                if prediction.score is not None:
                    prediction.explanation_reason = outcome.no_explanation
        return found

    def _row_by_row(self, asked: Asked, score_row: ScoreRow | None = None) -> Outcome:
        """Check and score each row by itself; with faults from decoding, only check the rest to list all faults."""
        score_row = score_row or self._score_row
        faults = list(asked.faults)
        known: dict[str, list[Fault]] = {}
        for fault in faults:
            known.setdefault(row_of(fault.path, asked.at), []).append(fault)
        paths = {fault.path for fault in faults} if faults else ()
        predictions: list[Prediction] = []
        for position, row in enumerate(asked.rows):
            place = f"{asked.at}/{position}" if asked.at else ""
            if place in paths:  # not even an object
                predictions.append(refused(position, {}, known[place]))
                continue
            found = self._check_row(row, at=place)
            critical = (
                [fault for fault in found if fault.severity == "critical" and fault.path not in paths] if found else ()
            )
            faults += critical
            broken = [*known.get(place, ()), *critical] if known or critical else ()
            if broken:
                predictions.append(refused(position, self._key_of(row), broken))
            elif asked.partial or not faults:
                predictions.append(score_row(position, row, flagged=bool(found)))
        if faults and not asked.partial:
            raise RowsRefusedError(faults, len(faults), len(asked.rows))
        return Outcome(predictions, faults=faults)

    def _as_table(self, table: pa.Table, asked: Asked) -> Outcome:
        verdict, scored = self._check_and_score(table, self.bundle)
        faults: Sequence[Fault] = ()
        if not verdict.accepted.all():
            faults, n_faults = _critical(verdict.faults, asked.at, None if asked.partial else MAX_FAULTS)
            if not asked.partial:
                raise RowsRefusedError(faults, n_faults, table.num_rows)
        return Outcome(None, table, scored, verdict.accepted, faults)

    def _score_row(self, position: int, row: Mapping[str, Any], *, flagged: bool) -> Prediction:
        return self._prediction(position, self._key_of(row), self._scorer.score(row, flagged=flagged))

    def _key_of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: row[name] for name in self.key}

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


def _row_wise_max(n_derived: int) -> int:
    """Return up to how many rows a version scores one by one.

    >>> _row_wise_max(0), _row_wise_max(3), _row_wise_max(10), _row_wise_max(30)
    (32, 31, 14, 8)
    """
    return min(_ROW_WISE_MAX, max(FEW_ROWS, _TABLE_US // (_ROW_US + _DERIVED_US * n_derived)))


def row_of(path: str, at: str) -> str:
    """Return the JSON pointer of the row that a fault stands in."""
    if not at:
        return ""
    end = path.find("/", len(at) + 1)
    return path if end < 0 else path[:end]


def _critical(faults: pa.Table, at: str, most: int | None) -> tuple[list[Fault], int]:
    """Return the first `most` critical faults of a verdict with their paths, and how many there are."""
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
        for fault in critical.slice(0, most).to_pylist()
    ]
    return listed, critical.num_rows
