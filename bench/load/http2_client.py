"""Our own HTTP/2 load: for requests that h2load cannot vary, for idle streams, and where h2load is missing.

Closed loop: each of `--connections` keeps `--streams` requests under way. Every header block is prepared
before the run, and no block that comes back is decoded, so the generator costs a few microseconds a request.
Prints one JSON object: requests, errors, seconds, mean_ms. With `--idle` it opens that many streams on one
connection, prints a line, and keeps them open until its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import struct
import sys
import time
from dataclasses import dataclass
from typing import Final, cast

import uvloop
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

HOST: Final = "bench.example.com"
MODES: Final = ("constant", "paths", "unique")
_COUNT: Final = 5000
_WINDOW: Final = (1 << 31) - 1
_CREDIT: Final = 1 << 29
_START: Final = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    # SETTINGS: ENABLE_PUSH 0, INITIAL_WINDOW_SIZE; then WINDOW_UPDATE of the connection.
    + struct.pack(">BHBBLHLHL", 0, 12, 4, 0, 0, 2, 0, 4, _WINDOW)
    + struct.pack(">BHBBLL", 0, 4, 8, 0, 0, _WINDOW - 65535)
)
_HUFFMAN: Final = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)

# What a browser sends, with a place for what differs; static index of the name, or the name itself.
_BROWSER: Final[tuple[tuple[int | str, str], ...]] = (
    (58, "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0.{}"),
    (19, "text/html,application/xhtml+xml,application/xml;q=0.{}"),
    (17, "de-DE,de;q=0.{}"),
    (51, "https://www.example.com/catalogue/{}/overview?page=2"),
    (32, "session={}; theme=dark"),
    (24, "max-age={}"),
    (41, '"etag-{}"'),
    ("origin", "https://shop-{}.example.com"),
    ("sec-ch-ua", '"Chromium";v="126", "Build";v="{}"'),
    ("sec-fetch-site", "same-origin-{}"),
    ("x-csrf-token", "4bf92f3577b34da6a3ce929d0e0e{}"),
    ("x-client-version", "2026.11.{}"),
    ("priority", "u=1, i={}"),
)


def _integer(value: int, prefix: int, first: int) -> bytes:
    limit = (1 << prefix) - 1
    if value < limit:
        return bytes((first | value,))
    encoded = [first | limit]
    value -= limit
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes((*encoded, value))


def _text(value: str) -> bytes:
    """A Huffman string, as browsers and h2load write them."""
    coded = _HUFFMAN.encode(value.encode("latin-1"))
    return _integer(len(coded), 7, 0x80) + coded


def header_block(mode: str, number: int) -> bytes:
    """The header block of request `number`.

    `unique` adds 13 fields with values of their own, to be entered into the peer's table as a browser asks.
    """
    path = b"\x84" if mode == "constant" else b"\x04" + _text(f"/path/{number}/item")
    block = b"\x82\x86" + path + b"\x01" + _text(HOST)
    if mode != "unique":
        return block + b"\x0f\x2b" + _text("bench/1")
    for name, value in _BROWSER:
        named = b"\x40" + _text(name) if isinstance(name, str) else _integer(name, 6, 0x40)
        block += named + _text(value.format(number * 7919 % 100_000))
    return block


def frames(mode: str) -> list[tuple[bytes, bytes]]:
    """HEADERS with END_STREAM of every request before and after the stream id, to be sent in turn."""
    found = []
    for number in range(1 if mode == "constant" else _COUNT):
        block = header_block(mode, number)
        found.append((struct.pack(">BHBB", 0, len(block), 1, 5), block))
    return found


@dataclass(slots=True)
class Tally:
    """What all connections have seen."""

    requests: int = 0
    errors: int = 0
    running: bool = True


class ClientProtocol(asyncio.Protocol):
    """One connection; `lost` is done when it is over."""

    def __init__(
        self,
        requests: list[tuple[bytes, bytes]],
        first: int,
        streams: int,
        tally: Tally,
        lost: asyncio.Future[None],
    ) -> None:
        self._requests = requests
        self._next = first
        self._streams = streams
        self._tally = tally
        self._lost = lost
        self._id = 1
        self._open = 0
        self._rest = b""
        self._consumed = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start all streams."""
        self._transport = cast("asyncio.Transport", transport)
        out = [_START]
        self._request(self._streams, out)
        self._transport.write(b"".join(out))

    def _request(self, count: int, out: list[bytes]) -> None:
        requests, number, stream = self._requests, self._next, self._id
        for _ in range(count):
            before, after = requests[number % len(requests)]
            out += (before, stream.to_bytes(4, "big"), after)
            number += 1
            stream += 2
        self._next, self._id = number, stream
        self._open += count

    def data_received(self, data: bytes) -> None:
        """Count what ended, and start as many."""
        if self._rest:
            data = self._rest + data
        at = ended = 0
        size = len(data)
        out: list[bytes] = []
        while size - at >= 9:
            length = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            end = at + 9 + length
            if end > size:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind <= 1:
                if kind == 0:
                    self._consumed += length
                elif data[at + 9 : at + 13].find(b"\x88") < 0:
                    self._tally.errors += 1
                ended += flags & 1
            elif kind == 4 and not flags & 1:
                out.append(b"\0\0\0\x04\x01\0\0\0\0")
            elif kind in (3, 7):
                self._tally.errors += 1
                ended += kind == 3
            at = end
        self._rest = data[at:]
        self._open -= ended
        self._tally.requests += ended
        if self._consumed > _CREDIT:
            out.append(struct.pack(">BHBBLL", 0, 4, 8, 0, 0, self._consumed))
            self._consumed = 0
        if ended and self._tally.running:
            self._request(ended, out)
        if out:
            self._transport.write(b"".join(out))

    def connection_lost(self, error: Exception | None) -> None:
        """A connection that ends by itself is an error."""
        del error
        self._tally.errors += self._tally.running
        self._lost.set_result(None)

    def close(self) -> None:
        """End the connection, requests under way with it."""
        self._transport.close()


