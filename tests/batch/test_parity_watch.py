"""Both paths checked on samples: answers of a real log scored again, faults put in on purpose, rows of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.audit.checks import check_id
from twinscore.audit.compaction import compact_model
from twinscore.audit.head import load_secret
from twinscore.audit.operate import audit_key, audit_salt
from twinscore.audit.places import STREAMS, model_folder
from twinscore.audit.record import AuditRecord, TablePacker, encode_record, outputs_of
from twinscore.audit.writer import SegmentWriter
from twinscore.batch.cache_files import build_feature_cache
from twinscore.batch.parity_watch import check_paths, parity_figures
from twinscore.batch.read import open_run
from twinscore.batch.run import run_version
from twinscore.batch.spec import ScoreSpec
from twinscore.batch.stored_sample import sampled_scores
from twinscore.bundle.files import Bundle
from twinscore.cache.spec import FeaturesSpec
from twinscore.monitoring.parity_report import CheckedPart
from twinscore.online.check_calls import CheckCalls
from twinscore.online.client import PredictClient
from twinscore.online.endpoint import Endpoint
from twinscore.online.front import Front
from twinscore.online.gateway import Gateway
from twinscore.online.spec import AuditPolicy
from twinscore.scoring.table import check_and_score, score
from twinscore.settings import Settings
from twinscore.testing.models import make_rows
from twinscore.training.train import train
from twinscore.wiring import bundle_store, listener_roster, load_version

from .conftest import Run, change, make_input, workers_here, write_rows

START = datetime(2026, 1, 1, 10, tzinfo=UTC)
START_US = int(START.timestamp() * 1e6)
WINDOW = {"since": START, "until": START + timedelta(days=1)}


def record(bundle: Bundle, request_id: str, **more: Any) -> AuditRecord:
    number = int(request_id.rpartition("-")[2]) if request_id.startswith("q-") else 0
    facts = {"model": "demo", "version": "1", "bundle_digest": bundle.digest, "contract_digest": bundle.contract_digest,
             "role": "live", "received_us": START_US + number * 1_000_000, "monotonic_ns": number * 1_000_000_000,
             "took_us": 300, "status": 200}  # fmt: skip
    return AuditRecord(request_id=request_id, **{**facts, **more})


def scored(bundle: Bundle, table: pa.Table, outputs: Sequence[dict[str, Any]], **more: Any) -> list[AuditRecord]:
    """Return a record for each row of a table, with what somebody made of it."""
    cells = [list(row.values()) for row in table.to_pylist()]
    return [
        record(bundle, f"q-{number}", rows=[row], outputs=[outputs_of(said)], **more)
        for number, (row, said) in enumerate(zip(cells, outputs, strict=True))
    ]


def write_log(settings: Settings, records: Sequence[AuditRecord], stream: str = "r1") -> Path:
    folder = model_folder(settings.lake, "demo")
    key = load_secret(audit_key(settings.home))
    writer = SegmentWriter(folder / STREAMS, stream=stream, key=key, segment_bytes=200_000, reserve_bytes=1024)
    for start in range(0, len(records), 50):
        writer.commit([encode_record(one) for one in records[start : start + 50]])
    writer.close()
    return folder


def fresh(bundle: Bundle, rows: int = 300, seed: int = 21) -> pa.Table:
    table = bundle.checker.conform(make_rows("binary", rows, seed))
    return table.filter(pa.array(bundle.checker.check(table).accepted)).combine_chunks()


def only(parts: Sequence[CheckedPart]) -> CheckedPart:
    (part,) = parts
    return part


@pytest.fixture
def stored(settings: Settings, bundle: Bundle) -> Settings:
    """Settings whose store has the bundle."""
    bundle_store(settings).publish(bundle.folder)
    return settings


def test_a_clean_log_has_no_difference(stored: Settings, bundle: Bundle) -> None:
    """Every way a row may stand in the log, before and after compaction; refusals are verdicts, and checks no rows."""
    table = fresh(bundle)
    said = score(table, bundle).to_pylist()
    broken = dict(zip(table.column_names, table.slice(0, 1).to_pylist()[0].values(), strict=True)) | {"age": -5}
    fault = bundle.checker.check_row(broken)[0]
    salt = load_secret(audit_salt(stored.home))
    more = [
        record(bundle, "q-400", table=TablePacker().pack(table, score(table, bundle))),
        record(bundle, "q-401", status=422, rows=[list(broken.values())], outputs=[None],
               faults=[(0, fault.rule, fault.column)]),
        record(bundle, "q-402", status=422, rows=[list(broken.values())], outputs=[None],
               faults=[(0, "unknown_column", None)]),
        record(bundle, "q-403", status=400, code="bad_json"),
        record(bundle, "q-404", source="cache", run_id="r", age_s=5.0, rows=[list(table.to_pylist()[0].values())],
               outputs=[outputs_of({**said[0], "score": 0.123})]),
        record(bundle, check_id(salt), rows=[list(table.to_pylist()[0].values())],
               outputs=[outputs_of({**said[0], "score": 0.123})]),
    ]  # fmt: skip
    folder = write_log(stored, [*scored(bundle, table, said), *more])
    found = check_paths(stored, "demo", rows=2_000, direction="online", **WINDOW)
    compact_model(folder, load_secret(audit_key(stored.home)), lambda _: bundle.contract)
    again = check_paths(stored, "demo", rows=2_000, direction="online", **WINDOW)
    part = only(found.parts)

    assert (True, 601, 0, 0) == (found.equal, part.checked, part.verdicts, part.ulps)
    assert {"answered from a batch run": 1, "could not be read as a row": 1} == part.left_out
    assert found.parts == again.parts
    few = only(check_paths(stored, "demo", rows=100, direction="online", seed=1, **WINDOW).parts)
    assert 100 == few.checked + sum(few.left_out.values())


def swap(table: pa.Table) -> pa.Table:
    income, debt = (table.column_names.index(name) for name in ("income", "debt"))
    return table.set_column(income, "income", table["debt"]).set_column(debt, "debt", table["income"])


@pytest.mark.parametrize(
    ("fault", "features", "says"),
    [
        (lambda table, bundle: score(swap(table), bundle), ("income", "debt"), "were swapped"),
        (lambda table, bundle: score(table, _other_order(bundle)), ("city",), "in another order"),
    ],
    ids=["swap", "order"],
)  # fmt: skip
def test_faults_of_the_online_path_are_named(
    stored: Settings, bundle: Bundle, fault: Callable[[pa.Table, Bundle], pa.Table], features: Sequence[str], says: str
) -> None:
    """The log has the right cells and wrong scores: what the model must have seen instead is found out."""
    table = fresh(bundle)
    write_log(stored, scored(bundle, table, fault(table, bundle).to_pylist()))
    part = only(check_paths(stored, "demo", rows=1_000, direction="online", **WINDOW).parts)

    assert (table.num_rows, True) == (part.checked, 0 < part.differing < table.num_rows)
    assert part.ulps > 2**29  # at least one unit of float32
    assert part.first is not None
    assert (part.columns["score"], part.first.column) == (part.differing, "score")
    assert part.first.feature in features
    assert says in part.first.cause


def test_faults_of_the_batch_path_are_named(stored: Settings, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that swaps two columns, and one that casts to float32: the first column that it got wrong is named."""
    from twinscore.batch import rescore, shard

    table = fresh(bundle)
    write_log(stored, scored(bundle, table, score(table, bundle).to_pylist()))
    plain = shard.read_piece

    def narrow(table: pa.Table) -> pa.Table:
        return table.set_column(
            table.column_names.index("debt"), "debt", table["debt"].cast(pa.float32(), safe=False).cast(pa.float64())
        )

    causes = {}
    for name, fault in (("swap", swap), ("float32", narrow)):

        def reader(*given: Any, fault: Callable[[pa.Table], pa.Table] = fault, **more: Any) -> Any:
            return (rows._replace(table=fault(rows.table)) for rows in plain(*given, **more))

        for module in (shard, rescore):
            monkeypatch.setattr(module, "read_piece", reader)
        causes[name] = only(check_paths(stored, "demo", rows=1_000, direction="online", **WINDOW).parts)

    assert ["income", "debt"] == [one.first.feature for one in causes.values() if one.first is not None]
    assert {"input debt"} == {name for name in causes["float32"].columns if name.startswith("input ")}
    assert 0.9 * table.num_rows < causes["float32"].columns["input debt"] == causes["float32"].differing


