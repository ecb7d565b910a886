"""A scriptable control plane: every discovery service by real gRPC, in both protocols, on a port of its own.

    with XdsServer() as server:
        server.set(cluster_message, listener_message)      # pushes to whoever asked
        server.remove(ResourceType.CLUSTER, "gone")
        server.wait_for(lambda: server.acked(ResourceType.CLUSTER))

The server runs on a thread with an event loop; every method may be called from a test. It does what a correct
server does (nonces, versions, initial versions, wildcards) unless told otherwise: `hold` stops answering a type,
`cut` ends the streams, `push_raw` sends any message at all, `delay` waits before each response.
"""

from __future__ import annotations

import asyncio
import builtins
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import grpc
from envoy.service.discovery.v3 import discovery_pb2
from grpc import aio

from tests.support.xds_protocol import Resources, ServerStream
from xds_client.resource_types import ResourceType, resource_type
from xds_client.services import ads_method, stream_method

_UNLIMITED = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
    # Proxies under test look every second whether it is still there.
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
]


@dataclass
class Seen:
    """One request as it came: the stream (from 1), its method, the message, the metadata of the stream."""

    stream: int
    method: str
    message: Any
    metadata: dict[str, Any]

    @property
    def kind(self) -> ResourceType | None:
        return resource_type(self.message.type_url)

    @property
    def error(self) -> str:
        """The reason of a NACK, "" for anything else."""
        return str(self.message.error_detail.message) if self.message.HasField("error_detail") else ""


class _Stream:
    def __init__(self, number: int, method: str, state: ServerStream, metadata: dict[str, Any]) -> None:
        self.number = number
        self.method = method
        self.state = state
        self.metadata = metadata
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.status: tuple[grpc.StatusCode, str] | None = None

    def flush(self) -> None:
        """Queue what the state has to send."""
        for message in self.state.out:
            self.queue.put_nowait(message.SerializeToString())
        self.state.out.clear()


