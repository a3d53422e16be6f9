"""The gate: headers in, caller or refusal out; files that change are read again, and nothing opens it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from twinscore.access.gate import RECHECK_S, Access, challenge, status_of
from twinscore.access.grant import ANONYMOUS, VERBS, Caller
from twinscore.access.keys import NewKey, create_key, keys_path, revoke_key, rotate_key
from twinscore.errors import AccessDenied, Forbidden, SettingsInvalid, Unauthenticated

from .conftest import NOW, NOW_S, Provider

LATER_S = NOW_S + RECHECK_S


@pytest.fixture
def made(home: Path) -> NewKey:
    """A key for predictions of `loans`, good for a day."""
    return create_key(home, label="billing", models=["loans"], verbs=["predict"], days=1, now=NOW)


def ask(
    access: Access,
    key: NewKey | bytes | None,
    *,
    now_s: float = NOW_S,
    model: str = "loans",
    verb: str | None = "predict",
) -> Caller:
    header = key.text.encode() if isinstance(key, NewKey) else key
    return access.admit(None if header is None else b"Bearer " + header, None, model=model, verb=verb, now_s=now_s)


def refused(access: Access, key: NewKey | bytes | None, *, now_s: float = NOW_S) -> str:
    with pytest.raises(Unauthenticated) as caught:
        ask(access, key, now_s=now_s)
    return str(caught.value.fields["reason"])


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

    assert [Caller(made.key.id, "key")] * 4 == [
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


def test_a_new_key_works_at_once_and_a_revoked_one_within_a_second(home: Path, made: NewKey) -> None:
    """A key that is not known is looked for at once; what is known is looked at once a second."""
    access = Access.load(home)
    ask(access, made)
    second = rotate_key(home, "billing", days=1, grace_days=1, now=NOW)
    revoke_key(home, made.key.id, now=NOW)

    assert made.key.id == ask(access, made, now_s=NOW_S + 0.5).id
    assert second.key.id == ask(access, second, now_s=NOW_S + 0.5).id
    assert "revoked" == refused(access, made, now_s=LATER_S)


def test_the_first_key_shuts_the_gate_of_a_running_process(home: Path) -> None:
    """Whoever makes the first key means it, without a restart."""
    access = Access.load(home)
    assert ANONYMOUS == ask(access, None)
    made = create_key(home, label="first", models=["loans"], days=1, now=NOW)

    assert "missing" == refused(access, None, now_s=LATER_S)
    assert (True, made.key.id) == (access.configured, ask(access, made, now_s=LATER_S).id)


def test_a_clock_set_back_is_no_reason_not_to_look(home: Path, made: NewKey) -> None:
    """When the time jumps back, files are looked at as usual."""
    access = Access.load(home)
    ask(access, made)
    revoke_key(home, made.key.id, now=NOW)

    assert "revoked" == refused(access, made, now_s=NOW_S - 3600)


@pytest.mark.parametrize("breaking", ["content", "mode"])
def test_a_broken_keys_file_leaves_the_last_good_one(home: Path, made: NewKey, breaking: str) -> None:
    """Good keys go on, nobody else gets in, the log says so once, and the mended file counts again."""
    access = Access.load(home)
    good = keys_path(home).read_bytes()
    if breaking == "content":
        keys_path(home).write_bytes(b'{"version": 1, "keys": [')
    else:
        keys_path(home).chmod(0o666)

    with capture_logs() as logs:
        assert made.key.id == ask(access, made, now_s=LATER_S).id
        assert "missing" == refused(access, None, now_s=LATER_S + 10)
        assert "invalid" == refused(access, b"tsk_other_secret", now_s=LATER_S + 20)
    assert [("access_not_reloaded", "keys", "error")] == [(log["event"], log["what"], log["log_level"]) for log in logs]
    with pytest.raises(SettingsInvalid):
        Access.load(home)

    keys_path(home).write_bytes(good)
    keys_path(home).chmod(0o600)
    revoke_key(home, made.key.id, now=NOW)
    assert "revoked" == refused(access, made, now_s=LATER_S + 30)


def test_a_first_file_that_is_broken_shuts_the_gate(home: Path) -> None:
    """A process that asked nobody until now asks everybody, though there is no good key."""
    access = Access.load(home)
    ask(access, None)
    keys_path(home).parent.mkdir(mode=0o700)
    keys_path(home).write_text("{")

    assert "missing" == refused(access, None, now_s=LATER_S)


def test_removed_files_let_nobody_in(
    home: Path, made: NewKey, write_issuers: Callable[..., Path], provider: Provider
) -> None:
    """What a removed file allowed is over, and the gate stays shut."""
    path = write_issuers()
    access = Access.load(home)
    assert ("billing", made.key.id) == (ask(access, provider.token()).id, ask(access, made).id)
    path.unlink()
    keys_path(home).unlink()

    assert ["invalid", "invalid", "missing"] == [
        refused(access, sent, now_s=LATER_S) for sent in (provider.token(), made, None)
    ]


def test_tokens_pass_and_their_issuers_are_read_again(
    home: Path, write_issuers: Callable[..., Path], provider: Provider
) -> None:
    """A token is a caller; a key that is taken from the folder or the list verifies nothing any more."""
    write_issuers()
    access = Access.load(home)

    assert Caller("billing", "token") == ask(access, provider.token("ec"))
    write_issuers(keys=["ed"])
    assert "invalid" == refused(access, provider.token("ec"), now_s=LATER_S)
    assert "billing" == ask(access, provider.token("ed"), now_s=LATER_S).id
    (home / "access" / "issuers" / "ed.pem").write_bytes(provider.public("stranger"))
    assert "invalid" == refused(access, provider.token("ed"), now_s=LATER_S + 10)


def test_a_broken_issuer_leaves_the_last_good_one(
    home: Path, write_issuers: Callable[..., Path], provider: Provider
) -> None:
    """Tokens go on being verified, and the log names the file."""
    write_issuers()
    access = Access.load(home)
    (home / "access" / "issuers" / "ed.pem").write_text("not a key")

    with capture_logs() as logs:
        assert "billing" == ask(access, provider.token(), now_s=LATER_S).id
    assert ["issuers"] == [log["what"] for log in logs]
    assert "ed.pem" in logs[0]["reason"]


def test_threads_share_the_gate(
    home: Path, made: NewKey, write_issuers: Callable[..., Path], provider: Provider
) -> None:
    """While keys come and files change, every thread gets the right answer."""
    write_issuers()
    access = Access.load(home)
    tokens = [provider.token(sub=f"s{number}") for number in range(50)]
    wrong: list[object] = []

    def work(start: int) -> None:
        for number in range(300):
            now_s = NOW_S + start + number * 0.6
            token = tokens[number % 50]
            callers = (ask(access, made, now_s=now_s).id, ask(access, token, now_s=NOW_S + start).id)
            if callers != (made.key.id, f"s{number % 50}"):
                wrong.append(callers)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for number in range(10):
        create_key(home, label=f"more-{number}", models=["*"], days=1, now=NOW)
        write_issuers(keys=["ed", "ec"] if number % 2 else ["ed"])
    for thread in threads:
        thread.join()

    assert [] == wrong


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


def test_only_health_needs_no_key() -> None:
    """What scores needs `predict`, what describes needs `read`, and nothing but health is open."""
    opened = {path for path, verb in VERBS.items() if verb is None}

    assert {"predict"} == {VERBS[path] for path in VERBS if path.endswith(("predict", "invocations", "nfer"))}
    assert {"read"} == {VERBS[path] for path in ("/version", "/contract", "/openapi.json", "/docs", "/v2")}
    assert opened == {path for path in VERBS if path.lower().endswith(("live", "ready", "/ping")) or path == "/health"}
