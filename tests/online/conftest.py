"""One trained loan model and one regression model for every test of the online path."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

from twinscore.bundle.files import Bundle
from twinscore.contract.rows import table_to_rows
from twinscore.demo.loans import KEY, LABEL, TIME, LoanBook, loan_book
from twinscore.online.endpoint import Endpoint
from twinscore.settings import Settings

N_FRESH = 400


@dataclass(frozen=True)
class Trained:
    """A registered version, its endpoint, and rows that it has not seen."""

    settings: Settings
    model: str
    version: str
    bundle: Bundle
    endpoint: Endpoint
    table: pa.Table
    """Accepted rows, conformed: (n_rows, contract.columns)."""
    rows: list[dict[str, Any]]
    """The same rows as JSON values."""


@pytest.fixture(scope="session")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A classification model of the demo's loan book: twenty columns, categories, missing values, a time."""
    table = loan_book(LoanBook(rows=3000, seed=1))
    return _train(tmp_path_factory, "loans", table, label=LABEL)


@pytest.fixture(scope="session")
def amounts(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A regression model on the same book: what amount do people ask for."""
    table = loan_book(LoanBook(rows=3000, seed=2)).drop_columns([LABEL])
    return _train(tmp_path_factory, "amounts", table, label="amount")


@pytest.fixture(params=["loans", "amounts"])
def trained(request: pytest.FixtureRequest) -> Trained:
    """Each kind of model in turn."""
    found: Trained = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def serve_settings() -> Iterator[Callable[[Settings], Settings]]:
    """A Ray of this module's own; gives a model's settings the port on which its Serve listens."""
    import ray
    from ray import serve

    # Ray's sockets need a short path, which pytest's folders are not.
    folder = tempfile.mkdtemp(prefix="ts-on-", dir="/tmp")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
    try:
        yield lambda settings: settings.model_copy(update={"serve_port": port, "max_body_bytes": 1024 * 1024})
    finally:
        serve.shutdown()
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _train(factory: pytest.TempPathFactory, model: str, table: pa.Table, *, label: str) -> Trained:
    from twinscore.training.train import train

    from twinscore.wiring import load_version

    settings = Settings(home=factory.mktemp(model))
    params = {"n_estimators": 40, "max_depth": 4}
    train(settings, model=model, data=table, label=label, key=KEY, time=TIME, params=params)
    found, bundle = load_version(settings, model)
    fresh = loan_book(LoanBook(rows=2 * N_FRESH, seed=7, first_id=10**6))
    conformed = bundle.checker.conform(fresh)
    accepted = conformed.filter(pa.array(bundle.checker.check(conformed).accepted)).slice(0, N_FRESH)
    endpoint = Endpoint(bundle, model=found.model, version=found.version)
    return Trained(
        settings, found.model, found.version, bundle, endpoint, accepted.combine_chunks(), table_to_rows(accepted)
    )
