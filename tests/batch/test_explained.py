"""Explanations of a run: which rows have them, what they say, and that they add up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st

from twinscore.batch.explained import chosen_rows
from twinscore.batch.read import open_run
from twinscore.batch.report import RunReport
from twinscore.batch.spec_parts import ExplainSpec
from twinscore.bundle.files import Bundle
from twinscore.scoring.attribution_summary import AttributionSummary

from .conftest import Run


def explained(report: RunReport) -> pa.Table:
    files = [part["name"] for part in report.manifest["files"] if part["name"].startswith("_explanations/")]
    return pa.concat_tables([pq.read_table(report.folder / name) for name in files])


def native(bundle: Bundle, data: Path) -> tuple[np.ndarray, list[str]]:
    """Return XGBoost's own contributions and the keys, in the order of the input."""
    table = bundle.checker.conform(ds.dataset(data).to_table())
    matrix = xgboost.DMatrix(
        bundle.spec.encode(table), feature_names=bundle.spec.names, feature_types=bundle.spec.feature_types,
        enable_categorical=True,
    )  # fmt: skip
    return bundle.booster.predict(matrix, pred_contribs=True), table["row_id"].to_pylist()


def test_contributions_are_xgboost_s_own(run: Run, bundle: Bundle, data: Path) -> None:
    """Every row has its contributions beside its key, and they add up to its margin."""
    report = run(explain=ExplainSpec(rows="all"), shard_rows=500)
    table, (wanted, keys) = explained(report), native(bundle, data)
    made = np.array(table["contributions"].to_pylist())

    assert keys == table["row_id"].to_pylist()
    assert np.abs(made - wanted[:, :-1]).max() <= 1e-4
    assert np.abs(table["contribution_base"].to_numpy() - wanted[:, -1]).max() <= 1e-4
    assert max(table["additivity_error"].to_pylist()) == report.manifest["additivity_error"] <= 1e-4
    assert 3_000 == report.manifest["rows_explained"]
    open_run(report.folder).verify()


def test_summary_is_that_of_all_rows(run: Run, bundle: Bundle) -> None:
    """What the shards add up to is what the whole says."""
    report = run(explain=ExplainSpec(rows="all"), shard_rows=500)
    whole = AttributionSummary.of(np.array(explained(report)["contributions"].to_pylist()), bundle.spec.names)
    kept = AttributionSummary.from_json(report.manifest["attributions"])

    assert (whole.features, whole.rows) == (kept.features, kept.rows)
    assert np.allclose(whole.importance, kept.importance, rtol=1e-9, atol=0)


@pytest.mark.parametrize("rows", ["flagged", "sample"])
def test_columns_are_null_where_a_row_is_not_explained(run: Run, rows: str) -> None:
    """As columns, chosen rows have the contributions that they have beside the predictions, others have none."""
    spec = ExplainSpec(rows=rows, sample=0.2, into="columns")
    report = run(explain=spec, shard_rows=500)
    made = open_run(report.folder).predictions()
    there = made["contributions"].is_valid().to_numpy()
    report.folder.rename(report.folder.with_name("columns"))
    beside = explained(run(explain=ExplainSpec(rows=rows, sample=0.2), shard_rows=500))

    assert 0 < there.sum() == report.manifest["rows_explained"] < 3_000
    assert beside["row_id"].to_pylist() == made.filter(pa.array(there))["row_id"].to_pylist()
    assert beside["contributions"].to_pylist() == made.filter(pa.array(there))["contributions"].to_pylist()
    if rows == "flagged":
        assert made["review"].to_pylist() == there.tolist()


def test_nothing_is_explained_unless_asked(run: Run) -> None:
    """A plain run has no explanations, no folder for them, and another id than one with them."""
    report = run()
    plain = report.run_id
    assert (0, None) == (report.manifest["rows_explained"], report.manifest["attributions"])
    assert not (report.folder / "_explanations").exists()
    report.folder.rename(report.folder.with_name("plain"))

    assert plain != run(explain=ExplainSpec(rows="flagged")).run_id


@given(st.integers(1, 200), st.floats(0.01, 1.0))
def test_a_sample_does_not_depend_on_the_cut(rows: int, share: float) -> None:
    """A row is in the sample or not, whatever rows it comes with; a larger sample holds the smaller one."""
    rng = np.random.default_rng(rows)
    hashes = rng.integers(0, 2**64 - 1, rows, dtype=np.uint64)
    review = np.zeros(rows, bool)
    small, large = ExplainSpec(rows="sample", sample=share / 2), ExplainSpec(rows="sample", sample=share)
    whole = chosen_rows(large, review, hashes)
    half = rows // 2
    parts = [chosen_rows(large, review[:half], hashes[:half]), chosen_rows(large, review[half:], hashes[half:])]

    assert whole.tolist() == np.concatenate(parts).tolist()
    assert not (chosen_rows(small, review, hashes) & ~whole).any()
