"""The admin server: a port, and the connections to it.

It is for one operator rather than for traffic. Every connection is one owned task, limited in number here and
in time and size by `connection`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Final

from proxy.admin.config import AdminConfig
from proxy.admin.server_stats import AdminHttpStats, AdminListenerStats
from proxy.admin.state import AdminState
from proxy.base.address import Address, from_socket_name
from proxy.base.stats import StatRegistry
from proxy.base.stream_info import StreamInfo

if TYPE_CHECKING:
    from proxy.admin.commands import Commands

_log = logging.getLogger("proxy.admin")

MAX_CONNECTIONS: Final = 256

_READ_SIZE: Final = 64 * 1024

AccessLog = Callable[[StreamInfo], None]


class AdminServer:
    """Serves one address. `access_log` gets the facts of each request after its response.

    With a `registry` it keeps Envoy's `http.admin.*` and `listener.admin.*`.
    """

    def __init__(
        self,
        state: AdminState,
        config: AdminConfig | None = None,
        registry: StatRegistry | None = None,
        access_log: AccessLog | None = None,
    ) -> None:
        self.state = state
        self._config = config or AdminConfig()
        self.access_log = access_log
        self.http_stats = AdminHttpStats("http.admin.")
        self.listener_stats = AdminListenerStats("listener.admin.")
        if registry is not None:
            registry.add("http.admin", self.http_stats)
            registry.add("listener.admin", self.listener_stats)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.paused = False
        self._socket_path = ""
        self._count = 0

    @cached_property
    def commands(self) -> Commands:
        """What it answers; made for the first connection."""
        from proxy.admin.commands import Commands

        return Commands(self._config)

    async def start(self, address: Address | socket.socket) -> Address:
        """Listen on an address or on a socket already bound; returns where it listens.

        Raises OSError if the address cannot be had.
        """
        if isinstance(address, socket.socket):
            listening = address
        else:
            listening = socket.socket(address.family, socket.SOCK_STREAM)
            try:
                if address.path:
                    self._socket_path = "" if address.path.startswith("@") else address.path
                    _remove_stale(self._socket_path)
                else:
                    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listening.bind(address.sockaddr)
            except OSError:
                listening.close()
                raise
        listening.setblocking(False)
        self.paused = False
        self._server = await asyncio.start_server(self._accepted, sock=listening, limit=_READ_SIZE)
        return from_socket_name(listening.getsockname())

    def pause(self) -> None:
        """Accept no longer, until `start`; open connections end with their next response."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.paused = True

    async def close(self) -> None:
        """Stop listening, end every connection, wait until all tasks are gone."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if server is not None:
            await server.wait_closed()
        _remove_stale(self._socket_path)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # `start_server` owns the task that runs this; it is kept to be cancelled by `close`.
        task = asyncio.current_task()
        assert task is not None
        self._count += 1
        stats = self.listener_stats
        stats.downstream_cx_total += 1
        if len(self._connections) >= MAX_CONNECTIONS:
            stats.downstream_cx_overflow += 1
            writer.close()
            return
        self._connections.add(task)
        self._opened()
        # Not before: h11 and the handlers take a tenth of the time to start.
        from proxy.admin.connection import AdminConnection

        connection = AdminConnection(self, reader, writer, self._count)
        try:
            await connection.serve()
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass
        except Exception:  # noqa: BLE001 - the outermost edge of a connection
            _log.exception("admin connection failed")
        finally:
            self._connections.discard(task)
            self._closed(connection.started)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    def _opened(self) -> None:
        http = self.http_stats
        http.downstream_cx_total += 1
        http.downstream_cx_http1_total += 1
        http.downstream_cx_active += 1
        http.downstream_cx_http1_active += 1
        self.listener_stats.downstream_cx_active += 1

    def _closed(self, started: float) -> None:
        http, listener = self.http_stats, self.listener_stats
        http.downstream_cx_destroy += 1
        http.downstream_cx_active -= 1
        http.downstream_cx_http1_active -= 1
        listener.downstream_cx_destroy += 1
        listener.downstream_cx_active -= 1
        length = int((time.monotonic() - started) * 1000)
        http.downstream_cx_length_ms.record(length)
        listener.downstream_cx_length_ms.record(length)


def _remove_stale(path: str) -> None:
    if path:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
