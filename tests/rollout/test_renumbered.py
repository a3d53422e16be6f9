"""A model that was deleted and made anew: its numbers name other bundles than those that were live."""

from __future__ import annotations

from twinscore.rollout.wanted import wanted_checks
from twinscore.testing.promotion import PromotionWorld, digest_for, settled_world

OTHER = "f" * 64


def went_on() -> PromotionWorld:
    """Return a world in which version 2 is live and version 1 was before."""
    found = settled_world()
    found.aliases["champion"] = "2"
    found.run(40)
    found.ledger.clear()
    return found


def test_a_new_bundle_under_an_old_number_runs_every_stage() -> None:
    """It was never live, whatever its number; a rollback does not bring back the one before under it."""
    found = went_on()
    found.digests["1"] = OTHER
    found.aliases["champion"] = "1"
    shares = []
    for _ in range(30):
        found.tick()
        shares.append(found.share("1"))

    assert [0, 500, 5_000, 10_000] == list(dict.fromkeys(shares))
    assert ["started", "bundle_differs", "live"] == found.kinds()
    assert "rollback reaches no more" in found.ledger[1].reason
    assert (OTHER, {"2": digest_for("2")}) == (found.live and found.live.digest, found.state.digests)


def test_a_new_bundle_under_an_old_number_waits_for_holds() -> None:
    """Only going back passes them; a challenger's look shows it, too."""
    found = went_on()
    found.digests["1"] = OTHER
    found.aliases["challenger"] = "1"
    found.run(4)
    assert ["bundle_differs", "challenger_set"] == found.kinds()
    found.command("rollback", version="1")
    found.tick()

    assert "version 1 was not live before; versions that were: none" in found.ledger[-1].reason
    found.command("pause")
    found.aliases["champion"] = "1"
    found.run(10)
    assert found.state.rollout is not None
    assert ("paused by alice", "2") == (found.state.rollout.waits, found.live and found.live.version)


def test_going_back_brings_back_the_bundle_and_says_that_its_number_names_another() -> None:
    """Going back waits for nobody; the ledger and the tag say afterwards what the registry's number is worth."""
    found = went_on()
    found.digests["1"] = OTHER
    found.registry_up = False
    found.command("rollback")
    found.run(3)
    assert ("1", ("1",), ()) == (
        found.state.serving, wanted_checks(found.state), wanted_checks(found.state, away=True)
    )  # fmt: skip
    found.registry_up = True
    found.run(4)

    assert ("1", digest_for("1")) == (found.state.serving, found.live and found.live.digest)
    assert ["started", "live", "bundle_differs"] == found.kinds()
    words = "the bundle 000000000000 goes on answering: another bundle has this number now (ffffffffffff)"
    assert words in found.ledger[2].reason
    assert f"live; {words}" in found.tags["1"]["twinscore.rollout"]


def test_a_new_bundle_under_the_live_number_is_not_dropped_without_a_word() -> None:
    """One number cannot answer for two bundles, so it is refused, and says so, until the registry has the live one."""
    found = settled_world()
    del found.aliases["champion"]
    found.run(3)
    found.digests["1"] = OTHER
    found.aliases["champion"] = "1"
    found.run(10)

    assert (digest_for("1"), ["bundle_differs"]) == (found.live and found.live.digest, found.kinds())
    assert "register it under a number of its own" in found.tags["1"]["twinscore.rollout"]
    found.digests.clear()
    found.command("promote", version="1")
    found.run(4)
    assert (["bundle_differs"], "live") == (found.kinds(), found.tags["1"]["twinscore.rollout"])


def test_a_live_version_that_the_registry_lost_goes_on_answering() -> None:
    """Whoever asks for it reads what is missing."""
    found = settled_world(unsound={"1": "version: there is none"})
    found.ledger.clear()
    found.command("promote", version="1")
    found.run(4)

    assert ("1", ["bundle_missing"]) == (found.live and found.live.version, found.kinds())
    assert "version: there is none" in found.ledger[0].reason
