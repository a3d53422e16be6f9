"""The local key: there when keys are asked for, for the owner alone, replaced before it ends."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from twinscore.access.gate import Access
from twinscore.access.keys import create_key, load_keys, revoke_key, save_keys
from twinscore.access.local import LIFETIME, local_key, local_key_path
from twinscore.errors import SettingsInvalid

from .conftest import NOW, NOW_S


def opens(home: Path, key: str | None, now_s: float = NOW_S, verb: str = "operate") -> str:
    caller = Access.load(home).admit(None, (key or "").encode(), model="any", verb=verb, now_s=now_s)
    return caller.kind


def test_no_key_is_made_where_none_is_asked_for(home: Path) -> None:
    """A stack without keys stays one: a local key would shut its gate."""
    assert local_key(home, now=NOW) is None
    assert [] == list(home.iterdir())


def test_the_local_key_opens_everything_here(home: Path) -> None:
    """It is made once, works for every model and verb, and only the owner can read it."""
    create_key(home, label="billing", models=["loans"], days=1, now=NOW)
    first, second = local_key(home, now=NOW), local_key(home, now=NOW + timedelta(hours=1))

    assert (first, "key") == (second, opens(home, first))
    assert 0o400 == stat.S_IMODE(local_key_path(home).stat().st_mode)
    assert ["billing", "local"] == [key.label for key in load_keys(home) or ()]


def test_issuers_alone_ask_for_a_key_too(home: Path, write_issuers: Callable[..., Path]) -> None:
    """Where only tokens are set up, the commands of this machine still have their key."""
    write_issuers()

    assert "key" == opens(home, local_key(home, now=NOW))


@pytest.mark.parametrize("end", ["time", "revoked", "file gone", "keys gone", "other content", "fewer verbs"])
def test_a_local_key_that_is_no_good_is_replaced(home: Path, end: str) -> None:
    """Whatever became of it, the next command gets one that works; what has expired leaves the list."""
    create_key(home, label="billing", models=["loans"], days=1, now=NOW)
    first = local_key(home, now=NOW)
    now = NOW
    if end == "time":
        now = NOW + LIFETIME
    elif end == "revoked":
        revoke_key(home, (first or "").split("_")[1], now=NOW)
    elif end == "file gone":
        local_key_path(home).unlink()
    elif end == "keys gone":
        revoke_key(home, (load_keys(home) or ())[1].id, now=NOW)
    elif end == "fewer verbs":  # made by a release that knew fewer
        keys = [msgspec.structs.replace(key, verbs=("predict", "read")) for key in load_keys(home) or ()]
        save_keys(home, keys)
    else:
        local_key_path(home).chmod(0o600)
        local_key_path(home).write_text((first or "")[:-1])
        local_key_path(home).chmod(0o400)
    second = local_key(home, now=now)

    assert "key" == opens(home, second, now.timestamp())
    assert first != second
    assert {"time": 1, "revoked": 1, "file gone": 2, "keys gone": 1, "other content": 2, "fewer verbs": 2}[end] == sum(
        key.label == "local" for key in load_keys(home) or ()
    )


def test_a_local_key_that_others_could_read_is_refused(home: Path) -> None:
    """It may have been read, so it is not used, and the message says what to do."""
    create_key(home, label="billing", models=["loans"], days=1, now=NOW)
    local_key(home, now=NOW)
    local_key_path(home).chmod(0o444)

    with pytest.raises(SettingsInvalid, match="others could read it"):
        local_key(home, now=NOW)


def test_commands_at_the_same_time_share_one_key(home: Path) -> None:
    """However many commands start at once, one makes the key and the others take it."""
    from datetime import UTC, datetime

    create_key(home, label="billing", models=["loans"], days=1, now=datetime.now(UTC))
    code = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from twinscore.access.local import local_key
print(local_key(Path(sys.argv[1]), now=datetime.now(UTC)))
"""
    ran = [
        subprocess.Popen([sys.executable, "-c", code, str(home)], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    keys = {process.communicate(timeout=120)[0] for process in ran}

    assert (1, 1) == (len(keys), sum(key.label == "local" for key in load_keys(home) or ()))
