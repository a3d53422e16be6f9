"""A pattern means what Python's `re` means, whichever engine searches."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.contract.text_rules import Pattern, is_plain

PIECES = [
    *(
        "a",
        "b",
        ".",
        "^",
        "$",
        r"\d",
        r"\w",
        r"\D",
        r"\b",
        r"\.",
        "[ab]",
        "[^a]",
        "[a-c.]",
        r"[\d.]",
        "(a|b)",
        "(?:ab)",
    ),
    *("*", "+", "?", "{2}", "{1,2}", "{1,}", "{,2}", "|", r"\s", r"\Z", "(?i)", "(?=a)", " ", "-", "{", "}", "]"),
]
patterns = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
texts = st.text(alphabet="abAB1. \n{},-é\x0b", max_size=6)


@given(patterns, st.lists(st.none() | texts, max_size=8), st.booleans())
def test_every_engine_finds_what_re_finds(text: str, values: list[str | None], drop: bool) -> None:
    """Arrow's RE2, used for plain text and plain patterns, and `re` give one answer."""
    try:
        pattern = Pattern(text)
    except re.error:
        return
    if drop:
        # Most random values have something in them that keeps RE2 out.
        values = [None if v is None else "".join(c for c in v if c.isascii() and c != "\n") for v in values]
    array = pa.array(["skipped", *values], pa.string()).slice(1)
    expected = [value is not None and re.search(text, value) is not None for value in values]

    assert expected == pattern.found(array, plain=is_plain(array)).tolist()
    assert expected == [value is not None and pattern.found_in(value) for value in values]


def test_the_fast_engine_is_used_where_it_may() -> None:
    """Everyday patterns run in RE2, others do not."""
    fast = [r"^[A-Z]{2}\d+$", "a|b", r"[\w.-]+@\w+\.com", "^$"]
    slow = [r"\s", "(?i)a", "(?!a)b", r"\Z", "a{,2}", "[[:alpha:]]", r"\x41"]

    assert [True] * len(fast) == [Pattern(text).in_re2 for text in fast]
    assert [False] * len(slow) == [Pattern(text).in_re2 for text in slow]


def test_what_re_does_not_compile_is_an_error() -> None:
    """A pattern is refused where it is read, not where it is used."""
    for text in ("(", "a**", r"\p{L}", "[z-a]"):
        with pytest.raises(re.error):
            Pattern(text)
