"""Asks an MLflow server to call when an alias moves; knows nothing of what is done then.

The server sends only what passes through it: a client that writes to its database directly is not noticed. It resolves
the address anew for each call, wants https and a public address unless it was told otherwise, and reads its list of
subscribers at most once a minute. Secrets are kept encrypted with MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinscore.adapters.mlflow_client import connect, translated
from twinscore.errors import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow.entities.webhook import Webhook, WebhookEvent, WebhookEventStr
    from mlflow.tracking import MlflowClient

__all__ = ["subscribe", "unsubscribe"]

_EVENTS: list[WebhookEventStr | WebhookEvent] = ["model_version_alias.created", "model_version_alias.deleted"]
"""A move is a creation, too."""


def subscribe(registry: str, name: str, url: str, secret: str) -> None:
    """Have `url` called when an alias of any model moves; a subscription of this name is replaced.

    Raises:
        SettingsInvalid: the server does not take the name or the address; the message says why.
        StoreUnavailable: the registry does not answer, or cannot read the secrets that it keeps.
    """
    from mlflow.exceptions import MlflowException

    client = connect(registry)
    with translated("subscribe to its aliases", registry):
        try:
            known = next(_called(client, name), None)
            if known is None:
                client.create_webhook(name, url, _EVENTS, description="hints for twinscore", secret=secret)
            else:
                client.update_webhook(known.webhook_id, url=url, events=_EVENTS, secret=secret, status="ACTIVE")
        except MlflowException as error:
            if error.error_code == "INVALID_PARAMETER_VALUE":
                message = (
                    f"The registry does not call {url}: {error}. Addresses other than public https ones need "
                    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES and MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS at the server."
                )
                raise SettingsInvalid(message, url=url) from error
            raise


def unsubscribe(registry: str, name: str) -> None:
    """Have nobody called any more; nothing happens when there is no such subscription."""
    client = connect(registry)
    with translated("unsubscribe from its aliases", registry):
        for known in list(_called(client, name)):
            client.delete_webhook(known.webhook_id)


def _called(client: MlflowClient, name: str) -> Iterator[Webhook]:
    token: str | None = None
    while True:
        page = client.list_webhooks(max_results=100, page_token=token)
        yield from (webhook for webhook in page if webhook.name == name)
        token = page.token
        if not token:
            return
