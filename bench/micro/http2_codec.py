"""Cost of the HTTP/2 core: a client core against a server core in memory, beside the `h2` package.

    python -m bench.micro.http2_codec [--requests N]

Microseconds of CPU for one exchange (request and response, both sides), best of five rounds, 16 streams a read.
Message parsing is a stub on all sides, so the figures are of framing, HPACK and windows alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, Final

import h2.config
import h2.connection
import h2.events

from proxy.codec.hpack_encoder import encode_fields
from proxy.codec.http2_connection import Http2Connection
from proxy.codec.http2_options import Http2Options
from proxy.codec.http2_stats import Http2CodecStats
from proxy.codec.http2_stream import Http2Stream, ParsedHead

_BATCH: Final = 16
_REQUEST: Final = (
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "localhost"),
    ("user-agent", "bench"),
    ("accept", "*/*"),
)
_RESPONSE: Final = ((":status", "200"), ("content-type", "text/plain"), ("server", "bench"))
_RESPONSE_BLOCK: Final = encode_fields(_RESPONSE)


class _Head:
    content_length = -1
    informational = False
    bodyless = False


_HEAD: Final = _Head()


class _ServerStream(Http2Stream):
    __slots__ = ()

    def on_head(self, parsed: Any, end_stream: bool) -> None:  # noqa: ARG002
        if end_stream:
            self.send_message(_RESPONSE_BLOCK, self.connection.body)  # type: ignore[attr-defined]

    def on_data(self, data: bytes, end_stream: bool) -> None:  # noqa: ARG002
        if end_stream:
            self.send_message(_RESPONSE_BLOCK, self.connection.body)  # type: ignore[attr-defined]


class _ClientStream(Http2Stream):
    __slots__ = ()

    def on_head(self, parsed: Any, end_stream: bool) -> None:
        pass

    def on_data(self, data: bytes, end_stream: bool) -> None:
        pass


class _Connection(Http2Connection):
    body = b"x" * 100

    def new_stream(self, stream_id: int) -> Http2Stream:
        return _ServerStream(self, stream_id)

    def parse_head(self, fields: list[tuple[str, str]], block_size: int) -> ParsedHead:  # noqa: ARG002
        return _HEAD


def _ours(requests: int, blocks: Callable[[int], bytes], body: bytes, response: bytes) -> Callable[[], None]:
    options = Http2Options()
    client = _Connection(options, client=True, stats=Http2CodecStats("http2."))
    server = _Connection(options, client=False, stats=Http2CodecStats("http2."))
    server.body = response
    client.start()
    server.start()

    def exchange() -> None:
        while client.out or server.out:
            if client.out:
                server.receive(client.take())
            if server.out:
                client.receive(server.take())

    exchange()

    def run() -> None:
        for first in range(0, requests, _BATCH):
            for number in range(first, first + _BATCH):
                stream = _ClientStream(client)
                client.open_stream(stream)
                stream.send_head(blocks(number), not body)
                if body:
                    stream.send_data(body, True)
            exchange()
        assert not client.streams
        assert not server.streams

    return run


def _h2(requests: int, path: Callable[[int], str], body: bytes, response: bytes) -> Callable[[], None]:
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    client.initiate_connection()
    server.initiate_connection()

    def answer(stream_id: int) -> None:
        server.send_headers(stream_id, _RESPONSE)
        server.send_data(stream_id, response, end_stream=True)

    def exchange() -> None:
        while True:
            there = client.data_to_send()
            for event in server.receive_data(there):
                if isinstance(event, h2.events.StreamEnded):
                    answer(event.stream_id)
                elif isinstance(event, h2.events.DataReceived):
                    server.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            back = server.data_to_send()
            for event in client.receive_data(back):
                if isinstance(event, h2.events.DataReceived):
                    client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if not there and not back:
                return

    exchange()

    def run() -> None:
        for first in range(0, requests, _BATCH):
            for number in range(first, first + _BATCH):
                stream_id = client.get_next_available_stream_id()
                fields = [*_REQUEST[:2], (":path", path(number)), *_REQUEST[3:]]
                client.send_headers(stream_id, fields, end_stream=not body)
                if body:
                    client.send_data(stream_id, body, end_stream=True)
            exchange()

    return run


def _microseconds(run: Callable[[], None], requests: int) -> float:
    best = float("inf")
    for _ in range(5):
        begin = time.process_time()
        run()
        best = min(best, time.process_time() - begin)
    return best / requests * 1e6


def figures() -> dict[str, float]:
    """Microseconds of an exchange of ours: always the same fields, and another path each time."""
    requests = 4800
    head, tail, constant = encode_fields(_REQUEST[:2]), encode_fields(_REQUEST[3:]), encode_fields(_REQUEST)
    paths = [encode_fields([(":path", f"/item/{number}")]) for number in range(requests)]
    body = b"x" * 100
    return {
        "us_exchange": _microseconds(_ours(requests, lambda _: constant, b"", body), requests),
        "us_exchange_new_path": _microseconds(
            _ours(requests, lambda number: head + paths[number] + tail, b"", body), requests
        ),
    }


def main() -> None:
    """Print one line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4800)
    requests = parser.parse_args().requests // _BATCH * _BATCH
    head, tail = encode_fields(_REQUEST[:2]), encode_fields(_REQUEST[3:])
    constant = encode_fields(_REQUEST)
    paths = [encode_fields([(":path", f"/item/{number}")]) for number in range(requests)]
    bulk = b"x" * (1 << 20)
    few = max(_BATCH, requests // 50 // _BATCH * _BATCH)
    # h2 is slower by an order of magnitude.
    fewest = max(_BATCH, requests // 20 // _BATCH * _BATCH)
    cases = (
        ("GET, constant fields, 100 B back", requests, lambda _: constant, lambda _: "/", b"", b"x" * 100),
        (
            "GET, other path each, 100 B back",
            requests,
            lambda number: head + paths[number] + tail,
            lambda number: f"/item/{number}",
            b"",
            b"x" * 100,
        ),
        ("POST 1 kB, 1 kB back", requests, lambda _: constant, lambda _: "/", b"x" * 1024, b"x" * 1024),
        ("GET, 1 MB back", few, lambda _: constant, lambda _: "/", b"", bulk),
    )
    print(f"{'case':36}{'ours us':>10}{'h2 us':>10}")
    for name, count, blocks, path, body, response in cases:
        ours = _microseconds(_ours(count, blocks, body, response), count)
        theirs = ""
        if response is not bulk:
            theirs = f"{_microseconds(_h2(fewest, path, body, response), fewest):10.1f}"
        print(f"{name:36}{ours:10.1f}{theirs}")


if __name__ == "__main__":
    main()
