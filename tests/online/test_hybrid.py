"""Answers from a real committed run: which rows may have one, what the answer and the log say, and what ends it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.audit.operate import replay_request
from twinscore.audit.places import model_folder
from twinscore.audit.reader import read_model
from twinscore.audit.rows import table_of
from twinscore.batch.cache_files import build_feature_cache, build_score_cache
from twinscore.batch.run import run_version
from twinscore.batch.shard import score_shard
from twinscore.batch.spec import ScoreSpec
from twinscore.bundle.files import Bundle
from twinscore.cache.spec import CacheSpec, FeaturesSpec, ScoresSpec
from twinscore.clock import FixedClock, SystemClock
from twinscore.errors import SettingsInvalid
from twinscore.online.endpoint import Endpoint
from twinscore.online.front import Front
from twinscore.online.gateway import Gateway
from twinscore.online.hybrid import HybridEndpoint, endpoint_kind
from twinscore.online.spec import AuditPolicy, ExplainPolicy, load_serve_spec
from twinscore.ports.model_store import ModelVersion
from twinscore.settings import Settings
from twinscore.testing.models import make_bundle
from twinscore.wiring import listener_roster

from .conftest import Trained
from .test_front import post

SCORES = CacheSpec(scores=ScoresSpec(ttl_s=3600))
KEY_ONLY = CacheSpec(scores=ScoresSpec(ttl_s=3600, key_only=True))
FEATURES = FeaturesSpec(table="unused", columns=("income", "opened_at", "city"), as_of="seen_at", max_age_s=3600)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home of the test's own."""
    return Settings(home=tmp_path / "home")


def score_in_batch(settings: Settings, bundle: Bundle, table: pa.Table, folder: Path) -> str:
    """Commit a run of the table, build its cache, and return its run id."""
    source = folder.with_name(f"{folder.name}.parquet")
    pq.write_table(table, source)
    spec = ScoreSpec(model="members", input=str(source), output=str(folder))
    version = ModelVersion("members", "1", (), bundle.digest, "", None)
    report = run_version(settings, spec, version, bundle, workers=workers_here)
    build_score_cache(settings, report.folder)
    return report.run_id


@contextlib.contextmanager
def workers_here(settings: Settings) -> Iterator[Any]:
    del settings
    yield lambda shards, repeated, bundle, job: (
        score_shard(shard, bundle, job, repeated.get(shard.number)) for shard in shards
    )


def hybrid(
    settings: Settings, bundle: Bundle, cache: CacheSpec = SCORES, *, after_s: float = 0, **more: Any
) -> HybridEndpoint:
    """Return an endpoint whose clock is `after_s` ahead."""
    clock = FixedClock(SystemClock().now() + timedelta(seconds=after_s))
    return HybridEndpoint(bundle, model="members", version="1", cache=cache, lake=settings.lake, clock=clock, **more)


@contextlib.contextmanager
def served(settings: Settings, endpoint: Endpoint, **options: Any) -> Iterator[tuple[Front, Gateway]]:
    gateway = Gateway("members", endpoint, **options)
    if options:
        gateway.prepare(endpoint)
    front = Front(gateway, settings, listener_roster(settings), replica="r1", audit=AuditPolicy(reserve_mb=1))
    try:
        yield front, gateway
    finally:
        front.close()


def sources(answer: Any) -> list[str | None]:
    return [one.get("source") for one in answer.json()["predictions"]]


def scores(answer: Any) -> list[float]:
    return [one["score"] for one in answer.json()["predictions"]]


def strip(prediction: dict[str, Any]) -> dict[str, Any]:
    """Return a prediction without what only an endpoint with a cache says."""
    return {name: value for name, value in prediction.items() if name not in ("source", "run_id", "age_s", "features")}


