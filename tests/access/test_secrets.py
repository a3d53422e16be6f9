"""Secrets stay where they are: no text, pickle, log or traceback of the gate holds one."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from twinscore.access.gate import Access, challenge
from twinscore.access.keys import create_key, keys_path, load_keys, revoke_key
from twinscore.access.local import local_key, local_key_path
from twinscore.errors import AccessDenied, SettingsInvalid, TwinscoreError

from .conftest import NOW, NOW_S, Provider

CANARY = "CANARYcanaryCANARYcanaryCANARYcanaryCANARY0"


def texts_of(error: TwinscoreError) -> str:
    """Return everything that an error could show anywhere."""
    parts = [str(error), repr(error), repr(error.fields), "".join(traceback.format_exception(error))]
    parts.append(pickle.dumps(error).decode("latin-1"))
    if isinstance(error, AccessDenied):
        parts.append(challenge(error).decode())
    return "\n".join(parts)


def test_no_refusal_repeats_what_was_sent(
    home: Path, write_issuers: Callable[..., Path], provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is wrong with a key or a token, no part of it is in the error, and nothing is logged."""
    caplog.set_level(logging.DEBUG)
    write_issuers()
    made = create_key(home, label="billing", models=["loans"], verbs=["predict"], days=1, now=NOW)
    gone = create_key(home, label="gone", models=["loans"], days=1, now=NOW)
    revoke_key(home, gone.key.id, now=NOW)
    access = Access.load(home)
    tokens = [
        provider.token(exp=NOW_S - 100, note=CANARY),
        provider.token(aud=CANARY),
        provider.token(iss=CANARY),
        provider.token("stranger", note=CANARY),
        provider.token(models=[CANARY]),
        provider.token()[:-4] + CANARY.encode(),
        provider.token(sub=CANARY * 10),
        CANARY.encode(),
        f"tsk_{made.key.id}_{CANARY}".encode(),
        f"tsk_{CANARY}".encode(),
        made.text.encode(),
        gone.text.encode(),
    ]
    sent: list[tuple[bytes | None, bytes | None]] = [(b"Bearer " + token, None) for token in tokens]
    sent += [(None, CANARY.encode()), (b"Basic " + CANARY.encode(), None), (made.text.encode(), CANARY.encode())]
    shown: list[str] = []
    with capture_logs() as logs:
        for authorization, api_key in sent:
            with pytest.raises(AccessDenied) as caught:
                access.admit(authorization, api_key, model="adult", verb="read", now_s=NOW_S)
            shown.append(texts_of(caught.value))

    secrets = [CANARY, made.text.split("_", 2)[2], gone.text.split("_", 2)[2]]
    secrets += [token.decode().split(".")[-1] for token in tokens[:7]]
    assert [] == [secret for secret in secrets for text in shown if secret in text]
    assert [] == logs
    assert "" == caplog.text


def test_the_gate_shows_and_sends_no_digest(home: Path, write_issuers: Callable[..., Path], provider: Provider) -> None:
    """Printed, it is its home; pickled, it is its home too, and reads the files where it arrives."""
    write_issuers()
    made = create_key(home, label="billing", models=["loans"], days=1, now=NOW)
    access = Access.load(home)
    header = b"Bearer " + made.text.encode()
    access.admit(header, None, model="loans", verb="read", now_s=NOW_S)
    access.admit(b"Bearer " + provider.token(), None, model="loans", verb="predict", now_s=NOW_S)
    sent = pickle.dumps(access)
    text = "\n".join([repr(access), str(access), repr(access._keyring), repr(access._tokens), sent.decode("latin-1")])

    secrets = (made.text.split("_", 2)[2], made.key.sha256, provider.token().decode())
    assert [] == [secret for secret in secrets if secret in text]
    arrived = pickle.loads(sent)
    assert made.key.id == arrived.admit(header, None, model="loans", verb="read", now_s=NOW_S).id
    # Remembered tokens are digests: nothing in memory could be sent again.
    assert provider.token() not in access._tokens._seen


def test_a_broken_file_is_not_quoted(home: Path) -> None:
    """A secret pasted into a file by mistake does not come out through the message about that file."""
    create_key(home, label="billing", models=["loans"], days=1, now=NOW)
    local_key(home, now=NOW)
    said: list[str] = []
    for content in (f'{{"version": 1, "keys": ["{CANARY}"]}}', CANARY, f'{{"version": "{CANARY}", "keys": []}}'):
        keys_path(home).write_text(content)
        with pytest.raises(SettingsInvalid) as caught:
            load_keys(home)
        said.append(texts_of(caught.value))
    issuers = home / "access" / "issuers.yaml"
    for content in (CANARY, f"issuers: [{CANARY}", f"issuers: *{CANARY}", f"issuers: !{CANARY} 1"):
        issuers.write_text(content)
        with pytest.raises(SettingsInvalid) as caught:
            Access.load(home)
        said.append(texts_of(caught.value))
    local_key_path(home).chmod(0o600)
    local_key_path(home).write_text(CANARY)

    assert [] == [text for text in said if CANARY in text]
