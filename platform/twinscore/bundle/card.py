"""What a person wants to know of a version: task, data, metrics, parameters, libraries; knows nothing of files."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from twinscore.errors import BundleInvalid, near

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ModelCard"]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The model card that travels in a bundle (Mitchell et al., 2019, "Model Cards for Model Reporting").

    Args:
        model: registered name.
        task: what the scores are.
        classes: class labels in the booster's order; empty for regression.
        positive: with two classes, the one whose probability is the score.
        threshold: with two classes, the score from which the decision is `positive`.
        objective: XGBoost's objective, which decides how a margin becomes a score.
        label, key, time, groups: roles of columns in the training data.
        snapshot: id of the training data, from its content.
        rows: part of the data -> number of rows.
        metrics: metric -> value on rows that were held out from training.
        group_metrics: group column -> group -> metric -> value.
        params: of the booster and of the training.
        versions: library -> version.
        created_at: ISO 8601, UTC.
        coverage: share of outcomes that intervals and prediction sets promise to cover.
    """

    model: str
    task: Literal["classification", "regression"]
    objective: str
    classes: tuple[str, ...] = ()
    positive: str | None = None
    threshold: float = 0.5
    label: str | None = None
    key: tuple[str, ...] = ()
    time: str | None = None
    groups: tuple[str, ...] = ()
    snapshot: str | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    group_metrics: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    created_at: str = ""
    coverage: float = 0.9

    def to_json(self) -> dict[str, Any]:
        """Return the card as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ModelCard:
        """Read what `to_json` wrote.

        Raises:
            BundleInvalid: a field is unknown or missing.
        """
        known = {item.name for item in fields(cls)}
        for name in document:
            if name not in known:
                message = f"card.json has the unknown field {name!r}. {near(name, known)}"
                raise BundleInvalid(message, field=name)
        lists = {name: tuple(document[name]) for name in ("classes", "key", "groups") if name in document}
        try:
            card = cls(**{**document, **lists})
        except TypeError as error:
            message = f"card.json is not a model card: {error}."
            raise BundleInvalid(message) from error
        if card.task not in ("classification", "regression"):
            message = (
                f"card.json names the task {card.task!r}. {near(str(card.task), ['classification', 'regression'])}"
            )
            raise BundleInvalid(message, task=card.task)
        return card
