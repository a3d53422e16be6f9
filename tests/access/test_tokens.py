"""Tokens: the algorithm is the key's, the claims are held against the issuer, and nothing else gets in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.access.grant import Caller
from twinscore.access.issuers import Issuer, TrustedKey, load_issuers
from twinscore.access.tokens import LEEWAY_S, MAX_REMEMBERED, TokenVerifier
from twinscore.errors import Forbidden, SettingsInvalid, Unauthenticated

from .conftest import AUDIENCE, ISSUER, NOW_S, Provider


@pytest.fixture(scope="module")
def verifier(provider: Provider) -> TokenVerifier:
    """A verifier that trusts the two keys of the issuer, and a key of another issuer."""
    ours = Issuer(issuer=ISSUER, audience=AUDIENCE, keys=("ed", "ec"))
    theirs = Issuer(issuer="https://other.example.com/", audience=AUDIENCE, keys=("theirs",))
    return TokenVerifier(
        {
            "ed": TrustedKey(ours, "EdDSA", provider.private["ed"].public_key()),
            "ec": TrustedKey(ours, "ES256", provider.private["ec"].public_key()),
            "theirs": TrustedKey(theirs, "EdDSA", provider.private["stranger"].public_key()),
        }
    )


def reason(verifier: TokenVerifier, token: bytes, now_s: float = NOW_S) -> Any:
    with pytest.raises(Unauthenticated) as caught:
        verifier.find(token, now_s)
    return caught.value.fields["reason"]


def segment(value: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


@pytest.mark.parametrize("kid", ["ed", "ec"])
def test_a_good_token_is_its_subject(verifier: TokenVerifier, provider: Provider, kid: str) -> None:
    """Ed25519 and P-256 both work, first verified and then remembered; scope is from the claims."""
    token = provider.token(kid)
    first, second = verifier.find(token, NOW_S), verifier.find(token, NOW_S + 1)

    billing = Caller("billing", "token", "billing", f"token of {ISSUER}")
    assert billing == first.admit("loans", "predict") == second.admit("loans", "predict")
    with pytest.raises(Forbidden, match="model adult"):
        first.admit("adult", "predict")
    with pytest.raises(Forbidden, match="verb read"):
        first.admit("loans", "read")


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"aud": "another"}, "audience"),
        ({"aud": ["another", "third"]}, "audience"),
        ({"iss": "https://login.example.com"}, "issuer"),
        ({"iss": "https://other.example.com/"}, "issuer"),
        ({"exp": None}, "claims"),
        ({"iss": None}, "claims"),
        ({"aud": None}, "claims"),
        ({"exp": NOW_S - LEEWAY_S}, "expired"),
        ({"nbf": NOW_S + LEEWAY_S + 1}, "not_yet"),
        ({"iat": NOW_S + LEEWAY_S + 1}, "not_yet"),
        ({"exp": True}, "claims"),
        ({"exp": float("inf")}, "claims"),
        ({"exp": float("nan")}, "claims"),
        ({"exp": 10**400}, "claims"),
        ({"exp": [NOW_S + 300]}, "claims"),
        ({"nbf": "soon"}, "claims"),
        ({"sub": 17}, "invalid"),
        ({"sub": "a\nb"}, "claims"),
        ({"sub": "x" * 201}, "claims"),
        ({"fill": "x" * 9_000}, "invalid"),
    ],
)
def test_a_token_that_is_not_for_now_or_us_is_refused(
    verifier: TokenVerifier, provider: Provider, claims: dict[str, Any], why: str
) -> None:
    """Audience, issuer, times and subject are each held against what they must be, though the signature is good."""
    assert why == reason(verifier, provider.token(**claims))


def test_clocks_may_differ_by_the_leeway(verifier: TokenVerifier, provider: Provider) -> None:
    """A token is good from a minute before its time to a minute after, remembered or not."""
    token = provider.token(exp=NOW_S + 10, nbf=NOW_S)
    good = (NOW_S - LEEWAY_S, NOW_S, NOW_S + 10 + LEEWAY_S - 0.001)

    assert 3 == len([verifier.find(token, now_s) for now_s in good])
    assert ["not_yet", "expired"] == [
        reason(verifier, token, now_s) for now_s in (NOW_S - LEEWAY_S - 1, NOW_S + 10 + LEEWAY_S)
    ]


def test_no_algorithm_is_no_signature(verifier: TokenVerifier, provider: Provider) -> None:
    """`none`, in any writing, with or without a signature, is refused."""
    _, payload, signature = provider.token().split(b".")
    forged = [
        b".".join([segment({"alg": alg, "kid": "ed"}), payload, end])
        for alg in ("none", "None", "NONE", "")
        for end in (b"", signature)
    ]

    assert ["invalid"] * 8 == [reason(verifier, token) for token in forged]


@pytest.mark.parametrize("kid", ["ed", "ec"])
def test_a_public_key_is_no_password(verifier: TokenVerifier, provider: Provider, kid: str) -> None:
    """A token signed by HMAC with the public key, which everybody has, is refused."""
    payload = provider.token(kid).split(b".")[1]
    signed = segment({"alg": "HS256", "kid": kid, "typ": "JWT"}) + b"." + payload
    mac = hmac.digest(provider.public(kid), signed, hashlib.sha256)
    forged = signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")

    assert "invalid" == reason(verifier, forged)


def test_a_key_verifies_its_own_algorithm_only(verifier: TokenVerifier, provider: Provider) -> None:
    """The other allowed algorithm under a key's id is refused too, and so are keys that nobody knows."""
    assert ["invalid"] * 4 == [
        reason(verifier, token)
        for token in (
            provider.token("ed", alg="ES256", key=provider.private["ec"]),
            provider.token("ec", alg="EdDSA", key=provider.private["ed"]),
            provider.token("ed", key=provider.private["stranger"]),
            provider.token("stranger"),
        )
    ]


