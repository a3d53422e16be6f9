"""Beyond loopback only with keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from twinscore.access.exposure import refuse_open
from twinscore.access.files import access_folder, held
from twinscore.access.grant import ALL_VERBS
from twinscore.access.keys import make_key, save_keys
from twinscore.errors import SettingsInvalid
from twinscore.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_loopback_needs_no_keys(tmp_path: Path, host: str) -> None:
    """On one machine nothing has to be set up."""
    refuse_open(Settings(home=tmp_path, host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "models.example", ""])
def test_other_addresses_need_keys(tmp_path: Path, host: str) -> None:
    """Without keys the setting is named, with what to do; with one key the address is fine."""
    settings = Settings(home=tmp_path, host=host)
    with pytest.raises(SettingsInvalid, match="twinscore keys create") as caught:
        refuse_open(settings)
    made = make_key(
        label="one", models=["*"], verbs=ALL_VERBS, lifetime=timedelta(hours=1), now=datetime(2026, 1, 1, tzinfo=UTC)
    )
    with held(access_folder(tmp_path)):
        save_keys(tmp_path, [made.key])

    refuse_open(settings)
    assert caught.value.fields["setting"] == "TWINSCORE_HOST"
