"""Figures as Prometheus' text: the newest of each series, with its interval, and never too many."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from twinscore.monitoring.exposition import MOST_SERIES, MOST_SUBJECTS, exposed_names, exposition
from twinscore.monitoring.figure import Figure
from twinscore.testing.figures import START, Watched, watched_story

STEP = timedelta(hours=6)
ONE = Figure(
    model="loans", version="3", start=START, end=START + STEP, metric="psi", subject="income", value=0.2, rows=9
)
Labels = tuple[tuple[str, str], ...]


@pytest.fixture(scope="module")
def story() -> Watched:
    """A fortnight in which something happens."""
    return watched_story()


def read(text: str) -> dict[str, dict[Labels, float]]:
    """Return each series of a text as Prometheus' own reader of it finds them."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series = found.setdefault(sample.name, {})
            labels = tuple(sorted((name, value) for name, value in sample.labels.items() if value))
            assert labels not in series
            series[labels] = sample.value
    return found


def only(series: dict[Labels, float], **wanted: str) -> float:
    """Return the value of the one series with these labels."""
    (value,) = [value for labels, value in series.items() if wanted.items() <= dict(labels).items()]
    return value


def test_newest_figure_of_each_series_is_shown(story: Watched) -> None:
    """Value and interval are those of the newest window; what waits for outcomes keeps the newest known one."""
    found = read(exposition({"loans": story.figures}, {"loans": story.incidents}))
    income = [one for one in story.figures
              if (one.metric, one.subject, one.path, one.segment) == ("psi", "income", "online", "")][-1]  # fmt: skip
    auc = [one for one in story.figures if one.metric == "auc" and one.value is not None][-1]
    of_income = {"subject": "income", "path": "online", "version": "3", "role": "live"}
    whole = {labels: value for labels, value in found["twinscore_watch_psi"].items() if "segment" not in dict(labels)}

    assert only(whole, **of_income) == income.value
    lows = {labels: one for labels, one in found["twinscore_watch_psi_low"].items() if "segment" not in dict(labels)}
    assert only(lows, **of_income) == income.low
    assert only(found["twinscore_watch_auc"]) == auc.value
    assert only(found["twinscore_watch_window_end_seconds"], path="online", role="live") == income.end.timestamp()
    assert only(found["twinscore_watch_incidents_open"], severity="critical") == 1
    assert only(found["twinscore_watch_incidents_open"], severity="info") == 0
    assert only(found["twinscore_watch_left_out"]) == 0
    assert set(found) <= exposed_names()


def test_unknown_incidents_are_not_said_to_be_none(story: Watched) -> None:
    """Where nobody keeps incidents there is no such series, so that no rule takes silence for peace."""
    assert "twinscore_watch_incidents_open" not in read(exposition({"loans": story.figures}))


def test_what_has_ended_is_not_shown() -> None:
    """A version or role without figures in the newest windows is gone; the others of its path stay."""
    later = [replace(ONE, start=START + at * STEP, end=START + (at + 1) * STEP, version="4") for at in range(1, 5)]
    canary = replace(ONE, role="canary", version="9")
    still = replace(later[-2], role="shadow", version="7")
    found = read(exposition({"loans": [ONE, canary, still, *later]}))["twinscore_watch_psi"]

    assert {dict(labels)["version"] for labels in found} == {"4", "7"}


def test_the_worst_subjects_are_shown() -> None:
    """Of more than fit the largest values stay, of what is worse when lower the smallest; the rest is counted."""
    many = [replace(ONE, subject=f"f{at}", value=float(at)) for at in range(MOST_SUBJECTS + 7)]
    rates = [replace(one, metric="tpr") for one in many]
    found = read(exposition({"loans": [*many, *rates]}))

    assert min(found["twinscore_watch_psi"].values()) == 7.0
    assert max(found["twinscore_watch_tpr"].values()) == MOST_SUBJECTS - 1
    assert only(found["twinscore_watch_left_out"]) == 14


def test_a_model_has_a_bounded_number_of_series() -> None:
    """However many segments there are, all rows come first and the number of series has an end."""
    segments = [replace(ONE, segment=f"s={at}", subject=f"f{sub}") for at in range(150) for sub in range(MOST_SUBJECTS)]
    found = read(exposition({"loans": [*segments, ONE]}))

    assert len(found["twinscore_watch_psi"]) == MOST_SERIES
    assert only(found["twinscore_watch_left_out"]) == 150 * MOST_SUBJECTS + 1 - MOST_SERIES
    assert [labels for labels in found["twinscore_watch_psi"] if "segment" not in dict(labels)]


@given(st.text(max_size=300), st.text(max_size=20))
def test_any_text_is_a_label(name: str, other: str) -> None:
    """Quotes, backslashes and line ends in names come back as they were."""
    names = {name[:200].strip(), other.strip()} - {""}
    figures = [replace(ONE, subject=one, segment=f"{one}=x") for one in names]
    found = read(exposition({"loans": figures})).get("twinscore_watch_psi", {})

    assert len(found) == len(figures)


def test_nothing_watched_is_an_empty_text() -> None:
    """No model, and a model without figures."""
    assert read(exposition({})) == {}
    assert set(read(exposition({"loans": []}))) == {"twinscore_watch_left_out"}