def test_rows_of_the_run_are_answered_from_it(settings: Settings, trained: Trained, tmp_path: Path) -> None:
    """Every output has the bits of the model's own; one row, a few and many, known and unknown ones mixed."""
    run_id = score_in_batch(settings, trained.bundle, trained.table.slice(0, 100), tmp_path / "run")
    with served(settings, hybrid(settings, trained.bundle)) as (front, gateway):
        rows = trained.rows
        asked = {"one": rows[0], "few": {"instances": rows[97:103]}, "many": {"instances": rows}}
        answers = {name: post(front, body) for name, body in asked.items()}
        gateway.swap(trained.endpoint)
        plain = {name: post(front, body) for name, body in asked.items()}

    assert ["cache"] == sources(answers["one"])
    assert ["cache"] * 3 + ["model"] * 3 == sources(answers["few"])
    assert ["cache"] * 100 + ["model"] * 300 == sources(answers["many"])
    for name, answer in answers.items():
        assert plain[name].json()["predictions"] == [strip(one) for one in answer.json()["predictions"]]
    one = answers["one"].json()["predictions"][0]
    assert (run_id, True) == (one["run_id"], 0 <= one["age_s"] < 3600)
    assert {"source"} == {*answers["few"].json()["predictions"][5]} - {*plain["few"].json()["predictions"][5]}


def test_the_key_decides_and_not_what_else_is_sent(settings: Settings, binary: Trained, tmp_path: Path) -> None:
    """A row with another age has the score of its key; one that the contract refuses is refused all the same."""
    score_in_batch(settings, binary.bundle, binary.table.slice(0, 10), tmp_path / "run")
    row = binary.rows[3]
    with served(settings, hybrid(settings, binary.bundle)) as (front, _):
        kept = post(front, row)
        other = post(front, {**row, "age": 18 if row["age"] != 18 else 19})
        refused = [post(front, {**row, "age": -5}), post(front, {"row_id": row["row_id"]})]

    assert (["cache"], scores(kept)) == (sources(other), scores(other))
    assert [422, 422] == [answer.status_code for answer in refused]


@pytest.mark.parametrize("after_s", [-60.0, 3600.0, 1e9])
def test_a_score_that_is_too_old_or_of_the_future_is_never_served(
    settings: Settings, binary: Trained, tmp_path: Path, after_s: float
) -> None:
    """All rows of the run are scored anew, with and without key alone."""
    score_in_batch(settings, binary.bundle, binary.table.slice(0, 50), tmp_path / "run")
    with served(settings, hybrid(settings, binary.bundle, KEY_ONLY, after_s=after_s)) as (front, _):
        found = [source for row in binary.rows[:50] for source in sources(post(front, row))]
        alone = post(front, {"row_id": binary.rows[0]["row_id"]})

    assert (["model"] * 50, 422) == (found, alone.status_code)


def test_a_swap_exchanges_model_and_scores_together(settings: Settings, binary: Trained, tmp_path: Path) -> None:
    """After it no answer has the old version's bits; the new version's own run is taken once it is there."""
    score_in_batch(settings, binary.bundle, binary.table, tmp_path / "old")
    newer = make_bundle(tmp_path / "newer", "binary", trees=3)
    after = hybrid(settings, newer, after_s=600)
    rows = binary.rows[:100]
    with served(settings, hybrid(settings, binary.bundle)) as (front, gateway):
        before = [post(front, row) for row in rows]
        gateway.swap(after)
        switched = [post(front, row) for row in rows]
        score_in_batch(settings, newer, binary.table, tmp_path / "new")
        after.refresh()
        cached = [post(front, row) for row in rows]

    assert ({"cache"}, {"model"}, {"cache"}) == tuple(
        {source for answer in answers for source in sources(answer)} for answers in (before, switched, cached)
    )
    wanted = Endpoint(newer, model="members", version="2")
    expected = [_score(wanted, row) for row in rows]
    assert expected == [scores(answer)[0] for answer in switched] == [scores(answer)[0] for answer in cached]
    assert expected != [scores(answer)[0] for answer in before]


