"""Answers of the cheaper way: which rows, by whom, how they are labelled in every form, recorded and counted."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from twinscore.audit.operate import replay_request
from twinscore.audit.places import model_folder
from twinscore.audit.reader import read_model
from twinscore.audit.record import AuditRecord
from twinscore.audit.rows import table_of
from twinscore.bundle.files import Bundle
from twinscore.errors import SettingsInvalid
from twinscore.online.cheaper import CheapEndpoint, Cheaper
from twinscore.online.degrade_spec import DegradeSpec, StaleScores
from twinscore.online.degrading import Degrading
from twinscore.online.endpoint import Endpoint
from twinscore.online.front import Front
from twinscore.online.gateway import Gateway
from twinscore.online.ladder import EVERY
from twinscore.online.spec import AuditPolicy, ExplainPolicy
from twinscore.settings import Settings
from twinscore.testing.models import make_bundle
from twinscore.wiring import listener_roster

from .conftest import Trained
from .counted import read
from .test_front import post
from .test_hybrid import SCORES, hybrid, score_in_batch

VERSION = DegradeSpec(version="members/2", p99_ms=50)
STALE = DegradeSpec(scores=StaleScores(ttl_s=3600), p99_ms=50)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home of the test's own."""
    return Settings(home=tmp_path / "home")