def test_what_is_no_score_is_compared_as_well(stored: Settings, bundle: Bundle) -> None:
    """Another decision, another prediction set and another verdict: the first differing column is told."""
    table = fresh(bundle, 60)
    said = score(table, bundle).to_pylist()
    said[3] = {**said[3], "decision": "no" if said[3]["decision"] == "yes" else "yes"}
    said[5] = {**said[5], "prediction_set": ["no", "yes", "no"]}
    records = scored(bundle, table, said)
    rule = bundle.checker.rules[0]
    records[7] = record(bundle, "q-7", status=422, rows=records[7].rows, outputs=[None], faults=[(0, rule.id, "age")])
    write_log(stored, records)
    found = check_paths(stored, "demo", rows=1_000, direction="online", **WINDOW)
    part = only(found.parts)
    figures = {one.metric: one for one in found.figures()}

    assert (3, 1, 0, {"verdict": 1, "decision": 1, "prediction_set": 1}) == (
        part.differing, part.verdicts, part.ulps, part.columns
    )  # fmt: skip
    assert part.first is not None
    assert ("request q-3, row 0", "decision") == (part.first.row, part.first.column)
    assert (float(table.num_rows), 3.0, 0.0) == (
        figures["parity_checked"].value, figures["parity_differing"].value, figures["parity_bits"].value
    )  # fmt: skip


