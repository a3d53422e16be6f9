"""Ends of processes: each unasked one is counted once, and none that was asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.control.deaths import Deaths
from twinscore.online.serve_config import Processes


def processes(wanted: int, there: str, ended: str = "") -> Processes:
    """Return replicas with names of one letter."""
    return Processes(wanted, frozenset(there), frozenset(ended))


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([processes(2, "ab"), processes(2, "ab")], 0),
        ([processes(2, "ab"), processes(2, "b", "a"), processes(2, "bc", "a"), processes(2, "bc", "a")], 1),
        ([processes(2, "ab"), processes(2, "bc"), processes(2, "cd")], 2),
        ([processes(1, "a", "xyz"), processes(1, "a", "xyz")], 0),
        ([processes(1, "a"), processes(1, "d", "abc")], 3),
        ([processes(3, "abc"), processes(1, "a", "bc")], 0),
        ([processes(3, "abc"), processes(2, "a", "bc")], 1),
        ([processes(1, "a"), processes(3, "abc")], 0),
        ([processes(1, "a"), processes(1, "", "a"), processes(1, "b")], 1),
    ],
    ids=["well", "replaced", "unseen", "before", "loop", "fewer", "fewer and one died", "more", "forgotten"],
)
def test_only_unasked_ends_count(looks: list[Processes], expected: int) -> None:
    """Replaced processes count, also those that came and went between two looks; what was let go does not."""
    deaths = Deaths()

    assert expected == sum([deaths.look(look) for look in looks]) == deaths.count


@given(st.lists(st.tuples(st.sampled_from(["die", "more", "fewer", "look"]), st.integers(0, 9)), max_size=40))
def test_every_death_is_counted_once(moves: list[tuple[str, int]]) -> None:
    """Whatever happens between looks, with a record of those that ended the count is the number of deaths."""
    names = iter(range(1_000))
    there, ended, deaths, died = [next(names)], set[int](), Deaths(), 0

    def look() -> None:
        deaths.look(Processes(len(there), frozenset(map(str, there)), frozenset(map(str, ended))))

    look()
    for move, place in moves:
        if move == "die":
            ended.add(there.pop(place % len(there)))
            there.append(next(names))
            died += 1
        elif move == "more":
            look()  # Serve changes what is wanted between looks, too; here never both at once
            there.append(next(names))
        elif move == "fewer" and len(there) > 1:
            look()
            ended.add(there.pop())
        look() if move != "die" else None
    look()

    assert died == deaths.count
