"""Ages, waiting rows and ends of runs as figures, from what runs leave on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from twinscore.batch.read import open_run
from twinscore.batch.run import run_version
from twinscore.batch.runs import known_runs
from twinscore.batch.spec import ScoreSpec
from twinscore.batch.spec_parts import QuarantineLimit
from twinscore.batch.staging import Staging
from twinscore.batch.stale_figures import LiveVersion, staleness_figures
from twinscore.bundle.files import Bundle
from twinscore.errors import PredictFailed, RunRefused
from twinscore.monitoring.figure import Figure
from twinscore.monitoring.metric import METRICS
from twinscore.settings import Settings

from .conftest import change, make_input, model_version, workers_here, write_rows

LIVE = LiveVersion("1", datetime(2026, 1, 1, tzinfo=UTC), "opened_at")
Score = Callable[..., Path]


@pytest.fixture
def score(settings: Settings, bundle: Bundle, data: Path) -> Score:
    """Score the data into a dataset of the lake."""

    def run(name: str, limit: float = 1.0) -> Path:
        quarantine = QuarantineLimit(share=limit)
        spec = ScoreSpec(model="demo", input=str(data), output=f"predictions/{name}", quarantine=quarantine)
        return run_version(settings, spec, model_version(bundle), bundle, workers=workers_here).folder

    return run


def figures(settings: Settings, now: datetime | None = None, **more: object) -> dict[str, Figure]:
    found = staleness_figures(settings, "demo", now or datetime.now(UTC), live=LIVE, **more)  # type: ignore[arg-type]
    assert {one.metric for one in found} == {
        name for name, metric in METRICS.items() if metric.topic in ("staleness", "batch")
    }
    return {one.metric: one for one in found}


def test_a_run_is_told_by_its_manifest(settings: Settings, data: Path, score: Score) -> None:
    """Its seconds, the share that it refused, the age of its newest event, and rows that came since."""
    write_rows(data / "day-1.parquet", change(make_input(seed=1), "age", dict.fromkeys(range(60), -1)))
    folder = score("day/one")
    write_rows(data / "day-3.parquet", make_input(700, seed=3))
    now = datetime.now(UTC)
    found = figures(settings, now)
    manifest = open_run(folder).manifest
    began, ended = (datetime.fromisoformat(manifest[name]) for name in ("started_at", "finished_at"))

    assert (60 / 3_000, 3_000) == (found["quarantine_share"].value, found["quarantine_share"].rows)
    assert ((ended - began).total_seconds(), 0.0) == (found["run_s"].value, found["runs_failed"].value)
    assert 700.0 == found["input_waiting_rows"].value
    assert (now - LIVE.created_at).total_seconds() == found["model_age_s"].value  # type: ignore[operator]
    assert (found["prediction_age_s"].value or 0.0) > 24 * 3600  # events of 2025
    assert ("batch", "online") == (found["run_s"].path, found["model_age_s"].path)


def test_failed_runs_are_counted(settings: Settings, data: Path, score: Score, tmp_path: Path) -> None:
    """One that broke its limits and one that died on the way; the dead one counts no more once it is finished."""
    score("good")
    write_rows(data / "day-1.parquet", change(make_input(seed=1), "age", dict.fromkeys(range(90), -1)))
    with pytest.raises(RunRefused):
        score("strict", limit=0.0)
    target = settings.lake / "predictions" / "dead"
    facts = {"run_id": "0" * 16, "identity": {"model": "demo"}, "started_at": datetime.now(UTC).isoformat()}
    with pytest.raises(PredictFailed), Staging(target, "0" * 16, facts):
        raise PredictFailed("a worker died")  # noqa: EM101
    found = figures(settings)
    other = {**facts, "identity": {"model": "another"}, "run_id": "1" * 16}
    with pytest.raises(PredictFailed), Staging(settings.lake / "predictions" / "x", "1" * 16, other):
        raise PredictFailed("a worker died")  # noqa: EM101
    runs = known_runs(settings.lake, "demo")

    assert (2.0, 3) == (found["runs_failed"].value, found["runs_failed"].rows)
    assert "was refused" in found["runs_failed"].note
    assert "begun and not finished" in found["runs_failed"].note
    assert (90 / 6_000, 6_000) == (found["quarantine_share"].value, found["quarantine_share"].rows)
    assert (1, 1, 1) == (len(runs.committed), len(runs.refused), len(runs.interrupted))
    assert 0.0 == figures(settings, datetime.now(UTC) + timedelta(days=3))["runs_failed"].value


def test_datasets_that_are_named_are_looked_at_alone(settings: Settings, data: Path, score: Score) -> None:
    """Two datasets, one of them refused once: each is found by its name, the waiting rows of both add up."""
    score("a")
    write_rows(data / "day-3.parquet", make_input(500, seed=3))
    score("b/2026-01-01")
    write_rows(data / "day-4.parquet", make_input(200, seed=4))
    write_rows(data / "day-1.parquet", change(make_input(seed=1), "age", {0: -1}))
    with pytest.raises(RunRefused):
        score("c", limit=0.0)
    by_name = {name: known_runs(settings.lake, "demo", [name]) for name in ("a", "b", "c", "none")}

    assert [(1, 0), (1, 0), (0, 1), (0, 0)] == [(len(one.committed), len(one.refused)) for one in by_name.values()]
    assert 3 == sum(len(one) for one in (known_runs(settings.lake, "demo").committed, by_name["c"].refused))
    # day-1 has other bytes, too: its 1,000 rows wait for both, day-3 for the first, day-4 for both.
    assert float(1_700 + 1_200) == figures(settings, datasets=("a", "b"))["input_waiting_rows"].value
    assert 1_200.0 == figures(settings, datasets=("b",))["input_waiting_rows"].value


def test_what_cannot_be_told_has_no_value(settings: Settings, data: Path, score: Score) -> None:
    """No run, no live version, an input that is gone, a manifest that is none: a note says why."""
    nothing = figures(settings)
    unknown = {one.metric: one for one in staleness_figures(settings, "demo", datetime.now(UTC))}
    score("day")
    broken = settings.lake / "predictions" / "broken"
    broken.mkdir()
    (broken / "_manifest.json").write_text(json.dumps(["demo"]))
    data.rename(data.with_name("elsewhere"))
    gone = figures(settings)

    assert {"prediction_age_s", "input_waiting_rows", "run_s", "quarantine_share"} == {
        name for name, one in nothing.items() if one.value is None and one.note
    }
    assert (None, True) == (unknown["model_age_s"].value, bool(unknown["model_age_s"].note))
    assert gone["input_waiting_rows"].value is None
    assert "cannot be looked at" in gone["input_waiting_rows"].note
    assert gone["prediction_age_s"].value is not None
