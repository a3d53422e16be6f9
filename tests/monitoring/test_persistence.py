"""Persistence: k of the last n windows that could tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.monitoring.persistence import lasts

seen = st.lists(st.sampled_from([True, False, None]), max_size=12)


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ([], None),
        ([True], False),
        ([True, True], True),
        ([True, False, True], True),
        ([True, True, False, False], False),
        ([True, None, None, True], True),
        ([True, True, None], None),
    ],
)
def test_two_of_three(windows: list[bool | None], expected: bool | None) -> None:
    """One window alone is chance; one that cannot tell neither counts nor ends anything."""
    assert lasts(windows, 2, 3) is expected


@given(seen, st.integers(1, 5), st.integers(0, 5))
def test_windows_without_an_answer_change_nothing(windows: list[bool | None], at_least: int, more: int) -> None:
    """Leaving them out gives the same, when the newest could tell."""
    told = [one for one in windows if one is not None]
    if windows and windows[-1] is not None:
        assert lasts(windows, at_least, at_least + more) is lasts(told, at_least, at_least + more)
