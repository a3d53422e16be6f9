"""Labels: the task that follows from them, class numbers, and what cannot be predicted."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from twinscore.errors import InputError
from twinscore.training.outcome import read_outcome

N = 60


def label(values: list[object], arrow: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array((values * N)[:N], arrow)])


@pytest.mark.parametrize(
    ("column", "task", "classes"),
    [
        (label([0, 1], pa.int8()), "classification", ("0", "1")),
        (label([0.0, 1.0, 2.0]), "classification", ("0", "1", "2")),
        (label([True, False]), "classification", ("false", "true")),
        (label(["yes", "no"], pa.large_string()), "classification", ("no", "yes")),
        (pa.chunked_array([label(["b", "a"]).combine_chunks().dictionary_encode()]), "classification", ("a", "b")),
        (label([10, 9]), "classification", ("9", "10")),
        (label([0.5, 1.0]), "regression", ()),
        (label(list(range(N))), "regression", ()),
    ],
)
def test_the_task_follows_from_the_label(column: pa.ChunkedArray, task: str, classes: tuple[str, ...]) -> None:
    """Text, booleans and few whole numbers are classes in a natural order; the rest are amounts."""
    outcome = read_outcome(column, name="y")

    assert (task, classes) == (outcome.task, outcome.classes)
    assert outcome.because is not None


def test_class_numbers_follow_the_order_of_the_classes() -> None:
    """Each value is the position of its class."""
    outcome = read_outcome(label(["yes", "no"]), name="y")

    assert [1, 0] * (N // 2) == outcome.values.tolist()
    assert outcome.positive == "yes"


def test_the_positive_class_can_be_chosen() -> None:
    """The chosen class comes last, and its number is one."""
    outcome = read_outcome(label(["good", "bad"]), name="y", positive="bad")

    assert ("good", "bad") == outcome.classes
    assert [0, 1] * (N // 2) == outcome.values.tolist()


def test_a_named_task_wins() -> None:
    """Whole numbers can be amounts when a person says so."""
    outcome = read_outcome(label([0, 1, 2]), name="y", task="regression")

    assert ((), None) == (outcome.classes, outcome.because)
    assert outcome.values.dtype == np.float64


@pytest.mark.parametrize(
    ("column", "options", "expected"),
    [
        (label([1]), {}, "is 1 in every row"),
        (label([0.5, 1.5]), {"task": "classification"}, "holds fractions; use --task regression"),
        (label(["a", "b"]), {"task": "regression"}, "has type string"),
        (label([1.0, float("inf"), *range(30)], pa.float64()), {"task": "regression"}, "infinite or beyond 32-bit"),
        (label(list(range(N))), {"task": "classification"}, "fewer than 20 rows: 0 \\(1 rows\\)"),
        (label([*["a"] * 58, "b", "c"]), {}, "fewer than 20 rows: b \\(1 rows\\), c"),
        (label(["a", "b"]), {"positive": "x"}, "'x' must be one of two; 'y' has a, b"),
        (label([0, 1]), {"task": "clasification"}, "Did you mean 'classification'"),
        (pa.chunked_array([pa.array([str(n) for n in range(101)] * 20)]), {}, "has 101 classes"),
    ],
)
def test_what_cannot_be_predicted_is_said(column: pa.ChunkedArray, options: dict[str, str], expected: str) -> None:
    """Every label that no model can be trained on has a message that names the column and a way out."""
    with pytest.raises(InputError, match=expected):
        read_outcome(column, name="y", **options)
