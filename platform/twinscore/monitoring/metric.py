"""The catalogue of everything that can be watched: each metric's name, unit, and what it is a figure of; pure.

Rules, reports, dashboards and the job that computes figures all use these names, and no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from twinscore.errors import SettingsInvalid, near

__all__ = ["METRICS", "Metric", "Subject", "Topic", "metric_named"]

Topic = Literal[
    "drift", "prediction", "uncertainty", "performance", "estimate", "fairness", "attribution", "service", "staleness",
    "batch", "parity",
]  # fmt: skip
Subject = Literal["", "feature", "decision", "class", "group", "column"]
"""What a figure is of beside its model: nothing, a feature, a decision, a class, a group (`column=value`), a group's
column."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that is watched."""

    name: str
    topic: Topic
    unit: str
    """`share` (0 to 1), `rows`, `ms`, `s`, `count`, or empty for a number without one."""
    subject: Subject
    says: str
    """One phrase for people."""
    worse: Literal["higher", "lower", "either"] = "higher"

    @property
    def needs_labels(self) -> bool:
        """Whether it says nothing without outcomes; of fairness that is all but the selection rates."""
        return self.topic in ("performance", "fairness") and not self.name.startswith("selection_rate")


def _metrics(topic: Topic, *rows: tuple[str, str, Subject, str] | tuple[str, str, Subject, str, str]) -> list[Metric]:
    return [Metric(row[0], topic, *row[1:]) for row in rows]