@pytest.mark.parametrize("kid", [None, 7, "", "../ed", "ED", "ed.pem", ["ed"]])
def test_only_an_id_of_the_list_is_looked_up(verifier: TokenVerifier, provider: Provider, kid: Any) -> None:
    """The id is a word to be found in the list, never a place."""
    _, payload, signature = provider.token().split(b".")
    forged = segment({"alg": "EdDSA", "kid": kid} if kid is not None else {"alg": "EdDSA"}) + b"." + payload

    assert "invalid" == reason(verifier, forged + b"." + signature)


@pytest.mark.parametrize(
    "header", [{"jwk": {"kty": "OKP"}}, {"jku": "http://127.0.0.1:9/keys"}, {"x5u": "http://127.0.0.1:9/"}]
)
def test_a_token_brings_no_key_of_its_own(verifier: TokenVerifier, provider: Provider, header: dict[str, Any]) -> None:
    """A key or an address in the header is not looked at: what counts is the key of the list."""
    stranger = provider.token("ed", key=provider.private["stranger"], header=header)

    assert "invalid" == reason(verifier, stranger)


def test_what_is_critical_and_unknown_is_refused(verifier: TokenVerifier, provider: Provider) -> None:
    """A header that says it must be understood, and is not, refuses the token."""
    assert "invalid" == reason(verifier, provider.token(header={"crit": ["exp2"], "exp2": 1}))


@given(data=st.data())
def test_any_changed_token_is_refused(verifier: TokenVerifier, provider: Provider, data: st.DataObject) -> None:
    """One byte changed, put in or taken out anywhere, base64's spare bits included, and the token is worth nothing."""
    token = data.draw(st.sampled_from([provider.token("ed"), provider.token("ec")]))
    place = data.draw(st.integers(0, len(token) - 1))
    byte = data.draw(st.binary(max_size=2) | st.sampled_from([b"-", b"_", b"+", b"/", b"=", b"A", b"B"]))
    changed = token[:place] + byte + token[place + 1 :]

    if changed != token:
        assert "invalid" == reason(verifier, changed)


@pytest.mark.parametrize("kid", ["ed", "ec"])
def test_a_token_has_one_writing(verifier: TokenVerifier, provider: Provider, kid: str) -> None:
    """What a lenient decoder would read as the same token, by spare bits, padding or other signs, is refused."""
    token = provider.token(kid)
    verifier.find(token, NOW_S)
    spare = chr(token[-1] + 1).encode()  # the last sign carries two bits; the next sign differs in what is dropped
    others = [token[:-1] + spare, token + b"=", token + b"==", token + b"\n", token.replace(b".", b"=.", 1)]

    signature = token.rsplit(b".", 1)[1]
    assert base64.urlsafe_b64decode(signature + b"==") == base64.urlsafe_b64decode(signature[:-1] + spare + b"==")
    assert ["invalid"] * 5 == [reason(verifier, other) for other in others]


