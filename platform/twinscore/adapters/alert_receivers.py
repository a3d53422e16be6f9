"""Opens the receivers of alerts that a deployment file names; their secrets come from the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinscore.adapters.http_calls import secret_of

if TYPE_CHECKING:
    from pathlib import Path

    from twinscore.monitoring.receivers import NotifySpec, TicketsSpec
    from twinscore.ports.ticket_store import Messenger, TicketDesk, TicketStore

__all__ = ["open_messenger", "open_tickets"]


def open_tickets(spec: TicketsSpec, home: Path, desk: TicketDesk) -> TicketStore:
    """Return a tracker; nothing is asked of it yet.

    Args:
        home: what a relative folder is relative to.
        desk: the tickets of the control store.

    Raises:
        StoreUnavailable: a variable with a secret is not set.
    """
    if spec.kind == "sql":
        return desk
    if spec.kind == "file":
        from twinscore.adapters.ticket_folder import TicketFolder

        return TicketFolder(home / spec.folder)
    if spec.kind == "github":
        from twinscore.adapters.github_tickets import GithubTickets

        assert spec.repository is not None
        return GithubTickets(
            spec.repository, secret_of(spec.token_env), labels=spec.labels, url=spec.url, private=spec.private
        )
    if spec.kind == "jira":
        from twinscore.adapters.jira_tickets import JiraTickets

        assert spec.url is not None
        assert spec.project is not None
        return JiraTickets(
            spec.url, spec.project, secret_of(spec.token_env), issue_type=spec.issue_type, labels=spec.labels,
            done=spec.done, search=spec.search, private=spec.private,
        )  # fmt: skip
    from twinscore.adapters.webhook_calls import WebhookTickets

    return WebhookTickets(spec.url or secret_of(spec.url_env), secret_of(spec.token_env), private=spec.private)


def open_messenger(spec: NotifySpec) -> Messenger:
    """Return who is told; nobody is yet. Raises as `open_tickets`."""
    if spec.kind == "slack":
        from twinscore.adapters.slack_messages import SlackMessenger

        return SlackMessenger(secret_of(spec.url_env), private=spec.private)
    if spec.kind == "webhook":
        from twinscore.adapters.webhook_calls import WebhookMessenger

        return WebhookMessenger(secret_of(spec.url_env), secret_of(spec.token_env), private=spec.private)
    from twinscore.adapters.email_messages import EmailMessenger

    assert spec.host is not None
    assert spec.sender is not None
    login = None if spec.user_env is None else (secret_of(spec.user_env), secret_of(spec.password_env))
    return EmailMessenger(
        spec.host, port=spec.port, tls=spec.tls, sender=spec.sender, to=spec.to, login=login
    )  # fmt: skip
