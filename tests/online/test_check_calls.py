"""Rows of runs asked over HTTP: what agrees, what faults of the endpoint are called, and how checks give way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.audit.checks import are_checks, is_check
from twinscore.audit.head import load_secret
from twinscore.audit.operate import audit_salt
from twinscore.audit.places import model_folder
from twinscore.audit.reader import read_model
from twinscore.batch.cache_files import build_feature_cache
from twinscore.batch.parity_runs import check_run, check_with_live
from twinscore.batch.parity_watch import check_paths
from twinscore.bundle.files import Bundle
from twinscore.cache.spec import CacheSpec, FeaturesSpec
from twinscore.contract.rows import table_to_rows
from twinscore.errors import ModelNotReady
from twinscore.monitoring.parity_ask import Live
from twinscore.monitoring.parity_report import CheckedPart
from twinscore.online.asked import Asked
from twinscore.online.check_calls import CheckCalls, check_calls
from twinscore.online.client import PredictClient
from twinscore.online.endpoint import Endpoint
from twinscore.online.gateway import Gateway
from twinscore.online.hybrid import HybridEndpoint
from twinscore.scoring.parity import StoredScores
from twinscore.scoring.row import RowScorer
from twinscore.scoring.table import check_and_score
from twinscore.settings import Settings
from twinscore.wiring import bundle_store

from .conftest import Trained
from .test_front import post
from .test_hybrid import served

SALT = b"s" * 32


def with_value(table: pa.Table, row: int, name: str, value: object) -> pa.Table:
    column = table[name].to_pylist()
    column[row] = value
    return table.set_column(table.column_names.index(name), name, pa.array(column, table[name].type))


def stored(table: pa.Table, bundle: Bundle, version: str = "1") -> StoredScores:
    """Return rows as a run has them."""
    verdict, scores = check_and_score(table, bundle)
    accepted = tuple(verdict.accepted.nonzero()[0].tolist())
    return StoredScores("members", version, "r", bundle.digest, table, scores, accepted, 2)


class WayIn:
    """A way in that is open as long as the module's tests, and what answers there."""

    def __init__(self, settings: Settings, gateway: Gateway, calls: CheckCalls) -> None:
        self.settings = settings
        self.gateway = gateway
        self.calls = calls

    def answer_with(self, endpoint: Endpoint) -> None:
        """Let an endpoint answer, whose version the store has."""
        bundle_store(self.settings).publish(endpoint.bundle.folder)
        self.gateway.swap(endpoint)

    def checked(self, endpoint: Endpoint, run: StoredScores, bundle: Bundle) -> CheckedPart:
        """Let an endpoint answer, and check a run against it."""
        self.answer_with(endpoint)
        return check_run(run, bundle, self.calls, self.calls.live())


@pytest.fixture(scope="module")
def way_in(binary: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WayIn]:
    """A real listener with a real audit log."""
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    with served(settings, binary.endpoint, partial=False) as (front, gateway):
        client = PredictClient(f"http://127.0.0.1:{front.listener.port}/members", retries=0)
        with CheckCalls(client, load_secret(audit_salt(settings.home)), rows_per_s=1e6) as calls:
            yield WayIn(settings, gateway, calls)


def test_a_run_and_its_endpoint_agree(trained: Trained, way_in: WayIn) -> None:
    """Every row and every refusal, infinity among them; the log knows the requests as checks, and samples none."""
    table = with_value(trained.table, 5, "row_id", None)
    table = with_value(table, 9, "debt", float("inf"))
    table = with_value(table, 200, "plan", "yacht")
    settings = way_in.settings
    found = way_in.checked(trained.endpoint, stored(table, trained.bundle), trained.bundle)
    ids = [one.record.request_id for one in read_model(model_folder(settings.lake, "members"))]
    salt = load_secret(audit_salt(settings.home))
    now = datetime.now(UTC)
    traffic = check_paths(settings, "members", direction="online", since=now - timedelta(hours=1))

    assert (table.num_rows, 0, 0, 0) == (found.checked, found.differing, found.verdicts, found.ulps)
    assert {"refused by the run for their key alone": 2} == found.left_out
    assert are_checks(pa.chunked_array([ids]), salt).all()
    assert {"no row was answered in the window": 1} == traffic.left_out


