"""Bulk path, single-row path and MLflow's pyfunc give the same bits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from twinscore.bundle.files import MARGIN, Bundle
from twinscore.errors import PredictFailed, SchemaMismatch
from twinscore.scoring.parity import compare
from twinscore.scoring.row import RowScorer
from twinscore.scoring.table import SCORE_SCHEMA, check_and_score, score
from twinscore.testing.models import make_bundle, make_rows

if TYPE_CHECKING:
    from pathlib import Path

TASKS = ("binary", "multiclass", "regression")


@pytest.fixture(scope="module", params=TASKS)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("paths") / request.param, request.param)


def rows_of(bundle: Bundle, n_rows: int = 500, seed: int = 9) -> pa.Table:
    task = bundle.card.model.removesuffix("_model")
    table: pa.Table = bundle.checker.conform(make_rows(task, n_rows, seed))  # type: ignore[arg-type]
    return table


def test_single_rows_have_the_bits_of_the_table(bundle: Bundle) -> None:
    """Every column of every row is the same, and the flat forest answered."""
    table = rows_of(bundle)
    scorer = RowScorer(bundle)
    single = pa.Table.from_pylist([scorer.score(row) for row in table.to_pylist()], schema=SCORE_SCHEMA)
    keys = table["row_id"]
    report = compare(score(table, bundle).append_column("k", keys), single.append_column("k", keys), key=["k"])

    assert (scorer.uses_forest, scorer.mismatch) == (True, None)
    assert (report.rows, report.differing_rows, report.first) == (500, 0, None)


# MLflow still reads `Series.values`, which pandas 3.1 deprecates for times with a zone.
@pytest.mark.filterwarnings("ignore:Series.values returning:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Series.values returning:pandas.errors.Pandas4Warning")
def test_pyfunc_has_the_bits_of_both(bundle: Bundle, tmp_path: Path) -> None:
    """A frame through `mlflow.pyfunc.load_model` gives the scores of the bulk path; refused rows give reasons."""
    import mlflow.pyfunc

    mlflow.pyfunc.save_model(
        str(tmp_path / "m"), loader_module="twinscore.scoring.pyfunc", data_path=str(bundle.folder), pip_requirements=[]
    )
    table = rows_of(bundle)
    frame = table.to_pandas()
    frame.loc[3, "debt"] = np.inf
    answer = mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(frame)
    expected = score(table, bundle).to_pandas()

    assert [path for path in (tmp_path / "m").rglob("*") if path.suffix in {".pkl", ".pickle"}] == []
    assert "not_finite" in answer["refused"][3]
    kept = answer.drop(index=3)
    np.testing.assert_array_equal(kept["score"].to_numpy(), expected.drop(index=3)["score"].to_numpy())
    assert kept["refused"].isna().all()


def test_refused_rows_are_left_out_and_flagged_ones_kept(bundle: Bundle) -> None:
    """The verdict covers all rows, the scores the accepted ones."""
    table = rows_of(bundle)
    debt = table["debt"].to_numpy().copy()
    debt[[1, 4]] = np.inf
    table = table.set_column(table.schema.get_field_index("debt"), "debt", pa.array(debt))
    verdict, scored = check_and_score(table, bundle)

    assert list(np.flatnonzero(~verdict.accepted)) == [1, 4]
    assert scored.num_rows == 498


def test_no_rows_give_no_scores(bundle: Bundle) -> None:
    """An empty table is scored to an empty table of the same schema."""
    assert score(rows_of(bundle).slice(0, 0), bundle).schema == SCORE_SCHEMA


def test_uncertainty_is_there_for_every_task(bundle: Bundle) -> None:
    """Classes come with a set that holds a class, numbers with an interval around the score."""
    scored = score(rows_of(bundle), bundle).to_pylist()

    if bundle.card.task == "regression":
        assert all(row["lower"] < row["score"] < row["upper"] for row in scored)
    else:
        assert all(row["decision"] in bundle.card.classes for row in scored)
        assert {row["review_reason"] for row in scored} <= {None, "ambiguous_set", "empty_set"}
        assert all(row["review"] == (len(row["prediction_set"]) != 1) for row in scored)


def test_a_forest_that_differs_is_set_aside(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """When one bit of one golden row differs, the booster answers single rows, and it is said why."""
    from twinscore.scoring.forest import FlatForest

    walk = FlatForest.margins

    def one_bit_off(self: FlatForest, row: Any) -> Any:
        return np.nextafter(walk(self, row), np.float32(np.inf))

    monkeypatch.setattr(FlatForest, "margins", one_bit_off)
    scorer = RowScorer(bundle)
    table = rows_of(bundle, 20)

    assert not scorer.uses_forest
    assert "golden rows differ" in (scorer.mismatch or "")
    assert [scorer.score(row)["score"] for row in table.to_pylist()] == score(table, bundle)["score"].to_pylist()


def test_another_booster_than_recorded_is_refused(bundle: Bundle) -> None:
    """A booster that does not give the recorded margins never becomes ready."""
    margins = np.array(bundle.golden[MARGIN].to_pylist(), dtype=np.float32)
    margins[7] += 1
    place = bundle.golden.schema.get_field_index(MARGIN)
    golden = bundle.golden.set_column(place, MARGIN, pa.array(margins.tolist(), pa.list_(pa.float32())))

    with pytest.raises(PredictFailed, match="golden row 7"):
        RowScorer(replace(bundle, golden=golden))


def test_a_differing_bit_is_found_and_named(bundle: Bundle) -> None:
    """One bit of one score is one differing row, named with its key, column and both values."""
    table = rows_of(bundle, 50)
    batch = score(table, bundle).append_column("k", table["row_id"])
    scores = batch["score"].to_numpy().copy()
    scores[5] = np.nextafter(scores[5], np.inf)
    online = batch.set_column(0, "score", pa.array(scores))
    report = compare(batch, online, key=["k"])

    assert (report.differing_rows, report.rows) == (1, 50)
    assert report.first is not None
    assert "score is" in report.first
    assert f"k={table['row_id'][5].as_py()!r}" in report.first


def test_missing_and_double_rows_are_no_parity(bundle: Bundle) -> None:
    """A row on one side only is a difference; a key twice cannot be compared."""
    table = rows_of(bundle, 50)
    batch = score(table, bundle).append_column("k", table["row_id"])

    assert compare(batch, batch.slice(1), key=["k"]).differing_rows == 1
    with pytest.raises(SchemaMismatch, match="more than once"):
        compare(pa.concat_tables([batch, batch]), batch, key=["k"])
