"""A mail server of the tests' own: real SMTP with STARTTLS and a login, that goes wrong when it is told to."""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Mailbox", "mail_server"]


class Mailbox:
    """What a mail server took, and what it shall do wrong."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.mails: list[tuple[list[str], str]] = []
        """Readers and text of each."""
        self.logins: list[str] = []
        self.unknown: set[str] = set()
        """Readers that are refused."""
        self.busy = 0
        """How many conversations are answered 451 after the text."""
        self.hangs = False


@contextmanager
def mail_server(tls: ssl.SSLContext | None = None, *, login: bool = False) -> Iterator[Mailbox]:
    """Start a mail server on a port of its own; with `tls` it offers STARTTLS and takes nothing without it."""
    box = Mailbox()
    loop = asyncio.new_event_loop()
    started = threading.Event()
    closing = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = _Conversation(box, reader, writer, tls, login)
        try:
            await conversation.hold(closing)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        box.port = server.sockets[0].getsockname()[1]
        started.set()
        async with server:
            await closing.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    started.wait(10)
    try:
        yield box
    finally:
        loop.call_soon_threadsafe(closing.set)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()


class _Conversation:
    def __init__(
        self, box: Mailbox, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tls: ssl.SSLContext | None,
        login: bool,
    ) -> None:  # fmt: skip
        self._box, self._reader, self._writer, self._tls = box, reader, writer, tls
        self._login = login
        self._secure = False
        self._known = not login
        self._to: list[str] = []

    async def hold(self, closing: asyncio.Event) -> None:
        """Answer every command until the client leaves."""
        if self._box.hangs:
            await closing.wait()
            return
        await self._say("220 mail.test ready")
        while line := (await self._reader.readline()).decode().strip():
            if not await self._obey(line):
                return

    async def _obey(self, line: str) -> bool:
        verb = line.split(" ", maxsplit=1)[0].upper()
        if verb in ("EHLO", "HELO"):
            offers = ["250-mail.test"]
            offers += ["250-STARTTLS"] if self._tls and not self._secure else []
            offers += ["250-AUTH PLAIN"] if self._login and self._secure else []
            await self._say("\r\n".join([*offers, "250 8BITMIME"]))
        elif verb == "STARTTLS" and self._tls:
            await self._say("220 go ahead")
            await self._writer.start_tls(self._tls)
            self._secure = True
        elif self._tls and not self._secure and verb != "QUIT":
            await self._say("530 must issue STARTTLS first")
        elif verb == "AUTH":
            self._box.logins.append(base64.b64decode(line.split(" ")[2]).decode())
            self._known = True
            await self._say("235 welcome")
        elif not self._known and verb != "QUIT":
            await self._say("530 who are you")
        elif verb == "RCPT":
            reader = line.partition("<")[2].partition(">")[0]
            unknown = reader in self._box.unknown
            self._to += [] if unknown else [reader]
            await self._say("550 nobody of that name" if unknown else "250 ok")
        elif verb == "DATA":
            await self._take()
        elif verb == "QUIT":
            await self._say("221 bye")
            return False
        else:
            await self._say("250 ok")
        return True

    async def _take(self) -> None:
        await self._say("354 end with a dot")
        text = (await self._reader.readuntil(b"\r\n.\r\n")).decode()
        if self._box.busy:
            self._box.busy -= 1
            await self._say("451 try again later")
            return
        self._box.mails.append((self._to, text))
        self._to = []
        await self._say("250 taken")

    async def _say(self, line: str) -> None:
        self._writer.write(f"{line}\r\n".encode())
        await self._writer.drain()
