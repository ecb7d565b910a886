"""What a request that the proxy makes itself sees of its `UpstreamRequest`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from proxy.base.address import Address
from proxy.base.stream_info import ConnectionInfo, DrainState


class Request:
    """Notes what is done to it."""

    def __init__(self) -> None:
        self.sent = b""
        self.abandoned = 0
        self.timed_out = 0
        self.counted: list[int] = []
        self.cluster = SimpleNamespace(stats=SimpleNamespace(upstream_rq_timeout=0))
        self.host = SimpleNamespace(stats=SimpleNamespace(rq_timeout=0))

    def hold(self, data: bytes) -> None:
        self.sent += data

    def start(self, pools: Any, *, end_stream: bool) -> None:
        assert end_stream

    def abandon(self) -> None:
        self.abandoned += 1

    def count_own(self, status: int) -> None:
        self.counted.append(status)

    def time_out(self) -> None:
        self.timed_out += 1


def connection() -> ConnectionInfo:
    """One for which such a request may be made."""
    address = Address("127.0.0.1", 1)
    return ConnectionInfo(1, address, address, 0.0, DrainState())
