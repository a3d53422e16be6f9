"""The outcomes that the estimates of a window start from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinscore.monitoring.learnt import ENOUGH_PAST, enough
from twinscore.monitoring.outcomes import OutcomeTally
from twinscore.monitoring.spec import WatchedLabels
from twinscore.monitoring.window_key import WindowKey
from twinscore.monitoring.window_past import MOST_WINDOWS, PastOutcomes, past_starts

from .scored import View, block_of

HOUR = timedelta(hours=1)
START = datetime(2026, 3, 1, 10, tzinfo=UTC)
KEY = WindowKey(
    model="loans", version="1", bundle_digest="d", role="live", path="online", segment="", start=START, end=START + HOUR
)
LABELS = WatchedLabels(path="labels", column="paid")


def outcomes(rows: int, labelled: int, seed: int = 0) -> OutcomeTally:
    """Rows of one source of one window."""
    rng = np.random.default_rng(seed)
    label = np.where(np.arange(rows) < labelled, (rng.random(rows) < 0.5).astype(float), np.nan)
    return OutcomeTally.of(block_of(rng.random(rows), label=label), View())


def at(number: int, key: WindowKey = KEY) -> WindowKey:
    """The window so many before the first one."""
    return replace(key, start=key.start - number * HOUR, end=key.end - number * HOUR)


@dataclass
class Store:
    """Counts by window, and what was read of them."""

    parts: list[tuple[WindowKey, OutcomeTally]]
    read: list[datetime] = field(default_factory=list)

    def tallies(
        self, starts: Sequence[datetime], keep: Callable[[WindowKey], bool]
    ) -> Iterator[tuple[WindowKey, dict[str, Any]]]:
        """Yield JSON, as a store does."""
        self.read += starts
        for key, one in self.parts:
            if key.start in starts and keep(key):
                yield key, {"parts": {"outcomes": one.to_json()}}


def expected(store: Store, key: WindowKey, younger: int) -> OutcomeTally | None:
    """One window after the other, by hand."""
    found = None
    for number in range(younger, younger + MOST_WINDOWS):
        mine = [one for of, one in store.parts if of.series == key.series and of.start == key.start - number * HOUR]
        if not mine or not (one := reduce(OutcomeTally.merge, mine)).labelled:
            continue
        found = one if found is None else found.merge(one)
        if enough(found):
            break
    return found


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), hours=st.integers(0, 5), most=st.sampled_from([20, 900]))
def test_the_newest_outcomes_that_were_due(seed: int, hours: int, most: int) -> None:
    """What adding up window after window gives, for several windows and segments, at once and one by one."""
    rng = np.random.default_rng(seed)
    keys = [replace(KEY, segment=segment) for segment in ("", "plan=a")]
    parts = [
        (at(int(rng.integers(-3, MOST_WINDOWS + 9)), keys[int(rng.integers(0, 2))]),
         outcomes(most, int(rng.integers(0, most + 1)), number))
        for number in range(40)
    ]  # fmt: skip
    store = Store(parts)
    asked = [at(number, key) for number in (3, 1, 0, -2) for key in keys]
    labels = replace(LABELS, maturity=f"{hours}h" if hours else "0s")
    whole = PastOutcomes(store.tallies, labels, HOUR).before(asked)
    slowly = PastOutcomes(store.tallies, labels, HOUR)
    found = {key: one for step in (asked[:2], asked[2:6], asked[6:]) for key, one in slowly.before(step).items()}

    assert {key: one for key in asked if (one := expected(store, key, max(1, hours))) is not None} == whole == found


def test_no_more_is_read_than_is_needed() -> None:
    """With enough outcomes in the newest windows the older ones are left alone; with few, all are read once."""
    rich = Store([(at(number), outcomes(3_000, 3_000, number)) for number in range(1, MOST_WINDOWS)])
    poor = Store([(at(number), outcomes(9, 9, number)) for number in range(1, MOST_WINDOWS + 30)])
    found = PastOutcomes(rich.tallies, LABELS, HOUR).before([KEY])[KEY]
    few = PastOutcomes(poor.tallies, LABELS, HOUR).before([KEY])[KEY]

    assert 6_000 == found.labelled >= ENOUGH_PAST
    assert len(rich.read) < 30
    assert 9 * MOST_WINDOWS == few.labelled
    assert MOST_WINDOWS == len(poor.read) == len(set(poor.read))


def test_a_rare_class_asks_for_more() -> None:
    """Five thousand outcomes of one class teach no correction, so older windows are added."""
    score, label = np.full(5_000, 0.1), np.zeros(5_000)
    one_class = OutcomeTally.of(block_of(score, label=label), View())
    label[:200] = 1.0
    both = OutcomeTally.of(block_of(score, label=label), View())

    assert (False, True) == (enough(one_class), enough(both))


@pytest.mark.parametrize(("maturity", "hours"), [("0s", 1), ("30m", 1), ("1h", 1), ("90m", 2), ("2d", 48)])
def test_windows_are_due_before_one_learns_from_them(maturity: str, hours: int) -> None:
    """The newest one ended so long before this one that its outcomes were due when this one did."""
    starts = past_starts(START, replace(LABELS, maturity=maturity), HOUR)

    assert START - hours * HOUR == starts[0]
    assert MOST_WINDOWS == len(starts)
    assert {HOUR} == {new - old for new, old in pairwise(starts)}


def test_without_labels_nothing_is_read() -> None:
    """Nobody looks into the store."""
    store = Store([(at(1), outcomes(2_000, 2_000))])

    assert {} == PastOutcomes(store.tallies, None, HOUR).before([KEY])
    assert [] == store.read
