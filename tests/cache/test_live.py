"""The newest file of the live version, and none of another."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from twinscore.cache.catalog import all_score_files, drop_older, score_files, score_path
from twinscore.cache.freshness import Status
from twinscore.cache.live import LiveScores
from twinscore.cache.score_file import Cached
from twinscore.cache.spec import ScoresSpec
from twinscore.clock import FixedClock

from .conftest import BUNDLE, MADE, contract_of, number_keys, score_file, scored

OTHER = "c" * 64


def keep(lake: Path, run_id: str, *, made: datetime = MADE, score: float = 0.5, bundle: str = BUNDLE) -> Path:
    path = score_path(lake, "demo", bundle, run_id)
    return score_file(path, scored(number_keys(50), [score] * 50), run_id=run_id, made=made, bundle_digest=bundle)


def live(lake: Path, *, bundle: str = BUNDLE, clock: FixedClock | None = None) -> LiveScores:
    return LiveScores(
        lake, "demo", bundle_digest=bundle, contract=contract_of(number_keys(0).schema), spec=ScoresSpec(ttl_s=3600),
        clock=clock or FixedClock(MADE + timedelta(minutes=1)),
    )  # fmt: skip


def score_of(scores: LiveScores) -> float | None:
    found = scores.find({"id": 7})
    return found.values["score"] if isinstance(found, Cached) else None


def test_the_newest_run_answers(tmp_path: Path) -> None:
    """By the time at which it began, not by the time at which its file was written."""
    keep(tmp_path, "new", made=MADE + timedelta(seconds=30), score=0.75)
    keep(tmp_path, "old", score=0.25)
    scores = live(tmp_path)

    assert (None, True, 0.75, False, "new") == (
        score_of(scores), scores.refresh(), score_of(scores), scores.refresh(), (scores.facts or {})["run_id"],
    )  # fmt: skip


def test_a_newer_run_takes_over(tmp_path: Path) -> None:
    """So does the same run with rows of a retry: its file has the same name."""
    keep(tmp_path, "a", score=0.25)
    scores = live(tmp_path)
    scores.refresh()
    keep(tmp_path, "b", made=MADE + timedelta(seconds=30), score=0.5)
    seen = [score_of(scores), scores.refresh(), score_of(scores)]
    keep(tmp_path, "b", made=MADE + timedelta(seconds=30), score=0.75)

    assert [0.25, True, 0.5, True, 0.75] == [*seen, scores.refresh(), score_of(scores)]


def test_a_promotion_leaves_no_score_of_the_old_version(tmp_path: Path) -> None:
    """What the new version looks up is made by its own bundle, or nothing is found."""
    keep(tmp_path, "old", score=0.25)
    before, after = live(tmp_path), live(tmp_path, bundle=OTHER)
    before.refresh()
    after.refresh()
    first = [score_of(before), score_of(after)]
    keep(tmp_path, "new", score=0.75, bundle=OTHER)

    assert [0.25, None, True, 0.75, 0.25] == [*first, after.refresh(), score_of(after), score_of(before)]


def test_a_file_in_the_folder_of_another_bundle_is_not_used(tmp_path: Path) -> None:
    """The folder's name is no proof: the file says itself which bundle made it."""
    made = keep(tmp_path, "old")
    there = score_path(tmp_path, "demo", OTHER, "old")
    there.parent.mkdir(parents=True)
    made.rename(there)
    scores = live(tmp_path, bundle=OTHER)

    assert (False, None) == (scores.refresh(), score_of(scores))


def test_scores_under_another_contract_are_not_used(tmp_path: Path) -> None:
    """The reason is kept for the log."""
    path = score_path(tmp_path, "demo", BUNDLE, "r")
    score_file(path, scored(number_keys(5)), contract_digest="another")
    scores = live(tmp_path)

    assert (False, None) == (scores.refresh(), score_of(scores))
    assert "checked by another contract" in (scores.problem or "")


def test_an_hour_later_nothing_is_served(tmp_path: Path) -> None:
    """The clock alone ends it."""
    keep(tmp_path, "r")
    clock = FixedClock(MADE)
    scores = live(tmp_path, clock=clock)
    scores.refresh()
    seen = [scores.find({"id": 7}).status]
    clock.advance(3600)

    assert [Status.PRESENT, Status.OUTSIDE_MAX_AGE] == [*seen, scores.find({"id": 7}).status]


@pytest.mark.parametrize("left", [100, -3000])
def test_a_damaged_file_is_passed_over(tmp_path: Path, left: int) -> None:
    """The run before it goes on answering, and the problem is kept for the log."""
    keep(tmp_path, "a", score=0.25)
    newer = keep(tmp_path, "b", made=MADE + timedelta(seconds=30), score=0.75)
    content = newer.read_bytes()
    place = content.index(struct.pack("<d", 0.75) * 10)
    newer.write_bytes(content[:left] if left > 0 else content[:place] + b"X" + content[place + 1 :])
    scores = live(tmp_path)

    assert (True, 0.25, left < 0) == (scores.refresh(), score_of(scores), "damaged" in (scores.problem or ""))


def test_the_newest_two_stay(tmp_path: Path) -> None:
    """Of each version; what is open stays mapped."""
    made = [keep(tmp_path, f"r{day}", made=MADE - timedelta(days=day), score=day / 8) for day in range(4)]
    keep(tmp_path, "other", bundle=OTHER)
    oldest = live(tmp_path, clock=FixedClock(MADE - timedelta(days=3)))
    for path in made[:3]:
        path.rename(path.with_suffix(".away"))
    oldest.refresh()
    for path in made[:3]:
        path.with_suffix(".away").rename(path)

    assert [made[2], made[3]] == drop_older(tmp_path, "demo", BUNDLE)
    assert made[:2] == [one.path for one in score_files(tmp_path, "demo", BUNDLE)]
    assert [BUNDLE, BUNDLE, OTHER] == [one.facts["bundle_digest"] for one in all_score_files(tmp_path, "demo")]
    assert 3 / 8 == score_of(oldest)


def test_a_model_without_a_file(tmp_path: Path) -> None:
    """Nothing is found, and nothing is wrong."""
    scores = live(tmp_path)

    assert (False, None, None, []) == (
        scores.refresh(), score_of(scores), scores.problem, all_score_files(tmp_path, "demo"),
    )  # fmt: skip
