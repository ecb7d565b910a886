"""Connections to a host of a control plane, with TLS by the context that was given."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import tempfile
from typing import Any, Final

from proxy.base.errors import ConfigError
from xds_client.api import ServerTls
from xds_client.errors import ConnectError
from xds_client.hosts import Host

_CHUNK: Final = 256 * 1024


async def dial(
    host: Host, tls: ServerTls | None, limit: float, alpn: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect within `limit` seconds. Raises `ConnectError`. `alpn` is offered if the context offers none."""
    context = None if tls is None else tls.context
    name = "" if tls is None else tls.server_name(host.hostname)
    if context is not None and alpn:
        context.set_alpn_protocols([alpn])
    options = {} if context is None else {"ssl": context, "server_hostname": name}
    try:
        async with asyncio.timeout(limit):
            if host.port:
                return await asyncio.open_connection(host.address, host.port, **options)  # type: ignore[arg-type]
            path = "\0" + host.address[1:] if host.address.startswith("@") else host.address
            return await asyncio.open_unix_connection(path, **options)  # type: ignore[arg-type]
    except TimeoutError as error:
        raise ConnectError(f"{host}: no connection within {limit:g} s") from error
    except (OSError, ConfigError) as error:
        raise ConnectError(f"{host}: {error}") from error


def keep_alive(writer: asyncio.StreamWriter, settings: Any) -> None:
    """Apply a `core.v3.TcpKeepalive` (or None) to a connection; unset values are the kernel's."""
    connection = writer.get_extra_info("socket")
    if settings is None or connection is None or connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for field, option in (
        ("keepalive_probes", "TCP_KEEPCNT"),
        ("keepalive_time", "TCP_KEEPIDLE"),
        ("keepalive_interval", "TCP_KEEPINTVL"),
    ):
        if settings.HasField(field) and hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), getattr(settings, field).value)


class Relay:
    """Carries the bytes of one gRPC connection over a connection that is already made.

    gRPC checks a server in its own way; the config asks for Envoy's way (names of any kind, pins, no name at all).
    So TLS is ours, and gRPC speaks plain text to a socket in a directory that only this user can enter.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._far = (reader, writer)
        self._directory = ""
        self._server: asyncio.Server | None = None
        self._pump: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Begin; gives the path of the socket."""
        self._directory = tempfile.mkdtemp(prefix="outrider-xds-")
        path = os.path.join(self._directory, "relay")
        self._server = await asyncio.start_unix_server(self._accepted, path)
        return path

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._pump is not None:
            writer.close()
            return
        self._pump = asyncio.get_running_loop().create_task(
            self._carry(reader, writer), name="xds_client relay"
        )

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = self._far
        tasks = [
            asyncio.ensure_future(_copy(reader, far_writer)),
            asyncio.ensure_future(_copy(far_reader, writer)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            writer.close()
            far_writer.close()

    async def close(self) -> None:
        """End it, and remove the socket."""
        if self._server is not None:
            self._server.close()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        writer = self._far[1]
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await writer.wait_closed()
        shutil.rmtree(self._directory, ignore_errors=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
