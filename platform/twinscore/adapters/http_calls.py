"""One HTTP call to a receiver of alerts, that ends in time whatever the other side does; knows no receiver.

Redirects are not followed, answers are read up to a size, proxies and netrc of the machine are left alone. Only public
addresses are called over TLS, unless the receiver is said to be private; the address that was looked at is the one that
is called. Link-local ones, where clouds tell their secrets, are never called.
"""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import json
import os
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import httpx

from twinscore.errors import StoreUnavailable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

__all__ = ["Answer", "Caller", "secret_of"]

_IN_ALL_S = 30.0
_SILENT_S = 10.0
_MOST_BYTES = 4 * 1024 * 1024
_MOST_WAIT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body's JSON value; None when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(slots=True)
class Caller:
    """Calls one receiver.

    Args:
        name: how it is called in messages.
        private: whether plain HTTP and addresses that are not public may be called.
        secret: kept out of messages.
        in_all_s: for a whole call.
    """

    name: str
    private: bool = False
    secret: str = ""
    in_all_s: float = _IN_ALL_S
    _tls: ssl.SSLContext | None = field(default=None, repr=False)

    def call(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: object = None,
        content: bytes | None = None, params: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        """Return an answer of 200 to 299.

        Args:
            body: sent as JSON.
            content: sent as it is, instead.

        Raises:
            StoreUnavailable: it did not answer in time, or with something else; the field `after_s` says when it may
                be asked again, where it said so.
        """
        try:
            answer = asyncio.run(self._in_time(method, url, headers, body, content, params))
        except TimeoutError:
            self._fail(f"did not answer within {self.in_all_s:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            self._fail(f"cannot be called: {type(error).__name__} {error}".rstrip())
        if answer.status >= 300:
            self._refused(answer)
        return answer

    async def _in_time(self, *call: Any) -> Answer:
        return await asyncio.wait_for(self._call(*call), self.in_all_s)

    async def _call(
        self, method: str, url: str, headers: Mapping[str, str] | None, body: object, content: bytes | None,
        params: Mapping[str, str] | None,
    ) -> Answer:  # fmt: skip
        parts = urlsplit(url)
        if parts.scheme not in (("http", "https") if self.private else ("https",)) or not parts.hostname:
            self._fail("must have an https address (http with `private: true`)")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = await self._address(parts.hostname, port)
        asked = httpx.URL(url, params={**httpx.URL(url).params, **(params or {})}).copy_with(host=address, port=port)
        given = {"host": parts.netloc.rpartition("@")[2], "user-agent": "twinscore", **(headers or {})}
        verify = self._context() if parts.scheme == "https" else False
        async with httpx.AsyncClient(
            timeout=_SILENT_S, trust_env=False, follow_redirects=False, verify=verify
        ) as client:
            request = client.build_request(
                method, asked, headers=given, content=content, json=body, extensions={"sni_hostname": parts.hostname}
            )
            response = await client.send(request, stream=True)
            read = bytearray()
            async for chunk in response.aiter_bytes():
                read += chunk
                if len(read) > _MOST_BYTES:
                    self._fail(f"answers with more than {_MOST_BYTES} bytes")
            return Answer(response.status_code, response.headers, bytes(read))

    async def _address(self, host: str, port: int) -> str:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        address = str(found[0][4][0])
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if parsed.is_link_local or parsed.is_multicast or parsed.is_unspecified:
            self._fail(f"has the address {address}, which is never called")
        if not parsed.is_global and not self.private:
            self._fail(f"has the address {address}, which is not public; say `private: true` if it is yours")
        return address

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = httpx.create_ssl_context()
        return self._tls

    def _refused(self, answer: Answer) -> NoReturn:
        after_s = _after_s(answer)
        said = " ".join(answer.body[:2000].decode("utf-8", errors="replace").split())[:300]
        why = "redirects elsewhere; give the address where it is" if answer.status < 400 else "refused"
        wait = "" if after_s is None else f"; it may be asked again in {after_s:.0f} s"
        self._fail(f"{why} (HTTP {answer.status}){wait}: {said}", status=answer.status, after_s=after_s)

    def _fail(self, said: str, **more: Any) -> NoReturn:
        said = said.replace(self.secret, "***") if self.secret else said
        message = f"{self.name} {said}".rstrip(": ")
        raise StoreUnavailable(message, receiver=self.name, **more) from None


def secret_of(variable: str | None) -> str:
    """Return the secret in a variable; nothing where no variable is named.

    Raises:
        StoreUnavailable: it is not set, so the receiver cannot be asked yet.
    """
    if variable is None:
        return ""
    found = os.environ.get(variable, "").strip()
    if not found:
        message = (
            f"The variable {variable} is not set where the control runs; set it and start the stack (`twinscore up`)."
        )
        raise StoreUnavailable(message, variable=variable)
    return found


def _after_s(answer: Answer) -> float | None:
    """Return for how long the receiver wants not to be asked; None where it did not say."""
    if answer.status not in (403, 429, 503):
        return None
    asked = answer.headers.get("retry-after", "")
    now = datetime.now(UTC)
    wait: float | None = None
    if asked.isdecimal():
        wait = float(asked)
    elif asked:
        try:
            wait = (email.utils.parsedate_to_datetime(asked) - now).total_seconds()
        except (ValueError, TypeError):
            wait = None
    elif answer.headers.get("x-ratelimit-remaining") == "0":
        reset = answer.headers.get("x-ratelimit-reset", "")
        wait = float(reset) - now.timestamp() if reset.isdecimal() else 60.0
    elif answer.status == 429:
        wait = 60.0
    return None if wait is None else min(max(wait, 1.0), _MOST_WAIT_S)
