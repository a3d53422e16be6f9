"""The token and the folder for sockets: nobody else may read the one or own the other."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from twinscore.errors import StackError
from twinscore.stack.launch import claim, ensure_token, temp_folder


@pytest.fixture
def open_umask() -> Iterator[None]:
    """The most careless umask there is."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_token_is_for_its_owner_only(tmp_path: Path) -> None:
    """Whatever the umask: 256 random bits in a file of mode 0400, in a folder of mode 0700."""
    path = ensure_token(tmp_path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(bytes.fromhex(path.read_text())) == 32


def test_token_stays_the_same(tmp_path: Path) -> None:
    """A second call gives the token of the first; another home has another one."""
    first = ensure_token(tmp_path / "a").read_text()

    assert ensure_token(tmp_path / "a").read_text() == first
    assert ensure_token(tmp_path / "b").read_text() != first


@pytest.mark.usefixtures("open_umask")
def test_claimed_folder_is_closed_to_others(tmp_path: Path) -> None:
    """The folder has mode 0700, also when it was there with another one."""
    folder = tmp_path / "sockets"
    folder.mkdir()

    assert stat.S_IMODE(claim(folder).stat().st_mode) == 0o700


def test_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """Somebody who knows the name cannot send our sockets elsewhere with a link."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sockets").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StackError, match="TMPDIR"):
        claim(tmp_path / "sockets")


def test_temp_folder_is_short_even_when_tmpdir_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long TMPDIR is not used: socket paths must stay below 108 bytes."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("long" * 20)))

    assert len(str(temp_folder(tmp_path))) <= 24


def test_temp_folder_leaves_room_for_the_socket_of_serves_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HAProxy takes 97 bytes, of which Serve's folder of 56 digits and the name of the socket are 73."""
    for width in range(4, 40):
        monkeypatch.setattr("tempfile.tempdir", "/" + "t" * (width - 1))

        assert len(f"{temp_folder(tmp_path)}/h/{'0' * 56}/metrics.sock") <= 97
