"""The `cache:` mapping of a deployment file, read strictly."""

from __future__ import annotations

from typing import Any

import pytest

from twinscore.cache.spec import CacheSpec, FeaturesSpec, ScoresSpec, read_cache_spec
from twinscore.errors import SettingsInvalid

FEATURES = {"table": "features/customers", "columns": ["income"], "as_of": "seen_at", "max_age_s": 60, "key": "id"}


def test_a_whole_mapping() -> None:
    """Every key, and text where a list of one is meant."""
    wanted = CacheSpec(
        scores=ScoresSpec(ttl_s=86400),
        features=FeaturesSpec(
            table="features/customers", columns=("income",), key=("id",), as_of="seen_at", max_age_s=60
        ),
    )

    assert wanted == read_cache_spec({"scores": {"ttl_s": 86400}, "features": FEATURES})


@pytest.mark.parametrize("document", [None, {}, {"scores": None}])
def test_nothing_is_taken_unless_it_is_said(document: object) -> None:
    """An empty mapping is no cache."""
    assert CacheSpec() == read_cache_spec(document)


@pytest.mark.parametrize(("document", "message"), [
    ([], "cache: .*must be a mapping of scores, features"),
    ({"score": {}}, "unknown key cache.score. Did you mean 'scores'"),
    ({"scores": 5}, "cache.scores: 5, which must be a mapping of ttl_s"),
    ({"scores": {}}, "cache.scores.ttl_s: None, which must be given as a number of seconds"),
    ({"scores": {"ttl_s": "1d"}}, "cache.scores.ttl_s: '1d', which must be a number of seconds"),
    ({"scores": {"ttl_s": True}}, "cache.scores.ttl_s: True"),
    ({"scores": {"ttl_s": False}}, "cache.scores.ttl_s: False"),
    ({"scores": {"ttl_s": 0}}, "more than 0 seconds"),
    ({"scores": {"ttl_s": float("nan")}}, "more than 0 seconds"),
    ({"scores": {"ttl": 1}}, "unknown key cache.scores.ttl. Did you mean 'ttl_s'"),
    ({"features": {"table": "t"}}, "cache.features.columns: None"),
    ({"features": {**FEATURES, "columns": [1]}}, "cache.features.columns: \\[1\\], which must be a list of text"),
    ({"features": {**FEATURES, "columns": []}}, "cache.features.columns"),
    ({"features": {**FEATURES, "columns": ["a", "a"]}}, "each named once"),
    ({"features": {**FEATURES, "key": ["income"]}}, "cache.features.key"),
    ({"features": {**FEATURES, "table": ""}}, "cache.features.table"),
    ({"features": {**FEATURES, "as_of": None}}, "cache.features.as_of: None, which must be the column"),
    ({"features": {**FEATURES, "max_age_s": -1}}, "cache.features.max_age_s: -1"),
])  # fmt: skip
def test_what_is_wrong_is_named(document: Any, message: str) -> None:
    """The key, what was expected, and what is near."""
    with pytest.raises(SettingsInvalid, match=message):
        read_cache_spec(document)