@pytest.fixture(autouse=True)
def no_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    """A front that closes need not wait for edges to notice: there are none."""
    monkeypatch.setattr("twinscore.online.front._EDGES_NOTICE_S", 0.0)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A version with fewer trees and the contract of `binary`."""
    return make_bundle(tmp_path_factory.mktemp("small") / "bundle", "binary", trees=2)


@pytest.fixture(scope="session")
def cheap(small: Bundle) -> CheapEndpoint:
    """It, as a replica has it loaded."""
    return CheapEndpoint(small, model="members", version="2")


@contextlib.contextmanager
def degraded(
    settings: Settings, live: Endpoint, cheap: CheapEndpoint | None, share: int = EVERY, spec: DegradeSpec = VERSION,
    **options: Any,
) -> Iterator[tuple[Front, Gateway]]:  # fmt: skip
    gateway = Gateway("members", live, **options)
    gateway.degrading = Degrading(Cheaper(live, spec, settings.lake, cheap), share)
    front = Front(gateway, settings, listener_roster(settings), replica="r1", audit=AuditPolicy(reserve_mb=1))
    try:
        yield front, gateway
    finally:
        front.close()


def records(settings: Settings) -> dict[str, list[AuditRecord]]:
    found: dict[str, list[AuditRecord]] = {}
    for entry in read_model(model_folder(settings.lake, "members")):
        found.setdefault(entry.record.request_id, []).append(entry.record)
    return found


def send(front: Front, path: str, body: bytes, content_type: str = "application/json", **more: str) -> httpx.Response:
    url = f"http://127.0.0.1:{front.listener.port}/members{path}"
    return httpx.post(url, content=body, headers={"content-type": content_type, **more}, trust_env=False)


def test_every_answer_of_the_cheaper_version_says_so(settings: Settings, binary: Trained, cheap: CheapEndpoint) -> None:
    """One row, a few and many: label, header and version that really answered, with the bits of that version."""
    rows = binary.rows
    with degraded(settings, binary.endpoint, cheap) as (front, gateway):
        for body in (rows[0], {"instances": rows[:5]}, {"instances": rows[:60]}):
            answer = post(front, body)
            said = answer.json()
            listed = body.get("instances", [body])
            alone = cheap.predictions(cheap.score(cheap.ask(listed, at="/instances", partial=False)))

            assert ("true", True, "degraded", "2") == (
                answer.headers["x-degraded"], said["degraded"], said["arm"], said["version"],
            )  # fmt: skip
            assert {(True, "2", "model")} == {
                (one["degraded"], one["version"], one["source"]) for one in said["predictions"]
            }
            assert [one.score for one in alone] == [one["score"] for one in said["predictions"]]
        gateway.degrading = None
        plain = post(front, rows[0])

    assert "x-degraded" not in plain.headers
    assert not {"degraded", "source"} & {*plain.json(), *plain.json()["predictions"][0]}


def test_an_entity_falls_on_the_same_side_alone_and_in_any_batch(
    settings: Settings, binary: Trained, cheap: CheapEndpoint
) -> None:
    """About the share of the entities is answered by the cheaper version, the others as in full service."""
    rows = binary.rows
    whole = {one.row: one.score for one in binary.endpoint.predictions(
        binary.endpoint.score(binary.endpoint.ask(rows, at="/instances", partial=False)))}  # fmt: skip
    with degraded(settings, binary.endpoint, cheap, share=5_000) as (front, _):
        many = post(front, {"instances": rows})
        few = post(front, {"instances": rows[:6]})
        alone = [post(front, row).json()["predictions"][0] for row in rows[:6]]
    said = many.json()["predictions"]
    sides = [one.get("degraded", False) for one in said]

    assert ("some", "mixed", True) == (many.headers["x-degraded"], many.json()["arm"], many.json()["degraded"])
    assert 0.4 * len(rows) < sum(sides) < 0.6 * len(rows)
    assert sides[:6] == [one.get("degraded", False) for one in few.json()["predictions"]]
    assert sides[:6] == [one.get("degraded", False) for one in alone]
    assert [whole[place] for place, side in enumerate(sides) if not side] == [
        one["score"] for one, side in zip(said, sides, strict=True) if not side
    ]
    assert {(True, "2", "degraded"), (False, "1", "live")} == {
        (side, one["version"], one["arm"]) for one, side in zip(said, sides, strict=True)
    }
    assert list(range(len(rows))) == [one["row"] for one in said]


def test_a_larger_share_keeps_whom_a_smaller_one_has(binary: Trained, cheap: CheapEndpoint, tmp_path: Path) -> None:
    """And says the same on another replica."""
    rows, _ = binary.endpoint.decode(binary.rows)
    sides = []
    for share in (2_500, 5_000, EVERY):
        found = []
        for _replica in range(2):
            degrading = Degrading(Cheaper(binary.endpoint, VERSION, tmp_path, cheap), share)
            divided = degrading.divide(binary.endpoint.ask(binary.rows[:8], at="", partial=False))
            found.append({*(divided.cheap if divided is not None else ())})
        assert found[0] == found[1]
        sides.append(found[0])

    assert sides[0] <= sides[1] <= sides[2] == set(range(8))
    assert len(rows) == len(binary.rows)


def test_all_forms_carry_the_label(settings: Settings, binary: Trained, cheap: CheapEndpoint) -> None:
    """MLflow has a column and v2 a parameter and an output, Arrow a column: only while rows are degraded."""
    rows = binary.rows[:40]
    mlflow = json.dumps({"dataframe_records": rows}).encode()
    columns = binary.endpoint.bundle.contract.columns
    inputs = [{"name": column.name, "shape": [1], "datatype": datatype(rows[0][column.name]),
               "data": [rows[0][column.name]]} for column in columns]  # fmt: skip
    v2 = json.dumps({"inputs": inputs}).encode()
    named = json.dumps({"inputs": inputs, "outputs": [{"name": "score"}]}).encode()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, binary.table.schema) as stream:
        stream.write_table(binary.table.slice(0, 40))
    arrow = sink.getvalue().to_pybytes()
    found: dict[bool, list[Any]] = {}
    with degraded(settings, binary.endpoint, cheap, share=5_000) as (front, gateway):
        for on in (True, False):
            if not on:
                gateway.degrading = None
            infer = "/v2/models/members/infer"
            answers = [
                send(front, "/invocations", mlflow),
                send(front, "/predict", arrow, "application/vnd.apache.arrow.stream"),
            ]
            if on:
                assert gateway.degrading is not None
                gateway.degrading = Degrading(gateway.degrading.way, EVERY)
            answers += [send(front, infer, v2), send(front, infer, named)]
            assert [200] * 4 == [one.status_code for one in answers]
            found[on] = answers
    table = pa.ipc.open_stream(found[True][1].content).read_all()
    by_mlflow = [one["degraded"] for one in found[True][0].json()["predictions"]]

    assert ["some", "some", "true", "true"] == [one.headers["x-degraded"] for one in found[True]]
    assert by_mlflow == table.column("degraded").to_pylist()
    assert {True, False} == set(by_mlflow)
    whole, score = found[True][2].json(), found[True][3].json()
    assert ("2", True, "degraded") == (
        whole["model_version"], whole["parameters"]["degraded"], whole["parameters"]["arm"],
    )  # fmt: skip
    assert {"name": "degraded", "shape": [1], "datatype": "BOOL", "data": [True]} == whole["outputs"][-1]
    assert (["score"], True) == ([one["name"] for one in score["outputs"]], score["parameters"]["degraded"])
    assert not [one for one in found[False] if "x-degraded" in one.headers]
    assert "degraded" not in found[False][0].json()["predictions"][0]
    assert "degraded" not in pa.ipc.open_stream(found[False][1].content).read_all().column_names
    assert "degraded" not in found[False][2].text


def datatype(value: Any) -> str:
    if isinstance(value, bool):
        return "BOOL"
    return {int: "INT64", float: "FP64"}.get(type(value), "BYTES")


def test_the_log_says_who_answered_and_each_row_replays(
    settings: Settings, binary: Trained, cheap: CheapEndpoint, small: Bundle
) -> None:
    """A record for each version, marked; places in the request; the same bits by the version that is named."""
    with degraded(settings, binary.endpoint, cheap, share=5_000) as (front, gateway):
        for name, count in (("few", 6), ("many", 40)):
            post(front, {"instances": binary.rows[:count]}, **{"x-request-id": name})
        evidence = read(gateway.book)
        arms = {key[3] for key in front.listener.tally.responses}
    found = records(settings)
    bundles = {binary.bundle.digest: binary.bundle, small.digest: small}
    for name, count in (("few", 6), ("many", 40)):
        assert {("1", "live", "", False), ("2", "degraded", "load", True)} == {
            (one.version, one.arm, one.reason, one.degraded) for one in found[name]
        }
        places = [place for one in found[name] for place in one.places]
        assert list(range(count)) == sorted(places)
        assert {"live"} == {one.assigned for one in found[name]}
    log = list(read_model(model_folder(settings.lake, "members")))
    table = table_of(log, binary.bundle.contract)
    by_version = {row["version"]: row["degraded"] for row in table.select(["version", "degraded"]).to_pylist()}
    numbers = sorted(row["row"] for row in table.to_pylist() if row["request_id"] == "many")

    assert {"1": False, "2": True} == by_version
    assert list(range(40)) == numbers
    for name in ("few", "many"):
        folder = model_folder(settings.lake, "members")
        replayed = replay_request(folder, name, lambda digest: bundles[digest].folder)
        assert [("", ())] * 2 == [(one.unable, one.differences) for one in replayed]
    # What the cheaper version answered is nobody's evidence, and is counted under an arm of its own.
    rows = sum(len(one.places) for name in found for one in found[name] if not one.degraded)
    assert [("1", "live", rows)] == [(version, role, arm.rows) for (version, role), arm in evidence.items()]
    assert "mixed" in arms


def test_a_refused_row_is_refused_with_the_words_of_full_service(
    settings: Settings, binary: Trained, cheap: CheapEndpoint
) -> None:
    """Whichever side its entity is on, alone and among others, refused as a whole or in part."""
    rows = [dict(row) for row in binary.rows[:6]]
    rows[4]["age"] = -5
    bodies: list[Any] = [rows[4], {"instances": rows}]
    answers: dict[bool, list[Any]] = {}
    with degraded(settings, binary.endpoint, cheap, share=5_000) as (front, gateway):
        for on in (True, False):
            if not on:
                gateway.degrading = None
            answers[on] = [post(front, body, **{"x-request-id": "r"}).json() for body in bodies]
            partial = post(front, bodies[1], **{"x-partial": "true"}).json()["predictions"]
            answers[on].append([(one["row"], one["errors"]) for one in partial])

    assert answers[False] == answers[True]
    assert "contract_broken" == answers[True][0]["code"]


def test_stale_scores_of_the_live_version_stand_in(
    settings: Settings, binary: Trained, cheap: CheapEndpoint, tmp_path: Path
) -> None:
    """Known rows come from the run and say so; unknown ones go to the cheaper version, or are scored in full."""
    run_id = score_in_batch(settings, binary.bundle, binary.table.slice(0, 4), tmp_path / "run")
    both = DegradeSpec(version="2", scores=StaleScores(ttl_s=3600), p99_ms=50)
    said = {}
    for name, spec, way in (("scores", STALE, None), ("both", both, cheap)):
        with degraded(settings, binary.endpoint, way, spec=spec) as (front, _):
            said[name] = post(front, {"instances": binary.rows[:6]}, **{"x-request-id": name}).json()
            one = post(front, binary.rows[0], **{"x-request-id": f"{name}-one"})
        assert ("true", "1", "degraded") == (one.headers["x-degraded"], one.json()["version"], one.json()["arm"])
        found = records(settings)[f"{name}-one"][0]
        assert ("1", "cache", run_id, True) == (found.version, found.source, found.run_id, found.degraded)
    full = binary.endpoint.predictions(
        binary.endpoint.score(binary.endpoint.ask(binary.rows[:6], at="/instances", partial=False))
    )

    assert [("cache", True, "1")] * 4 + [(None, None, "1")] * 2 == [
        (one.get("source"), one.get("degraded"), one["version"]) for one in said["scores"]["predictions"]
    ]
    assert [one.score for one in full] == [one["score"] for one in said["scores"]["predictions"]]
    assert [("cache", "1")] * 4 + [("model", "2")] * 2 == [
        (one["source"], one["version"]) for one in said["both"]["predictions"]
    ]
    assert "degraded" == said["both"]["arm"]


def test_after_a_promotion_no_stale_score_of_the_version_before(
    settings: Settings, binary: Trained, small: Bundle, tmp_path: Path
) -> None:
    """Scores belong to one bundle: the new version finds none, and answers in full."""
    score_in_batch(settings, binary.bundle, binary.table.slice(0, 4), tmp_path / "run")
    promoted = Endpoint(small, model="members", version="2")
    with degraded(settings, promoted, None, spec=STALE) as (front, gateway):
        after = post(front, binary.rows[0])
        gateway.swap(binary.endpoint)  # what degrades is made for the other version
        meanwhile = post(front, binary.rows[0])

    assert [None, None] == [one.headers.get("x-degraded") for one in (after, meanwhile)]
    assert ["2", "1"] == [one.json()["version"] for one in (after, meanwhile)]


def test_what_the_cache_answers_anyway_stays_full_service(
    settings: Settings, binary: Trained, cheap: CheapEndpoint, tmp_path: Path
) -> None:
    """A fresh score of the live version is no worse than the model's own, so it is not called degraded."""
    score_in_batch(settings, binary.bundle, binary.table.slice(0, 2), tmp_path / "run")
    with degraded(settings, hybrid(settings, binary.bundle, SCORES), cheap) as (front, _):
        said = post(front, {"instances": binary.rows[:4]}).json()["predictions"]

    assert [("cache", None)] * 2 + [("model", True)] * 2 == [(one["source"], one.get("degraded")) for one in said]


