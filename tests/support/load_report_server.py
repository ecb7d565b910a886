"""A control plane that asks for load reports (LRS), by real gRPC, on a port and a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import grpc
from envoy.service.load_stats.v3 import lrs_pb2
from google.protobuf import json_format
from grpc import aio

from xds_client.lrs import METHOD


class LoadReportServer:
    """`reports` are all `LoadStatsRequest`s that came; `answer` tells every stream, also those to come."""

    def __init__(self) -> None:
        self.reports: list[Any] = []
        self.streams_opened = 0
        self.port = 0
        self._answer: Any = None
        self._queues: list[asyncio.Queue[Any]] = []
        self._loop = asyncio.new_event_loop()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: Any = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._server.stop(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def answer(self, *clusters: str, interval: float = 0.3, **fields: Any) -> None:
        """Ask for reports on these clusters, every so many seconds."""
        response = lrs_pb2.LoadStatsResponse(clusters=clusters, **fields)
        response.load_reporting_interval.FromMicroseconds(int(interval * 1e6))
        self._call(self._tell(response))

    def cut(self, code: grpc.StatusCode | None = None) -> None:
        """End every stream, with a status or in an orderly way."""
        self._call(self._tell_all(code))

    def wait_for(self, condition: Callable[[], Any], seconds: float = 20.0) -> Any:
        """Wait until a condition holds; it is looked at after every report."""
        end = time.monotonic() + seconds
        with self._changed:
            while not (result := condition()):
                assert time.monotonic() < end, f"not within {seconds} s; reports: {self.reports[-4:]}"
                self._changed.wait(0.05)
            return result

    def next_report(self) -> Any:
        """The report after those that are here by now."""
        count = len(self.reports)
        return self.wait_for(lambda: len(self.reports) > count and self.reports[count])

    def total(self, since: int = 0) -> dict[str, Any]:
        """The reports from that one on added up, by cluster: plain values, without times."""
        result: dict[str, Any] = {}
        for report in self.reports[since:]:
            for stats in report.cluster_stats:
                _add(result.setdefault(stats.cluster_name, {}), stats)
        return result

    async def _start(self) -> None:
        self._server = aio.server(options=[("grpc.so_reuseport", 0)])
        handler = grpc.stream_stream_rpc_method_handler(self._serve)
        self._server.add_generic_rpc_handlers([_Method(handler)])
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    async def _tell(self, response: Any) -> None:
        self._answer = response
        for queue in self._queues:
            queue.put_nowait(response)

    async def _tell_all(self, code: Any) -> None:
        for queue in self._queues:
            queue.put_nowait(code)

    async def _serve(self, requests: Any, context: Any) -> None:
        self.streams_opened += 1
        queue: asyncio.Queue[Any] = asyncio.Queue()
        self._queues.append(queue)
        if self._answer is not None:
            queue.put_nowait(self._answer)
        reader = asyncio.ensure_future(self._read(requests))
        try:
            while isinstance(message := await queue.get(), lrs_pb2.LoadStatsResponse):
                await context.write(message.SerializeToString())
            if message is not None:
                await context.abort(message, "cut by the test")
        finally:
            self._queues.remove(queue)
            reader.cancel()

    async def _read(self, requests: Any) -> None:
        async for data in requests:
            with self._changed:
                self.reports.append(lrs_pb2.LoadStatsRequest.FromString(data))
                self._changed.notify_all()


class _Method(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def service(self, details: Any) -> Any:
        return self._handler if details.method == METHOD else None


def _add(into: dict[str, Any], stats: Any) -> None:
    into["service_name"] = stats.cluster_service_name
    into["dropped"] = into.get("dropped", 0) + stats.total_dropped_requests
    for drop in stats.dropped_requests:
        drops = into.setdefault("dropped_requests", {})
        drops[drop.category] = drops.get(drop.category, 0) + drop.dropped_count
    for locality in stats.upstream_locality_stats:
        where = locality.locality
        key = f"{locality.priority} {where.region}/{where.zone}/{where.sub_zone}"
        known = into.setdefault("localities", {}).setdefault(key, {})
        _add_numbers(known, locality)
        for endpoint in locality.upstream_endpoint_stats:
            address = str(json_format.MessageToDict(endpoint.address))
            _add_numbers(known.setdefault("endpoints", {}).setdefault(address, {}), endpoint)


def _add_numbers(into: dict[str, Any], stats: Any) -> None:
    for name in ("total_successful_requests", "total_error_requests", "total_issued_requests"):
        into[name] = into.get(name, 0) + getattr(stats, name)
    into["in_progress"] = stats.total_requests_in_progress
    for metric in stats.load_metric_stats:
        metrics = into.setdefault("metrics", {})
        count, total = metrics.get(metric.metric_name, (0, 0.0))
        metrics[metric.metric_name] = (
            count + metric.num_requests_finished_with_metric,
            total + metric.total_metric_value,
        )