def test_versions_and_roles_are_parts_of_their_own(stored: Settings, bundle: Bundle) -> None:
    """A canary's few rows are among the sample; a version whose bundle is gone is said to be left out."""
    table = fresh(bundle, 400)
    said = score(table, bundle).to_pylist()
    write_log(stored, scored(bundle, table, said))
    canary = [
        msgspec.structs.replace(one, role="canary", version="2") for one in scored(bundle, table.slice(0, 9), said[:9])
    ]
    write_log(stored, canary, "r2")
    unknown = [msgspec.structs.replace(one, version="3", bundle_digest="f" * 64) for one in canary]
    write_log(stored, unknown, "r3")
    found = check_paths(stored, "demo", rows=100, direction="online", **WINDOW)

    assert [("1", "live", 91), ("2", "canary", 9)] == [(one.version, one.role, one.checked) for one in found.parts]
    assert found.equal
    assert any("is not in the store" in reason for reason in found.left_out)
    assert {"there is no audit log": 1, "there is no committed run": 1} == check_paths(stored, "nobody").left_out


def test_joined_features_are_held_against_their_table(stored: Settings, bundle: Bundle) -> None:
    """The log's cells, the file that replicas map, and the table: what is stale is named with how far it is behind."""
    table = fresh(bundle, 100)
    spec = FeaturesSpec(table="features", columns=("income", "debt"), as_of="seen_at", max_age_s=86_400.0)
    source = stored.lake / "features"
    source.mkdir(parents=True)

    def write(name: str, rows: pa.Table, hours: int) -> None:
        seen = pa.array([START - timedelta(hours=hours)] * rows.num_rows, pa.timestamp("us", "UTC"))
        columns = {one: rows[one] for one in ("row_id", "income", "debt")}
        pq.write_table(pa.table({**columns, "seen_at": seen}), source / f"{name}.parquet")

    write("old", table, 5)
    build_feature_cache(stored, "demo", bundle.contract, spec)
    write("new", change(table.slice(0, 10), "debt", {3: 1.25}), 2)
    write_log(stored, scored(bundle, table, score(table, bundle).to_pylist()))
    found = check_paths(stored, "demo", rows=1_000, direction="online", features=spec, **WINDOW)
    features = {one.feature: one for one in found.features}
    figures = {one.subject: one for one in found.figures() if one.metric == "parity_feature_differing"}

    assert (0, False) == (found.differing, found.equal)
    assert ({"stale": 1}, {}) == (features["debt"].kinds, features["income"].kinds)
    assert (3 * 3600.0, table.num_rows) == (features["debt"].behind_s, features["debt"].checked)
    assert (1.0, 0.0) == (figures["debt"].value, figures["income"].value)
    assert "debt is 1.25 in the table" in figures["debt"].note


