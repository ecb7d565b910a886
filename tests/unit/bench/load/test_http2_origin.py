from __future__ import annotations

from typing import Any

from bench.load.http2_origin import OriginProtocol
from tests.support import http2_frames as h2


class Transport:
    def __init__(self) -> None:
        self.frames: list[h2.Frame] = []
        self._reader = h2.FrameReader()

    def write(self, data: bytes) -> None:
        self.frames += self._reader.feed(data)

    def body(self, stream_id: int) -> tuple[int, bool]:
        mine = [frame for frame in self.frames if frame.stream_id == stream_id and frame.type == h2.DATA]
        return sum(len(frame.payload) for frame in mine), bool(mine and mine[-1].flags & h2.END_STREAM)


def start(size: int) -> tuple[OriginProtocol, Transport]:
    transport: Any = Transport()
    origin = OriginProtocol(size)
    origin.connection_made(transport)
    origin.data_received(h2.PREFACE + h2.settings())
    return origin, transport


def test_a_request_that_comes_byte_by_byte_is_answered() -> None:
    origin, transport = start(300)
    for byte in h2.request(1):
        origin.data_received(bytes([byte]))
    assert transport.body(1) == (300, True)


def test_an_open_request_waits_for_its_end() -> None:
    origin, transport = start(300)
    origin.data_received(h2.request(1, method="POST", end=False))
    assert transport.body(1) == (0, False)
    origin.data_received(h2.data(1, b"x" * 1000, end=True))
    assert transport.body(1) == (300, True)


def test_a_large_answer_keeps_to_both_windows() -> None:
    origin, transport = start(200_000)
    origin.data_received(h2.request(1))
    assert transport.body(1) == (65535, False)
    origin.data_received(h2.window_update(0, 500_000))
    assert transport.body(1) == (65535, False)
    origin.data_received(h2.window_update(1, 500_000))
    assert transport.body(1) == (200_000, True)
