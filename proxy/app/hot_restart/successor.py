"""The side of the old process: waits for its successor, hands over what that asks for, and drains when told.

A successor that ends before it has said `Drain` has taken nothing: the old process goes on as before, and the next
one may try.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import suppress
from typing import Final, Protocol

from proxy.app.hot_restart import names
from proxy.app.hot_restart.messages import (
    MAX_DESCRIPTORS,
    VERSION,
    Admin,
    Drain,
    Hello,
    Hurry,
    Refused,
    Reply,
    Request,
    Sockets,
    TakeAdmin,
    Taken,
    TakeSockets,
    TakeStats,
    Welcome,
    decode_request,
    encode,
    stats_packets,
)
from proxy.app.hot_restart.packets import PacketConnection
from proxy.base.errors import HotRestartError

logger = logging.getLogger("proxy.app.hot_restart")

# Of those that have said nothing yet; further ones are sent away.
_MAX_STRANGERS: Final = 8
_HELLO_SECONDS: Final = 5.0
_LAST_SECONDS: Final = 2.0

#: Counters, gauges, and how many connections are open.
Numbers = tuple[Mapping[str, int], Mapping[str, int], int]


class HandOver(Protocol):
    """What the old process does at its successor's request."""

    def objection(self) -> str:
        """Why nobody may take over now, "" if somebody may."""

    def greeted(self) -> None:
        """A successor has come."""

    def welcome(self) -> Welcome:
        """Facts for the successor."""

    def pass_sockets(self) -> Iterable[tuple[str, list[socket.socket]]]:
        """Address → its listening sockets; the successor may accept on them from now on."""

    def pass_admin(self) -> tuple[str, socket.socket] | None:
        """Stop the admin server; its address and socket."""

    def numbers(self) -> Awaitable[Numbers]:
        """Up to date."""

    def drain(self, seconds: int, taken: frozenset[str], *, keep: bool) -> None:
        """See `messages.Drain`."""

    def let_go(self, taken: frozenset[str]) -> None:
        """See `messages.Taken`; called after `drain`."""

    def hurry(self) -> None:
        """See `messages.Hurry`."""

    def go_on(self) -> None:
        """The successor has gone without taking over."""


class SuccessorGate:
    """See module. `waiting` listens in the place of this process (`names.bind_place`) and is owned from now on."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, waiting: socket.socket, epoch: int, host: HandOver
    ) -> None:
        self._loop = loop
        self._waiting = waiting
        self._epoch = epoch
        self._host = host
        self._strangers: set[PacketConnection] = set()
        self._successor: PacketConnection | None = None
        self._taken: set[str] = set()
        self._draining = False
        self._tasks: set[asyncio.Task[None]] = set()
        loop.add_reader(waiting, self._accept)

    def tell_last(self, numbers: Numbers) -> None:
        """Give a successor the final numbers of a process that ends."""
        if self._successor is not None:
            for packet in stats_packets(*numbers):
                self._successor.send(encode(packet))
            self._successor.flush(_LAST_SECONDS)

    async def close(self) -> None:
        """Nobody can take over any more."""
        if self._waiting.fileno() < 0:
            return
        self._loop.remove_reader(self._waiting)
        self._waiting.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in (*self._strangers, *filter(None, [self._successor])):
            connection.close()

    def _accept(self) -> None:
        try:
            accepted, _name = self._waiting.accept()
        except OSError as error:
            logger.debug("cannot accept the successor's connection: %s", error)
            return
        user = names.peer_user(accepted)
        if user != os.geteuid() or len(self._strangers) >= _MAX_STRANGERS:
            if user != os.geteuid():
                logger.warning("a process of user %d may not take over from this one", user)
            accepted.close()
            return
        stranger: PacketConnection
        stranger = PacketConnection(
            self._loop,
            accepted,
            lambda packet, sockets: self._on_packet(stranger, packet, sockets),
            lambda reason: self._on_lost(stranger, reason),
        )
        self._strangers.add(stranger)
        self._loop.call_later(_HELLO_SECONDS, self._send_away, stranger)

    def _send_away(self, stranger: PacketConnection) -> None:
        if stranger in self._strangers:
            self._strangers.remove(stranger)
            stranger.close()

    def _on_packet(self, connection: PacketConnection, packet: bytes, sockets: list[socket.socket]) -> None:
        for one in sockets:
            one.close()
        request = decode_request(packet)
        if connection in self._strangers:
            self._strangers.remove(connection)
            self._greet(connection, request)
        else:
            self._obey(connection, request)

    def _greet(self, connection: PacketConnection, request: Request) -> None:
        if not isinstance(request, Hello):
            raise HotRestartError("the first message must be Hello")
        objection = self._objection(request)
        if objection:
            logger.warning("epoch %d may not take over: %s", request.epoch, objection)
            connection.send(encode(Refused(objection)))
            connection.close()
            return
        logger.info("epoch %d begins to take over", request.epoch)
        self._successor = connection
        self._taken.clear()
        self._host.greeted()
        _send(connection, self._host.welcome())

    def _objection(self, hello: Hello) -> str:
        if hello.version != VERSION:
            return (
                f"its hot restart version is {hello.version}, that of the running process {VERSION}: "
                "start it anew with --restart-epoch 0 once the running process has drained"
            )
        if hello.epoch != self._epoch + 1:
            return f"--restart-epoch must be {self._epoch + 1}, not {hello.epoch}"
        if self._successor is not None:
            return f"another process of epoch {hello.epoch} is taking over already"
        return self._host.objection()

    def _obey(self, connection: PacketConnection, request: Request) -> None:
        match request:
            case TakeSockets():
                for address, sockets in self._host.pass_sockets():
                    for start in range(0, len(sockets), MAX_DESCRIPTORS):
                        part = sockets[start : start + MAX_DESCRIPTORS]
                        _send(connection, Sockets(address, len(part)), part)
                _send(connection, Sockets(""))
            case TakeAdmin():
                admin = self._host.pass_admin()
                if admin is None:
                    _send(connection, Admin(""))
                else:
                    _send(connection, Admin(admin[0]), [admin[1]])
            case TakeStats():
                task = self._loop.create_task(self._tell(connection), name="tell the successor numbers")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case Taken(addresses):
                self._taken.update(addresses)
                if self._draining:
                    self._host.let_go(frozenset(addresses))
            case Drain(seconds, keep):
                if not self._draining:
                    self._draining = True
                    self._host.drain(seconds, frozenset(self._taken), keep=keep)
            case Hurry():
                self._host.hurry()
            case Hello():
                raise HotRestartError("Hello comes once")

    async def _tell(self, connection: PacketConnection) -> None:
        numbers = await self._host.numbers()
        for packet in stats_packets(*numbers):
            _send(connection, packet)

    def _on_lost(self, connection: PacketConnection, reason: str) -> None:
        self._strangers.discard(connection)
        if connection is not self._successor:
            return
        self._successor = None
        if self._draining:
            logger.warning("epoch %d, which has taken over, is lost: %s", self._epoch + 1, reason)
            return
        logger.warning(
            "epoch %d is lost before it has taken over (%s); this process goes on", self._epoch + 1, reason
        )
        with suppress(OSError):
            self._host.go_on()


def _send(connection: PacketConnection, reply: Reply, sockets: list[socket.socket] | None = None) -> None:
    connection.send(encode(reply), sockets or ())
