"""Features by entity key: null, not found and too old are told apart, and the newest row counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.cache.features import FeatureLookup, build_features, feature_path
from twinscore.cache.freshness import Status
from twinscore.cache.live import LiveFeatures
from twinscore.cache.spec import FeaturesSpec
from twinscore.clock import FixedClock
from twinscore.contract.model import Column, Contract
from twinscore.errors import FileUnreadable, SchemaMismatch

from .conftest import MADE, MADE_S

CONTRACT = Contract(
    "demo", 1,
    (
        Column("loan", pa.string()), Column("customer", pa.int64()), Column("day", pa.date32()),
        Column("income", pa.float64()), Column("segment", pa.string()), Column("since", pa.timestamp("us", "UTC")),
    ),
    ("loan",), (),
)  # fmt: skip
SPEC = FeaturesSpec(table="t", columns=("income", "segment"), key=("customer",), as_of="seen_at", max_age_s=3600.0)
SEEN = pa.timestamp("us", "UTC")


def lookup(folder: Path, rows: list[dict[str, Any]], spec: FeaturesSpec = SPEC, *, parts: int = 1) -> FeatureLookup:
    table = pa.Table.from_pylist(rows, schema=pa.schema([
        ("customer", pa.int64()), ("income", pa.float64()), ("segment", pa.string()), ("seen_at", SEEN),
    ]))  # fmt: skip
    source = folder / "table"
    source.mkdir(exist_ok=True)
    for part in range(parts):
        first, last = (one * len(table) // parts for one in (part, part + 1))
        pq.write_table(table.slice(first, last - first), source / f"{part}.parquet")
    build_features(folder / "f.arrow", source, spec, CONTRACT, now=MADE)
    return FeatureLookup(folder / "f.arrow", CONTRACT, spec)


def row(customer: object, income: object = 1.5, segment: object = "a", age_s: float | None = 60.0) -> dict[str, Any]:
    seen = None if age_s is None else MADE - timedelta(seconds=age_s)
    return {"customer": customer, "income": income, "segment": segment, "seen_at": seen}


def test_every_way_of_having_no_value_has_its_status(tmp_path: Path) -> None:
    """PRESENT, NULL_VALUE, NOT_FOUND and OUTSIDE_MAX_AGE; without a value the contract decides about null."""
    rows = [row(1), row(2, income=None), row(3, age_s=3600), row(4, age_s=None), row(None)]
    found = lookup(tmp_path, rows)

    def join(customer: object) -> tuple[object, object, list[str], float | None]:
        joined = found.join({"loan": "x", "customer": customer}, now_s=MADE_S)
        return joined.row["income"], joined.row["segment"], list(joined.statuses.values()), joined.age_s

    assert (1.5, "a", ["PRESENT", "PRESENT"], 60.0) == join(1)
    assert (None, "a", ["NULL_VALUE", "PRESENT"], 60.0) == join(2)
    assert (None, None, ["OUTSIDE_MAX_AGE", "OUTSIDE_MAX_AGE"], 3600.0) == join(3)
    assert (None, None, ["OUTSIDE_MAX_AGE", "OUTSIDE_MAX_AGE"], None) == join(4)
    assert [(None, None, ["NOT_FOUND", "NOT_FOUND"], None)] * 4 == [join(one) for one in (5, None, "1", 1.0)]
    assert 4 == len(found)


def test_what_the_request_sends_stays(tmp_path: Path) -> None:
    """Its own value, null included, is not replaced and has no status; the request itself is not changed."""
    found = lookup(tmp_path, [row(1)])
    sent = {"customer": 1, "income": None}

    joined = found.join(sent, now_s=MADE_S)

    assert ({"customer": 1, "income": None, "segment": "a"}, {"segment": Status.PRESENT}) == joined[:2]
    assert {"customer": 1, "income": None} == sent
    assert {} == found.join({"customer": 1, "income": 2.0, "segment": "b"}, now_s=MADE_S).statuses


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 1000)), max_size=40, unique=True), st.randoms())
def test_the_newest_row_of_an_entity_counts(
    tmp_path_factory: pytest.TempPathFactory, seen: list[tuple[int, int]], random: Any
) -> None:
    """Whatever the order of the rows and files."""
    random.shuffle(seen)
    newest: dict[int, int] = {}
    for customer, age in seen:
        newest[customer] = min(age, newest.get(customer, age))
    rows = [row(customer, income=float(age), age_s=age) for customer, age in seen]
    found = lookup(tmp_path_factory.mktemp("features"), rows, parts=2)

    assert {customer: float(age) for customer, age in newest.items()} == {
        customer: joined.row["income"]
        for customer in range(9)
        if (joined := found.join({"customer": customer}, now_s=MADE_S)).age_s is not None
    }


def test_two_newest_rows_are_refused(tmp_path: Path) -> None:
    """Of the same entity and time; older ones do not matter."""
    with pytest.raises(SchemaMismatch, match=r"two newest rows of \{'customer': 2\}"):
        lookup(tmp_path, [row(1, age_s=9), row(1, age_s=9), row(1, age_s=1), row(2), row(2, income=3.0)])


def test_without_a_time_every_row_is_used(tmp_path: Path) -> None:
    """The age is not known, and nobody asked for one."""
    found = lookup(tmp_path, [row(1)], replace(SPEC, as_of=None, max_age_s=None))

    assert ([Status.PRESENT] * 2, None) == (
        list(found.join({"customer": 1}, now_s=0.0).statuses.values()), found.join({"customer": 1}, now_s=0.0).age_s,
    )  # fmt: skip


def test_keys_and_values_of_times(tmp_path: Path) -> None:
    """A key that JSON writes as text is read as its column's type; values come back as the contract's decoder takes."""
    since = datetime(2020, 2, 2, 2, tzinfo=UTC)
    table = pa.table({"day": pa.array([date(2026, 1, 2)]), "since": pa.array([since], SEEN)})
    pq.write_table(table, tmp_path / "t.parquet")
    spec = FeaturesSpec(table="t", columns=("since",), key=("day",))
    build_features(tmp_path / "f.arrow", tmp_path / "t.parquet", spec, CONTRACT, now=MADE)
    found = FeatureLookup(tmp_path / "f.arrow", CONTRACT, spec)

    assert [since, since, None] == [
        found.join({"day": day}, now_s=0.0).row["since"] for day in ("2026-01-02", date(2026, 1, 2), "no day")
    ]


@pytest.mark.parametrize(("changes", "message"), [
    ({"columns": ("incom",)}, "Did you mean 'income'"),
    ({"as_of": "seen"}, "has no column 'seen'"),
    ({"as_of": "segment", "columns": ("income",)}, "must be a timestamp or a date"),
    ({"key": ("segment",), "columns": ("customer", "income", "since")}, "has no column 'since'"),
])  # fmt: skip
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """By name, before anything is written."""
    with pytest.raises(SchemaMismatch, match=message):
        lookup(tmp_path, [row(1)], replace(SPEC, **changes))

    assert not (tmp_path / "f.arrow").exists()


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    """Its path is named."""
    with pytest.raises(FileUnreadable, match="nowhere"):
        build_features(tmp_path / "f.arrow", tmp_path / "nowhere", SPEC, CONTRACT, now=MADE)


def test_a_file_for_other_features_is_refused(tmp_path: Path) -> None:
    """Built for one spec, opened for another."""
    lookup(tmp_path, [row(1)])

    with pytest.raises(SchemaMismatch, match="was not built for these features"):
        FeatureLookup(tmp_path / "f.arrow", CONTRACT, replace(SPEC, columns=("income",)))


def test_a_newer_file_takes_over(tmp_path: Path) -> None:
    """Without one nothing is found; a damaged one leaves the old one in use, and the problem is kept."""
    path = feature_path(tmp_path / "lake", "demo", SPEC)
    features = LiveFeatures(tmp_path / "lake", "demo", contract=CONTRACT, spec=SPEC, clock=FixedClock(MADE))

    def seen() -> list[object]:
        return [features.refresh(), features.join({"customer": 1}).row["income"], bool(features.problem)]

    found = [seen()]
    for income in (1.0, 2.0):
        lookup(tmp_path, [row(1, income=income)])
        path.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f.arrow").rename(path)
        found += [seen(), seen()]
    path.unlink()
    path.write_bytes(b"no file")

    assert [
        [False, None, True], [True, 1.0, False], [False, 1.0, False], [True, 2.0, False], [False, 2.0, False],
        [False, 2.0, True],
    ] == [*found, seen()]  # fmt: skip


def test_the_place_of_a_file_follows_its_spec(tmp_path: Path) -> None:
    """Another age is the same file, other columns are another one."""
    one, two, three = (
        feature_path(tmp_path, "demo", spec)
        for spec in (SPEC, replace(SPEC, max_age_s=1.0), replace(SPEC, columns=("income",)))
    )

    assert (True, False) == (one == two, one == three)
