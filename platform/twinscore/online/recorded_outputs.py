"""What the audit log has of a prediction, and of its explanation what the contract lets it have; writes nothing.

An explanation shows the row's own cells beside their contributions. The answer keeps them; the record has them as it
has the row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from twinscore.bundle.expression import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from twinscore.audit.masking import Masker
    from twinscore.bundle.features import Feature, FeatureSpec
    from twinscore.online.answer import Prediction
    from twinscore.online.explain import Contribution, Explanation

__all__ = ["masked_outputs", "output_cells"]


def output_cells(prediction: Prediction) -> list[Any] | None:
    """Return a prediction as `OUTPUTS` has it; None for a refused row."""
    uncertainty = prediction.uncertainty
    if uncertainty is None:
        return None
    return [
        prediction.score,
        prediction.decision,
        uncertainty.lower,
        uncertainty.upper,
        uncertainty.prediction_set,
        uncertainty.value,
        prediction.review,
        prediction.review_reason,
        prediction.explanation,
    ]


def masked_outputs(spec: FeatureSpec, masker: Masker) -> Callable[[Prediction], list[Any] | None]:
    """Return what gives the outputs of a prediction without the cells that a contract marks.

    Args:
        spec: features of the version that explains.
        masker: of its contract.
    """
    derived = {feature.name for feature in spec.features if _is_from(feature, masker.marked)}

    def masked(one: Contribution) -> Contribution:
        value = None if one.feature in derived else masker.cell(one.feature, one.value)
        return one if value is one.value else replace(one, value=value)

    def outputs(prediction: Prediction) -> list[Any] | None:
        cells = output_cells(prediction)
        if cells is not None and prediction.explanation is not None:
            explanation: Explanation = prediction.explanation
            cells[-1] = replace(explanation, contributions=[masked(one) for one in explanation.contributions])
        return cells

    return outputs


def _is_from(feature: Feature, marked: Collection[str]) -> bool:
    """Tell whether a derived feature reads a marked column."""
    return feature.expression is not None and not parse(feature.expression).inputs.isdisjoint(marked)
