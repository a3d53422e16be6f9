"""Errors cross Ray processes, so every class survives pickling with its fields."""

from __future__ import annotations

import pickle

import pytest

from twinscore import errors

CLASSES = [getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_error_survives_pickling(cls: type[errors.TwinscoreError]) -> None:
    """Class, message and fields come out as they went in."""
    sent = cls("what happened", column="income", values=[1, None, "x"])

    got = pickle.loads(pickle.dumps(sent))

    assert (type(got), got.message, str(got), got.fields) == (cls, "what happened", "what happened", sent.fields)


def test_every_raised_class_is_in_the_tree() -> None:
    """No room defines an error of its own: the tree is in one file."""

    def below(cls: type[errors.TwinscoreError]) -> set[str]:
        return {cls.__name__}.union(*(below(child) for child in cls.__subclasses__()))

    assert below(errors.TwinscoreError) == {cls.__name__ for cls in CLASSES}
