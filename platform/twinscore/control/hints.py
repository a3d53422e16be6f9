"""The secret that a registry signs its webhooks with, in a file of the home; no webhook is taken without one."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from twinscore.access.files import MAY_READ, access_folder, held, read_guarded, write_private

if TYPE_CHECKING:
    from pathlib import Path

    from twinscore.settings import Settings

__all__ = ["make_webhook_secret", "webhook_secret", "webhook_secret_path"]


def webhook_secret_path(home: Path) -> Path:
    """Return the place of the secret."""
    return access_folder(home) / "webhook-secret"


def webhook_secret(settings: Settings) -> str:
    """Return the secret, or nothing where none was made.

    Raises:
        SettingsInvalid: others may read the file.
        StoreUnavailable: the file system refuses.
    """
    try:
        return read_guarded(webhook_secret_path(settings.home), MAY_READ).decode("ascii", errors="replace").strip()
    except FileNotFoundError:
        return ""


def make_webhook_secret(settings: Settings) -> str:
    """Return the secret; one is made, readable by the owner of the home alone, where there is none."""
    with held(access_folder(settings.home)):
        found = webhook_secret(settings)
        if not found:
            found = secrets.token_urlsafe(32)
            write_private(webhook_secret_path(settings.home), found.encode(), mode=0o400)
    return found