async def _run(port: int, mode: str, connections: int, streams: int, duration: float) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    tally = Tally()
    requests = frames(mode)
    losses, clients = [], []
    started = time.monotonic()
    for number in range(connections):
        lost: asyncio.Future[None] = loop.create_future()
        client = ClientProtocol(requests, number * len(requests) // connections, streams, tally, lost)
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
        losses.append(lost)
        clients.append(client)
    await asyncio.sleep(duration)
    seconds = time.monotonic() - started
    result = {
        "requests": tally.requests,
        "errors": tally.errors,
        "seconds": seconds,
        "mean_ms": seconds * 1000 * connections * streams / max(1, tally.requests),
    }
    tally.running = False
    for client in clients:
        client.close()
    await asyncio.wait_for(asyncio.gather(*losses), 10)
    return result


class IdleProtocol(asyncio.Protocol):
    """Opens streams whose requests never end; `answered` is done when a PING behind them came back."""

    def __init__(self, streams: int, answered: asyncio.Future[None]) -> None:
        self._streams = streams
        self._answered = answered
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send all heads at once."""
        self._transport = cast("asyncio.Transport", transport)
        heads = []
        for number in range(self._streams):
            # :method POST instead of GET; a path of its own, so that nothing is shared between streams.
            block = b"\x83" + header_block("paths", number)[1:]
            stream = (2 * number + 1).to_bytes(4, "big")
            heads.append(struct.pack(">BHBB", 0, len(block), 1, 4) + stream + block)
        self._transport.write(_START + b"".join(heads) + b"\0\0\x08\x06\0\0\0\0\0" + bytes(8))

    def data_received(self, data: bytes) -> None:
        """Look for the answer to the PING; nothing else of interest comes."""
        if b"\0\0\x08\x06\x01\0\0\0\0" in data and not self._answered.done():
            self._answered.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Too early, the streams are gone."""
        if not self._answered.done():
            self._answered.set_exception(error or ConnectionError("closed"))


async def _idle(port: int, streams: int) -> None:
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[None] = loop.create_future()
    transport, _ = await loop.create_connection(lambda: IdleProtocol(streams, answered), "127.0.0.1", port)
    await asyncio.wait_for(answered, 20)
    await asyncio.sleep(0.5)
    print("open", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    if transport.is_closing():
        raise ConnectionError("the proxy closed the connection of the idle streams")
    transport.close()


def main() -> None:
    """Run and print the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.load.http2_client")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mode", choices=MODES, default="constant")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--streams", type=int, default=16, help="per connection")
    parser.add_argument("--duration", type=float, default=4.0, help="seconds")
    parser.add_argument("--idle", type=int, metavar="STREAMS", help="open idle streams instead")
    given = parser.parse_args()
    if given.idle:
        uvloop.run(_idle(given.port, given.idle))
        return
    result = uvloop.run(_run(given.port, given.mode, given.connections, given.streams, given.duration))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
