"""A promotion from the alias to the end: forward on proof, back on failure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from twinscore.rollout.gate import Gate
from twinscore.rollout.wanted import TAG
from twinscore.testing.promotion import SHORT_POLICY, PromotionWorld, digest_for, settled_world


def test_a_moved_alias_goes_live_through_every_stage() -> None:
    """Shares rise as written, `serving` follows, and the ledger has two entries."""
    found = settled_world()
    found.aliases["champion"] = "2"
    shares, shadows = [], []
    for _ in range(40):
        found.tick()
        shares.append(found.share("2"))
        shadows.append([one.version for one in found.routing.plan.shadows] if found.routing else [])

    assert [0, 500, 5_000, 10_000] == list(dict.fromkeys(shares))
    assert ["2"] in shadows
    assert ["started", "live"] == found.kinds()
    assert ("2", "2", None) == (found.state.serving, found.aliases["serving"], found.state.rollout)
    assert ("1", ("1",), {"1": digest_for("1")}) == (found.state.previous, found.state.recent, found.state.digests)
    passed = [words.split(":")[0] for words in found.ledger[1].evidence["passed"]]
    assert ["check", "shadow", "canary 5%", "canary 50%", "bake"] == passed
    assert (SHORT_POLICY.digest, "1", "2") == (
        found.ledger[1].policy_digest, found.ledger[1].from_version, found.ledger[1].to_version,
    )  # fmt: skip


@pytest.mark.parametrize("share", [500, 5_000, 10_000])
def test_a_failing_gate_takes_everything_back_in_one_step(share: int) -> None:
    """Weight 0 at once, the alias back on the live version, two entries, and the reason on the version."""
    found = settled_world()
    found.aliases["champion"] = "2"
    found.until(share)
    found.verdicts["2"] = "fail"
    found.tick()

    assert (0, "1", "1") == (found.share("2"), found.aliases["champion"], found.aliases["serving"])
    assert ["started", "rolled_back"] == found.kinds()
    found.run(30)
    assert ["started", "rolled_back"] == found.kinds()
    assert (0, None) == (found.share("2"), found.state.rollout)
    assert "error_rate: fail" in found.tags["2"]["twinscore.rollout"]
    assert found.ledger[1].evidence["verdicts"][0]["outcome"] == "fail"


def test_a_refused_version_is_asked_again_when_a_person_asks_again() -> None:
    """Moving the alias once more is a new wish."""
    found = settled_world(verdicts={"2": "fail"})
    found.aliases["champion"] = "2"
    found.run(30)
    found.verdicts.clear()
    found.aliases["champion"] = "2"
    found.run(40)

    assert ["started", "rolled_back", "started", "live"] == found.kinds()
    assert ("2", {}) == (found.aliases["serving"], found.state.refused)


def test_an_unsound_version_is_never_asked() -> None:
    """What is missing stands on the version, and the alias goes back."""
    found = settled_world(unsound={"2": "contract: the bundle has none"})
    found.aliases["champion"] = "2"
    shares = []
    for _ in range(20):
        found.tick()
        shares.append(found.share("2"))

    assert {0} == set(shares)
    assert ["started", "refused"] == found.kinds()
    assert ("1", "refused: contract: the bundle has none") == (
        found.aliases["champion"], found.tags["2"]["twinscore.rollout"],
    )  # fmt: skip


def test_a_version_that_dies_is_taken_back() -> None:
    """An application that cannot be started is a failure, whatever the gates say."""
    found = settled_world()
    found.aliases["champion"] = "2"
    found.until(500)
    found.failed = "version 2 died five times in a minute"
    found.tick()

    assert (0, "version 2 died five times in a minute") == (found.share("2"), found.ledger[-1].reason)


def test_challenger_and_shadow_are_asked_until_removed() -> None:
    """A fixed share, beside a rollout too, whose people keep their arm."""
    found = settled_world()
    found.aliases |= {"challenger": "5", "shadow": "6"}
    found.run(5)
    assert (1_000, ["challenger_set", "shadow_set"]) == (found.share("5"), found.kinds())
    assert found.routing is not None
    assert ["6"] == [one.version for one in found.routing.plan.shadows]
    found.aliases["champion"] = "2"
    found.until(500)
    assert (1_000, None) == (found.share("5"), found.routing.plan.salt)
    del found.aliases["challenger"], found.aliases["shadow"]
    found.run(5)

    assert (0, ()) == (found.share("5"), found.routing.plan.shadows)


def test_an_unsound_challenger_is_never_asked() -> None:
    """The reason stands on the version; the alias is the person's."""
    found = settled_world(unsound={"5": "contract: the bundle has none"})
    found.aliases["challenger"] = "5"
    found.run(6)

    assert (0, ["challenger_refused"], "5") == (found.share("5"), found.kinds(), found.aliases["challenger"])
    assert "contract" in found.tags["5"]["twinscore.rollout"]


