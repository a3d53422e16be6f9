"""The single-row path: one decoded row in, one scored row out, the bits of the bulk path; knows nothing of HTTP.

At construction every golden row of the bundle is scored both ways. When one bit differs the flat forest is set aside
and the booster answers single rows too: slower, never different.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from twinscore.bundle.files import MARGIN
from twinscore.errors import PredictFailed
from twinscore.scoring.bulk import booster_margins, bulk_of
from twinscore.scoring.link import link_of
from twinscore.scoring.table import AMBIGUOUS, EMPTY, WARNED

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from twinscore.bundle.files import Bundle
    from twinscore.scoring.forest import FlatForest

__all__ = ["RowScorer"]


class RowScorer:
    """Scores one row at a time; immutable once made, safe to share between threads.

    Args:
        bundle: the version.

    Raises:
        PredictFailed: the booster itself does not give the margins that the bundle recorded for its golden rows.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._spec = bundle.spec
        self._link = link_of(bundle.card.objective)
        self._classes = bundle.card.classes
        self._threshold = bundle.card.threshold
        self._calibration = bundle.calibration
        self._least = bundle.calibration.least_probability
        self._calibrated = not math.isnan(self._least)
        self._forest: FlatForest | None = None
        self.mismatch: str | None = None
        """Why single rows go through the booster, or None."""
        self._verify()

    @property
    def uses_forest(self) -> bool:
        """Whether single rows walk the flat forest."""
        return self._forest is not None

    def score(self, row: Mapping[str, object], *, flagged: bool = False) -> dict[str, Any]:
        """Score one row of `decode_rows` values that the contract accepted; keys are those of SCORE_SCHEMA."""
        scores = self._link(self._margins(self._spec.encode_row(row)))
        if not self._classes:
            return self._amount(float(scores[0]), flagged)
        if scores.ndim == 1:
            positive = float(scores[0])
            shares = [1.0 - positive, positive]
        else:
            shares = scores[0].tolist()
        if len(self._classes) == 2:
            return self._class(shares[1], int(shares[1] >= self._threshold), shares, flagged)
        decided = shares.index(max(shares))
        return self._class(shares[decided], decided, shares, flagged)

    def _amount(self, predicted: float, flagged: bool) -> dict[str, Any]:
        lower, upper = self._calibration.interval(predicted)
        bounded = math.isfinite(lower) and math.isfinite(upper)
        return {
            "score": predicted,
            "decision": None,
            "lower": lower if bounded else None,
            "upper": upper if bounded else None,
            "prediction_set": None,
            "uncertainty": upper - lower if bounded else None,
            "review": flagged,
            "review_reason": WARNED if flagged else None,
        }

    def _class(self, shown: float, decided: int, shares: list[float], flagged: bool) -> dict[str, Any]:
        least = self._least
        inside = (
            None if least != least else [c for c, share in zip(self._classes, shares, strict=True) if share >= least]
        )
        reason = None
        if inside is not None and len(inside) != 1:
            reason = AMBIGUOUS if inside else EMPTY
        if flagged:
            reason = WARNED
        return {
            "score": shown,
            "decision": self._classes[decided],
            "lower": None,
            "upper": None,
            "prediction_set": inside,
            "uncertainty": 1.0 - max(shares),
            "review": reason is not None,
            "review_reason": reason,
        }

    def _margins(self, encoded: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return margins as the link takes them: (1,), or (1, n_classes) for more than two classes."""
        if self._forest is not None:
            margins = self._forest.margins(encoded)
            return margins.reshape(1, -1) if len(margins) > 1 else margins
        return booster_margins(encoded.reshape(1, -1), self._bundle)

    def _verify(self) -> None:
        """Compare recorded, own, bulk and single-row margins of every golden row, bit by bit."""
        golden = self._bundle.checker.conform(self._bundle.golden, source="golden rows")
        recorded = np.array(self._bundle.golden.column(MARGIN).to_pylist(), dtype=np.float32)
        own = booster_margins(self._bundle.spec.encode(golden), self._bundle).reshape(len(recorded), -1)
        off = _differing(own, recorded)
        if len(off):
            message = (
                f"The booster gives {own[off[0]].tolist()} for golden row {off[0]}, the bundle recorded "
                f"{recorded[off[0]].tolist()}: {len(off)} of {len(recorded)} rows differ. This XGBoost is another one "
                "than the model was made with; install the version on the model card or train again."
            )
            raise PredictFailed(message, rows=len(off))
        self._verify_link(recorded)
        bulk = bulk_of(self._bundle)
        if bulk.forest is None:
            self.mismatch = bulk.mismatch
            return
        self._forest = bulk.forest.flat
        rows = golden.to_pylist()
        single = np.stack([self._forest.margins(self._spec.encode_row(row)) for row in rows])
        off = _differing(single, recorded)
        if len(off):
            self.mismatch = (
                f"{len(off)} of {len(rows)} golden rows differ; row {off[0]}: forest {single[off[0]].tolist()}, "
                f"booster {recorded[off[0]].tolist()}"
            )
            self._forest = None

    def _verify_link(self, recorded: npt.NDArray[np.float32]) -> None:
        """Compare the scores of all golden rows at once with those of each alone, bit by bit; compiles the link, too.

        They differ only where a vector library (Intel's SVML) computes the loop in blocks and rounds its own way.
        """
        margins = recorded if recorded.shape[1] > 1 else recorded[:, 0].copy()
        together = self._link(margins)
        alone = np.concatenate([self._link(margins[place : place + 1]) for place in range(len(margins))])
        off = _differing(together.reshape(len(recorded), -1), alone.reshape(len(recorded), -1))
        if len(off):
            message = (
                f"The link of {self._bundle.card.objective} gives other bits for many rows than for one ({len(off)} of "
                f"{len(recorded)} golden rows); set NUMBA_DISABLE_INTEL_SVML=1 in the environment and start again."
            )
            raise PredictFailed(message, rows=len(off))


def _differing(left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    return np.flatnonzero((left.view(np.int32) != right.view(np.int32)).any(axis=1))
