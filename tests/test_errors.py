"""The error tree: codes, messages, fields."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore import errors
from twinscore.errors import SchemaMismatch, TwinscoreError, near

CLASSES = [getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)]


def test_message_is_the_text_and_fields_are_kept() -> None:
    """An error prints its message and keeps facts for programs."""
    error = SchemaMismatch("income is text", column="income", expected="double")

    assert error.message == "income is text"
    assert str(error) == "income is text"
    assert error.fields == {"column": "income", "expected": "double"}


def test_every_class_has_its_own_code() -> None:
    """A code names one class, so that a client can rely on it."""
    codes = [cls.code for cls in CLASSES]

    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


def test_every_class_is_a_twinscore_error() -> None:
    """One except clause catches all that is raised on purpose."""
    assert [cls for cls in CLASSES if not issubclass(cls, TwinscoreError)] == []


def test_tree_in_the_docstring_is_the_tree() -> None:
    """The tree drawn in the module docstring names every class, once, under its parent."""
    drawn = re.findall(r"^([ |`-]*)([A-Z][A-Za-z]+)", errors.__doc__ or "", flags=re.MULTILINE)
    stack: list[tuple[int, str]] = []
    parents: dict[str, str] = {}
    for indent, name in drawn:
        if name not in errors.__all__:
            continue
        while stack and stack[-1][0] >= len(indent):
            stack.pop()
        parents[name] = stack[-1][1] if stack else "Exception"
        stack.append((len(indent), name))

    assert parents == {cls.__name__: cls.__bases__[0].__name__ for cls in CLASSES}


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("incom", ["income", "debt"], "Did you mean 'income'?"),
        ("x", ["income", "debt"], "Known: debt, income."),
        ("x", [], "None is known."),
        (
            "x",
            [f"column{number:02}" for number in range(12)],
            "Known: " + ", ".join(f"column{n:02}" for n in range(10)) + ", ...",
        ),
    ],
)
def test_near_offers_what_is_close(name: str, known: list[str], expected: str) -> None:
    """A mistyped name gets the close names, else the first ten known ones."""
    assert near(name, known).rstrip(".") == expected.rstrip(".")


@given(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=30))
def test_near_always_answers_one_sentence(name: str, known: list[str]) -> None:
    """Whatever the names are, the answer is a sentence that can follow another."""
    assert near(name, known)[-1] in ".?"