def test_rows_of_a_run_are_sampled_with_their_scores(run: Run, data: Path, bundle: Bundle) -> None:
    """Row groups from all over the input, refused rows among them: the scores are those of their rows."""
    table = change(make_input(seed=1), "row_id", {9: "twice", 10: "twice"})
    write_rows(data / "day-1.parquet", change(table, "age", dict.fromkeys(range(100), -1)))
    opened = open_run(run(shard_rows=500).folder)
    seen = set()
    for seed in range(6):
        found = sampled_scores(opened, bundle, 400, seed)
        verdict, scores = check_and_score(found.table, bundle)
        seen.add(tuple(found.table["row_id"].to_pylist()[:5]))

        assert verdict.accepted.nonzero()[0].tolist() == list(found.accepted)
        assert scores.to_pydict() == found.scores.to_pydict()
        assert 400 - found.n_by_key == found.table.num_rows
    assert 6 == len(seen)


def test_the_real_census_agrees_over_ten_thousand_rows(settings: Settings, adult_train: Path, adult_test: Path) -> None:
    """10,000 answers with `adult` as it was trained, and as many rows of a run: not a bit differs."""
    quick = {"num_boost_round": 30}
    train(settings, model="demo", data=adult_train, label="label", key="row_id", groups=["sex"], params=quick)
    version, bundle = load_version(settings, "demo@champion")
    rows = bundle.checker.conform(pq.read_table(adult_test)).slice(0, 10_500).combine_chunks()
    rows = rows.filter(pa.array(bundle.checker.check(rows).accepted))
    bulk = [
        record(bundle, f"q-{start}", version=version.version,
               table=TablePacker().pack(rows.slice(start, 500), score(rows.slice(start, 500), bundle)))
        for start in range(0, rows.num_rows, 500)
    ]  # fmt: skip
    write_log(settings, bulk)
    spec = ScoreSpec(model="demo", input=str(adult_test), output="predictions/demo")
    run_version(settings, spec, version, bundle, workers=workers_here)
    gateway = Gateway("demo", Endpoint(bundle, model="demo", version=version.version))
    front = Front(gateway, settings, listener_roster(settings), replica="r2", audit=AuditPolicy(reserve_mb=1))
    client = PredictClient(f"http://127.0.0.1:{front.listener.port}/demo", retries=0)
    try:
        with CheckCalls(client, load_secret(audit_salt(settings.home)), rows_per_s=1e6) as endpoint:
            figures = parity_figures(settings, "demo", rows=10_000, endpoint=endpoint, **WINDOW)
    finally:
        front.close()
    found = {(one.path, one.metric): one.value for one in figures}

    assert {
        (path, metric): value
        for path in ("online", "batch")
        for metric, value in (("parity_checked", 10_000.0), ("parity_differing", 0.0), ("parity_bits", 0.0))
    } == found


def _other_order(bundle: Bundle) -> Bundle:
    features = tuple(
        replace(one, categories=one.categories[::-1]) if one.name == "city" else one for one in bundle.spec.features
    )
    return replace(bundle, spec=replace(bundle.spec, features=features))
