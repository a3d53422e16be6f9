"""Tickets as issues of Jira, in the cloud or on a server of one's own, through version 2 of its REST API.

An issue is found again by a label that is made of the incident. Jira's search lags a few seconds behind, so whoever
tries again should not do so at once.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from twinscore.adapters.http_calls import Caller
from twinscore.errors import StoreUnavailable
from twinscore.ports.ticket_store import Ticket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.ports.ticket_store import Message

__all__ = ["JiraTickets"]

_SEARCH = {"cloud": "search/jql", "server": "search"}
_LONGEST_SUMMARY = 254


class JiraTickets:
    """The issues of one project.

    Args:
        url: of the site, such as `https://example.atlassian.net`.
        project: its key.
        token: `email:token` of the cloud, or a personal access token of a server.
        issue_type: of new issues.
        labels: of new issues.
        done: name of the transition that closes; None takes the first that leads to a status of the category done.
        search: which of the two ways to search the site has.
        private: whether the server may be one that is not public.
    """

    def __init__(
        self, url: str, project: str, token: str, *, issue_type: str = "Task", labels: Sequence[str] = (),
        done: str | None = None, search: str = "cloud", private: bool = False,
    ) -> None:  # fmt: skip
        self._site = url.rstrip("/")
        self._project = project
        self._issue_type = issue_type
        self._labels = list(labels)
        self._done = done
        self._search = _SEARCH[search]
        self._caller = Caller(f"Jira ({project})", private=private, secret=token)
        basic = base64.b64encode(token.encode()).decode()
        self._headers = {
            "authorization": f"Basic {basic}" if ":" in token else f"Bearer {token}",
            "accept": "application/json",
        }

    def open(self, message: Message) -> Ticket:
        """Return the issue of an incident: the one that is there, else a new one."""
        known = self._find(message.incident)
        if known is not None:
            if message.reopened:
                self.comment(known, message)
                self._move(known, done=False)
            return known
        fields = {
            "project": {"key": self._project},
            "issuetype": {"name": self._issue_type},
            "summary": " ".join(message.title.split())[:_LONGEST_SUMMARY],
            "description": message.body,
            "labels": [*self._labels, *message.labels, _label(message.incident)],
        }
        return self._ticket(self._call("POST", "issue", body={"fields": fields}))

    def comment(self, ticket: Ticket | None, message: Message) -> Ticket | None:
        """Say something on an issue."""
        found = ticket or self._find(message.incident)
        if found is not None and not (message.repeated and self._said(found, message)):
            self._call("POST", f"issue/{found.name}/comment", body={"body": f"{message.body}\n\n{_mark(message)}"})
        return found

    def close(self, ticket: Ticket | None, message: Message) -> Ticket | None:
        """Say why, and close an issue; one that is done already stays as it is."""
        found = self.comment(ticket, message)
        if found is None:
            return None
        if not self._move(found, done=True):
            ways = self._call("GET", f"issue/{found.name}/transitions")["transitions"]
            known = ", ".join(sorted(one["name"] for one in ways)) or "none"
            said = f"Jira ({self._project}) has no transition that closes {found.name}. Set `done`; there are: {known}."
            raise StoreUnavailable(said, receiver="jira")
        return found

    def _move(self, ticket: Ticket, *, done: bool) -> bool:
        """Bring an issue to a status that is done, or to one that is not; False when no transition does."""
        status = self._call("GET", f"issue/{ticket.name}", params={"fields": "status"})["fields"]["status"]
        if (status["statusCategory"]["key"] == "done") == done:
            return True
        for way in self._call("GET", f"issue/{ticket.name}/transitions")["transitions"]:
            fits = (way["to"]["statusCategory"]["key"] == "done") == done
            if (way["name"] == self._done) if done and self._done is not None else fits:
                self._call("POST", f"issue/{ticket.name}/transitions", body={"transition": {"id": way["id"]}})
                return True
        return False

    def _find(self, incident: str) -> Ticket | None:
        jql = f'project = "{self._project}" AND labels = "{_label(incident)}" ORDER BY created ASC'
        found = self._call("GET", self._search, params={"jql": jql, "fields": "status", "maxResults": "1"})["issues"]
        return self._ticket(found[0]) if found else None

    def _said(self, ticket: Ticket, message: Message) -> bool:
        found = self._call("GET", f"issue/{ticket.name}/comment", params={"orderBy": "-created", "maxResults": "100"})
        return any(_mark(message) in str(one["body"]) for one in found["comments"])

    def _ticket(self, issue: dict[str, Any]) -> Ticket:
        return Ticket(str(issue["key"]), f"{self._site}/browse/{issue['key']}")

    def _call(self, method: str, path: str, **more: Any) -> Any:
        return self._caller.call(method, f"{self._site}/rest/api/2/{path}", headers=self._headers, **more).json()


def _label(incident: str) -> str:
    return f"twinscore-{hashlib.sha256(incident.encode()).hexdigest()[:16]}"


def _mark(message: Message) -> str:
    return f"[twinscore:{message.id}]"
