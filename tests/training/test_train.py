"""Training as a whole, on small made-up rows: what it decides, what it writes, what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from twinscore.bundle.files import MARGIN
from twinscore.clock import FixedClock
from twinscore.contract.document import load_contract
from twinscore.contract.model import Contract, Expectation
from twinscore.errors import BundleInvalid, ContractBroken, ContractInvalid, InputError, SchemaMismatch, TwinscoreError
from twinscore.scoring.table import check_and_score
from twinscore.settings import Settings
from twinscore.testing.models import make_rows
from twinscore.training.contract_file import keep_contract
from twinscore.training.golden import golden_rows
from twinscore.training.train import TrainedVersion, train
from twinscore.wiring import load_version, model_store

ROWS = make_rows("binary", 800)
FAST = {"num_boost_round": 15, "max_depth": 3}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def run(settings: Settings, model: str, data: pa.Table | Path = ROWS, **options: Any) -> TrainedVersion:
    given: dict[str, Any] = {"label": "label", "key": "row_id", "params": FAST, "clock": FixedClock(NOON), **options}
    return train(settings, model=model, data=data, **given)


def test_the_first_version_is_the_champion_and_later_ones_wait(settings: Settings) -> None:
    """Nothing has to be protected from a first version; a later one goes live by its alias only."""
    first = run(settings, "order")
    second = run(settings, "order", seed=1)
    third = run(settings, "order", seed=2, alias="challenger")

    assert ("1", ("champion",)) == (first.version, first.aliases)
    assert any("became @champion" in note for note in first.notes)
    assert ("2", ()) == (second.version, second.aliases)
    assert ("3", ("challenger",)) == (third.version, third.aliases)
    assert model_store(settings).resolve("order").version == "1"


def test_the_same_call_makes_the_same_bundle(settings: Settings) -> None:
    """With the same data, seed and clock, every file of the bundle is the same."""
    assert run(settings, "again").digest == run(settings, "again").digest


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_bundle_says_what_was_done(settings: Settings, task: Any) -> None:
    """Card, calibration, golden rows and contract are those of the training."""
    rows = make_rows(task, 800)
    made = run(settings, f"said-{task}", rows, time="opened_at", groups=["city"])
    version, bundle = load_version(settings, made.ref)

    card = bundle.card
    assert version.bundle_digest == made.digest == bundle.digest
    assert (card.label, card.key, card.time, card.groups) == ("label", ("row_id",), "opened_at", ("city",))
    assert card.created_at == "2026-01-01T12:00:00+00:00"
    assert card.metrics == made.metrics
    assert sum(card.rows.values()) == 800
    assert card.versions["xgboost"]
    assert card.params["num_boost_round"] == 15
    assert bundle.booster.num_boosted_rounds() == card.params["rounds_kept"] <= 15
    assert bundle.calibration.n_rows == card.rows["calibrate"]
    assert len(bundle.shap_base) == (3 if task == "multiclass" else 1)
    assert [*bundle.contract.schema.names, MARGIN] == bundle.golden.column_names
    assert bundle.golden.num_rows >= 256
    assert set(bundle.golden["city"].to_pylist()) == {*rows["city"].to_pylist()}
    assert "label" not in bundle.contract.schema.names
    assert {"opened_at_hour", "opened_at_month"} <= set(bundle.spec.names)
    verdict, _ = check_and_score(bundle.checker.conform(rows), bundle)
    assert verdict.accepted.all()


def test_roles_decide_what_is_a_feature(settings: Settings) -> None:
    """Dropped columns are no features, groups are unless dropped, derived ones are, key and label never."""
    made = run(
        settings,
        "roles",
        drop=["age", "city", "debt"],
        groups=["city"],
        segments=["plan"],
        derived={"debt_ratio": "debt / income"},
    )
    _, bundle = load_version(settings, made.ref)

    assert {"age", "city", "debt", "row_id", "label"}.isdisjoint(bundle.spec.names)
    assert "debt_ratio" in bundle.spec.names
    assert {"city", "debt"} <= set(bundle.contract.schema.names)
    assert "age" not in bundle.contract.schema.names
    assert "city" in bundle.card.group_metrics
    assert {"city", "plan"} == set(bundle.profile["segments"])
    assert ("city",) == bundle.card.groups


def test_a_time_that_only_counts_up_is_no_feature(settings: Settings) -> None:
    """A time that is a number orders the rows and stays in the contract, but the model does not see it."""
    rows = ROWS.append_column("day", pa.array(np.arange(800)))
    _, bundle = load_version(settings, run(settings, "counting", rows, time="day").ref)

    assert "day" not in bundle.spec.names
    assert "day" in bundle.contract.schema.names


def test_a_contract_is_kept_once_per_content(settings: Settings) -> None:
    """The same data gives the same file; other data gives the next version, and no file is ever changed."""
    first = run(settings, "kept")
    text = first.contract.read_text()
    same = run(settings, "kept", seed=3)
    wider = run(settings, "kept", ROWS.append_column("extra", pa.array(np.arange(800.0))))

    assert first.contract == same.contract == settings.home / "contracts" / "kept" / "v1.yaml"
    assert wider.contract.name == "v2.yaml"
    assert text == first.contract.read_text()
    assert load_contract(wider.contract).version == 2


def test_a_given_contract_is_used_as_it_is(settings: Settings, tmp_path: Path) -> None:
    """The bundle holds the given contract, its refusals are counted, and a broken one stops the training."""
    inferred = load_contract(run(settings, "given").contract)
    adults = Expectation("expect_column_values_to_be_between", {"column": "age", "min_value": 20, "max_value": 200})
    strict = Expectation("expect_column_values_to_be_between", {"column": "age", "min_value": 60, "max_value": 200})
    _, file = keep_contract(_with(inferred, adults), tmp_path / "adults")
    _, broken = keep_contract(_with(inferred, strict), tmp_path / "strict")

    made = run(settings, "given", contract=file)
    _, bundle = load_version(settings, made.ref)

    assert load_contract(file).digest == bundle.contract_digest
    assert sum(age < 20 for age in ROWS["age"].to_pylist()) == made.rows["refused"] > 0
    with pytest.raises(ContractBroken, match=r"refuses .* of 800 rows .*between.* on 'age'"):
        run(settings, "given", contract=broken)
    with pytest.raises(ContractInvalid, match=r"'other'.*--drop other"):
        run(settings, "given", ROWS.append_column("other", ROWS["age"]), contract=file)


def test_a_run_level_rule_stops_the_training(settings: Settings, tmp_path: Path) -> None:
    """A rule about the whole table that fails is named."""
    inferred = load_contract(run(settings, "whole").contract)
    many = Expectation("expect_table_row_count_to_be_between", {"min_value": 10_000})
    _, file = keep_contract(_with(inferred, many), tmp_path / "many")

    with pytest.raises(ContractBroken, match=r"as a whole: .*row_count.*observed"):
        run(settings, "whole", contract=file)


@pytest.mark.parametrize(
    ("options", "kind", "expected"),
    [
        ({"derived": {"leak": "label + 1"}}, InputError, "reads the label"),
        ({"derived": {"bad": "incom + 1"}}, BundleInvalid, "'incom', which is not there. Did you mean 'income'"),
        ({"key": "city"}, InputError, "is null in"),
        ({"key": "plan"}, InputError, r"\(plan\) is not unique"),
        ({"label": "income", "task": "classification"}, InputError, "holds fractions"),
        ({"data": ROWS.append_column("list", pa.array([[1]] * 800))}, SchemaMismatch, "--drop list"),
        ({"model": "a/b"}, TwinscoreError, "does not name a model"),
        ({"data": ROWS.slice(0, 150)}, InputError, "at least 200"),
    ],
)
def test_what_cannot_be_trained_is_said(
    settings: Settings, options: dict[str, Any], kind: type[TwinscoreError], expected: str
) -> None:
    """A leak, an unknown column, a bad key or label, too few rows: each has a message."""
    with pytest.raises(kind, match=expected):
        run(settings, **{"model": "refused", **options})


def test_free_text_is_named_with_the_way_out(settings: Settings) -> None:
    """A text column that is an id is refused, and the message says how to leave it out."""
    rows = make_rows("binary", 1200)
    rows = rows.append_column("note", pa.array([f"n{number}" for number in range(1200)]))

    with pytest.raises(BundleInvalid, match="--drop note"):
        run(settings, "free", rows)
    assert run(settings, "free", rows, drop=["note"]).version == "1"


def test_infinite_values_are_refused_and_counted(settings: Settings) -> None:
    """A row with an infinite number does not train, and is counted."""
    income = ROWS["income"].to_pylist()
    income[:3] = [float("inf"), float("-inf"), 1e39]
    rows = ROWS.set_column(ROWS.column_names.index("income"), "income", pa.array(income))

    assert run(settings, "infinite", rows).rows["refused"] == 3


def test_golden_rows_reach_every_branch() -> None:
    """Every category, a missing value of each column that has one, and the extremes are among the golden rows."""
    features = ["age", "visits", "income", "city", "plan", "opened_at"]

    golden = ROWS.take(pa.array(golden_rows(ROWS, features=features, n_random=5)))

    for name in ("city", "plan"):
        assert set(golden[name].to_pylist()) == set(ROWS[name].to_pylist())
    assert golden["visits"].null_count >= 1
    assert (min(ROWS["age"].to_pylist()), max(ROWS["age"].to_pylist())) == (
        min(golden["age"].to_pylist()),
        max(golden["age"].to_pylist()),
    )
    assert golden.num_rows < 40


def _with(contract: Contract, *more: Expectation) -> Contract:
    return Contract(contract.name, 1, contract.columns, contract.key, (*contract.expectations, *more))
