"""Parameters: defaults, files, and names that XGBoost would ignore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from twinscore.errors import SettingsInvalid
from twinscore.training.params import booster_params, read_params


def test_defaults_fit_the_task() -> None:
    """Objective and early-stopping metric follow from the label."""
    assert booster_params("classification", 2).objective == "binary:logistic"
    assert booster_params("classification", 4).booster["num_class"] == 4
    assert booster_params("regression", 0).objective == "reg:squarederror"


def test_a_file_is_laid_over_the_defaults(tmp_path: Path) -> None:
    """YAML and JSON are read, and what they do not name keeps its default."""
    (tmp_path / "p.yaml").write_text("max_depth: 3\nnum_boost_round: 7\neta: 0.3\n")
    (tmp_path / "p.json").write_text('{"max_depth": 3, "num_boost_round": 7, "eta": 0.3}')

    chosen = booster_params("regression", 0, given=read_params(tmp_path / "p.yaml"), seed=5)

    assert (3, 7, 30) == (chosen.booster["max_depth"], chosen.num_boost_round, chosen.early_stopping_rounds)
    assert "learning_rate" not in chosen.booster
    assert chosen.booster["seed"] == 5
    assert read_params(tmp_path / "p.yaml") == read_params(tmp_path / "p.json")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_dept": 3}, "'max_dept' is unknown. Did you mean 'max_depth'"),
        ({"booster": "dart"}, "'booster' cannot be set: only gbtree"),
        ({"n_estimators": 9}, "write num_boost_round"),
        ({"objective": "reg:squarederror"}, "does not fit a binary label"),
        ({"num_boost_round": 0}, "whole number of at least 1, got 0"),
        ({"early_stopping_rounds": True}, "whole number of at least 1, got True"),
        ({"max_depth": None}, "has the value None"),
    ],
)
def test_what_would_be_ignored_is_refused(given: dict[str, Any], expected: str) -> None:
    """A misspelt or useless parameter stops the training before it starts."""
    with pytest.raises(SettingsInvalid, match=expected):
        booster_params("classification", 2, given=given)


@pytest.mark.parametrize("text", ["- a\n", "max_depth: [", "", "7"])
def test_a_file_that_holds_no_parameters_is_refused(tmp_path: Path, text: str) -> None:
    """The message names the file."""
    (tmp_path / "p.yaml").write_text(text)

    with pytest.raises(SettingsInvalid, match=r"p\.yaml"):
        read_params(tmp_path / "p.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A parameter file that is not there is said so."""
    with pytest.raises(SettingsInvalid, match=r"no\.yaml cannot be read"):
        read_params(tmp_path / "no.yaml")
