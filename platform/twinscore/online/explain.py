"""Why a row has its score, in an answer: which rows are explained, within which time, and what is shown of it.

The numbers are those of the batch path (`twinscore.scoring.attribution`): exact contributions to the margin. An
explanation that is not there says why, so that nobody takes silence for "nothing to explain".
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from twinscore.online.spec import ExplainPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from twinscore.bundle.files import Bundle
    from twinscore.online.answer import Prediction
    from twinscore.online.asked import Asked, Outcome
    from twinscore.online.call import Call
    from twinscore.online.endpoint import Endpoint

__all__ = ["EXPLAIN_HEADER", "Contribution", "Explainer", "Explanation"]

EXPLAIN_HEADER = b"x-explain"
"""`true`, `false`, or how many features to show; overrules the deployment file for this request."""

_AT_A_TIME = 8
"""Rows explained between two looks at the clock."""
_NUMBER = re.compile(rb"[1-9][0-9]{0,2}")


class Contribution(msgspec.Struct, frozen=True):
    """What one feature did to the margin."""

    feature: str
    value: Any
    """As the row has it; for a derived feature the number it came to; null where it is missing."""
    reference: Any
    """What is usual: the median of the training rows, or their most frequent category."""
    contribution: float


class Explanation(msgspec.Struct, frozen=True):
    """Contributions to the margin of the decided class, or of the number: base + contributions + rest = margin."""

    base: float
    contributions: list[Contribution]
    """The largest first."""
    rest: float
    """What all features that are not listed did together."""
    additivity_error: float
    """How far base and all contributions end from the margin."""


class Explainer:
    """Explains the rows of one endpoint; may be used by several threads.

    Args:
        endpoint: the version.
        policy: which rows, how many features, and how long it may take.
    """

    def __init__(self, endpoint: Endpoint, policy: ExplainPolicy) -> None:
        from twinscore.scoring.attribution import attribution_of

        self._endpoint = endpoint
        self._bundle: Bundle = endpoint.bundle
        self._policy = policy
        self._references = _references(self._bundle.profile, self._bundle.spec.names)
        self.method = attribution_of(self._bundle).method
        """`exact_table` or `xgboost`."""
        self._row_s = 0.0
        self._warm_up()

    def explain(self, call: Call, asked: Asked, outcome: Outcome) -> None:
        """Fill in the explanations of an outcome, or the reasons why there is none, in place."""
        wanted = self._wanted(call.headers.get(EXPLAIN_HEADER))
        if wanted == 0:
            return
        if asked.n_rows > self._policy.max_rows:
            outcome.no_explanation = "too_many_rows"
            return
        if outcome.table is not None:  # few enough to be told one by one
            outcome.predictions = self._endpoint.predictions(outcome)
            asked.rows, outcome.table = outcome.table.to_pylist(), None
        assert outcome.predictions is not None
        always = call.headers.get(EXPLAIN_HEADER) is not None
        chosen = [one for one in outcome.predictions if self._condition(one, always=always)]
        for one in outcome.predictions:
            if one.score is not None:
                # What was scored in batch may have had other features than the row that was sent.
                one.explanation_reason = "from_cache" if one.source == "cache" else "not_needed"
        self._fill(chosen, asked.rows, wanted, call.received_ns / 1e9 + self._policy.deadline_ms / 1e3)

    def _wanted(self, header: bytes | None) -> int:
        """Return how many features to show; 0 explains nothing."""
        if header is None:
            return 0 if self._policy.when == "asked" else self._policy.top
        if header == b"true":
            return self._policy.top
        return int(header) if _NUMBER.fullmatch(header) else 0

    def _condition(self, prediction: Prediction, *, always: bool) -> bool:
        if prediction.score is None or prediction.source == "cache":
            return False
        if always:
            return True
        least = self._policy.score_from
        if least is not None and prediction.score < least:
            return False
        return self._policy.when == "always" or prediction.review

    def _fill(self, chosen: Sequence[Prediction], rows: Sequence[Mapping[str, Any]], k: int, until_s: float) -> None:
        for first in range(0, len(chosen), _AT_A_TIME):
            part = chosen[first : first + _AT_A_TIME]
            began = time.monotonic()
            if began + len(part) * self._row_s > until_s:
                for one in chosen[first:]:
                    one.explanation_reason = "over_deadline"
                return
            for one, explanation in zip(part, self._explanations([rows[one.row] for one in part], k), strict=True):
                one.explanation, one.explanation_reason = explanation, None
            took_s = (time.monotonic() - began) / len(part)
            # The slower of what is usual and what just was: a late estimate breaks the promise, an early one does not.
            self._row_s = max(took_s, 0.9 * self._row_s + 0.1 * took_s)

    def _explanations(self, rows: Sequence[Mapping[str, Any]], k: int) -> list[Explanation]:
        from twinscore.scoring.attribution import explain_encoded, top
        from twinscore.scoring.table import predict_margins

        spec = self._bundle.spec
        encoded = np.stack([spec.encode_row(row) for row in rows])
        found: pa.Table = explain_encoded(encoded, predict_margins(encoded, self._bundle), self._bundle)
        values = found.column("contributions").combine_chunks().flatten().to_numpy().reshape(encoded.shape)
        places, shown = top(values, k)
        rest = values.sum(axis=1, dtype=np.float64) - shown.sum(axis=1)
        base = found.column("contribution_base").to_pylist()
        error = found.column("additivity_error").to_pylist()
        return [
            Explanation(
                base[at],
                [
                    Contribution(spec.names[place], _cell(row, spec.names[place], encoded[at, place]),
                                 self._references[place], amount)
                    for place, amount in zip(places[at].tolist(), shown[at].tolist(), strict=True)
                ],
                float(rest[at]),
                error[at],
            )
            for at, row in enumerate(rows)
        ]  # fmt: skip

    def _warm_up(self) -> None:
        """Compile, and learn what a row costs, before the first caller pays for it."""
        rows, _ = self._endpoint.decode([self._endpoint.example()] * 2)
        self._explanations(rows, self._policy.top)
        began = time.monotonic()
        self._explanations(rows, self._policy.top)
        self._row_s = (time.monotonic() - began) / len(rows)


def _cell(row: Mapping[str, Any], name: str, encoded: np.float32) -> Any:
    if name in row:
        return row[name]
    return None if np.isnan(encoded) else float(encoded)


def _references(profile: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """Return what is usual for each feature, by the reference profile: median, or most frequent category."""
    found: list[Any] = []
    for name in names:
        known = profile.get("features", {}).get(name, {})
        if known.get("kind") == "categorical" and sum(known["counts"]):
            found.append(known["categories"][int(np.argmax(known["counts"]))])
        elif known.get("edges"):
            counts = np.cumsum(known["counts"])
            bin_of_median = int(np.searchsorted(counts, counts[-1] / 2))
            found.append(known["edges"][min(bin_of_median, len(known["edges"]) - 1)])
        else:
            found.append(known.get("mean"))
    return found
