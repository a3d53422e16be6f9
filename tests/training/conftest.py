"""One home with an embedded registry, and versions trained on the real data sets, for the whole folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinscore.settings import Settings, load_settings
from twinscore.training.train import TrainedVersion, train


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a home that all trainings share."""
    return load_settings(home=tmp_path_factory.mktemp("home"), num_cpus=2)


@pytest.fixture(scope="session")
def adult(settings: Settings, adult_train: Path) -> TrainedVersion:
    """A classifier on the census data, as the command trains it without options."""
    return train(settings, model="adult", data=adult_train, label="label", key="row_id", groups=["sex", "race"])


@pytest.fixture(scope="session")
def pm25(settings: Settings, beijing: Path) -> TrainedVersion:
    """A regression on the hourly data, split by time."""
    return train(settings, model="beijing", data=beijing, label="pm25", key="row_id", time="event_time")
