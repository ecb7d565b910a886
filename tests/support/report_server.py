"""A control plane of one stream that asks for reports, by real gRPC, on a port and a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar, Self

import grpc
from google.protobuf.message import Message
from grpc import aio


class ReportServer:
    """`reports` are all messages of `report_type` that came on streams of `method`."""

    method: ClassVar[str]
    report_type: ClassVar[Any]

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

    def tell(self, answer: Any) -> None:
        """Send this to every stream, also those to come."""
        self._call(self._tell(answer))

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

    async def _start(self) -> None:
        self._server = aio.server(options=[("grpc.so_reuseport", 0)])
        handler = grpc.stream_stream_rpc_method_handler(self._serve)
        self._server.add_generic_rpc_handlers([_Method(self.method, handler)])
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
            while isinstance(message := await queue.get(), Message):
                await context.write(message.SerializeToString())
            if message is not None:
                await context.abort(message, "cut by the test")
        finally:
            self._queues.remove(queue)
            reader.cancel()

    async def _read(self, requests: Any) -> None:
        async for data in requests:
            with self._changed:
                self.reports.append(self.report_type.FromString(data))
                self._changed.notify_all()


class _Method(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    def __init__(self, method: str, handler: Any) -> None:
        self._method = method
        self._handler = handler

    def service(self, details: Any) -> Any:
        return self._handler if details.method == self._method else None
