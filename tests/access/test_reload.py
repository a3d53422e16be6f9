"""Files that change under a running gate: read again, and whatever becomes of them, nothing opens it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from twinscore.access.gate import Access
from twinscore.access.grant import ANONYMOUS
from twinscore.access.keys import NewKey, create_key, keys_path, revoke_key, rotate_key
from twinscore.errors import SettingsInvalid

from .conftest import LATER_S, NOW, NOW_S, Provider, ask, refused


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

    assert ("billing", "token") == ask(access, provider.token("ec"))[:2]
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
