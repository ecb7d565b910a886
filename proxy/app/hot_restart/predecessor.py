"""The side of the new process: asks the old one for its sockets and numbers, and tells it when to drain.

What must be known before anything is bound is asked for at once, blocking; the rest on the event loop.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from proxy.app.command_line import Options
from proxy.app.hot_restart import names
from proxy.app.hot_restart.inherited import InheritedSockets
from proxy.app.hot_restart.messages import (
    VERSION,
    Admin,
    Drain,
    Hello,
    Hurry,
    Refused,
    Reply,
    Request,
    Sockets,
    Stats,
    TakeAdmin,
    TakeSockets,
    TakeStats,
    Welcome,
    decode_reply,
    encode,
    taken_packets,
)
from proxy.app.hot_restart.packets import PacketConnection, receive
from proxy.base.errors import HotRestartError, UsageError

logger = logging.getLogger("proxy.app.hot_restart")

# The old process may be busy for a while, as with a large push of its control plane.
_ANSWER_SECONDS: Final = 10.0
_STATS_SECONDS: Final = 2.0


class NoParentError(UsageError):
    """There is no process of the epoch before."""


class Predecessor:
    """The old process, from the first word until it has gone."""

    def __init__(self, connection: socket.socket, welcome: Welcome) -> None:
        self._connection = connection
        self.welcome = welcome
        self._packets: PacketConnection | None = None
        self._admin: asyncio.Future[tuple[str, socket.socket] | None] | None = None
        self._stats: list[asyncio.Future[None]] = []
        self._counters: dict[str, int] = {}
        self._gauges: dict[str, int] = {}
        #: Whether it has been told to drain.
        self.draining = False
        #: How many connections it has open, as far as it has told.
        self.connections = 0
        self.on_numbers: Callable[[dict[str, int], dict[str, int]], None] = lambda _counters, _gauges: None
        self.on_gone: Callable[[], None] = lambda: None

    @classmethod
    def meet(cls, options: Options, base_id: int) -> Predecessor:
        """Say hello to the process of the epoch before ours. Raises `NoParentError` and `UsageError`."""
        epoch = options.restart_epoch
        before = epoch - 1
        try:
            connection = names.connect_place(options, base_id, before, _ANSWER_SECONDS)
        except OSError as error:
            raise NoParentError(
                f"error: --restart-epoch={epoch} takes over from the process of epoch {before} with base id "
                f"{base_id}, and cannot reach it at {names.place_of(options, base_id, before)}: "
                f"{error.strerror or error}; start with --restart-epoch 0 if none runs, and check --base-id and "
                "--socket-path if one does"
            ) from error
        try:
            connection.send(encode(Hello(VERSION, epoch)))
            answer, _sockets = _answer(connection)
        except (OSError, HotRestartError) as error:
            connection.close()
            raise UsageError(_failed(before, str(error))) from error
        if isinstance(answer, Welcome):
            return cls(connection, answer)
        connection.close()
        reason = answer.reason if isinstance(answer, Refused) else "an answer that makes no sense"
        raise UsageError(_failed(before, reason))

    def take_sockets(self) -> InheritedSockets:
        """All its listening sockets, which it goes on accepting on; fewer if it dies. Raises `UsageError`."""
        inherited = InheritedSockets()
        try:
            for address, sockets in self._receive_sockets():
                inherited.add(address, sockets)
        except ConnectionError as error:
            logger.warning(
                "the process of the epoch before has gone; what it has not passed is bound anew: %s", error
            )
        except (OSError, HotRestartError) as error:
            inherited.close()
            self._connection.close()
            raise UsageError(f"error: hot restart: the parent passes no sockets: {error}") from error
        return inherited

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on from here on the event loop."""
        self._packets = PacketConnection(loop, self._connection, self._on_packet, self._on_lost)

    async def take_admin(self) -> tuple[str, socket.socket] | None:
        """Have it stop its admin server; address and socket of that, None if it has none or is gone."""
        if not self.alive:
            return None
        self._admin = asyncio.get_running_loop().create_future()
        self._say(TakeAdmin())
        with suppress(TimeoutError):
            return await asyncio.wait_for(self._admin, _ANSWER_SECONDS)
        return None

    async def refresh(self) -> None:
        """Have it tell its numbers, and wait for them a little."""
        if not self.alive:
            return
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stats.append(told)
        self._say(TakeStats())
        await asyncio.wait([told], timeout=_STATS_SECONDS)

    def ask_numbers(self) -> None:
        """As `refresh`, without waiting."""
        self._say(TakeStats())

    def drain(self, taken: list[str], seconds: int, *, keep: bool) -> None:
        """We accept: it is to accept no longer. See `messages.Drain`."""
        self.draining = True
        self.took(taken)
        self._say(Drain(seconds, keep))

    def took(self, addresses: list[str]) -> None:
        """We accept on the sockets of these addresses."""
        for packet in taken_packets(addresses):
            self._say(packet)

    def hurry(self) -> None:
        """See `messages.Hurry`."""
        self._say(Hurry())

    @property
    def alive(self) -> bool:
        """Whether it can still be spoken with."""
        return self._packets is not None and not self._packets.closed

    def close(self) -> None:
        """Leave it alone."""
        if self._packets is not None:
            self._packets.close()
        self._connection.close()

    def _receive_sockets(self) -> Iterator[tuple[str, list[socket.socket]]]:
        self._connection.send(encode(TakeSockets()))
        while True:
            answer, sockets = _answer(self._connection)
            if not isinstance(answer, Sockets) or len(sockets) != answer.count:
                for one in sockets:
                    one.close()
                raise HotRestartError("an answer that makes no sense")
            if not answer.address:
                return
            yield answer.address, sockets

    def _say(self, request: Request) -> None:
        if self._packets is not None:
            self._packets.send(encode(request))

    def _on_packet(self, packet: bytes, sockets: list[socket.socket]) -> None:
        answer = decode_reply(packet)
        if isinstance(answer, Admin) and self._admin is not None and not self._admin.done():
            self._admin.set_result((answer.address, sockets.pop()) if sockets else None)
        elif isinstance(answer, Stats):
            self._counters.update(answer.counters)
            self._gauges.update(answer.gauges)
            if answer.connections is not None:
                self.connections = answer.connections
                self._tell_numbers()
        for one in sockets:
            one.close()

    def _tell_numbers(self) -> None:
        counters, self._counters = self._counters, {}
        gauges, self._gauges = self._gauges, {}
        self.on_numbers(counters, gauges)
        self._wake()

    def _wake(self) -> None:
        for told in self._stats:
            if not told.done():
                told.set_result(None)
        self._stats.clear()

    def _on_lost(self, reason: str) -> None:
        logger.info("the process of the epoch before has gone: %s", reason)
        self.connections = 0
        if self._admin is not None and not self._admin.done():
            self._admin.set_result(None)
        self._wake()
        self.on_gone()


def _failed(epoch: int, reason: str) -> str:
    return f"error: the process of epoch {epoch} does not hand over: {reason}"


def _answer(connection: socket.socket) -> tuple[Reply, list[socket.socket]]:
    packet, sockets = receive(connection)
    if not packet:
        raise ConnectionResetError(errno.ECONNRESET, "it has ended")
    try:
        return decode_reply(packet), sockets
    except HotRestartError:
        for one in sockets:
            one.close()
        raise
