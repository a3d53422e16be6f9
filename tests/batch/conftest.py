"""One Ray for the folder, small real bundles, and runs over folders of the test's own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from twinscore.batch.checkpoint import KEYS, SHARDS
from twinscore.batch.drive import Pool
from twinscore.batch.parts import EXPLANATIONS, QUARANTINE
from twinscore.batch.plan import Shard
from twinscore.batch.report import RunReport
from twinscore.batch.run import run_version
from twinscore.batch.shard import ShardJob, score_shard
from twinscore.batch.shard_result import ShardResult
from twinscore.batch.spec import ScoreSpec
from twinscore.bundle.files import MARGIN, Bundle, read_bundle, write_bundle
from twinscore.contract.model import Expectation
from twinscore.ports.model_store import ModelVersion
from twinscore.settings import Settings, load_settings
from twinscore.testing.models import make_bundle, make_rows
from twinscore.wiring import bundle_store

from ..one_ray import OneRay, started_ray
from .watched import Watched

Run = Callable[..., RunReport]


@pytest.fixture(scope="module")
def ray_cluster(one_ray: OneRay) -> None:
    """A Ray with two cores."""
    one_ray.have(_batch_ray)


def _batch_ray() -> AbstractContextManager[None]:
    return started_ray("tsb", configure_logging=False, object_store_memory=100_000_000)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A binary classifier with text, missing values, a time and derived features."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "binary")


@pytest.fixture
def settings(home: Path) -> Settings:
    """Settings with a home of the test's own."""
    return load_settings(home=home, num_cpus=2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three files of 1,000 rows in row groups of 400."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(3):
        write_rows(folder / f"day-{number}.parquet", make_input(seed=number))
    return folder


@pytest.fixture
def watched(settings: Settings, bundle: Bundle) -> Watched:
    """A home with one version and no record yet."""
    bundle_store(settings).publish(bundle.folder)
    return Watched(settings, bundle)


@contextlib.contextmanager
def workers_here(settings: Settings) -> Iterator[Pool]:
    """Score in this process: the same work as in an actor, without the seconds that an actor needs to start."""
    del settings
    yield _score_here


def _score_here(
    shards: Sequence[Shard], repeated: Mapping[int, NDArray[np.int64]], bundle: Bundle, job: ShardJob
) -> Iterator[ShardResult]:
    for shard in shards:
        yield score_shard(shard, bundle, job, repeated.get(shard.number))


@pytest.fixture
def run(settings: Settings, bundle: Bundle, data: Path, tmp_path: Path) -> Run:
    """Score `data` into `out` with what the test changes."""

    def score(*, using: Bundle = bundle, version: str = "1", **changes: object) -> RunReport:
        spec = ScoreSpec(model="demo", input=str(data), output=str(tmp_path / "out"))
        spec = replace(spec, **changes)
        return run_version(settings, spec, model_version(using, version), using, workers=workers_here)

    return score


def staging_folder(folder: Path) -> Path:
    """Make what a worker writes into."""
    for name in (KEYS, SHARDS, QUARANTINE, EXPLANATIONS):
        (folder / name).mkdir()
    return folder


def model_version(bundle: Bundle, version: str = "1") -> ModelVersion:
    return ModelVersion("demo", version, (), bundle.digest, "", None)


def make_input(rows: int = 1_000, seed: int = 0) -> pa.Table:
    return make_rows(rows=rows, seed=seed).drop_columns(["label"])


def write_rows(path: Path, table: pa.Table, *, group: int = 400) -> None:
    pq.write_table(table, path, row_group_size=group)


def change(table: pa.Table, column: str, values: dict[int, object]) -> pa.Table:
    """Return the table with other values in some rows of one column."""
    cells = table.column(column).to_pylist()
    for row, value in values.items():
        cells[row] = value
    place = table.schema.get_field_index(column)
    return table.set_column(place, column, pa.array(cells, table.schema.field(column).type))


def with_expectations(bundle: Bundle, folder: Path, *more: Expectation) -> Bundle:
    """Write the bundle again with a contract that expects more."""
    contract = replace(bundle.contract, expectations=(*bundle.contract.expectations, *more))
    write_bundle(
        folder, booster=bundle.booster, spec=bundle.spec, contract=contract, profile=bundle.profile,
        calibration=bundle.calibration, shap_base=bundle.shap_base, card=bundle.card,
        golden=bundle.golden.drop_columns([MARGIN]),
    )  # fmt: skip
    return read_bundle(folder)


def everything_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