@pytest.mark.parametrize("alias", ["challenger", "shadow"])
def test_what_cannot_be_asked_beside_is_given_up_with_its_reason(alias: str) -> None:
    """Ledger and tag say why; it is asked again once somebody sets the alias anew."""
    found = settled_world()
    found.aliases[alias] = "3"
    found.run(4)
    found.given_up = {"3": "it dies"}
    found.registry_up = False
    found.run(2)
    found.registry_up, found.given_up = True, {}
    found.run(4)
    after, told = getattr(found.state, alias), found.tags["3"][TAG]
    del found.aliases[alias]
    found.run(4)
    found.aliases[alias] = "3"
    found.run(4)

    given_up = [draft.reason for draft in found.ledger if draft.kind == f"{alias}_given_up"]
    assert (None, ["it dies"], "3") == (after, given_up, getattr(found.state, alias))
    assert f"given up as {alias}, 2026-05-04 12:00:18 UTC: it dies" == told
    assert f"{alias}_set" == found.kinds()[-1]


def test_a_refused_version_is_no_challenger_either() -> None:
    """What failed as a candidate answers nobody, until somebody sets the alias anew."""
    found = settled_world(verdicts={"2": "fail"})
    found.aliases |= {"champion": "2", "challenger": "2"}
    found.run(20)
    assert (0, "2") == (found.share("2"), found.aliases["challenger"])
    del found.aliases["challenger"]
    found.run(4)
    found.aliases["challenger"] = "2"
    found.run(4)

    assert 1_000 == found.share("2")


def test_the_first_version_goes_live_without_stages() -> None:
    """There is nothing to compare it with."""
    found = PromotionWorld(policy=SHORT_POLICY, aliases={"champion": "1"}, live=None)
    found.run(6)

    assert (["started", "live"], "1") == (found.kinds(), found.aliases["serving"])


def test_the_same_bundle_under_another_number_needs_no_stages() -> None:
    """It would be compared with itself."""
    found = settled_world()
    found.state = replace(found.state, serving_digest=digest_for("2"))
    found.aliases["champion"] = "2"
    found.run(6)

    assert (["started", "live"], "2") == (found.kinds(), found.aliases["serving"])


def test_a_rollout_keeps_its_policy() -> None:
    """A file that changes meanwhile counts for the next one."""
    found = settled_world()
    found.aliases["champion"] = "2"
    found.until(500)
    found.policy = replace(SHORT_POLICY, stages=(), gates=(Gate(metric="error_rate", max=0.5),))
    found.run(1)
    assert 500 == found.share("2")
    found.run(20)

    assert SHORT_POLICY.digest == found.ledger[-1].policy_digest


def test_tags_of_versions_beside_say_until_when() -> None:
    """What an alias left carries no words of the present; on the live version these aliases ask for nothing."""
    found = settled_world()
    kept: dict[str, str] = {}

    def run(ticks: int) -> None:
        for _ in range(ticks):
            found.tick()
            # A registry keeps what was written once.
            kept.update({version: tags["twinscore.rollout"] for version, tags in found.tags.items()})

    found.aliases |= {"challenger": "5", "shadow": "6"}
    run(4)
    assert ("challenger, compared with the live version", "shadow, its answers reach nobody") == (kept["5"], kept["6"])
    found.aliases["challenger"] = "2"
    del found.aliases["shadow"]
    run(4)
    assert ("challenger until 2026-05-04 12:", "shadow until 2026-05-04 12:") == (kept["5"][:31], kept["6"][:27])
    found.aliases |= {"champion": "2", "shadow": "2"}
    run(40)
    assert "live" == kept["2"]
    del found.aliases["challenger"], found.aliases["shadow"]
    run(4)
    assert "live" == kept["2"]
