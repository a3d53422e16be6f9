"""The gate: headers in, caller or refusal out, and nothing that is sent opens it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twinscore.access.gate import Access, challenge, require_access, status_of
from twinscore.access.grant import ANONYMOUS, Caller
from twinscore.access.keys import NewKey, create_key, keys_path
from twinscore.errors import AccessDenied, Forbidden, SettingsInvalid, Unauthenticated

from .conftest import NOW, NOW_S, ask, refused


def test_without_keys_and_issuers_everybody_is_anonymous(home: Path) -> None:
    """The embedded default asks nobody, and makes no folder."""
    access = Access.load(home)

    assert (False, ANONYMOUS, ANONYMOUS) == (access.configured, ask(access, None), ask(access, b"anything"))
    assert [] == list(home.iterdir())


def test_each_header_is_taken(home: Path, made: NewKey) -> None:
    """A key comes as a bearer, in any writing of the word, or as x-api-key."""
    access = Access.load(home)
    key = made.text.encode()
    sent = [(b"Bearer " + key, None), (b"bearer  " + key + b" ", None), (b"BEARER " + key, None), (None, key)]

    assert [Caller(made.key.id, "key", "billing", f"key {made.key.id}")] * 4 == [
        access.admit(authorization, api_key, model="loans", verb="predict", now_s=NOW_S)
        for authorization, api_key in sent
    ]


@pytest.mark.parametrize(
    ("authorization", "api_key", "reason"),
    [
        (None, None, "missing"),
        (b"", None, "invalid"),
        (b"Bearer", None, "invalid"),
        (b"Bearer ", None, "invalid"),
        (b"KEY", None, "invalid"),
        (b"Basic KEY", None, "invalid"),
        (b"Bearer Bearer KEY", None, "invalid"),
        (b"Bearer KEY", b"KEY", "ambiguous"),
        (b"Basic eA==", b"KEY", "ambiguous"),
        (None, b"", "invalid"),
        (None, b"Bearer KEY", "invalid"),
        (None, b" KEY", "invalid"),
    ],
)
def test_other_headers_are_refused(
    home: Path, made: NewKey, authorization: bytes | None, api_key: bytes | None, reason: str
) -> None:
    """One credential, in one place, in one form; what is doubtful is refused."""
    access = Access.load(home)
    key = made.text.encode()
    filled = [None if header is None else header.replace(b"KEY", key) for header in (authorization, api_key)]

    with pytest.raises(Unauthenticated) as caught:
        access.admit(filled[0], filled[1], model="loans", verb="predict", now_s=NOW_S)

    assert reason == caught.value.fields["reason"]


def test_scope_is_model_and_verb(home: Path, made: NewKey) -> None:
    """A key opens its own models and verbs; what needs no key is open to all."""
    access = Access.load(home)

    assert (made.key.id, ANONYMOUS) == (ask(access, made).id, ask(access, None, verb=None, model="adult"))
    with pytest.raises(Forbidden, match="model adult"):
        ask(access, made, model="adult")
    with pytest.raises(Forbidden, match="verb read"):
        ask(access, made, verb="read")


def test_time_of_a_key_ends(home: Path, made: NewKey) -> None:
    """Up to the last moment it is good; then its owner, and nobody else, is told why not."""
    access = Access.load(home)
    end_s = (NOW + timedelta(days=1)).timestamp()

    assert made.key.id == ask(access, made, now_s=end_s - 0.001).id
    assert "expired" == refused(access, made, now_s=end_s)
    assert "invalid" == refused(access, made.text[:-1].encode() + b"?", now_s=end_s)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_key_is_refused(home: Path, data: st.DataObject) -> None:
    """One byte changed, put in or taken out, and the key is worth nothing."""
    if not keys_path(home).exists():
        create_key(home, label="billing", models=["*"], days=1, now=NOW)
        (home / "key").write_text(create_key(home, label="other", models=["*"], days=1, now=NOW).text)
    access = Access.load(home)
    key = (home / "key").read_bytes()
    place = data.draw(st.integers(0, len(key) - 1))
    byte = data.draw(st.binary(max_size=2) | st.sampled_from([b"-", b"_", b"A"]))
    changed = key[:place] + byte + key[place + 1 :]

    # Spaces at either end belong to the header.
    if changed.strip() != key:
        assert "invalid" == refused(access, changed)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.none() | st.binary(max_size=80), st.none() | st.binary(max_size=80))
def test_whatever_is_sent_is_a_refusal(home: Path, authorization: bytes | None, api_key: bytes | None) -> None:
    """No header makes the gate fail in any other way, or open."""
    if not keys_path(home).exists():
        create_key(home, label="billing", models=["*"], days=1, now=NOW)

    with pytest.raises(Unauthenticated):
        Access.load(home).admit(authorization, api_key, model="loans", verb="predict", now_s=NOW_S)


def test_refusals_have_status_and_challenge() -> None:
    """401 asks for a credential and says whether one was wrong; 403 says that another is needed."""
    refusals: list[AccessDenied] = [
        Unauthenticated("no key", reason="missing"),
        Unauthenticated("not accepted", reason="invalid"),
        Forbidden("not yours"),
    ]

    assert [401, 401, 403] == [status_of(one) for one in refusals]
    assert ["unauthenticated", "unauthenticated", "forbidden"] == [one.code for one in refusals]
    assert [
        b'Bearer realm="twinscore"',
        b'Bearer realm="twinscore", error="invalid_token"',
        b'Bearer realm="twinscore", error="insufficient_scope"',
    ] == [challenge(one) for one in refusals]


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.7", False),
        ("scores.example.com", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_beyond_this_machine_keys_are_needed(home: Path, host: str, inside: bool) -> None:
    """An address that others can reach is bound only where callers are asked who they are."""
    if inside:
        require_access(home, host)
    else:
        with pytest.raises(SettingsInvalid, match="twinscore keys create"):
            require_access(home, host)
    create_key(home, label="billing", models=["loans"], days=1, now=NOW)

    require_access(home, host)
    assert (True, True) == (Access.load(home).configured, keys_path(home).exists())
