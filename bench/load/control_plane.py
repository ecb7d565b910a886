"""A control plane that sends prepared bytes (ADS, state of the world), so that it is never the limit.

    with ControlPlane() as control_plane:
        control_plane.set(TYPE, entries)        # answers whoever asks, and pushes to whoever has asked

`entries` are serialised `resources` fields of a `DiscoveryResponse`; a response is its head with these bytes
behind it. A request is answered when it names something new, otherwise it is an ACK or a NACK.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Self

import grpc
from envoy.service.discovery.v3 import discovery_pb2
from grpc import aio

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class _Stream:
    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.names: dict[str, frozenset[str]] = {}
        self.nonces: dict[str, str] = {}
        self.acked: dict[str, str] = {}


class ControlPlane:
    """See module. `nacks` are the reasons of all refused responses."""

    def __init__(self) -> None:
        self.port = 0
        self.nacks: list[str] = []
        self._entries: dict[str, bytes] = {}
        self._version = 0
        self._streams: set[_Stream] = set()
        self._loop = asyncio.new_event_loop()
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

    def set(self, type_url: str, entries: bytes) -> None:
        """These are the resources of a type from now on."""
        self._entries[type_url] = entries
        self.push(type_url, entries)

    def push(self, type_url: str, entries: bytes) -> None:
        """Send these to every stream that has asked for their type."""
        self._call(self._push(type_url, entries))

    def settled(self, type_url: str) -> bool:
        """Whether the last response of that type was answered on every stream."""
        return all(
            stream.acked.get(type_url) == stream.nonces.get(type_url) for stream in list(self._streams)
        )

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    async def _start(self) -> None:
        self._server = aio.server(options=_OPTIONS)
        handler = grpc.stream_stream_rpc_method_handler(self._handle)
        self._server.add_generic_rpc_handlers([_Methods(handler)])
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()

    async def _push(self, type_url: str, entries: bytes) -> None:
        for stream in self._streams:
            if type_url in stream.names:
                self._send(stream, type_url, entries)

    def _send(self, stream: _Stream, type_url: str, entries: bytes) -> None:
        self._version += 1
        version = str(self._version)
        head = discovery_pb2.DiscoveryResponse(version_info=version, type_url=type_url, nonce=version)
        stream.nonces[type_url] = version
        stream.queue.put_nowait(head.SerializeToString() + entries)

    async def _handle(self, requests: Any, context: Any) -> None:
        stream = _Stream()
        self._streams.add(stream)
        reader = asyncio.create_task(self._read(stream, requests))
        try:
            while True:
                await context.write(await stream.queue.get())
        finally:
            reader.cancel()
            self._streams.discard(stream)

    async def _read(self, stream: _Stream, requests: Any) -> None:
        async for data in requests:
            request = discovery_pb2.DiscoveryRequest.FromString(data)
            type_url = request.type_url
            if request.HasField("error_detail"):
                self.nacks.append(request.error_detail.message)
            stream.acked[type_url] = request.response_nonce
            names = frozenset(request.resource_names)
            before = stream.names.get(type_url)
            stream.names[type_url] = names
            if (before is None or not names <= before) and type_url in self._entries:
                self._send(stream, type_url, self._entries[type_url])


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def service(self, details: Any) -> Any:
        return self._handler if details.method == _METHOD else None
