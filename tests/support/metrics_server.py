"""A `MetricsService` that keeps what it is told; an origin for `Pair` of `differential`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from proxy.stats_sinks.metrics_messages import METHOD, StreamMetricsMessage


class MetricsServer:
    """`streams` has the messages of each stream. `ends_after` messages, a stream is ended; None for never."""

    requests: list[Any] = []  # noqa: RUF012 - no origin: nobody writes to it

    def __init__(self, *, ends_after: int | None = None, port: int = 0) -> None:
        self.streams: list[list[Any]] = []
        self._ends_after = ends_after
        self._closed = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers([_Method(grpc.stream_unary_rpc_method_handler(self._serve))])
        self.port: int = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def script(self, _script: Any) -> None:
        """It answers nothing."""

    def _serve(self, requests: Iterator[bytes], _context: Any) -> bytes:
        stream: list[Any] = []
        self.streams.append(stream)
        for data in requests:
            stream.append(StreamMetricsMessage.FromString(data))
            if len(stream) == self._ends_after:
                break
        return b""

    def families(self) -> list[Any]:
        """All that came, in order."""
        return [
            one for stream in list(self.streams) for message in list(stream) for one in message.envoy_metrics
        ]

    def total(self, name: str, kind: int, **labels: str) -> float:
        """Sum of the counters or of the sample counts of that name."""
        total = 0.0
        for family in self.families():
            if family.name == name and family.type == kind:
                metric = family.metric[0]
                if labels == {label.name.replace(".", "_"): label.value for label in metric.label}:
                    total += (
                        metric.counter.value + metric.histogram.sample_count + metric.summary.sample_count
                    )
        return total

    def wait_for(self, done: Callable[[], bool], limit: float = 10.0) -> None:
        """Until `done`; fails after `limit` seconds."""
        deadline = time.monotonic() + limit
        while not done():
            assert time.monotonic() < deadline, f"not told within {limit} s"
            time.sleep(0.02)

    def close(self) -> None:
        """Hear no more."""
        self._server.stop(0).wait()


class _Method(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def service(self, details: Any) -> Any:
        return self._handler if details.method == METHOD else None
