"""One connection of the admin server: HTTP/1.1 by h11 over asyncio streams.

A peer that is slow, silent, or sends too much is cut off by the limits below; an error inside a handler is logged
and answered with 500, and never ends the server.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import h11

from proxy.admin.http import TEXT, AdminResponse, parse_target
from proxy.base.address import Address, from_socket_name
from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.stream_info import ConnectionInfo, DrainState, StreamInfo

if TYPE_CHECKING:
    from proxy.admin.server import AdminServer

_log = logging.getLogger("proxy.admin")

#: Envoy's default for request headers, 60 KiB.
MAX_HEADER_BYTES: Final = 60 * 1024
MAX_BODY_BYTES: Final = 1024 * 1024
#: Seconds in which a whole request must come, a kept connection may idle, and a peer must take one chunk.
REQUEST_TIMEOUT: Final = 60.0
IDLE_TIMEOUT: Final = 300.0
WRITE_TIMEOUT: Final = 60.0

_READ_SIZE: Final = 64 * 1024


class AdminConnection:
    """One client: reads a request, answers it, and so on."""

    def __init__(
        self, server: AdminServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        self.started = time.monotonic()
        self._info = ConnectionInfo(
            number,
            from_socket_name(writer.get_extra_info("peername")),
            from_socket_name(writer.get_extra_info("sockname")),
            self.started,
            DrainState(),
        )
        self._local = is_local(self._info.remote_address)

    async def serve(self) -> None:
        """Until the client leaves, misbehaves, or does not want to keep the connection."""
        limit = IDLE_TIMEOUT
        while True:
            try:
                async with asyncio.timeout(limit):
                    first = await self._next_event()
                if not isinstance(first, h11.Request):
                    return
                async with asyncio.timeout(REQUEST_TIMEOUT):
                    body = await self._read_body()
            except h11.RemoteProtocolError as error:
                self._server.http_stats.downstream_cx_protocol_error += 1
                await self._refuse(error.error_status_hint or 400, f"{error}\n")
                return
            await self._exchange(first, body)
            if self._protocol.our_state is not h11.DONE or self._protocol.their_state is not h11.DONE:
                return
            self._protocol.start_next_cycle()

    async def _next_event(self) -> object:
        while True:
            event = self._protocol.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._protocol.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            data = await self._reader.read(_READ_SIZE)
            self._server.http_stats.downstream_cx_rx_bytes_total += len(data)
            self._protocol.receive_data(data)

    async def _read_body(self) -> bytes | None:
        """The whole body; None if it is over the limit."""
        parts: list[bytes] = []
        size = 0
        while True:
            event = await self._next_event()
            if not isinstance(event, h11.Data):
                return b"".join(parts)
            size += len(event.data)
            if size > MAX_BODY_BYTES:
                return None
            parts.append(bytes(event.data))

    async def _exchange(self, head: h11.Request, body: bytes | None) -> None:
        stats = self._server.http_stats
        stats.downstream_rq_total += 1
        stats.downstream_rq_http1_total += 1
        stats.downstream_rq_active += 1
        info = StreamInfo(self._info, time.monotonic())
        info.request = _request_head(head)
        info.protocol = info.request.protocol
        info.request_complete = time.monotonic()
        info.bytes_received = len(body or b"")
        try:
            response = await self._response(info.request, body)
            stats.count(response.status)
            info.response_code = response.status
            await self._answer(head, response, info)
        finally:
            stats.downstream_rq_active -= 1
            info.response_complete = time.monotonic()
            stats.downstream_rq_time.record(int((info.response_complete - info.start_time) * 1000))
            if self._server.access_log is not None:
                self._server.access_log(info)

    async def _response(self, request: RequestHead, body: bytes | None) -> AdminResponse:
        if body is None:
            self._server.http_stats.downstream_rq_too_large += 1
            return AdminResponse(f"the body is larger than {MAX_BODY_BYTES} bytes\n", 413)
        is_form = (request.headers.get("content-type") or "").startswith("application/x-www-form-urlencoded")
        form = body.decode("latin-1") if is_form and request.method == "POST" else ""
        try:
            parsed = parse_target(request.method, request.path, form, local=self._local)
            return await self._server.commands.answer(parsed, self._server.state)
        except Exception:  # noqa: BLE001 - a handler must not end the server
            _log.exception("admin request %s %s failed", request.method, request.path)
            return AdminResponse("internal error; see the log\n", 500)

    async def _answer(self, head: h11.Request, response: AdminResponse, info: StreamInfo) -> None:
        body = response.body
        text = body.encode() if isinstance(body, str) else None
        headers = _headers(response.content_type, None if text is None else len(text))
        info.response = ResponseHead(response.status, HeaderMap(headers))
        if self._protocol.their_state is not h11.DONE or self._server.paused:
            headers.append(("connection", "close"))
        await self._send(_head(response.status, headers))
        if head.method == b"HEAD":
            await _discard(body)
        elif text is not None:
            info.bytes_sent = await self._send_data(text)
        elif not isinstance(body, str):
            async for chunk in body:
                if chunk:
                    info.bytes_sent += await self._send_data(chunk.encode())
                # Others have their turn between two chunks, however fast the client reads.
                await asyncio.sleep(0)
        await self._send(h11.EndOfMessage())

    async def _send_data(self, data: bytes) -> int:
        await self._send(h11.Data(data=data))
        return len(data)

    async def _send(self, event: h11.Event) -> None:
        data = self._protocol.send(event)
        if data:
            self._server.http_stats.downstream_cx_tx_bytes_total += len(data)
            self._writer.write(data)
            async with asyncio.timeout(WRITE_TIMEOUT):
                await self._writer.drain()

    async def _refuse(self, status: int, text: str) -> None:
        """Answer what could not be parsed; the connection closes after it."""
        if self._protocol.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        self._server.http_stats.count(status)
        headers = [*_headers(TEXT, len(text)), ("connection", "close")]
        await self._send(_head(status, headers))
        await self._send_data(text.encode())
        await self._send(h11.EndOfMessage())


def _headers(content_type: str, length: int | None) -> list[tuple[str, str]]:
    headers = [
        ("content-type", content_type),
        ("cache-control", "no-cache, max-age=0"),
        ("x-content-type-options", "nosniff"),
        ("date", formatdate(usegmt=True)),
        ("server", "envoy"),
    ]
    if length is None:
        headers.append(("transfer-encoding", "chunked"))
    else:
        headers.append(("content-length", str(length)))
    return headers


def _head(status: int, headers: list[tuple[str, str]]) -> h11.Response:
    return h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase)


def _request_head(head: h11.Request) -> RequestHead:
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers]
    authority = next((value for name, value in fields if name == "host"), "")
    return RequestHead(
        head.method.decode("latin-1"),
        head.target.decode("latin-1"),
        authority,
        HeaderMap([field for field in fields if field[0] != "host"]),
        protocol=f"HTTP/{head.http_version.decode()}",
    )


async def _discard(body: str | AsyncIterator[str]) -> None:
    """Close a body that nobody reads."""
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()


def is_local(client: Address) -> bool:
    """Whether a client came by the loopback interface or a unix socket."""
    if not client.ip:
        return True
    ip = ipaddress.ip_address(client.ip.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback
