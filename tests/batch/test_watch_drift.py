"""Figures of closed windows beyond counts: drift in time, expected performance, what mattered."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from twinscore.audit.checks import check_id
from twinscore.audit.head import load_secret
from twinscore.audit.operate import audit_salt
from twinscore.audit.record import encode_record
from twinscore.bundle.files import Bundle
from twinscore.monitoring.spec import MonitorSpec
from twinscore.scoring.table import score
from twinscore.settings import Settings
from twinscore.testing.models import make_bundle, make_rows
from twinscore.wiring import bundle_store

from .watched import START, Watched

HOUR = timedelta(hours=1)
ROWS = 400


def richer(rows: pa.Table) -> pa.Table:
    """Twice the income, which is more than one standard deviation."""
    at = rows.schema.get_field_index("income")
    return rows.set_column(at, rows.schema.field("income"), pc.multiply(rows["income"], 2.0))


def richer_premium(rows: pa.Table) -> pa.Table:
    """Three times the income, of one plan."""
    at = rows.schema.get_field_index("income")
    mine = pc.fill_null(pc.equal(rows["plan"], "premium"), False)
    changed = pc.if_else(mine, pc.multiply(rows["income"], 3.0), rows["income"])
    return rows.set_column(at, rows.schema.field("income"), changed)


@pytest.fixture
def watched(settings: Settings, bundle: Bundle) -> Watched:
    """Six hours of answers, the last three with other incomes; looked at once."""
    bundle_store(settings).publish(bundle.folder)
    found = Watched(settings, bundle, MonitorSpec(attribution_share=1.0, segments=("plan",)))
    for hour in range(6):
        found.write(
            hour, ROWS, start=START + hour * HOUR, step_s=8.0, stream=f"h{hour}",
            change=richer if hour >= 3 else lambda rows: rows,
        )  # fmt: skip
    found.look()
    return found


def test_a_change_that_lasts_is_drift(watched: Watched) -> None:
    """Two windows of three must show it: the first with other incomes is none yet, and nothing else drifts."""
    income = {one.start: one for one in watched.figures("feature_drift", subject="income")}
    others = [one for one in watched.figures("feature_drift") if one.subject not in ("income", "debt_ratio")]
    many = [one.value for one in watched.figures("drifted_features", path="online", segment="")]

    assert [0.0, 0.0, 0.0, 0.0, 1.0, 1.0] == [one.value for _, one in sorted(income.items())]
    assert {0.0} == {one.value for one in others}
    assert many[:4] == [0.0] * 4
    assert min(one or 0.0 for one in many[4:]) >= 1.0
    assert max(one.value or 0.0 for one in watched.figures("psi", subject="income")) > 0.5
    assert {""} == {one.segment for one in watched.figures("feature_drift")}


def test_a_segment_whose_reference_is_not_kept_says_so(watched: Watched) -> None:
    """The bundle was made without segments: there is no verdict, and the reason is told."""
    told = [one for one in watched.figures("drifted_features") if one.segment]

    assert 18 == len(told)
    assert {(None, "the reference profile does not keep how this segment was spread")} == {
        (one.value, one.note) for one in told
    }


def test_a_segment_drifts_by_itself(settings: Settings, tmp_path: Path) -> None:
    """Other incomes of one plan are drift of that plan; the others, which were never alike, have none."""
    bundle = make_bundle(tmp_path / "bundle", segments=("plan",))
    bundle_store(settings).publish(bundle.folder)
    found = Watched(settings, bundle, MonitorSpec(attribution_share=0.0, segments=("plan",)))
    for hour in range(3):
        found.write(hour, ROWS, start=START + hour * HOUR, step_s=8.0, stream=f"h{hour}", change=richer_premium)
    found.look()
    newest = START + 2 * HOUR
    by_plan = {one.segment: one.value for one in found.figures("feature_drift", subject="income", start=newest)}
    scores = found.figures("score_drift", start=newest)

    assert 1.0 == by_plan["plan=premium"]
    assert [0.0, 0.0] == [by_plan["plan=basic"], by_plan["plan=plus"]]
    assert {"", "plan=basic", "plan=plus", "plan=premium"} == {one.segment for one in scores}


def test_a_window_that_comes_late_changes_those_after_it(watched: Watched) -> None:
    """What an earlier window shows is part of what a later one says, so it is told anew, and the same in one look."""
    before = watched.figures()
    watched.write(77, ROWS, start=START + 3 * HOUR, step_s=8.0, stream="late", change=richer)
    look = watched.look()
    after = watched.figures()

    assert [START + hour * HOUR for hour in range(3, 6)] == list(look.windows)[:3]
    assert before != after
    assert () == watched.look().windows
    assert after == watched.figures()


def test_windows_say_what_to_expect_and_what_mattered(watched: Watched) -> None:
    """Without a label there are estimates with their intervals, and the ranking of the explained rows."""
    auc = watched.figures("estimated_auc", segment="", path="online")
    ranks = watched.figures("attribution_ndcg")

    assert 6 == len(auc) == len(ranks)
    assert all(one.low is not None and one.low < (one.value or 0) < (one.high or 0) for one in auc)
    assert all(0.5 < (one.value or 0.0) <= 1.0 and one.rows == ROWS for one in ranks)


def test_checks_of_the_platform_are_no_traffic(watched: Watched) -> None:
    """Requests by which both paths are compared are left out, compacted or not; a name alone does not do it."""
    start = START + 8 * HOUR
    ids = [check_id(load_secret(audit_salt(watched.settings.home))), check_id(b"another salt"), "q-88-0"]
    table = watched.bundle.checker.conform(make_rows("binary", 3, 88).drop_columns(["label"]))
    answers = score(table, watched.bundle).to_pylist()
    at = int(start.timestamp() * 1e6)
    records = [
        watched.record(name, at + number, list(row.values()), answers[number])
        for number, (name, row) in enumerate(zip(ids, table.to_pylist(), strict=True))
    ]
    writer = watched.writer("checks", 60_000)
    writer.commit([encode_record(one) for one in records])
    writer.close()
    watched.look()
    before = watched.figures("requests", start=start, segment="")
    watched.compact()
    watched.spec = MonitorSpec(attribution_share=0.0)  # counted anew, from Parquet
    watched.look()

    assert [2.0] == [one.value for one in before]
    assert [2.0] == [one.value for one in watched.figures("requests", start=start, segment="")]


def test_another_share_to_explain_counts_anew(watched: Watched) -> None:
    """Rows of two shares are never added up: the ranking is of the share that the file says now."""
    watched.spec = MonitorSpec(attribution_share=0.5, segments=("plan",))
    look = watched.look()
    explained = [one.rows for one in watched.figures("attribution_ndcg")]

    assert look.sources == look.counted
    assert all(0 < rows < ROWS for rows in explained)
