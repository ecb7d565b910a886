"""A finished request and its stream facts, as an access log or a header formatter meets them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from proxy.base.address import Address
from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.stream_info import ConnectionInfo, DrainState, StreamInfo, WallClock
from proxy.config.context import CompileContext

#: Seconds since the epoch of the stream's start: 2026-11-22T16:23:54.663124Z.
START = 1795364634.663124


def context() -> CompileContext:
    """A context whose wall clock equals the monotonic one, so that `start_time` is `START`."""
    return CompileContext(wall_clock=WallClock(lambda: START, lambda: START))


def connection(**facts: Any) -> ConnectionInfo:
    """An accepted plain connection from 127.0.0.1:53986; keywords set further attributes."""
    made = ConnectionInfo(7, Address("127.0.0.1", 53986), Address("127.0.0.1", 22000), START, DrainState())
    for name, value in facts.items():
        setattr(made, name, value)
    return made


def stream(
    fields: list[tuple[str, str]] | None = None,
    response_fields: list[tuple[str, str]] | None = None,
    *,
    path: str = "/",
    **facts: Any,
) -> StreamInfo:
    """A GET of `path` at ex.com answered with 200 after 3.5 ms; keywords set further attributes."""
    info = StreamInfo(facts.pop("connection", None) or connection(), START)
    info.request = RequestHead("GET", path, "ex.com", HeaderMap(fields or []))
    info.response = ResponseHead(200, HeaderMap(response_fields or []))
    info.protocol = "HTTP/1.1"
    info.response_code = 200
    info.response_complete = START + 0.0035
    for name, value in facts.items():
        setattr(info, name, value)
    return info


def host(ip: str, port: int, hostname: str = "", metadata: Any = None) -> Any:
    """What operators read of an upstream host."""
    return SimpleNamespace(address=Address(ip, port), hostname=hostname, metadata=metadata)


def cluster(name: str, alternative: str = "", metadata: Any = None) -> Any:
    """What operators read of a cluster."""
    return SimpleNamespace(
        name=name, config=SimpleNamespace(stat_name=alternative or name, metadata=metadata)
    )