@given(st.binary(max_size=200) | st.text(alphabet="eyJ.-_=A", max_size=60).map(str.encode))
def test_anything_else_is_no_token(verifier: TokenVerifier, text: bytes) -> None:
    """Whatever is sent, the answer is the one refusal and never another error."""
    assert "invalid" == reason(verifier, text)


@pytest.mark.parametrize(
    ("models", "verbs", "admitted"),
    [
        ("loans adult", "predict", ["loans predict", "adult predict"]),
        ("*", ["predict", "read", "admin"], ["loans predict", "loans read", "adult predict", "adult read"]),
        (None, ["predict"], []),
        (["loans"], None, []),
        ({"loans": True}, ["predict"], []),
        ([["loans"]], ["predict"], []),
    ],
)  # fmt: skip
def test_claims_say_what_is_granted(
    verifier: TokenVerifier, provider: Provider, models: Any, verbs: Any, admitted: list[str]
) -> None:
    """Lists and words grant, `*` is every model, and a claim that is missing or of another shape grants nothing."""
    grant = verifier.find(provider.token(models=models, verbs=verbs), NOW_S)
    asked = [f"{model} {verb}" for model in ("loans", "adult") for verb in ("predict", "read", "admin")]

    def may(one: str) -> bool:
        try:
            return bool(grant.admit(*one.split()))
        except Forbidden:
            return False

    assert sorted(admitted) == sorted(one for one in asked if may(one))


def test_memory_of_tokens_is_bounded(provider: Provider) -> None:
    """However many tokens come, only so many are remembered, and none as it was sent."""
    key = TrustedKey(
        Issuer(issuer=ISSUER, audience=AUDIENCE, keys=("ed",)), "EdDSA", provider.private["ed"].public_key()
    )
    verifier = TokenVerifier({"ed": key})
    tokens = [provider.token(sub=f"s{number}") for number in range(MAX_REMEMBERED + 20)]
    for token in tokens:
        verifier.find(token, NOW_S)

    assert MAX_REMEMBERED == len(verifier._seen)
    assert not set(tokens) & set(verifier._seen)
    assert "s0" == verifier.find(tokens[0], NOW_S).caller.id


def test_issuers_are_read_from_files(home: Path, write_issuers: Callable[..., Path], provider: Provider) -> None:
    """Each id of the list gets its key and the algorithm of its kind."""
    write_issuers(models_claim="m")
    found = load_issuers(home) or {}

    assert {"ed": ("EdDSA", "m"), "ec": ("ES256", "m")} == {
        kid: (key.algorithm, key.issuer.models_claim) for kid, key in found.items()
    }
    assert "billing" == TokenVerifier(found).find(provider.token(m="loans"), NOW_S).admit("loans", "predict").id


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"jwks_uri": "https://login.example.com/keys"}, "unknown field `jwks_uri`"),
        ({"audience": None}, "audience"),
        ({"keys": []}, "keys"),
        ({"keys": ["../ed"]}, "keys"),
        ({"keys": [".ed"]}, "keys"),
        ({"keys": ["ed", "ed"]}, "twice"),
        ({"keys": ["missing"]}, "missing.pem .* is missing"),
    ],
)
def test_a_file_of_issuers_is_read_strictly(
    home: Path, write_issuers: Callable[..., Path], values: dict[str, Any], said: str
) -> None:
    """What is unknown, missing or wrong is refused by name."""
    write_issuers(**values)

    with pytest.raises(SettingsInvalid, match=said):
        load_issuers(home)


def test_only_public_keys_of_two_kinds_are_taken(
    home: Path, write_issuers: Callable[..., Path], provider: Provider
) -> None:
    """A private key, an RSA key, another curve or no key at all is refused, and nothing of it is shown."""
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    write_issuers()
    private = provider.private["ed"].private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    others = [
        key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
        for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1()))
    ]
    said: list[str] = []
    for content in (private, *others, b"", b"a password"):
        (home / "access" / "issuers" / "ed.pem").write_bytes(content)
        with pytest.raises(SettingsInvalid) as caught:
            load_issuers(home)
        said.append(caught.value.message)

    assert [True] * 5 == ["Ed25519 or P-256 public key" in message for message in said]
    assert private.splitlines()[1].decode() not in "".join(said)


def test_tokens_are_made_as_the_library_makes_them(provider: Provider) -> None:
    """The tokens of these tests are what a provider signs, so that the refusals above mean something."""
    assert {"alg": "EdDSA", "kid": "ed", "typ": "JWT"} == jwt.get_unverified_header(provider.token())
