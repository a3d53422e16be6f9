"""Fixtures for every test: real data, free ports, a home folder of its own, and a clean environment."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from .one_ray import OneRay

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

# One profile everywhere: a failure in CI is the failure a developer sees. HYPOTHESIS_PROFILE=search looks further.
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("search", parent=settings.get_profile("ci"), derandomize=False, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# What a developer's shell may carry must not decide a test.
LEAKING = ("TWINSCORE_", "MLFLOW_", "RAY_")
CHOSEN = {"TWINSCORE_KILLS", "TWINSCORE_SEED"}
"""What whoever runs the tests that kill may choose: how often, and where."""


def pytest_configure(config: pytest.Config) -> None:
    """Drop settings of the caller's shell before anything is imported that reads them once."""
    del config
    for name in [name for name in os.environ if name.startswith(LEAKING) and name not in CHOSEN]:
        del os.environ[name]
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray's workers yield to everything else on the machine, which is what the tests beside them are.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray's spelling
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Run side by side as `tests/lanes.py` says."""
    from .lanes import Lanes

    return Lanes(config, log)


KEPT = ("ray_cluster", "serve_port")
"""Fixtures whose Ray is kept for the next module that has it too."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the random order, but put the modules that share a Ray one after the other."""
    shared = {item.path: _shared(item) for item in items if _shared(item)}
    items.sort(key=lambda item: shared.get(item.path, -1))


def _shared(item: pytest.Item) -> int:
    names = getattr(item, "fixturenames", ())
    return next((number for number, name in enumerate(KEPT, 1) if name in names), 0)


@pytest.fixture(scope="session")
def one_ray() -> Iterator[OneRay]:
    """The Ray of this process, for fixtures that start one."""
    kept = OneRay()
    yield kept
    kept.end()


@pytest.fixture(scope="module", autouse=True)
def no_ray_of_others(request: pytest.FixtureRequest, one_ray: OneRay) -> None:
    """A module that shares no Ray finds none."""
    if not any(_shared(item) for item in request.session.items if item.path == request.path):
        one_ray.end()


def shared_file(name: str) -> Path:
    """Return one of the real data sets, or skip where they are not beside the checkout."""
    path = SHARED_DATA / name
    if not path.is_file():
        pytest.skip(f"the real data set {name} is not in ../shared/data")
    return path


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def adult_train() -> Path:
    """Census income, 32,561 rows: classification with categories, missing values and protected groups."""
    return shared_file("adult_train.parquet")


@pytest.fixture(scope="session")
def adult_test() -> Path:
    """Census income, the 16,281 rows kept for testing."""
    return shared_file("adult_test.parquet")


@pytest.fixture(scope="session")
def beijing() -> Path:
    """Hourly PM2.5 of Beijing, 43,824 rows: regression, ordered in time, label missing in 2,067 rows."""
    return shared_file("beijing_pm25.parquet")


@pytest.fixture
def free_port() -> int:
    """A TCP port of the loopback address that nobody held a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TWINSCORE_HOME of the test's own."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("TWINSCORE_HOME", str(folder))
    return folder
