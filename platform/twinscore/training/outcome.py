"""The label as the booster sees it: classes by number, or numbers; knows nothing of features.

When no task is named it follows from the label: text, true/false and at most twenty whole numbers are classes,
everything else is a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.errors import InputError, near

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MOST_CLASSES", "MOST_INFERRED_CLASSES", "Outcome", "Task", "read_outcome"]

Task = Literal["classification", "regression"]

MOST_INFERRED_CLASSES = 20
"""Whole numbers with more distinct values than this are taken for amounts, not classes."""

MOST_CLASSES = 100
FEWEST_OF_CLASS = 20
"""A class needs rows to learn from, to calibrate on and to test on."""

_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be predicted.

    Args:
        task: classification or regression.
        classes: class labels as text, in the booster's order; empty for regression.
        values: (n_rows,) class numbers as int64, or float64 amounts.
        because: why this task, when it was inferred, else None.
    """

    task: Task
    classes: tuple[str, ...]
    values: NDArray[np.int64] | NDArray[np.float64]
    because: str | None

    @property
    def positive(self) -> str | None:
        """The class whose probability is the score, when there are two."""
        return self.classes[1] if len(self.classes) == 2 else None


def read_outcome(label: pa.ChunkedArray, *, name: str, task: str | None = None, positive: str | None = None) -> Outcome:
    """Read a label column without nulls.

    Args:
        label: (n_rows,)
        name: of the column, for messages.
        task: None infers it.
        positive: with two classes, the one to score; None takes the last in sorted order (1, true, 'yes').

    Raises:
        InputError: the label is constant, not finite, of a type that cannot be predicted, or does not fit the task.
    """
    if task is not None and task not in ("classification", "regression"):
        message = f"The task {task!r} is unknown. {near(task, ['classification', 'regression'])}"
        raise InputError(message, task=task)
    arrow = label.type
    if pa.types.is_dictionary(arrow):
        label = pc.cast(label, arrow.value_type)
        arrow = label.type
    if pc.count_distinct(label).as_py() < 2:
        message = f"The label {name!r} is {label[0].as_py()!r} in every row; there is nothing to learn."
        raise InputError(message, column=name)
    because = None
    if task is None:
        task, because = _infer(label, name)
    if task == "regression":
        return Outcome("regression", (), _amounts(label, name), because)
    classes, codes = _classes(label, name)
    if positive is not None:
        if len(classes) != 2 or positive not in classes:
            message = f"The positive class {positive!r} must be one of two; {name!r} has {', '.join(classes[:5])}."
            raise InputError(message, column=name, positive=positive)
        if classes[0] == positive:
            classes, codes = classes[::-1], 1 - codes
    return Outcome("classification", classes, codes, because)


def _infer(label: pa.ChunkedArray, name: str) -> tuple[Task, str]:
    arrow = label.type
    if pa.types.is_boolean(arrow) or _is_text(arrow):
        return "classification", f"{name!r} holds {'true and false' if pa.types.is_boolean(arrow) else 'text'}"
    _need_number(label, name)
    distinct = pc.count_distinct(label).as_py()
    if distinct <= MOST_INFERRED_CLASSES and _whole(label):
        return "classification", f"{name!r} holds {distinct} different whole numbers"
    return "regression", f"{name!r} holds {distinct:,} different numbers"


def _classes(label: pa.ChunkedArray, name: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    arrow = label.type
    if pa.types.is_boolean(arrow):
        text = pc.if_else(label, "true", "false")
    elif _is_text(arrow):
        text = pc.cast(label, pa.string())
    else:
        _need_number(label, name)
        if not _whole(label):
            message = f"The label {name!r} holds fractions; use --task regression, or write its classes as text."
            raise InputError(message, column=name)
        text = pc.cast(pc.cast(label, pa.int64()), pa.string())
    coded = pc.dictionary_encode(text).combine_chunks()
    values = [str(value) for value in coded.dictionary.to_pylist()]
    if len(values) > MOST_CLASSES:
        message = (
            f"The label {name!r} has {len(values):,} classes, more than {MOST_CLASSES}; is it the right column? "
            "For an amount use --task regression."
        )
        raise InputError(message, column=name, classes=len(values))
    order = sorted(range(len(values)), key=lambda i: int(values[i]) if pa.types.is_integer(arrow) else values[i])
    if pa.types.is_floating(arrow):
        order.sort(key=lambda i: int(values[i]))
    place = np.empty(len(values), dtype=np.int64)
    place[order] = np.arange(len(values))
    codes = place[coded.indices.to_numpy()]
    classes = tuple(values[i] for i in order)
    few = [f"{c} ({n} rows)" for c, n in zip(classes, np.bincount(codes), strict=True) if n < FEWEST_OF_CLASS]
    if few:
        message = (
            f"The label {name!r} has classes with fewer than {FEWEST_OF_CLASS} rows: {', '.join(few[:5])}. "
            "Leave those rows out, join the classes, or use --task regression for an amount."
        )
        raise InputError(message, column=name, classes=few[:5])
    return classes, codes


def _amounts(label: pa.ChunkedArray, name: str) -> NDArray[np.float64]:
    _need_number(label, name)
    values = pc.cast(label, pa.float64()).to_numpy()
    broken = ~(np.abs(values) <= _FLOAT32_MAX)
    if broken.any():
        message = f"The label {name!r} is infinite or beyond 32-bit floats in {int(broken.sum())} rows; correct them."
        raise InputError(message, column=name, rows=int(broken.sum()))
    return cast("NDArray[np.float64]", values)


def _is_text(arrow: pa.DataType) -> bool:
    return bool(pa.types.is_string(arrow) or pa.types.is_large_string(arrow) or pa.types.is_string_view(arrow))


def _whole(label: pa.ChunkedArray) -> bool:
    if pa.types.is_integer(label.type):
        return True
    values = pc.cast(label, pa.float64()).to_numpy()
    return bool(np.all(np.abs(values) < 2**53) and np.all(values == np.rint(values)))


def _need_number(label: pa.ChunkedArray, name: str) -> None:
    arrow = label.type
    if not (pa.types.is_integer(arrow) or pa.types.is_floating(arrow) or pa.types.is_decimal(arrow)):
        message = f"The label {name!r} has type {arrow}; a label is text, true/false or a number."
        raise InputError(message, column=name, type=str(arrow))
