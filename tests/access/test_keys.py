"""API keys: made once, shown once, two valid for rotation, written whole by one process at a time."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from twinscore.access.files import access_folder
from twinscore.access.keys import Key, create_key, keys_path, load_keys, revoke_key, rotate_key
from twinscore.errors import SettingsInvalid, StoreConflict, StoreUnavailable

from .conftest import NOW


def make(home: Path, label: str = "billing", **options: Any) -> Any:
    return create_key(home, **{"label": label, "models": ["loans"], "days": 90, "now": NOW, **options})


def test_a_key_is_shown_once_and_kept_as_a_digest(home: Path) -> None:
    """What is handed over has 256 random bits; the file has their SHA-256 and not the bits."""
    made = make(home)
    prefix, key_id, secret = made.text.split("_", 2)
    kept = load_keys(home)

    assert ("tsk", made.key.id, 43) == (prefix, key_id, len(secret))
    assert kept == (made.key,)
    assert hashlib.sha256(secret.encode()).hexdigest() == made.key.sha256
    assert secret not in keys_path(home).read_text()


def test_keys_differ(home: Path) -> None:
    """No two keys share an id or a secret."""
    made = [make(home, label=f"l{number}").text for number in range(20)]

    assert 20 == len({text.split("_", 2)[1] for text in made}) == len({text.split("_", 2)[2] for text in made})


def test_only_the_owner_can_open_the_files(home: Path) -> None:
    """The folder is 0700, every file in it 0600, whatever the umask lets through."""
    make(home)
    folder = access_folder(home)

    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
    assert {"keys.json": 0o600, "keys.lock": 0o600} == {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()
    }


@pytest.mark.parametrize(("place", "mode"), [("keys.json", 0o620), ("keys.json", 0o602), (".", 0o770), (".", 0o777)])
def test_what_others_could_change_is_refused(home: Path, place: str, mode: int) -> None:
    """Whoever can write the file or replace it could let themselves in."""
    make(home)
    (access_folder(home) / place).chmod(mode)

    with pytest.raises(SettingsInvalid, match="others could change it"):
        load_keys(home)


def test_scope_and_time_are_kept(home: Path) -> None:
    """Models, verbs and times come back as they went in; `*` is every model."""
    some = make(home, label="a", models=["loans", "adult", "loans"], verbs=["read"], days=1.5).key
    every = make(home, label="b", models=["loans", "*"], verbs=["read", "predict"]).key

    assert (("adult", "loans"), ("read",), NOW, NOW + timedelta(days=1.5)) == (
        some.models, some.verbs, some.created, some.expires,
    )  # fmt: skip
    assert ("*", ("predict", "read")) == (every.models, every.verbs)
    assert (some, every) == load_keys(home)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label": ""}, "label"),
        ({"label": "a b"}, "label"),
        ({"label": "local"}, "label"),
        ({"models": []}, "names of models"),
        ({"models": ["loans*"]}, "names of models"),
        ({"models": [" "]}, "names of models"),
        ({"verbs": []}, "verbs"),
        ({"verbs": ["write"]}, "'write'"),
        ({"days": 0}, "days"),
        ({"days": float("nan")}, "days"),
        ({"days": 4000}, "3650"),
    ],
)
def test_an_impossible_key_is_not_made(home: Path, options: dict[str, Any], said: str) -> None:
    """The message names what is wrong, and no file appears."""
    with pytest.raises(SettingsInvalid, match=said):
        make(home, **options)

    assert load_keys(home) is None


def test_rotation_has_two_valid_keys_for_a_while(home: Path) -> None:
    """The successor has the scope of the first, which ends after the grace; a third must wait."""
    first = make(home, verbs=["predict"]).key
    second = rotate_key(home, "billing", days=30, grace_days=7, now=NOW).key
    kept = {key.id: key for key in load_keys(home) or ()}

    assert (first.models, first.verbs) == (second.models, second.verbs)
    assert [NOW + timedelta(days=7), NOW + timedelta(days=30)] == [kept[first.id].expires, kept[second.id].expires]
    with pytest.raises(StoreConflict, match=f"{first.id} and {second.id}.*2026-03-08"):
        rotate_key(home, "billing", days=30, grace_days=7, now=NOW + timedelta(days=1))
    third = rotate_key(home, "billing", days=30, grace_days=0, now=NOW + timedelta(days=8)).key
    states = [key.state(NOW + timedelta(days=8)) for key in load_keys(home) or ()]
    assert (["expired", "expired", "valid"], NOW + timedelta(days=38)) == (states, third.expires)


def test_rotation_never_lengthens_a_key(home: Path) -> None:
    """A grace beyond the old key's own end changes nothing about it."""
    first = make(home, days=2).key
    rotate_key(home, "billing", days=30, grace_days=7, now=NOW)

    assert first.expires == (load_keys(home) or ())[0].expires


