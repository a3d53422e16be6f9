"""Tickets as files: one JSON document for each incident, and the same as Markdown beside it for people."""

from __future__ import annotations

import hashlib
import json
import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from twinscore.errors import StoreUnavailable
from twinscore.ports.ticket_store import Ticket

if TYPE_CHECKING:
    from pathlib import Path

    from twinscore.ports.ticket_store import Message

__all__ = ["TicketFolder"]


class TicketFolder:
    """The tickets in one folder, `<folder>/<model>/<name>.json`.

    Args:
        folder: is made when the first ticket is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, message: Message) -> Ticket:
        """Return the ticket of an incident: the one that is there, else a new one."""
        document = self._read(message)
        if document is None:
            document = {
                "incident": message.incident, "model": message.model, "severity": message.severity,
                "title": message.title, "body": message.body, "state": "open", "opened_at": _now(), "closed_at": None,
                "notes": [],
            }  # fmt: skip
            self._write(message, document)
        elif message.reopened:
            self._changed(message, {"state": "open", "closed_at": None})
        return self._ticket(message)

    def comment(self, ticket: Ticket | None, message: Message) -> Ticket | None:
        """Say something on the incident's ticket, once for an order."""
        del ticket  # the incident names it
        return self._changed(message, {})

    def close(self, ticket: Ticket | None, message: Message) -> Ticket | None:
        """Say why, and close the incident's ticket."""
        del ticket
        document = self._read(message)
        closed_at = _now() if document is None else document["closed_at"] or _now()
        return self._changed(message, {"state": "closed", "closed_at": closed_at})

    def _changed(self, message: Message, values: dict[str, Any]) -> Ticket | None:
        document = self._read(message)
        if document is None:
            return None
        if all(note["order"] != message.id for note in document["notes"]):
            document["notes"].append({"at": _now(), "order": message.id, "body": message.body})
        document.update(values)
        self._write(message, document)
        return self._ticket(message)

    def _read(self, message: Message) -> dict[str, Any] | None:
        path = self._path(message)
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            message_ = f"The ticket {path} cannot be read: {error}. Repair it, or move it away."
            raise StoreUnavailable(message_, path=str(path)) from error
        return found

    def _write(self, message: Message, document: dict[str, Any]) -> None:
        path = self._path(message)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path.with_suffix(".md"), _markdown(document))
            _replace(path, json.dumps(document, indent=1, ensure_ascii=False))
        except OSError as error:
            message_ = f"The ticket {path} cannot be written: {error.strerror}."
            raise StoreUnavailable(message_, path=str(path)) from error

    def _path(self, message: Message) -> Path:
        """Return the place of the incident's ticket; names that differ never share one."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", message.incident).strip(".-")[:60]
        name = f"{plain}-{hashlib.sha256(message.incident.encode()).hexdigest()[:8]}.json"
        return self._folder / re.sub(r"[^A-Za-z0-9._-]+", "-", message.model).strip(".") / name

    def _ticket(self, message: Message) -> Ticket:
        path = self._path(message)
        return Ticket(path.stem, str(path.with_suffix(".md")))


def _replace(path: Path, text: str) -> None:
    """Write a file so that readers see the old one or the new one, on the disk when this returns."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _markdown(document: dict[str, Any]) -> str:
    notes = "".join([f"\n---\n{note['at']}\n\n{note['body']}\n" for note in document["notes"]])
    return (
        f"# {document['title']}\n\n{document['state']}, {document['severity']}, {document['model']},"
        f" incident {document['incident']}, since {document['opened_at']}\n\n{document['body']}\n{notes}"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
