"""Settings: read once, unknown names refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from twinscore.errors import SettingsInvalid
from twinscore.settings import Settings, load_settings


def test_home_comes_back_absolute(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative home is fixed where it was read, so that a worker elsewhere finds the same folder."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("TWINSCORE_HOME", "mine")

    assert load_settings().home == home.resolve() / "mine"


def test_overrides_beat_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the caller says beats what the shell says."""
    monkeypatch.setenv("TWINSCORE_SERVE_PORT", "8100")

    assert load_settings().serve_port == 8100
    assert load_settings(serve_port=8200).serve_port == 8200
    assert load_settings().home == home.resolve()


def test_unknown_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped setting is refused with the name that was meant, never ignored."""
    monkeypatch.setenv("TWINSCORE_SERVE_PROT", "1")

    with pytest.raises(SettingsInvalid) as caught:
        load_settings()

    assert caught.value.message.startswith(
        "The setting TWINSCORE_SERVE_PROT is unknown. Did you mean 'TWINSCORE_SERVE_PORT'"
    )
    assert caught.value.fields["setting"] == "TWINSCORE_SERVE_PROT"


@pytest.mark.parametrize(("name", "value"), [("SERVE_PORT", "0"), ("SERVE_PORT", "http"), ("REQUEST_TIMEOUT_S", "-1")])
def test_value_out_of_range_is_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that cannot be meant names its variable and itself."""
    monkeypatch.setenv(f"TWINSCORE_{name}", value)

    with pytest.raises(SettingsInvalid) as caught:
        load_settings()

    assert f"TWINSCORE_{name}" in caught.value.message
    assert repr(value) in caught.value.message


def test_settings_are_frozen() -> None:
    """Settings are read once; nobody changes them under others."""
    settings = Settings()

    with pytest.raises(ValidationError):
        settings.serve_port = 1  # type: ignore[misc]


@pytest.mark.usefixtures("home")
def test_grpc_has_a_port_of_its_own() -> None:
    """One port for both protocols is refused; where it is called is an address that clients can use."""
    with pytest.raises(SettingsInvalid, match=r"TWINSCORE_GRPC_PORT is invalid.*port of HTTP"):
        load_settings(serve_port=8100, grpc_port=8100)

    assert [None, "127.0.0.1:8101", "[fe80::1]:8101"] == [
        load_settings(host=host, grpc_port=port).grpc_target
        for host, port in (("127.0.0.1", None), ("0.0.0.0", 8101), ("fe80::1", 8101))
    ]


def test_every_field_is_explained() -> None:
    """Each field has its sentence, because the settings page is made of them."""
    lines = Path(load_settings.__code__.co_filename).read_text().splitlines()
    explained = {line.split(":")[0].strip() for line, below in pairwise(lines) if below.strip().startswith('"""')}

    assert set(Settings.model_fields) - explained == set()
