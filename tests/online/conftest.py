"""Small real models of three kinds for every test of the online path, and a Ray Serve for those that need one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

from twinscore.bundle.files import Bundle
from twinscore.contract.rows import table_to_rows
from twinscore.online.answer import Answer
from twinscore.online.call import Call
from twinscore.online.endpoint import Endpoint
from twinscore.online.gateway import Gateway, Reply
from twinscore.online.stages import finish
from twinscore.settings import Settings
from twinscore.testing.models import make_bundle, make_rows

from ..one_ray import OneRay, started_ray

N_FRESH = 400


@dataclass(frozen=True)
class Trained:
    """A bundle, its endpoint, and rows that it has not seen."""

    bundle: Bundle
    endpoint: Endpoint
    table: pa.Table
    """Accepted rows, conformed: (n_rows, contract.columns)."""
    rows: list[dict[str, Any]]
    """The same rows as JSON values."""


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A model of two classes."""
    return _train(tmp_path_factory, "binary")


@pytest.fixture(scope="session")
def multiclass(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A model of three classes."""
    return _train(tmp_path_factory, "multiclass")


@pytest.fixture(scope="session")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A model of a number."""
    return _train(tmp_path_factory, "regression")


@pytest.fixture(params=["binary", "multiclass", "regression"])
def trained(request: pytest.FixtureRequest) -> Trained:
    """Each kind of model in turn."""
    found: Trained = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def serve_port(one_ray: OneRay) -> int:
    """The port on which the Serve of this process listens, or will."""
    return one_ray.have(_ray_for_serve)


@pytest.fixture(scope="module")
def serve_settings(serve_port: int, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A Ray whose Serve other modules use too, and a home of this module's own."""
    return Settings(home=tmp_path_factory.mktemp("home"), serve_port=serve_port, max_body_bytes=1024 * 1024)


@contextmanager
def _ray_for_serve() -> Iterator[int]:
    from ray import serve

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with started_ray("ts-on-"):
        try:
            yield port
        finally:
            serve.shutdown()


@pytest.fixture(scope="module")
def members(serve_settings: Settings, binary: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The binary model registered as version 1 of `members` and made champion; version 2 has fewer trees."""
    from twinscore.wiring import model_store

    store = model_store(serve_settings)
    other = make_bundle(tmp_path_factory.mktemp("other") / "bundle", "binary", trees=3)
    for bundle in (binary.bundle, other):
        tags = {"twinscore.bundle_digest": bundle.digest}
        store.register("members", bundle.folder, metrics={}, params={}, tags=tags)
    store.set_alias("members", "champion", "1")
    return binary


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Endpoint:
    """The endpoint of version 2 of `members`, as `members` makes it."""
    bundle = make_bundle(tmp_path_factory.mktemp("second") / "bundle", "binary", trees=3)
    return Endpoint(bundle, model="members", version="2")


def ask(
    endpoint: Endpoint, body: bytes, content_type: str | None = "application/json", request_id: str = "r"
) -> Answer:
    """Ask an endpoint through its gateway, as every listener does, with a body small enough for the loop."""
    headers = {} if content_type is None else {b"content-type": content_type.encode()}
    gateway = Gateway(endpoint.model, endpoint)
    reply = finish(gateway._stages(gateway._formats["/predict"], Call("POST", "/predict", headers, body, request_id)))
    assert isinstance(reply, Reply)
    return reply.answer


def _train(factory: pytest.TempPathFactory, task: Any) -> Trained:
    bundle = make_bundle(factory.mktemp(task) / "bundle", task)
    conformed = bundle.checker.conform(make_rows(task, 2 * N_FRESH, seed=7))
    accepted = conformed.filter(pa.array(bundle.checker.check(conformed).accepted)).slice(0, N_FRESH)
    endpoint = Endpoint(bundle, model="members", version="1")
    return Trained(bundle, endpoint, accepted.combine_chunks(), table_to_rows(accepted))