def _score(endpoint: Endpoint, row: dict[str, Any]) -> float | None:
    from twinscore.online.asked import Asked

    rows, _ = endpoint.decode([row])
    return endpoint.predictions(endpoint.score(Asked(rows)))[0].score


def test_a_newer_run_is_taken_without_a_call(settings: Settings, binary: Trained, tmp_path: Path) -> None:
    """The endpoint looks by itself, and says in /version which run it has."""
    endpoint = hybrid(settings, binary.bundle)
    before = endpoint.facts()["cache"]["scores"]["run_id"]
    run_id = score_in_batch(settings, binary.bundle, binary.table.slice(0, 10), tmp_path / "run")
    deadline = SystemClock().monotonic_s() + 60
    while endpoint.facts()["cache"]["scores"]["run_id"] != run_id and SystemClock().monotonic_s() < deadline:
        time.sleep(0.05)

    assert (None, {"run_id": run_id, "rows": 10, "problem": None}) == (before, endpoint.facts()["cache"]["scores"])


def test_the_key_alone_is_enough_where_the_deployment_says_so(
    settings: Settings, binary: Trained, tmp_path: Path
) -> None:
    """A miss names the missing columns; a row with some of its columns is no key, nor is one of another type."""
    score_in_batch(settings, binary.bundle, binary.table.slice(0, 10), tmp_path / "run")
    known, unknown = ({"row_id": binary.rows[place]["row_id"]} for place in (3, 50))
    with served(settings, hybrid(settings, binary.bundle, KEY_ONLY)) as (front, _):
        hit, miss, full = post(front, known), post(front, unknown), post(front, binary.rows[3])
        part, wrong = post(front, {**known, "age": 40}), post(front, {"row_id": 5})
        mixed = post(front, {"instances": [known, unknown]}, **{"x-partial": "true"})
        explained = post(front, known, **{"x-explain": "true"})

    assert [200, 422, 422, 422, 200] == [answer.status_code for answer in (hit, miss, part, wrong, mixed)]
    assert (["cache"], scores(full)) == (sources(hit), scores(hit))
    assert known == hit.json()["predictions"][0]["key"]
    missing = {column.name for column in binary.bundle.contract.columns} - {"row_id"}
    assert missing == {fault["path"].lstrip("/") for fault in miss.json()["faults"]}
    assert ["cache", None] == sources(mixed)
    assert "from_cache" == explained.json()["predictions"][0]["explanation_reason"]


def test_the_log_says_where_each_row_came_from(settings: Settings, binary: Trained, tmp_path: Path) -> None:
    """Of mixed requests row by row; a replay scores what the model answered, and claims no difference of the rest."""
    run_id = score_in_batch(settings, binary.bundle, binary.table.slice(0, 10), tmp_path / "run")
    with served(settings, hybrid(settings, binary.bundle, KEY_ONLY)) as (front, _):
        asked = {
            "hit": {"row_id": binary.rows[0]["row_id"]},
            "other": {**binary.rows[1], "age": 18 if binary.rows[1]["age"] != 18 else 19},
            "miss": binary.rows[20],
            "mixed": {"instances": binary.rows[8:12]},
        }
        for name, body in asked.items():
            assert post(front, body, **{"x-request-id": name}).status_code == 200
    folder = model_folder(settings.lake, "members")
    rows = table_of(list(read_model(folder)), binary.bundle.contract).to_pylist()
    found: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        found.setdefault(row["request_id"], []).append((row["source"], row["run_id"]))
    again = {name: replay_request(folder, name, lambda _: binary.bundle.folder) for name in asked}

    cached, scored = ("cache", run_id), ("model", "")
    assert {"hit": [cached], "other": [cached], "miss": [scored], "mixed": [cached] * 2 + [scored] * 2} == found
    assert all((row["age_s"] is not None) == (row["source"] == "cache") for row in rows)
    assert [()] * 4 == [answer.differences for answers in again.values() for answer in answers]
    assert {"hit": 0, "other": 0, "miss": 1, "mixed": 2} == {name: answers[0].rows for name, answers in again.items()}
    assert f"the answer was taken from batch run {run_id}" == again["hit"][0].unable


