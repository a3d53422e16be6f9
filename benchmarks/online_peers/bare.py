"""The ceiling: uvloop, httptools and the single-row scorer alone: `python bare.py BUNDLE PORT WORKERS`.

No routing, no validation, no contract, no audit, no request id; what is left is what this machine can do in Python.
Each worker is a process on the same port.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httptools
import msgspec
import uvloop

from twinscore.bundle.files import read_bundle
from twinscore.scoring.row import RowScorer

decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


class Bare(asyncio.Protocol):
    """One connection."""

    def __init__(self, scorer: RowScorer) -> None:
        self._score = scorer.score
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""

    def connection_made(self, transport: Any) -> None:
        """Keep where to write."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the parser."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """Start a request."""
        self._body = b""

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Score the row and answer."""
        answer = encode(self._score(decode(self._body)) if self._body else {"status": "ready"})
        self._transport.write(HEAD % (len(answer), answer))


async def main(bundle: str, port: str) -> None:
    """Serve until a signal comes."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    scorer = RowScorer(read_bundle(Path(bundle)))
    server = await loop.create_server(lambda: Bare(scorer), "127.0.0.1", int(port), reuse_port=True)
    await over.wait()
    server.close()


if __name__ == "__main__":
    for _ in range(int(sys.argv[3]) - 1):
        if os.fork() == 0:
            break
    uvloop.run(main(*sys.argv[1:3]))
