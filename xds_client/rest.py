"""REST polling: a `DiscoveryRequest` as JSON, posted every `refresh_delay` and a random part of it again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import h11
from google.protobuf import json_format

from proxy.base.errors import ConfigError
from xds_client.api import StreamStatus
from xds_client.dial import dial
from xds_client.errors import ConnectError
from xds_client.hosts import Host, ServerCluster
from xds_client.messages import decode_response
from xds_client.mux import Mux

logger = logging.getLogger("xds_client")

DEFAULT_REQUEST_TIMEOUT: Final = 1.0
"""Seconds, `core.v3.ApiConfigSource.request_timeout` when unset."""

_OK: Final = 200
_NOT_MODIFIED: Final = 304
_CHUNK: Final = 256 * 1024


class RestRunner:
    """The source of a mux that polls. `delay` and `timeout` are in seconds; `draw` gives numbers in [0, 1)."""

    def __init__(
        self,
        mux: Mux,
        cluster: ServerCluster,
        path: str,
        node: Any,
        delay: float,
        timeout: float,
        read_response: Callable[[bytes, str], bytes],
        draw: Callable[[], float],
    ) -> None:
        self.mux = mux
        self._cluster = cluster
        self._path = path
        self._node = node
        self._delay = delay
        self._timeout = timeout
        self._read_response = read_response
        self._draw = draw
        self._error = ""
        self._next = 0.0
        self._task: asyncio.Task[None] | None = None
        self._asked: set[str] = set()
        self._answered: set[str] = set()
        self._sooner = asyncio.Event()
        mux.wake = self._on_due

    def start(self) -> None:
        """Begin to poll; idempotent."""
        if self._task is None:
            self.mux.connected()
            self._task = self.mux.loop.create_task(self._run(), name=f"xds_client poll {self._path}")

    async def close(self) -> None:
        """Poll no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.mux.close()

    def status(self) -> StreamStatus:
        """The snapshot for admin pages."""
        return StreamStatus(
            self.mux.source, self._cluster.name, not self._error, "", self._error, 0.0, self._next
        )

    async def _run(self) -> None:
        while True:
            await self._poll()
            delay = self._delay * (1 + self._draw())
            self._next = self.mux.clock() + delay
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._sooner.wait()
            self._next = 0.0

    def _names(self) -> set[str]:
        return {name for group in self.mux.groups.values() for name in group.state.names}

    def _on_due(self) -> None:
        """Nobody who comes with a new name waits for the next poll, as in Envoy."""
        if not self._asked.issuperset(self._names()):
            self._sooner.set()

    async def _poll(self) -> None:
        for group in self.mux.groups.values():
            # Every poll is a whole request, changed or not.
            group.state.repeat()
            self.mux.note_due(group)
        request = self.mux.next_request()
        if request is None:
            return
        self._asked = asked = self._names()
        self._sooner.clear()
        if not self._answered.issuperset(asked):
            # A server that is told of the version answers that nothing has changed, though it was asked for less.
            request.version_info = ""
        request.node.CopyFrom(self._node)
        body = json_format.MessageToJson(request, preserving_proto_field_name=True, indent=None).encode()
        try:
            async with asyncio.timeout(self._timeout):
                status, data = await self._post(body)
            if status not in {_OK, _NOT_MODIFIED}:
                raise ConnectError(f"{self._path} of {self._cluster.name} answered {status}")
        except (ConnectError, ConfigError, OSError, h11.ProtocolError) as error:
            self._failed(str(error))
            return
        except TimeoutError:
            self._failed(f"{self._path} of {self._cluster.name} did not answer within {self._timeout:g} s")
            return
        self._error = ""
        self._answered = asked
        self.mux.counters.connected_state = 1
        if status == _NOT_MODIFIED:
            return
        try:
            response = decode_response(self._read_response(data, self._path), delta=False)
        except (ValueError, ConfigError) as error:
            self._error = str(error)
            self.mux.failed(f"{self._path}: {error}", refused=True)
            return
        self.mux.received_for_all(response)

    def _failed(self, reason: str) -> None:
        self._error = reason
        self.mux.counters.connected_state = 0
        logger.warning("%s: %s", self.mux.source, reason)
        self.mux.failed(reason, refused=False)

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        errors: list[str] = []
        for host in await self._cluster.hosts(asyncio.get_running_loop()):
            try:
                return await self._post_to(host, body)
            except ConnectError as error:
                errors.append(str(error))
        raise ConnectError("; ".join(errors))

    async def _post_to(self, host: Host, body: bytes) -> tuple[int, bytes]:
        reader, writer = await dial(host, self._cluster.tls(), self._cluster.connect_timeout, "http/1.1")
        try:
            connection = h11.Connection(h11.CLIENT)
            head = h11.Request(
                method="POST",
                target=self._path,
                headers=[
                    ("host", self._cluster.name),
                    ("content-type", "application/json"),
                    ("content-length", str(len(body))),
                    ("connection", "close"),
                ],
            )
            events = (head, h11.Data(body), h11.EndOfMessage())
            writer.write(b"".join(connection.send(event) or b"" for event in events))
            return await _answer(connection, reader)
        finally:
            writer.close()


async def _answer(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[int, bytes]:
    status = 0
    parts: list[bytes] = []
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            parts.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            return status, b"".join(parts)
        elif isinstance(event, h11.ConnectionClosed):
            raise ConnectError("the server closed the connection without an answer")
