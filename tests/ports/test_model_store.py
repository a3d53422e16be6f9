"""References to model versions."""

from __future__ import annotations

import pytest

from twinscore.errors import ModelNotFound
from twinscore.ports.model_store import ModelRef, ModelVersion, parse_ref


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("adult", ModelRef("adult", None, "champion")),
        ("adult@shadow", ModelRef("adult", None, "shadow")),
        ("adult/3", ModelRef("adult", "3", None)),
        ("models:/adult@champion", ModelRef("adult", None, "champion")),
        ("models:/credit-risk.v2/12", ModelRef("credit-risk.v2", "12", None)),
    ],
)
def test_a_reference_names_a_version_or_an_alias(text: str, expected: ModelRef) -> None:
    """Every written form of a reference is understood, with champion as the default alias."""
    assert expected == parse_ref(text)


@pytest.mark.parametrize(
    "text", ["", "a/b", "adult@", "adult/", "../etc", "a b", "adult@x/3", "models:/", "a:1", "x\n"]
)
def test_what_is_no_reference_is_refused_with_the_forms_that_are(text: str) -> None:
    """A text that names no version is refused, and the message shows how to write one."""
    with pytest.raises(ModelNotFound, match="Write 'adult@champion', 'adult/3' or 'adult'"):
        parse_ref(text)


def test_a_version_knows_its_exact_reference() -> None:
    """The reference of a version names it by number, whatever alias led to it."""
    version = ModelVersion("adult", "3", ("champion",), None, "somewhere", None)

    assert version.ref == "adult/3"
