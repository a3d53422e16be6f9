"""Faults of an encoding, made on purpose: each is named from the scores alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from twinscore.bundle.files import Bundle
from twinscore.monitoring.parity_cause import find_cause
from twinscore.monitoring.parity_report import CheckedPart, FirstDifference, JoinedFeature, ParityFindings
from twinscore.scoring.table import predict_margins, score, score_margins
from twinscore.testing.models import make_bundle, make_rows

from .test_figure import START

Fault = Callable[[pa.Table, Bundle], pa.Table]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Numbers, categories with missing values, and derived features."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "binary", trees=60)


def with_column(table: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


def scored_by(table: pa.Table, bundle: Bundle) -> np.ndarray:
    return score(table, bundle)["score"].to_numpy()


def accepted(bundle: Bundle, rows: int = 400, seed: int = 4) -> pa.Table:
    table = bundle.checker.conform(make_rows("binary", rows, seed))
    return table.filter(pa.array(bundle.checker.check(table).accepted))


def swapped(table: pa.Table, left: str, right: str) -> pa.Table:
    return with_column(with_column(table, left, table[right]), right, table[left])


@pytest.mark.parametrize(("left", "right"), [("income", "debt"), ("age", "visits"), ("city", "plan")])
def test_swapped_columns_are_named(bundle: Bundle, left: str, right: str) -> None:
    """Two numbers from which a third is derived, two whole numbers, and two texts."""
    table = accepted(bundle)
    found = find_cause(table, scored_by(swapped(table, left, right), bundle), bundle)

    assert found is not None
    assert ("swap", {left, right}) == (found.kind, set(found.features))


def test_another_order_of_categories_is_named(bundle: Bundle) -> None:
    """A version whose codes of one feature stand the other way round."""
    table = accepted(bundle)
    features = tuple(
        replace(one, categories=one.categories[::-1]) if one.name == "city" else one for one in bundle.spec.features
    )
    other = replace(bundle, spec=replace(bundle.spec, features=features))
    found = find_cause(table, scored_by(table, other), bundle)

    assert found is not None
    assert ("category_order", ("city",)) == (found.kind, found.features)
    assert "amsterdam as essen" in found.says


def test_a_cast_to_float32_is_named(bundle: Bundle) -> None:
    """A cast before a feature is derived moves a few rows over a threshold; it is found where it did."""
    chance = np.random.default_rng(3)
    cuts = chance.choice(_thresholds(bundle, "debt_ratio"), 20_000)
    income = chance.lognormal(10.0, 0.5, len(cuts))
    debt = cuts.astype(np.float64) * income * (1.0 + chance.normal(0.0, 3e-8, len(cuts)))
    sides = [(one / income).astype(np.float32) >= cuts for one in (debt, debt.astype(np.float32).astype(np.float64))]
    crossing = np.flatnonzero((sides[0] != sides[1]) & (debt > 0))[:200]
    table = accepted(bundle).slice(0, 200)
    assert 200 == len(crossing) == table.num_rows
    table = with_column(table, "income", pa.chunked_array([income[crossing]]))
    table = with_column(table, "debt", pa.chunked_array([debt[crossing]]))
    narrow = with_column(table, "debt", pc.cast(pc.cast(table["debt"], pa.float32()), pa.float64()))
    recorded = scored_by(narrow, bundle)
    found = find_cause(table, recorded, bundle)

    assert (recorded != scored_by(table, bundle)).any()
    assert found is not None
    assert ("float32", ("debt",)) == (found.kind, found.features)


def test_a_missing_column_and_another_value_are_named(bundle: Bundle) -> None:
    """A column that never arrived; and one feature that had other values in some rows, such as those of yesterday."""
    table = accepted(bundle)
    missing = with_column(table, "income", pa.nulls(table.num_rows, pa.float64()))
    encoded = bundle.spec.encode(table)
    place = bundle.spec.names.index("age")
    encoded[::3, place] += np.random.default_rng(1).integers(5, 30, len(encoded[::3]))
    stale = score_margins(predict_margins(encoded, bundle), bundle)["score"].to_numpy()
    without, other = (find_cause(table, recorded, bundle) for recorded in (scored_by(missing, bundle), stale))

    assert without is not None
    assert other is not None
    assert ("missing", ("income",)) == (without.kind, without.features)
    assert ("value", ("age",)) == (other.kind, other.features)


def test_nothing_is_named_where_nothing_explains(bundle: Bundle) -> None:
    """The same scores have no cause, and neither have random ones."""
    table = accepted(bundle)

    assert None is find_cause(table, scored_by(table, bundle), bundle)
    assert None is find_cause(table, np.random.default_rng(2).random(table.num_rows), bundle)


def test_findings_become_figures() -> None:
    """Counts by part, the first difference as a note, and no value where nothing was checked."""
    first = FirstDifference(row="row_id=1", column="score", batch=0.5, online=0.6, feature="age", cause="age is off")
    parts = [
        CheckedPart(direction="online", version="3", role="live", checked=90, differing=2, verdicts=0, ulps=7,
                    columns={"score": 2}, first=first),
        CheckedPart(direction="batch", version="2", role="batch", checked=0, differing=0, verdicts=0, ulps=0,
                    left_out={"of another version": 100}),
    ]  # fmt: skip
    joined = JoinedFeature(feature="income", direction="online", checked=90, kinds={"stale": 1, "too_old": 3})
    found = ParityFindings(model="loans", start=START, end=START, parts=parts, features=[joined.plus(joined)])
    figures = {(one.metric, one.path, one.subject): one for one in found.figures()}

    assert (False, 90, 2, 8) == (found.equal, found.checked, found.differing, found.features[0].differing)
    assert [90.0, 2.0, 7.0] == [
        figures[name, "online", ""].value for name in ("parity_checked", "parity_differing", "parity_bits")
    ]
    assert "age is off" in figures["parity_differing", "online", ""].note
    assert (0.0, None) == tuple(figures[one, "batch", ""].value for one in ("parity_checked", "parity_differing"))
    of_feature = figures["parity_feature_differing", "online", "income"]
    assert (8.0, 180) == (of_feature.value, of_feature.rows)
    assert found.to_plain()["parts"][0]["first"]["feature"] == "age"


def _thresholds(bundle: Bundle, name: str) -> np.ndarray:
    from twinscore.scoring.trees import read_trees

    place = bundle.spec.names.index(name)
    trees = read_trees(bundle.booster).trees
    return np.unique(np.concatenate([tree.value[tree.inner & (tree.feature == place)] for tree in trees]))