def test_degraded_rows_are_not_explained_and_say_why(settings: Settings, binary: Trained, cheap: CheapEndpoint) -> None:
    """An explanation costs more than a score; without having been asked for, nothing changes."""
    with degraded(settings, binary.endpoint, cheap, explain=ExplainPolicy()) as (front, _):
        asked = post(front, binary.rows[0], **{"x-explain": "true"}).json()["predictions"][0]
        many = post(front, {"instances": binary.rows[:40]}, **{"x-explain": "true"}).json()["predictions"]
        plain = post(front, binary.rows[0]).json()["predictions"][0]

    assert {("degraded", None)} == {(one["explanation_reason"], one["explanation"]) for one in (asked, *many)}
    assert "not_requested" == plain["explanation_reason"]


def test_a_version_under_another_contract_may_not_stand_in(
    binary: Trained, multiclass: Trained, tmp_path: Path
) -> None:
    """Nor the live version itself: both are refused by name, before anybody needs them."""
    other = CheapEndpoint(multiclass.bundle, model="members", version="9")
    same = CheapEndpoint(binary.bundle, model="members", version="1")

    with pytest.raises(SettingsInvalid, match="another contract"):
        Cheaper(binary.endpoint, VERSION, tmp_path, other)
    with pytest.raises(SettingsInvalid, match="is the live one"):
        Cheaper(binary.endpoint, VERSION, tmp_path, same)
