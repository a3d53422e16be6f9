"""Ages, waiting rows and runs that were left, as figures, from what runs leave on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from twinscore.batch.run import run_version
from twinscore.batch.runs import known_runs
from twinscore.batch.spec import ScoreSpec
from twinscore.batch.spec_parts import QuarantineLimit
from twinscore.batch.staging import Staging
from twinscore.batch.stale_figures import LOOKED_AT, staleness_figures
from twinscore.bundle.files import Bundle
from twinscore.errors import PredictFailed, RunRefused
from twinscore.monitoring.figure import Figure
from twinscore.settings import Settings

from .conftest import change, make_input, model_version, workers_here, write_rows

DAY = timedelta(days=1)
Score = Callable[..., Path]


@pytest.fixture
def score(settings: Settings, bundle: Bundle, data: Path) -> Score:
    """Score the data into a dataset of the lake."""

    def run(name: str, limit: float = 1.0) -> Path:
        quarantine = QuarantineLimit(share=limit)
        spec = ScoreSpec(model="demo", input=str(data), output=f"predictions/{name}", quarantine=quarantine)
        return run_version(settings, spec, model_version(bundle), bundle, workers=workers_here).folder

    return run


def figures(settings: Settings, end: datetime | None = None, **more: Any) -> dict[str, Figure]:
    """The figures of the day before a moment."""
    last = end or datetime.now(UTC)
    found = staleness_figures(settings.lake, "demo", last - DAY, last, **more)
    return {one.metric: one for one in found}


def test_ages_and_waiting_rows(settings: Settings, data: Path, score: Score) -> None:
    """The age of the newest event that a run knows, or of its look, and the rows that came since."""
    score("day/one")
    write_rows(data / "day-3.parquet", make_input(700, seed=3))
    looked = figures(settings)
    events = figures(settings, time_of=lambda digest: "opened_at")

    assert [*LOOKED_AT] == [*looked]
    assert 700.0 == looked["input_waiting_rows"].value
    assert (looked["prediction_age_s"].value or 0.0) < 3600 < 24 * 3600 < (events["prediction_age_s"].value or 0.0)
    assert {("demo", "1", "batch", "batch")} == {(o.model, o.version, o.role, o.path) for o in looked.values()}


def test_runs_that_nobody_finishes_are_counted(settings: Settings, data: Path, score: Score) -> None:
    """One that died on the way, in the window in which it began; not one of another model, nor one that was refused."""
    score("good")
    write_rows(data / "day-1.parquet", change(make_input(seed=1), "age", dict.fromkeys(range(90), -1)))
    with pytest.raises(RunRefused):
        score("strict", limit=0.0)
    for name, model in (("dead", "demo"), ("x", "another")):
        facts = {"run_id": name[0] * 16, "identity": {"model": model}, "started_at": datetime.now(UTC).isoformat()}
        with pytest.raises(PredictFailed), Staging(settings.lake / "predictions" / name, name[0] * 16, facts):
            raise PredictFailed("a worker died")  # noqa: EM101
    found = figures(settings)["runs_interrupted"]
    runs = known_runs(settings.lake, "demo")

    assert (1.0, "d" * 16) == (found.value, found.note)
    assert (1, 1, 1) == (len(runs.committed), len(runs.refused), len(runs.interrupted))
    assert 0.0 == figures(settings, datetime.now(UTC) + 3 * DAY)["runs_interrupted"].value


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
    """Without a run there is no figure; an input that is gone, or a manifest that is none, leaves a note."""
    nothing = figures(settings)
    score("day")
    broken = settings.lake / "predictions" / "broken"
    broken.mkdir()
    (broken / "_manifest.json").write_text(json.dumps(["demo"]))
    data.rename(data.with_name("elsewhere"))
    gone = figures(settings)

    assert {} == nothing
    assert gone["input_waiting_rows"].value is None
    assert gone["input_waiting_rows"].note
