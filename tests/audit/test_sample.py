"""Samples of the log, and the ids of requests by which the platform checks itself."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from twinscore.audit.checks import are_checks, check_id, is_check
from twinscore.audit.sample import Sampler, divided


def rows(number: int, version: str = "1", role: str = "live", start: int = 0) -> pa.Table:
    ids = [f"q-{one}" for one in range(start, start + number)]
    same = {"version": version, "role": role, "bundle_digest": f"b{version}", "contract_digest": "c"}
    return pa.table({
        "request_id": ids, "row": pa.array(np.zeros(number), pa.int32()),
        **{name: [value] * number for name, value in same.items()},
    })  # fmt: skip


def taken(sampler: Sampler) -> dict[tuple[str, str], list[str]]:
    return {(one.version, one.role): table["request_id"].to_pylist() for one, table in sampler.taken().items()}


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 5), st.randoms(use_true_random=False))
def test_a_sample_depends_on_no_order(sizes: list[int], seed: int, chance: object) -> None:
    """The same rows in other pieces, in another order, some of them twice, are the same sample."""
    whole, parts = Sampler(20, seed), Sampler(20, seed)
    whole.add(rows(sum(sizes)))
    pieces = [rows(size, start=sum(sizes[:place])) for place, size in enumerate(sizes)]
    chance.shuffle(pieces)  # type: ignore[attr-defined]
    for piece in [*pieces, pieces[0]]:
        parts.add(piece)

    assert taken(whole) == taken(parts)
    assert min(20, sum(sizes)) == len(taken(whole)["1", "live"])


def test_every_version_and_role_has_its_part() -> None:
    """Few rows of a canary are all taken; what they leave goes to the others; another seed is another sample."""

    def made(seed: int) -> dict[tuple[str, str], list[str]]:
        sampler = Sampler(100, seed)
        sampler.add(pa.concat_tables([rows(5_000), rows(10, "2", "canary"), rows(3_000, "2", "shadow")]))
        return taken(sampler)

    assert {("1", "live"): 45, ("2", "canary"): 10, ("2", "shadow"): 45} == {
        one: len(ids) for one, ids in made(1).items()
    }
    assert made(1) == made(1) != made(2)


def test_rows_are_taken_evenly() -> None:
    """Over many seeds, early and late rows are taken equally often."""
    late = 0
    for seed in range(200):
        sampler = Sampler(20, seed)
        sampler.add(rows(200))
        late += sum(int(one.removeprefix("q-")) >= 100 for one in taken(sampler)["1", "live"])

    assert 1_850 < late < 2_150  # of 4,000, mean 2,000, nearly five standard deviations either way


@given(st.integers(0, 1_000), st.lists(st.integers(0, 300), max_size=8))
def test_parts_add_up(wanted: int, sizes: list[int]) -> None:
    """No part gives more than it has, and together they give what is wanted, or all."""
    shares = divided(wanted, sizes)

    assert all(share <= size for share, size in zip(shares, sizes, strict=True))
    assert min(wanted, sum(sizes)) == sum(shares)


def test_checks_are_known_by_whoever_has_the_salt() -> None:
    """An id of ours is known, one of another salt or a caller's imitation is not, and no two are the same."""
    salt = b"s" * 32
    ids = [check_id(salt), check_id(b"t" * 32), "parity-1-2", "parity-", "order-17", check_id(salt)]

    assert [True, False, False, False, False, True] == are_checks(pa.chunked_array([ids]), salt).tolist()
    assert ids[0] != ids[5]
    assert all(len(one) <= 128 and one.isascii() for one in ids)
    assert not is_check(ids[0][:-1], salt)