def test_features_are_filled_by_key_and_told_apart(settings: Settings, binary: Trained, tmp_path: Path) -> None:
    """Present, null, unknown and too old; what the request sends itself stays, and the filled row is what is scored."""
    now = datetime.now(UTC)
    rows = binary.rows[:4]
    table = pa.table({
        "row_id": [row["row_id"] for row in rows[:3]],
        "income": pa.array([1234.5, None, 7.0], pa.float64()),
        "opened_at": pa.array([datetime(2025, 3, 1, 12, tzinfo=UTC)] * 3, pa.timestamp("us", tz="UTC")),
        "city": ["berlin"] * 3,
        "seen_at": pa.array([now, now, now - timedelta(days=2)], pa.timestamp("us", tz="UTC")),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "features.parquet")
    spec = replace(FEATURES, table=str(tmp_path / "features.parquet"))
    build_feature_cache(settings, "members", binary.bundle.contract, spec)
    short = [{name: value for name, value in row.items() if name not in spec.columns} for row in rows]
    with served(settings, hybrid(settings, binary.bundle, CacheSpec(features=spec))) as (front, gateway):
        answers = [post(front, row) for row in short]
        own = post(front, {**short[0], "city": "cairo"})
        gateway.swap(binary.endpoint)
        filled = {"income": 1234.5, "opened_at": "2025-03-01T12:00:00Z", "city": "berlin"}
        wanted = post(front, {**short[0], **filled})

    assert scores(wanted) == scores(answers[0])
    present = dict.fromkeys(spec.columns, "PRESENT")
    statuses = [answer.json()["predictions"][0]["features"] for answer in (*answers, own) if answer.status_code == 200]
    assert present == statuses[0]
    assert {**present, "income": "NULL_VALUE"} == statuses[1]
    assert {"income": "PRESENT", "opened_at": "PRESENT"} == statuses[-1]
    assert {"model"} == {source for answer in (*answers[:2], own) for source in sources(answer)}


def test_explanations_of_cached_rows_are_left_out(settings: Settings, binary: Trained, tmp_path: Path) -> None:
    """What was scored in batch may have had other features; rows beside them are explained."""
    score_in_batch(settings, binary.bundle, binary.table.slice(0, 10), tmp_path / "run")
    always = ExplainPolicy(when="always", deadline_ms=60_000)
    with served(settings, hybrid(settings, binary.bundle), explain=always) as (front, _):
        found = post(front, {"instances": binary.rows[9:11]}).json()["predictions"]

    assert [("from_cache", None), (None, True)] == [
        (one["explanation_reason"], None if one["explanation"] is None else True) for one in found
    ]


def test_nothing_is_added_where_no_cache_is_named(settings: Settings) -> None:
    """The plain endpoint is made."""
    assert Endpoint is endpoint_kind(CacheSpec(), settings.lake)


def test_features_that_the_contract_has_not_are_refused_at_the_start(settings: Settings, binary: Trained) -> None:
    """Else every request would be."""
    spec = CacheSpec(features=FeaturesSpec(table="t", columns=("incom",)))
    with pytest.raises(SettingsInvalid, match="Did you mean 'income'"):
        hybrid(settings, binary.bundle, spec)


def test_the_deployment_file_is_read_strictly(tmp_path: Path) -> None:
    """A mapping of its own; unknown keys and wrong types are named."""
    path = tmp_path / "serve.yaml"
    path.write_text("model: loans\ncache:\n  scores: {ttl_s: 60, key_only: true}\n")
    read = load_serve_spec(path).cache
    path.write_text(json.dumps({"model": "loans", "cache": {"scores": {"ttl_s": 60, "key_only": "yes"}}}))

    assert ScoresSpec(ttl_s=60, key_only=True) == read.scores
    with pytest.raises(SettingsInvalid, match=r"cache\.scores\.key_only: 'yes', which must be true or false"):
        load_serve_spec(path)
