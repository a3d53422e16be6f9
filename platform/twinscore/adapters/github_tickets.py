"""Tickets as issues of a repository on GitHub, or on a server that speaks its REST API.

An issue is found again by a comment of HTML at the end of its text. Issues are listed, not searched for: GitHub's
search lags behind, its list does not.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from twinscore.adapters.http_calls import Caller
from twinscore.ports.ticket_store import Ticket, marker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from twinscore.ports.ticket_store import Message

__all__ = ["GithubTickets"]

_PAGES = 10
_PER_PAGE = 100
_CLOCKS_DIFFER = timedelta(hours=1)


class GithubTickets:
    """The issues of one repository.

    Args:
        repository: `owner/name`.
        token: may read and write issues.
        labels: of new issues.
        url: of the API.
        private: whether the server may be one that is not public.
    """

    def __init__(
        self, repository: str, token: str, *, labels: Sequence[str] = (), url: str | None = None, private: bool = False
    ) -> None:
        self._issues = f"{(url or 'https://api.github.com').rstrip('/')}/repos/{repository}/issues"
        self._labels = list(labels)
        self._caller = Caller(f"GitHub ({repository})", private=private, secret=token)
        self._headers = {
            "authorization": f"Bearer {token}",
            "accept": "application/vnd.github+json",
            "x-github-api-version": "2022-11-28",
        }

    def open(self, message: Message) -> Ticket:
        """Return the issue of an incident: the one that is there, else a new one."""
        known = self._find(message.incident, since=None if message.reopened else message.since)
        if known is not None:
            if message.reopened:
                self.comment(known, message)
                self._call("PATCH", f"/{known.name}", body={"state": "open", "state_reason": "reopened"})
            return known
        body = f"{message.body}\n\n{marker(message.incident)}"
        issue = self._call(
            "POST", "", body={"title": message.title[:256], "body": body, "labels": [*self._labels, *message.labels]}
        )
        return _ticket(issue)

    def comment(self, ticket: Ticket | None, message: Message) -> Ticket | None:
        """Say something on an issue."""
        found = ticket or self._find(message.incident, since=None)
        if found is not None and not (message.repeated and self._said(found, message)):
            body = f"{message.body}\n\n{marker(message.id)}"
            self._call("POST", f"/{found.name}/comments", body={"body": body})
        return found

    def close(self, ticket: Ticket | None, message: Message) -> Ticket | None:
        """Say why, and close an issue."""
        found = self.comment(ticket, message)
        if found is not None:
            self._call("PATCH", f"/{found.name}", body={"state": "closed", "state_reason": "completed"})
        return found

    def _find(self, incident: str, since: datetime | None) -> Ticket | None:
        wanted = marker(incident)
        asked = {"state": "all", "sort": "created", "direction": "desc"}
        if since is not None:
            asked["since"] = f"{since - _CLOCKS_DIFFER:%Y-%m-%dT%H:%M:%SZ}"
        issues = [one for one in self._list("", asked) if "pull_request" not in one]
        found = [one for one in issues if wanted in (one.get("body") or "")]
        return _ticket(min(found, key=lambda one: int(one["number"]))) if found else None

    def _said(self, ticket: Ticket, message: Message) -> bool:
        asked = {"since": f"{message.since - _CLOCKS_DIFFER:%Y-%m-%dT%H:%M:%SZ}"}
        wanted = marker(message.id)
        return any(wanted in (one.get("body") or "") for one in self._list(f"/{ticket.name}/comments", asked))

    def _list(self, path: str, asked: dict[str, str]) -> Iterator[dict[str, Any]]:
        for page in range(1, _PAGES + 1):
            found = self._call("GET", path, params={**asked, "per_page": str(_PER_PAGE), "page": str(page)})
            yield from found
            if len(found) < _PER_PAGE:
                return

    def _call(self, method: str, path: str, **more: Any) -> Any:
        return self._caller.call(method, f"{self._issues}{path}", headers=self._headers, **more).json()


def _ticket(issue: dict[str, Any]) -> Ticket:
    return Ticket(str(issue["number"]), str(issue.get("html_url", "")))
