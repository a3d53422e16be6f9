"""Cases for people to look at: by outcome where it is known, and of batch runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.batch.read import open_run
from twinscore.batch.run import run_version
from twinscore.batch.run_cases import rows_of_run
from twinscore.batch.spec import ScoreSpec
from twinscore.bundle.files import Bundle
from twinscore.control.start_audit import start_audit
from twinscore.errors import StoreUnavailable
from twinscore.monitoring.order import Order
from twinscore.monitoring.spec import MonitorSpec, WatchedLabels
from twinscore.ports.rollout_store import ControlStore
from twinscore.settings import Settings, load_settings
from twinscore.testing.models import make_rows
from twinscore.wiring import bundle_store, open_rollout_store

from ..audit.logs import scored_records, write_log
from ..batch.conftest import model_version, workers_here
from .alert_world import START

MODEL = "demo"
LABELS = WatchedLabels(path="labels/paid.parquet", column="paid")


@pytest.fixture
def place(tmp_path: Path, bundle: Bundle) -> Iterator[tuple[Settings, ControlStore]]:
    """A home with the version that answered."""
    settings = load_settings(home=tmp_path / "home", num_cpus=2)
    bundle_store(settings).publish(bundle.folder)
    (settings.lake / "labels").mkdir(parents=True)
    with open_rollout_store(settings) as store:
        yield settings, store


def incident(number: int, start: datetime, **details: Any) -> Order:
    """An order to look at false alarms by city of the hour from then on."""
    window = [start.isoformat(), (start + timedelta(hours=1)).isoformat()]
    known = {"rule": "gap", "metric": "fpr_gap", "subject": "city", "window": window, "options": {"cases": 30}}
    return Order(
        id=f"order-{number}", model=MODEL, incident=f"incident-{number}", action="audit", verb="open", title="a gap",
        body="", severity="warning", details={**known, **details},
    )  # fmt: skip


def test_cases_are_of_every_outcome(place: tuple[Settings, ControlStore], bundle: Bundle) -> None:
    """Wrong and right decisions of a city are drawn alike; an outcome that is not due is not known."""
    settings, store = place
    write_log(settings.lake / "audit" / MODEL, scored_records(bundle, 400))
    rows = make_rows("binary", 400, 5)
    table = pa.table({"row_id": rows["row_id"], "paid": rows["label"]})
    pq.write_table(table.slice(0, 300), settings.lake / "labels" / "paid.parquet")
    spec, now = MonitorSpec(labels=LABELS), START + timedelta(days=1)
    found = start_audit(settings, store, incident(1, START), now, spec)
    young = start_audit(settings, store, incident(2, START), now, replace(spec, labels=replace(LABELS, maturity="9d")))
    blind = start_audit(settings, store, incident(3, START), now)
    cases = store.cases.cases("incident-1")
    label = dict(zip(rows["row_id"].to_pylist(), rows["label"].to_pylist(), strict=True))
    known = [case for case in cases if "not known" not in case.stratum]
    strata = Counter(case.stratum for case in cases)

    assert 30 == len(cases) == found.result["cases"]
    assert {f"was {label[case.features['row_id']]}" in case.stratum for case in known} == {True}
    assert {"no, was yes", "yes, was no"} <= {one.partition(", ")[2] for one in found.result["strata"]}
    assert max(strata.values()) - min(strata.values()) <= 2
    assert not any("was" in one for one in young.result["strata"])
    assert not any("known" in one for one in blind.result["strata"])


def test_cases_of_batch_runs(place: tuple[Settings, ControlStore], bundle: Bundle, tmp_path: Path) -> None:
    """Rows of the runs that were committed in the window, with the features of their input, and their outcomes."""
    settings, store = place
    rows = make_rows("binary", 500, 3)
    pq.write_table(rows.drop_columns(["label"]), tmp_path / "day.parquet")
    pq.write_table(
        pa.table({"row_id": rows["row_id"], "paid": rows["label"]}), settings.lake / "labels" / "paid.parquet"
    )
    (settings.lake / "predictions").mkdir()
    spec = ScoreSpec(
        model=MODEL, input=str(tmp_path / "day.parquet"), output=str(settings.lake / "predictions" / "day")
    )
    report = run_version(settings, spec, model_version(bundle), bundle, workers=workers_here)
    now = datetime.now(UTC)
    start, watched = now - timedelta(minutes=30), MonitorSpec(labels=LABELS)
    batch = {"path": "batch", "role": "batch"}
    found = start_audit(settings, store, incident(1, start, **batch), now + timedelta(days=1), watched)
    cases = store.cases.cases("incident-1")
    of_row = {row["row_id"]: row for row in rows.to_pylist()}

    assert 30 == found.result["cases"] == len({case.row for case in cases})
    for case in cases:
        row = of_row[case.features["row_id"]]
        assert row["city"] == case.features["city"]
        assert case.stratum.endswith(f"{case.answer['decision']}, was {row['label']}")
    assert {report.run_id} == {case.request_id for case in cases}
    hashed = [replace(one, audit="hash") if one.name == "city" else one for one in bundle.contract.columns]
    secret = replace(bundle, contract=replace(bundle.contract, columns=tuple(hashed)))
    _, tables = rows_of_run(open_run(report.folder), lambda digest: secret)
    assert all("feature_city" not in one.column_names and "feature_age" in one.column_names for one in tables)
    with pytest.raises(StoreUnavailable, match="Runs of demo have no answered row"):
        start_audit(settings, store, incident(2, START, **batch), now, watched)
    pq.write_table(rows.drop_columns(["label"]).slice(0, 9), tmp_path / "day.parquet")
    with pytest.raises(StoreUnavailable, match="features are not counted"):
        start_audit(settings, store, incident(3, start, **batch), now, watched)
