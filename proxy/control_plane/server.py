"""The discovery services over gRPC, for a folder that may change at any time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from envoy.service.discovery.v3 import discovery_pb2
from grpc import aio

from proxy.base.errors import UsageError
from proxy.control_plane.folder import Folder
from proxy.control_plane.journal import StreamJournal, noun
from proxy.control_plane.streams import Resources, ServerStream
from xds_client.files import DirectoryWatch
from xds_client.resource_types import ResourceType
from xds_client.services import ads_method, stream_method

logger = logging.getLogger("proxy.control_plane")

SETTLE_SECONDS: Final = 0.05
"""Between the first sign of a change and the look at the files: who saves several files means one change."""

POLL_SECONDS: Final = 1.0
"""How often to look where the kernel does not tell of changes, as on some network file systems."""

_OPTIONS: Final = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
]
_GRACE: Final = 0.5


class FolderServer:
    """Serves a folder until `close`. `address` is an IP address, or the path of a unix socket."""

    def __init__(self, folder: Folder, address: str, port: int) -> None:
        self.port = port
        self._folder = folder
        self._address = address
        self._resources = Resources("outrider control-plane")
        self._streams: dict[ServerStream, tuple[asyncio.Queue[bytes | None], StreamJournal]] = {}
        self._server: Any = None
        self._watch: DirectoryWatch | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Read the folder, listen, watch. Raises `UsageError` if the address cannot be had."""
        self._loop = asyncio.get_running_loop()
        try:
            self._look()
        except OSError as error:
            raise UsageError(f"cannot read {self._folder.path}: {error.strerror}") from error
        self._server = aio.server(options=_OPTIONS)
        handlers: dict[str, Any] = {}
        for delta in (False, True):
            methods = [ads_method(delta=delta), *(stream_method(kind, delta=delta) for kind in ResourceType)]
            for method in filter(None, methods):
                handlers[method] = grpc.stream_stream_rpc_method_handler(self._handler(method, delta))
        self._server.add_generic_rpc_handlers([_Methods(handlers)])
        unix = self._address.startswith("/")
        host = f"[{self._address}]" if ":" in self._address else self._address
        place = f"unix:{self._address}" if unix else f"{host}:{self.port}"
        try:
            self.port = self._server.add_insecure_port(place)
        except RuntimeError as error:
            raise UsageError(f"cannot listen on {place}; is the port taken? (--port)") from error
        await self._server.start()
        logger.info("serving %s on %s", self._folder.path, place if unix else f"{host}:{self.port}")
        self._watch_folder()

    async def close(self) -> None:
        """Stop watching and serving."""
        if self._watch is not None:
            self._watch.close()
        if self._timer is not None:
            self._timer.cancel()
        await self._server.stop(_GRACE)

    def _watch_folder(self) -> None:
        assert self._loop is not None
        try:
            self._watch = DirectoryWatch(self._loop, self._folder.path, self._changed, removals=True)
        except OSError as error:
            logger.info("%s is looked at every %g s: %s", self._folder.path, POLL_SECONDS, error)
            self._timer = self._loop.call_later(POLL_SECONDS, self._tick)

    def _tick(self) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_later(POLL_SECONDS, self._tick)
        self._reload()

    def _changed(self) -> None:
        assert self._loop is not None
        if self._timer is None:
            self._timer = self._loop.call_later(SETTLE_SECONDS, self._settled)

    def _settled(self) -> None:
        self._timer = None
        self._reload()

    def _reload(self) -> None:
        try:
            changed = self._look()
        except OSError as error:
            logger.error("%s cannot be read; what was served stays: %s", self._folder.path, error.strerror)
            return
        for kind in changed:
            for stream, (queue, journal) in self._streams.items():
                stream.push(kind)
                _flush(stream, queue, journal)

    def _look(self) -> list[ResourceType]:
        """Read what changed, tell of it; gives the types to push, in the order that loses no traffic."""
        reading = self._folder.read()
        for warning in reading.warnings:
            logger.warning("%s", warning)
        for problem in reading.problems:
            logger.error("%s", problem)
        for origin in sorted({problem.origin for problem in reading.problems}):
            logger.error("%s is not served as it stands; its last good content stays, if any", origin)
        before = {kind: dict(named) for kind, named in self._resources.by_type.items()}
        changed = self._resources.replace_all(reading.content)
        for kind in changed:
            logger.info("%s", _difference(self._resources, kind, before[kind]))
        return changed

    def _handler(self, method: str, delta: bool) -> Any:
        message_type = discovery_pb2.DeltaDiscoveryRequest if delta else discovery_pb2.DiscoveryRequest

        async def handle(requests: AsyncIterator[bytes], context: Any) -> None:
            stream = ServerStream(self._resources, delta=delta)
            queue: asyncio.Queue[bytes | None] = asyncio.Queue()
            journal = StreamJournal(method, context.peer())
            self._streams[stream] = queue, journal

            async def read() -> None:
                try:
                    async for data in requests:
                        request = message_type.FromString(data)
                        journal.came(request)
                        stream.take(request)
                        _flush(stream, queue, journal)
                finally:
                    queue.put_nowait(None)

            reader = asyncio.get_running_loop().create_task(read(), name=f"read {method}")
            try:
                while (data := await queue.get()) is not None:
                    await context.write(data)
            finally:
                self._streams.pop(stream, None)
                journal.ended()
                reader.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.gather(reader, return_exceptions=True)

        return handle


def _flush(stream: ServerStream, queue: asyncio.Queue[bytes | None], journal: StreamJournal) -> None:
    for message in stream.out:
        journal.sent(message)
        queue.put_nowait(message.SerializeToString())
    stream.out.clear()


def _difference(resources: Resources, kind: ResourceType, before: dict[str, tuple[str, Any]]) -> str:
    """What a change of a type is: its version, and the names that are new (+), different (~) and gone (-)."""
    after = resources.by_type[kind]
    marks = [
        f"+{name}" if name not in before else f"~{name}"
        for name in after
        if name not in before or before[name][0] != after[name][0]
    ]
    marks += [f"-{name}" for name in before if name not in after]
    shown = " ".join(marks[:8]) + (f" and {len(marks) - 8} more" if len(marks) > 8 else "")
    return f"{noun(kind)} {resources.versions[kind]}: {shown}"


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, handlers: dict[str, Any]) -> None:
        self._handlers = handlers

    def service(self, details: Any) -> Any:
        """The handler of a method, None for one that is not served."""
        return self._handlers.get(details.method)