def test_rotation_needs_a_key(home: Path) -> None:
    """An unknown label is answered with the near one; a grace longer than the new key makes no sense."""
    make(home)
    with pytest.raises(SettingsInvalid, match="Did you mean 'billing'"):
        rotate_key(home, "biling", days=30, grace_days=7, now=NOW)
    with pytest.raises(SettingsInvalid, match="grace"):
        rotate_key(home, "billing", days=3, grace_days=7, now=NOW)


def test_a_label_has_one_key_until_it_is_rotated(home: Path) -> None:
    """A second key of a label is made by rotation, or after the first is over."""
    first = make(home).key
    with pytest.raises(StoreConflict, match="twinscore keys rotate billing"):
        make(home)
    revoke_key(home, first.id, now=NOW)

    assert ["revoked", "valid"] == [key.state(NOW) for key in (first and make(home) and load_keys(home)) or ()]


def test_revoking_is_for_good(home: Path) -> None:
    """The first time stays; an unknown id is refused, and a whole key given by mistake is not repeated."""
    made = make(home)
    gone = revoke_key(home, made.key.id, now=NOW)
    again = revoke_key(home, made.key.id, now=NOW + timedelta(days=1))

    assert (NOW, gone) == (gone.revoked, again)
    with pytest.raises(SettingsInvalid) as caught:
        revoke_key(home, made.text, now=NOW)
    assert made.text.split("_", 2)[2][:6] not in f"{caught.value!r} {caught.value.fields}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: file.update(owner="me"), "unknown field `owner`"),
        (lambda file: file["keys"][0].update(admin=True), "unknown field `admin`"),
        (lambda file: file["keys"][0].pop("expires"), "missing required field `expires`"),
        (lambda file: file["keys"][0].update(expires="2026-06-01T00:00:00"), "timezone"),
        (lambda file: file["keys"][0].update(verbs=["write"]), "'write'"),
        (lambda file: file["keys"][0].update(models="loans"), "'loans'"),
        (lambda file: file["keys"][0].update(sha256="00"), "sha256"),
        (lambda file: file["keys"].append(file["keys"][0]), "twice"),
        (lambda file: file.update(version=2), "version"),
    ],
)
def test_a_keys_file_is_read_strictly(home: Path, change: Any, said: str) -> None:
    """What is unknown, missing or of another kind is refused by name."""
    make(home)
    document = json.loads(keys_path(home).read_text())
    change(document)
    keys_path(home).write_text(json.dumps(document))

    with pytest.raises(SettingsInvalid, match=said):
        load_keys(home)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"null"])
def test_a_broken_keys_file_is_refused(home: Path, content: bytes) -> None:
    """No part of a file is taken for the whole."""
    make(home)
    keys_path(home).write_bytes(content)

    with pytest.raises(SettingsInvalid, match="not a keys file"):
        load_keys(home)
    with pytest.raises(SettingsInvalid, match="not a keys file"):
        make(home, label="other")
    assert content == keys_path(home).read_bytes()


def test_a_pipe_in_the_place_of_the_file_holds_up_nobody(home: Path) -> None:
    """What is no file is refused, not waited for."""
    import os

    access_folder(home).mkdir(mode=0o700)
    os.mkfifo(keys_path(home), 0o600)

    with pytest.raises(SettingsInvalid, match="must be a file"):
        load_keys(home)


def test_writers_at_the_same_time_lose_no_key(home: Path) -> None:
    """Several processes make keys side by side, and each of them is there."""
    code = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from twinscore.access.keys import create_key
for number in range(5):
    create_key(Path(sys.argv[1]), label=f"{sys.argv[2]}-{number}", models=["m"], days=1, now=datetime.now(UTC))
"""
    ran = [subprocess.Popen([sys.executable, "-c", code, str(home), str(one)]) for one in range(4)]
    codes = [process.wait(timeout=120) for process in ran]

    assert [0, 0, 0, 0] == codes
    assert {f"{one}-{number}" for one in range(4) for number in range(5)} == {
        key.label for key in load_keys(home) or ()
    }
    assert {"keys.json", "keys.lock"} == {path.name for path in access_folder(home).iterdir()}


def test_a_file_system_that_refuses_is_named(home: Path) -> None:
    """Where the folder cannot be made, the error says which and nothing is half there."""
    access_folder(home).write_text("a file where the folder should be")

    with pytest.raises(StoreUnavailable, match="access cannot be written"):
        make(home)


def test_a_key_prints_without_its_digest(home: Path) -> None:
    """Lists and logs of keys have id and label."""
    made = make(home)

    assert f"Key(id={made.key.id!r}, label='billing')" == repr(made.key)
    assert isinstance(made.key, Key)
    assert made.text.split("_", 2)[2] not in repr(made)
