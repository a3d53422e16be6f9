"""Figures and the catalogue of metrics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from twinscore.errors import SettingsInvalid
from twinscore.monitoring.figure import FIGURES, Figure, figures_of, table_of
from twinscore.monitoring.metric import METRICS, metric_named

START = datetime(2026, 3, 1, tzinfo=UTC)


def test_figures_come_back_from_a_table() -> None:
    """What is written to Parquet is read back as it was, nothing known included."""
    figures = [
        Figure(model="loans", version="3", start=START, end=START + timedelta(hours=1), metric="psi", subject="income",
               value=0.12, low=0.1, high=0.14, p_value=1e-9, rows=1_000),
        Figure(model="loans", version="3", role="batch", path="batch", segment="grade=A", start=START,
               end=START + timedelta(hours=1), metric="auc", value=None, note="one class only"),
    ]  # fmt: skip
    table = table_of(figures)

    assert table.schema == FIGURES
    assert figures_of(table) == figures


def test_metrics_are_named_as_they_are_kept() -> None:
    """The catalogue's keys are its metrics' names, none is there twice, and each says what it is."""
    assert all(METRICS[name].name == name for name in METRICS)
    assert all(metric.says and not metric.says.endswith(".") for metric in METRICS.values())


def test_unknown_metric_is_refused_with_what_is_near() -> None:
    """A typo is answered with the name that was meant."""
    with pytest.raises(SettingsInvalid, match="score_psi"):
        metric_named("scor_psi")
