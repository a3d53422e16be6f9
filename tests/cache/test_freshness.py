"""What may answer: the rule alone, over all ages and digests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from twinscore.cache.freshness import Status, same_version, status_at

TIMES = st.floats(-1e10, 1e10)
DIGESTS = st.sampled_from(["a" * 64, "b" * 64])


@given(TIMES, TIMES, st.floats(0, 1e10, exclude_min=True))
def test_nothing_is_used_past_its_time(made: float, now: float, most: float) -> None:
    """Only what is not from the future, and younger than allowed."""
    assert (0 <= now - made < most) == (status_at(made, now, most) is Status.PRESENT)


@given(TIMES, TIMES)
def test_without_a_limit_every_age_will_do(made: float, now: float) -> None:
    """A table that has no time is used as it is."""
    assert Status.PRESENT == status_at(made, now, None)


@given(DIGESTS, DIGESTS, DIGESTS, DIGESTS)
def test_both_digests_count(bundle: str, contract: str, live_bundle: str, live_contract: str) -> None:
    """The bundle's and the contract's."""
    facts = {"bundle_digest": bundle, "contract_digest": contract}

    assert (bundle == live_bundle and contract == live_contract) == same_version(
        facts, bundle_digest=live_bundle, contract_digest=live_contract
    )


def test_a_file_that_says_nothing_is_of_no_version() -> None:
    """Missing facts are no match."""
    assert not same_version({}, bundle_digest="a", contract_digest="b")