class _Tampered(Endpoint):
    """An endpoint that feeds its model wrongly, in a way that the test chooses."""

    change: Callable[[dict[str, Any]], dict[str, Any]]

    def tamper(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> _Tampered:
        plain = self.decode

        def decode(*given: Any, **more: Any) -> Any:
            rows, faults = plain(*given, **more)
            return [change(row) for row in rows], faults

        self.decode = decode
        return self

    def read(self, body: bytes, content_type: str | None, *, partial: bool) -> Any:
        """Leave every body to `decode`."""

    def ask(self, instances: Any, *, at: str, partial: bool, extra: Any = None) -> Any:
        """Decode row by row, whatever the number of rows."""
        rows, faults = self.decode(instances, at=at)
        return Asked(rows, faults, at, partial=partial, extra=extra)

    def score(self, asked: Any) -> Any:
        """Score row by row."""
        return self._row_by_row(asked)


def swap(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "income": row["debt"], "debt": row["income"]}


def narrow(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "debt": float(np.float32(row["debt"]))}


def stale(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "age": row["age"] + 11}


@pytest.mark.parametrize(
    ("fault", "feature"), [(swap, "income"), (narrow, "debt"), (stale, "age")], ids=["swap", "float32", "stale"]
)
def test_faults_of_the_endpoint_are_named(
    binary: Trained, way_in: WayIn, fault: Callable[[dict[str, Any]], dict[str, Any]], feature: str
) -> None:
    """Columns swapped, cast and of yesterday: the features as its model saw them say which."""
    endpoint = _Tampered(binary.bundle, model="members", version="1").tamper(fault)
    found = way_in.checked(endpoint, stored(binary.table, binary.bundle), binary.bundle)

    assert found.differing > 0
    assert found.first is not None
    assert feature == found.first.feature
    assert "the endpoint saw" in found.first.cause


def test_another_order_of_categories_is_named(binary: Trained, way_in: WayIn) -> None:
    """The endpoint shows the right cells, and its codes are others: the scores say which feature it is."""
    features = tuple(
        replace(one, categories=one.categories[::-1]) if one.name == "city" else one
        for one in binary.bundle.spec.features
    )
    endpoint = _Tampered(binary.bundle, model="members", version="1")
    endpoint._scorer = RowScorer(binary.bundle)
    endpoint._scorer._spec = replace(binary.bundle.spec, features=features)
    found = way_in.checked(endpoint, stored(binary.table, binary.bundle), binary.bundle)

    assert found.first is not None
    assert ("score", "city") == (found.first.column, found.first.feature)
    assert "in another order" in found.first.cause


def test_another_version_is_no_difference(binary: Trained, second: Endpoint, way_in: WayIn) -> None:
    """A run of version 1 while version 2 is live: said so, and version 2 is compared with itself on the same rows."""
    way_in.answer_with(second)
    parts = check_with_live(stored(binary.table, binary.bundle), second.bundle, way_in.calls, way_in.calls.live())

    assert ("1", 0, {"of another version than the live 2": binary.table.num_rows}) == (
        parts[0].version, parts[0].checked, parts[0].left_out
    )  # fmt: skip
    assert ("2", binary.table.num_rows, 0) == (parts[1].version, parts[1].checked, parts[1].differing)


def client_that(answer: Callable[[httpx.Request], httpx.Response]) -> CheckCalls:
    client = PredictClient("http://serve/members", retries=0, transport=httpx.MockTransport(answer))
    return CheckCalls(client, SALT, rows_per_s=1e6)


def test_checks_give_way_to_a_busy_endpoint(binary: Trained) -> None:
    """After the first 503 nothing more is asked; rows that were not asked are counted, and are no difference."""
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/version"):
            return httpx.Response(200, json=binary.endpoint.facts())
        asked.append(request.headers["x-request-id"])
        return httpx.Response(503, json={"detail": "overloaded"})

    with client_that(answer) as asking:
        found = check_run(stored(binary.table, binary.bundle), binary.bundle, asking, asking.live())

    assert (1, 0, 0) == (len(asked), found.checked, found.differing)
    assert is_check(asked[0], SALT)
    assert binary.table.num_rows == found.left_out["not asked"]


def test_answers_of_challengers_and_of_the_cache_are_not_compared(binary: Trained) -> None:
    """Rows that a canary answered, or a batch run, say nothing about this version's own path."""
    other = {"version": "2", "score": 0.5}
    cached = {"source": "cache", "score": 0.5, "version": "1"}
    body = {"version": "1", "arm": "mixed", "predictions": [other, cached]}

    with client_that(lambda _: httpx.Response(200, json=body)) as asking:
        found = asking.ask(binary.rows[:2], Live("1", "d"))

    assert ["other version", "cached"] == [one.state for one in found]


def test_an_endpoint_that_is_not_there_is_said_so(tmp_path: Path, free_port: int) -> None:
    """Nobody listens: the check says so, and does not pass for one that found nothing."""
    settings = Settings(home=tmp_path)
    folder = settings.lake / "predictions" / "members"
    folder.mkdir(parents=True)
    (folder / "_manifest.json").write_text(
        '{"run_id": "r", "model": "members", "started_at": "2026-01-01T00:00:00+00:00", "files": []}'
    )
    with check_calls(settings.model_copy(update={"serve_port": free_port}), "members") as asking:
        found = check_paths(settings, "members", direction="batch", endpoint=asking)
        with pytest.raises(Exception, match="cannot be reached") as raised:
            asking.live()

    assert (0, ()) == (found.checked, found.parts)
    assert any("cannot be reached" in reason for reason in found.left_out)
    assert not isinstance(raised.value, ModelNotReady)


def test_features_that_replicas_joined_are_held_against_the_table(binary: Trained, tmp_path: Path) -> None:
    """A real join from a file of this morning, with the table gone on since: each way of being wrong has its kind."""
    settings, bundle, now = Settings(home=tmp_path), binary.bundle, datetime.now(UTC)
    bundle_store(settings).publish(bundle.folder)
    spec = FeaturesSpec(table="features", columns=("income", "city"), as_of="seen_at", max_age_s=7_200)
    source = settings.lake / "features"
    source.mkdir(parents=True)
    optional = [place for place, row in enumerate(binary.rows) if row["income"] is not None and row["city"] is not None]
    rows = binary.table.take(pa.array(optional[:40]))

    def write(name: str, part: pa.Table, hours: float) -> None:
        seen = pa.array([now - timedelta(hours=hours)] * part.num_rows, pa.timestamp("us", "UTC"))
        columns = {one: part[one] for one in ("row_id", "income", "city")}
        pq.write_table(pa.table({**columns, "seen_at": seen}), source / f"{name}.parquet")

    write("fresh", rows.slice(0, 20), 1.5)
    write("old", rows.slice(20, 10), 5)
    build_feature_cache(settings, "members", bundle.contract, spec)
    newer = rows.slice(0, 4).set_column(rows.column_names.index("income"), "income", pa.array([1.0, 2.0, 3.0, 4.0]))
    write("newer", newer, 1)
    write("late", rows.slice(30, 10), 1)
    cache = CacheSpec(features=spec)
    endpoint = HybridEndpoint(bundle, model="members", version="1", cache=cache, lake=settings.lake)
    asked = table_to_rows(rows)
    for row in asked:
        del row["income"], row["city"]
    with served(settings, endpoint) as (front, _):
        statuses = [post(front, row).json()["predictions"][0]["features"]["income"] for row in asked]
    found = check_paths(settings, "members", direction="online", features=spec, since=now - timedelta(hours=1))
    income, city = found.features

    assert ["PRESENT"] * 20 + ["OUTSIDE_MAX_AGE"] * 10 + ["NOT_FOUND"] * 10 == statuses
    assert (40, 0) == (found.checked, found.differing)
    assert {"stale": 4, "too_old": 10, "not_found": 10} == income.kinds
    assert {"too_old": 10, "not_found": 10} == city.kinds
    assert 1_800.0 == pytest.approx(income.behind_s)
    assert not found.equal
