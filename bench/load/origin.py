"""The origin of load tests: as cheap as Python allows, so that it is never the bottleneck.

It does not parse: a request ends with an empty line (plus its Content-Length, looked for only in a POST), and
each one gets the same bytes. `python -m bench.load.origin --port N [--size 300] [--certificate PEM --key PEM]`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import ssl
from typing import cast

import uvloop

_END = b"\r\n\r\n"


def reply_of_size(size: int) -> bytes:
    """A whole response of `size` bytes, head included (at least 70)."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n"
    body = max(0, size - len(head % 100))
    return head % body + b"x" * body


class OriginProtocol(asyncio.Protocol):
    """One connection from the proxy."""

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        self._rest = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer each request that ends in `data`."""
        if not self._rest and data.endswith(_END) and data.startswith(b"GET ") and data.count(_END) == 1:
            self._transport.write(self._reply)
            return
        data = self._rest + data
        while (end := data.find(_END)) >= 0:
            end += 4
            if data.startswith(b"POST "):
                end += _content_length(data[:end])
            if len(data) < end:
                break
            self._transport.write(self._reply)
            data = data[end:]
        self._rest = data


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def _serve(port: int, reply: bytes, tls: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await loop.create_server(lambda: OriginProtocol(reply), "127.0.0.1", port, backlog=1024, ssl=tls)
    await stop.wait()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.load.origin")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--size", type=int, default=300)
    parser.add_argument("--certificate", help="serve over TLS")
    parser.add_argument("--key")
    arguments = parser.parse_args()
    tls = None
    if arguments.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(arguments.certificate, arguments.key)
    uvloop.run(_serve(arguments.port, reply_of_size(arguments.size), tls))


if __name__ == "__main__":
    main()
