"""Messages to people by e-mail, one thread for each incident."""

from __future__ import annotations

import hashlib
import smtplib
import socket
import ssl
import threading
from contextlib import suppress
from email.message import EmailMessage
from typing import TYPE_CHECKING

from twinscore.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.ports.ticket_store import Message

__all__ = ["EmailMessenger"]

_SILENT_S = 10.0
_IN_ALL_S = 30.0
_PORTS = {"starttls": 587, "implicit": 465, "none": 25}


class EmailMessenger:
    """Readers of mail.

    Args:
        host: of the mail server.
        port: None for the usual one.
        tls: `starttls`, `implicit` or `none`.
        sender: address.
        to: addresses.
        login: name and password, where the server asks for them.
        in_all_s: for a whole delivery.
    """

    def __init__(
        self, host: str, *, port: int | None, tls: str, sender: str, to: Sequence[str],
        login: tuple[str, str] | None = None, in_all_s: float = _IN_ALL_S,
    ) -> None:  # fmt: skip
        self._host = host
        self._port = port or _PORTS[tls]
        self._tls = tls
        self._sender = sender
        self._to = list(to)
        self._login = login
        self._in_all_s = in_all_s

    def send(self, message: Message) -> str:
        """Deliver to every reader; a delivery whose answer was lost is made again under the same Message-ID."""
        try:
            with self._connected() as server:
                ends = threading.Timer(self._in_all_s, _cut, [server])
                ends.start()
                try:
                    server.ehlo()
                    if self._tls == "starttls":
                        server.starttls(context=ssl.create_default_context())
                    if self._login is not None:
                        server.login(*self._login)
                    refused = server.send_message(self._mail(message))
                finally:
                    ends.cancel()
        except (smtplib.SMTPException, OSError, ValueError) as error:
            said = " ".join(str(error).split())[:300]
            said = said.replace(self._login[1], "***") if self._login else said
            message_ = f"The mail server {self._host} did not take the message: {type(error).__name__} {said}"
            raise StoreUnavailable(message_, receiver="email") from None
        # Not tried again: the others would be told once more each time.
        return f"{self._host} refused {', '.join(sorted(refused))}; the others were told" if refused else ""

    def _connected(self) -> smtplib.SMTP:
        timeout_s = min(_SILENT_S, self._in_all_s)
        if self._tls == "implicit":
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(self._host, self._port, timeout=timeout_s, context=context)
        return smtplib.SMTP(self._host, self._port, timeout=timeout_s)

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["From"] = self._sender
        mail["To"] = ", ".join(self._to)
        mail["Subject"] = " ".join(f"[{message.severity}] {message.title}".split())[:200]
        mail["Message-ID"] = _name(message.id)
        mail["References"] = _name(message.incident)
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(f"{message.body}\n\n{message.id}\n")
        return mail


def _name(text: str) -> str:
    return f"<{hashlib.sha256(text.encode()).hexdigest()[:32]}@twinscore>"


def _cut(server: smtplib.SMTP) -> None:
    """End a conversation that takes too long, whatever the thread waits for."""
    with suppress(OSError):
        if server.sock is not None:
            server.sock.shutdown(socket.SHUT_RDWR)