_ALL = [
    *_metrics(
        "drift",
        ("psi", "", "feature", "population stability index against the reference"),
        ("js_distance", "", "feature", "Jensen-Shannon distance to the reference, base 2"),
        ("ks", "share", "feature", "largest difference of the distribution functions, of a number"),
        ("cramers_v", "", "feature", "strength of the change of a category's shares"),
        ("missing_shift", "share", "feature", "share of missing cells less the reference's", "either"),
        ("new_category_share", "share", "feature", "rows with a category that training never saw"),
        ("feature_drift", "count", "feature", "1 when the feature drifted: proved, large enough, and persistent"),
        ("drifted_features", "count", "", "features that drifted"),
    ),
    *_metrics(
        "prediction",
        ("score_psi", "", "", "population stability index of the scores"),
        ("score_ks", "share", "", "largest difference of the scores' distribution functions"),
        ("score_mean", "", "", "mean score", "either"),
        ("score_drift", "count", "", "1 when the scores drifted: proved, large enough, and persistent"),
        ("decision_rate", "share", "decision", "share of a decision", "either"),
        ("decision_shift", "share", "decision", "share of a decision less the reference's", "either"),
    ),
    *_metrics(
        "uncertainty",
        ("interval_width", "", "", "mean width of the intervals"),
        ("ambiguous_share", "share", "", "rows whose prediction set does not hold exactly one class"),
        ("review_rate", "share", "", "rows that ask for a person"),
    ),
    *_metrics(
        "performance",
        ("labelled_share", "share", "", "rows whose outcome is known", "lower"),
        ("label_delay_s_p50", "s", "", "median time from the score to its outcome"),
        ("label_delay_s_p90", "s", "", "90th percentile of the time from the score to its outcome"),
        ("coverage", "share", "", "outcomes inside their interval or prediction set", "lower"),
        ("auc", "share", "", "area under the ROC curve", "lower"),
        ("log_loss", "", "", "mean logarithmic loss"),
        ("brier", "", "", "mean squared error of the probability"),
        ("accuracy", "share", "", "decisions that were right", "lower"),
        ("balanced_accuracy", "share", "", "mean of the classes' recalls", "lower"),
        ("macro_f1", "share", "", "mean of the classes' F1", "lower"),
        ("class_precision", "share", "class", "decisions for a class that were right", "lower"),
        ("class_recall", "share", "class", "outcomes of a class that were decided so", "lower"),
        (
            "decision_auc",
            "share",
            "",
            "of more than two classes: how well P(decision) ranks right above wrong",
            "lower",
        ),
        (
            "decision_log_loss",
            "",
            "",
            "of more than two classes: logarithmic loss of P(decision) as that of being right",
        ),
        ("decision_brier", "", "", "of more than two classes: squared error of P(decision) as that of being right"),
        ("decision_calibration_error", "share", "", "as calibration_error, class by class decided for"),
        ("calibration_error", "share", "", "mean distance of predicted and observed share, over bins of the score"),
        ("rmse", "", "", "root of the mean squared error"),
        ("mae", "", "", "mean absolute error"),
        ("r2", "", "", "share of the outcomes' variance that is explained", "lower"),
    ),
    *_metrics(
        "estimate",
        ("estimated_auc", "share", "", "AUC expected from the probabilities alone", "lower"),
        ("estimated_accuracy", "share", "", "accuracy expected from the probabilities alone", "lower"),
        ("estimated_log_loss", "", "", "logarithmic loss expected from the probabilities alone"),
        ("estimated_brier", "", "", "Brier score expected from the probabilities alone"),
        ("estimated_mae", "", "", "absolute error expected where outcomes are not known yet"),
        ("estimated_rmse", "", "", "root of the squared error expected where outcomes are not known yet"),
    ),
    *_metrics(
        "fairness",
        ("selection_rate", "share", "group", "rows decided positive", "either"),
        ("tpr", "share", "group", "true positive rate", "lower"),
        ("fpr", "share", "group", "false positive rate"),
        ("fnr", "share", "group", "false negative rate"),
        ("precision", "share", "group", "positive decisions that were right", "lower"),
        ("selection_rate_gap", "share", "column", "widest gap of selection rates between groups"),
        ("tpr_gap", "share", "column", "widest gap of true positive rates between groups"),
        ("fpr_gap", "share", "column", "widest gap of false positive rates between groups"),
        ("fnr_gap", "share", "column", "widest gap of false negative rates between groups"),
        ("precision_gap", "share", "column", "widest gap of precision between groups"),
        ("selection_rate_ratio", "share", "column", "lowest selection rate over the highest", "lower"),
    ),
    *_metrics(
        "attribution",
        ("attribution_ndcg", "share", "", "how alike the features' importance ranks are to the reference's", "lower"),
    ),
    *_metrics(
        "service",
        ("requests", "count", "", "requests answered", "either"),
        ("latency_ms_p50", "ms", "", "median time from arrival to answer"),
        ("latency_ms_p95", "ms", "", "95th percentile of the time from arrival to answer"),
        ("latency_ms_p99", "ms", "", "99th percentile of the time from arrival to answer"),
        ("error_rate", "share", "", "requests that failed by our fault (5xx)"),
        ("refusal_rate", "share", "", "rows that the contract refused"),
        ("shed_rate", "share", "", "requests refused because all replicas were full"),
        ("busy", "share", "", "share of the time that the busiest replica is at work"),
        ("degraded_share", "share", "", "answers of the cheaper way"),
        ("cached_share", "share", "", "answers taken from a batch run", "either"),
    ),
    *_metrics(
        "staleness",
        ("prediction_age_s", "s", "", "age of the newest thing that the batch predictions know"),
        ("input_waiting_rows", "rows", "", "rows of the input that no run has scored yet"),
        ("model_age_s", "s", "", "time since the live version was made"),
    ),
    *_metrics(
        "batch",
        ("run_s", "s", "", "seconds of a run"),
        ("runs_failed", "count", "", "runs that were refused as a whole"),
        ("runs_interrupted", "count", "", "runs that were begun and that nobody finishes"),
        ("quarantine_share", "share", "", "rows of runs that the contract refused"),
    ),
    *_metrics(
        "parity",
        ("parity_differing", "rows", "", "rows that the two paths score differently"),
        ("parity_checked", "rows", "", "rows that were scored by both paths", "lower"),
        ("parity_bits", "count", "", "largest difference of a score, in units of the last place"),
        ("parity_feature_differing", "rows", "feature", "rows whose joined feature differs in value or is too old"),
    ),
]
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""Every metric by its name."""


def metric_named(name: str) -> Metric:
    """Return the metric of that name.

    Raises:
        SettingsInvalid: there is none; near names are given.
    """
    if name not in METRICS:
        message = f"There is no metric {name!r}. {near(name, METRICS)}"
        raise SettingsInvalid(message, metric=name)
    return METRICS[name]
