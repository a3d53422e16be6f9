"""Commands over HTTP, on a real server and a real store: whoever is known by a key or token speaks for nobody else."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from twinscore.rollout.seen import Command
from twinscore.rollout.stage import Stage
from twinscore.settings import Settings
from twinscore.testing.promotion import SHORT_POLICY, PromotionWorld, settled_world

from .desk import Desk

LOANS = "/models/loans"
ISSUER = "https://login.example.com/"
PAUSE = {"name": "pause", "reason": "the books are closed"}


def taken(desk: Desk) -> list[Command]:
    """Return the commands that wait for the control."""
    return [Command.from_json(one.document) for one in desk.store.commands.take("loans")]


def acted(desk: Desk, world: PromotionWorld) -> None:
    """Let the control act on what waits for it, and save it with what the ledger says."""
    waiting = desk.store.commands.take("loans")
    for one in waiting:
        world.give(Command.from_json(one.document))
    drafts = world.tick()
    stored = desk.store.rollouts.load("loans")
    desk.store.rollouts.save(
        "loans", {"state": world.state.to_json()}, revision=stored.revision if stored else 0, lease=None, drafts=drafts,
        done={one.id: "taken" for one in waiting},
    )  # fmt: skip


def issuer(settings: Settings) -> Ed25519PrivateKey:
    """Trust a provider of tokens, and return what it signs with."""
    private = Ed25519PrivateKey.generate()
    folder = settings.home / "access" / "issuers"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "ed.pem").write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    trusted = {"issuers": [{"issuer": ISSUER, "audience": "twinscore", "keys": ["ed"]}]}
    (settings.home / "access" / "issuers.yaml").write_text(yaml.safe_dump(trusted))
    return private


def token(private: Ed25519PrivateKey, **claims: Any) -> str:
    """Return a token that may operate everything."""
    whole = {"iss": ISSUER, "aud": "twinscore", "exp": time.time() + 600, "models": "*", "verbs": "operate", **claims}
    return jwt.encode(whole, private, algorithm="EdDSA", headers={"kid": "ed"})


def test_without_keys_a_command_names_who_asks(desk: Desk) -> None:
    """An embedded stack asks nobody for a key: the name is taken as it is said, and a command without one is none."""
    said = desk.post(LOANS, **PAUSE, actor="anna")
    nameless = desk.post(LOANS, **PAUSE)
    proven = desk.post(LOANS, **PAUSE, actor="anna", proof="key h4ytk8mbw2rc")

    assert [202, 422, 422] == [one.status_code for one in (said, nameless, proven)]
    assert "unknown key 'proof'" in proven.json()["detail"]
    assert ["anna"] == [one.by for one in taken(desk)]
    assert ["loans"] == desk.changed


def test_nobody_commands_in_another_name(desk: Desk) -> None:
    """The actor is the key's label, said or not; another name is refused and leaves no command."""
    anna = desk.key("anna", "loans", "operate")
    own = [desk.post(LOANS, anna, **PAUSE, actor="anna"), desk.post(LOANS, anna, **PAUSE)]
    forged = [
        desk.post(LOANS, anna, name="approve", actor=actor) for actor in ("ben", "Anna", " anna", "anna (key x)", 7)
    ]
    proven = desk.post(LOANS, anna, **PAUSE, proof="key h4ytk8mbw2rc")
    nobody = desk.post(LOANS, **PAUSE, actor="anna")

    assert [202, 202] == [one.status_code for one in own]
    assert [(403, "forbidden")] * 5 == [(one.status_code, one.json()["code"]) for one in forged]
    assert "actor says 'ben', and nobody speaks for another" in forged[0].json()["detail"]
    assert [422, 401] == [proven.status_code, nobody.status_code]
    assert [f"anna (key {anna.split('_')[1]})"] * 2 == [one.by for one in taken(desk)]


def test_a_token_commands_as_its_subject(desk: Desk) -> None:
    """Its issuer is named as well; a token that says of nobody whose it is may change nothing."""
    private = issuer(desk.settings)
    desk.key("anybody", "loans", "read")  # from now on the server asks
    own = desk.post(LOANS, token(private, sub="anna"), **PAUSE)
    forged = desk.post(LOANS, token(private, sub="ben"), **PAUSE, actor="anna")
    nobody = [desk.post(LOANS, token(private), **PAUSE, actor=actor) for actor in ("anna", "", ISSUER)]

    assert [202, 403] == [own.status_code, forged.status_code]
    assert [(403, True)] * 3 == [(one.status_code, "has no sub" in one.json()["detail"]) for one in nobody]
    assert [f"anna (token of {ISSUER})"] == [one.by for one in taken(desk)]


@pytest.mark.parametrize("policy", [(), ("carol", "dan")])
def test_an_approval_is_given_with_the_approvers_own_key(desk: Desk, policy: tuple[str, ...]) -> None:
    """Where approvers are named, another's key cannot give their yes; the ledger names person and key."""
    gate = Stage(kind="approve", name="approve", approvers=policy)
    world = settled_world(policy=replace(SHORT_POLICY, stages=(*SHORT_POLICY.stages[:2], gate, SHORT_POLICY.stages[3])))
    world.aliases["champion"] = "2"
    world.run(15)
    bob, carol = desk.key("bob", "loans", "operate"), desk.key("carol", "loans", "operate")
    as_carol = desk.post(LOANS, bob, name="approve", actor="carol")
    as_bob = desk.post(LOANS, bob, name="approve") if policy else None
    acted(desk, world)
    assert 500 == world.share("2")
    assert 202 == desk.post(LOANS, carol, name="approve", version="2").status_code
    acted(desk, world)
    world.run(10)

    by_bob, by_carol = (f"{name} (key {key.split('_')[1]})" for name, key in (("bob", bob), ("carol", carol)))
    refused = [] if as_bob is None else [("command_refused", by_bob)]
    assert 403 == as_carol.status_code
    assert [*refused, ("approved", by_carol)] == desk.kinds("loans")
    assert "2" == world.state.serving
    (live,) = [one for one in world.ledger if one.kind == "live"]
    assert f"approved by {by_carol}" in " ".join(live.evidence["passed"])