class XdsServer:
    """See module. `port` 0 takes a free one; `credentials` are gRPC server credentials for TLS."""

    def __init__(
        self,
        port: int = 0,
        *,
        address: str = "127.0.0.1",
        credentials: Any = None,
        identifier: str = "test-server",
    ) -> None:
        self.requests: list[Seen] = []
        self.delay = 0.0
        self.streams_opened = 0
        self._address = address if address[0] != "/" else f"unix:{address}"
        self.port = port
        self._credentials = credentials
        self.resources = Resources(identifier)
        self._held: set[ResourceType] = set()
        self._streams: dict[int, _Stream] = {}
        self._loop = asyncio.new_event_loop()
        self._changed = threading.Condition()
        self._server: Any = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    # Life.

    def __enter__(self) -> Self:
        self._thread.start()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self) -> None:
        """Listen (again, on the same port)."""
        self._call(self._start())

    def stop(self) -> None:
        """Stop listening and end every stream; resources stay."""
        self._call(self._stop())

    async def _start(self) -> None:
        self._server = aio.server(options=_UNLIMITED)
        handlers: dict[str, Any] = {}
        for delta in (False, True):
            methods = [ads_method(delta=delta), *(stream_method(kind, delta=delta) for kind in ResourceType)]
            for method in filter(None, methods):
                handlers[method] = grpc.stream_stream_rpc_method_handler(self._handler(method, delta))
        self._server.add_generic_rpc_handlers([_Methods(handlers)])
        where = self._address if self._address.startswith("unix:") else f"{self._address}:{self.port}"
        if self._credentials is None:
            port = self._server.add_insecure_port(where)
        else:
            port = self._server.add_secure_port(where, self._credentials)
        self.port = port
        await self._server.start()

    async def _stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    # What a test sets.

    def set(self, *messages: Any, version: str = "", ttl: float = 0.0) -> None:
        """Add or replace resources, then push each type once. `version` is that of their types from now on."""
        self._call(self._set(messages, version, ttl))

    def remove(self, kind: ResourceType, *names: str) -> None:
        """Remove resources and push."""
        self._call(self._remove(kind, names))

    def replace(self, kind: ResourceType, messages: Iterable[Any]) -> None:
        """Make these all the resources of a type, and push."""
        self._call(self._replace(kind, list(messages)))

    def hold(self, *kinds: ResourceType) -> None:
        """Answer nothing of these types until `release`."""
        self._held.update(kinds)

    def release(self, *kinds: ResourceType) -> None:
        """Answer again, at once."""
        self._held.difference_update(kinds)
        self._call(self._push(kinds))

    def cut(
        self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, details: str = "cut by the test"
    ) -> None:
        """End every open stream with a status."""
        self._call(self._cut(code, details))

    def push_raw(self, message: Any, on: ResourceType | None = None) -> None:
        """Send a message as it is on every stream that has asked for its type, or for the type `on`."""
        self._call(self._push_raw(message, on))

    def heartbeat(self, kind: ResourceType, name: str, ttl: float) -> None:
        """Prolong the life of one resource."""
        self._call(self._heartbeat(kind, name, ttl))

    # What a test looks at.

    def seen(self, kind: ResourceType) -> list[Seen]:
        """The requests of a type."""
        return [seen for seen in list(self.requests) if seen.kind is kind]

    def nacks(self, kind: ResourceType) -> list[str]:
        """The reasons of the NACKs of a type."""
        return [seen.error for seen in self.seen(kind) if seen.error]

    def subscribed(self, kind: ResourceType) -> builtins.set[str]:
        """The names that open streams ask for; `*` for the wildcard."""
        names: builtins.set[str] = builtins.set()
        for stream in list(self._streams.values()):
            state = stream.state.types.get(kind)
            if state is not None:
                names |= state.names | ({"*"} if state.wildcard else set())
        return names

    def acked(self, kind: ResourceType, version: str = "") -> bool:
        """Whether the last request of a type is the ACK of the last response (of this version)."""
        wanted = version or str(self.resources.versions[kind])
        for stream in list(self._streams.values()):
            state = stream.state.types.get(kind)
            if state is None:
                continue
            own = [seen for seen in self.seen(kind) if seen.stream == stream.number]
            last = own[-1].message if own else None
            if last is None or last.HasField("error_detail") or last.response_nonce != state.nonce:
                continue
            if state.nonce and (stream.state.delta or last.version_info == wanted):
                return True
        return False

    def version(self, kind: ResourceType) -> str:
        """The present version of a type."""
        return str(self.resources.versions[kind])

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    def wait_for(self, condition: Callable[[], Any], seconds: float = 15.0, what: str = "") -> Any:
        """Wait until a condition holds; it is looked at after every request and every 20 ms."""
        end = time.monotonic() + seconds
        with self._changed:
            while True:
                result = condition()
                if result:
                    return result
                if time.monotonic() > end:
                    raise AssertionError(
                        f"waited {seconds} s for {what or condition}; requests: {self.requests[-8:]}"
                    )
                self._changed.wait(0.02)

    # Inside the loop.

    def _handler(self, method: str, delta: bool) -> Any:
        async def handle(requests: Any, context: Any) -> None:
            self.streams_opened += 1
            state = ServerStream(self.resources, delta=delta)
            state.held = self._held
            stream = _Stream(self.streams_opened, method, state, dict(context.invocation_metadata()))
            self._streams[stream.number] = stream
            reader = asyncio.ensure_future(self._read(stream, requests))
            try:
                while (data := await stream.queue.get()) is not None:
                    if self.delay:
                        await asyncio.sleep(self.delay)
                    await context.write(data)
                if stream.status is not None:
                    await context.abort(*stream.status)
            finally:
                self._streams.pop(stream.number, None)
                reader.cancel()

        return handle

    async def _read(self, stream: _Stream, requests: Any) -> None:
        delta = stream.state.delta
        message_type = discovery_pb2.DeltaDiscoveryRequest if delta else discovery_pb2.DiscoveryRequest
        try:
            async for data in requests:
                message = message_type.FromString(data)
                stream.state.take(message)
                stream.flush()
                with self._changed:
                    self.requests.append(Seen(stream.number, stream.method, message, stream.metadata))
                    self._changed.notify_all()
        finally:
            stream.queue.put_nowait(None)

    async def _set(self, messages: Iterable[Any], version: str, ttl: float) -> None:
        await self._push(self.resources.set(messages, version, ttl))

    async def _remove(self, kind: ResourceType, names: Iterable[str]) -> None:
        self.resources.remove(kind, names)
        await self._push([kind])

    async def _replace(self, kind: ResourceType, messages: list[Any]) -> None:
        self.resources.replace(kind, messages)
        await self._push([kind])

    async def _push(self, kinds: Iterable[ResourceType]) -> None:
        for kind in kinds:
            for stream in self._streams.values():
                stream.state.push(kind)
                stream.flush()

    async def _cut(self, code: grpc.StatusCode, details: str) -> None:
        for stream in list(self._streams.values()):
            stream.status = (code, details)
            stream.queue.put_nowait(None)

    async def _push_raw(self, message: Any, on: ResourceType | None) -> None:
        kind = on or resource_type(message.type_url)
        for stream in self._streams.values():
            state = None if kind is None else stream.state.types.get(kind)
            if state is not None:
                state.nonce = message.nonce
            if state is not None or kind is None:
                stream.queue.put_nowait(message.SerializeToString())

    async def _heartbeat(self, kind: ResourceType, name: str, ttl: float) -> None:
        for stream in self._streams.values():
            stream.state.heartbeat(kind, name, ttl)
            stream.flush()


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    def __init__(self, handlers: dict[str, Any]) -> None:
        self._handlers = handlers

    def service(self, details: Any) -> Any:
        return self._handlers.get(details.method)
