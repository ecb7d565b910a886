"""The listeners of one worker: which run, which are on their way out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from itertools import count
from typing import TYPE_CHECKING, TypeAlias

from proxy.base.services import WorkerServices
from proxy.downstream.connection import ConnectionCounter, LocalCounter
from proxy.downstream.directory import ListenerDirectory
from proxy.downstream.listener import INBOUND, MODIFY_ONLY, Listener, ListenerConfig, stats_of
from proxy.downstream.live_chain import LiveChain
from proxy.overload.names import STOP_ACCEPTING_CONNECTIONS
from proxy.overload.view import OverloadView

if TYPE_CHECKING:
    from proxy.downstream.udp_listener import UdpListener

AnyListener: TypeAlias = "Listener | UdpListener"


class ListenerManager:
    """Adds, drains and removes listeners.

    `counter` makes what counts a listener's connections over all workers, by listener name ("" for the
    connections of all listeners); the default counts those of this worker only. What is removed or replaced may
    keep its connections for `drain_time` seconds, or, if that is 0, until `close_drained`.
    """

    def __init__(
        self,
        services: WorkerServices,
        counter: Callable[[str], ConnectionCounter] | None = None,
        drain_time: float = 0.0,
    ) -> None:
        self._services = services
        self._counter = counter
        self._drain_time = drain_time
        self._global_count = counter("") if counter else LocalCounter()
        self._next_id = count(1).__next__
        self._directory = services.internal_listeners = ListenerDirectory()
        self.listeners: dict[str, AnyListener] = {}
        self._going_on: asyncio.Task[None] | None = None
        if services.overload is not None:
            services.overload.watch(self)
        self.draining: list[AnyListener] = []

    async def add(
        self,
        config: ListenerConfig,
        sockets: list[socket.socket],
        further: Iterable[tuple[int, socket.socket]] = (),
    ) -> AnyListener:
        """Run a listener on the bound `sockets`, one for each of `config.addresses` (none if it has no port), and
        on `further` ones, each with the number of its address.

        A listener of that name is replaced: it is drained once the new one accepts. The caller ends its
        connections with `close_drained` when the drain time is over. If nothing but filter chains differ, it stays,
        and only connections of chains that are no longer there are drained.
        """
        present = self.listeners.get(config.name)
        if isinstance(present, Listener) and config.frame and present.config.frame == config.frame:
            for sock in (*sockets, *(one for _number, one in further)):
                sock.close()  # those that it has are the same
            gone = present.replace_chains(config)
            if gone and self._drain_time:
                self._services.loop.call_later(self._drain_time, _close_chains, present, gone)
            return present
        listener = await self._start(config, sockets, further)
        replaced = self.listeners.pop(config.name, None)
        self.listeners[config.name] = listener
        if replaced is not None:
            self._retire(replaced)
        return listener

    async def _start(
        self,
        config: ListenerConfig,
        sockets: list[socket.socket],
        further: Iterable[tuple[int, socket.socket]],
    ) -> AnyListener:
        if config.udp is not None:
            from proxy.downstream.udp_listener import UdpListener  # few workers have one

            datagrams = UdpListener(config, self._services, stats_of(config, self._services))
            await datagrams.start(sockets, further)
            return datagrams
        own = self._counter(config.name) if self._counter else None
        listener = Listener(config, self._services, self._next_id, own, self._global_count, self._directory)
        if config.bind_to_port:
            await listener.start(sockets, further)
            if self._holds(listener):
                listener.hold()
        else:
            listener.start_unbound()
        return listener

    def on_overload(self) -> None:
        """See `proxy.overload.view.OverloadWatcher`."""
        waiting = []
        for listener in self.listeners.values():
            if isinstance(listener, Listener):
                if self._holds(listener):
                    listener.hold()
                else:
                    waiting.append(listener)
        if any(listener.held for listener in waiting) and self._going_on is None:
            self._going_on = self._services.loop.create_task(self._go_on(), name="accept again")

    def _holds(self, listener: Listener) -> bool:
        view: OverloadView | None = self._services.overload
        return (
            view is not None
            and not listener.config.bypasses_overload
            and view.state(STOP_ACCEPTING_CONNECTIONS) >= 1.0
        )

    async def _go_on(self) -> None:
        try:
            for listener in list(self.listeners.values()):
                if isinstance(listener, Listener) and not self._holds(listener):
                    await listener.go_on()
        finally:
            self._going_on = None
        # The pressure may have come back meanwhile.
        for listener in self.listeners.values():
            if isinstance(listener, Listener) and self._holds(listener):
                listener.hold()

    def stop(self, *, inbound_only: bool = False) -> None:
        """Refuse new connections on all listeners, or on inbound ones; the open ones go on as before."""
        for listener in self.listeners.values():
            if not inbound_only or listener.config.traffic_direction == INBOUND:
                listener.stop()

    def drain(self, name: str | None = None) -> None:
        """Stop one listener or all, and let their connections end when they can."""
        for listener in list(self.listeners.values()):
            if name is None or listener.config.name == name:
                listener.drain()

    def announce_drain(self, draining: bool = True) -> None:
        """Let connections end when they can while listeners go on accepting (`/healthcheck/fail`).

        A listener with `drain_type: MODIFY_ONLY` takes no part.
        """
        for listener in self.listeners.values():
            if listener.config.drain_type != MODIFY_ONLY:
                listener.announce_drain(draining)

    def remove(self, name: str) -> AnyListener | None:
        """Drain a listener and forget its name."""
        listener = self.listeners.pop(name, None)
        if listener is not None:
            self._retire(listener)
        return listener

    def close_drained(self) -> None:
        """End the connections of removed and replaced listeners: their drain time is over."""
        for listener in self.draining:
            listener.close_connections()
        self.draining.clear()

    def close_idle(self, silent: float) -> None:
        """Close connections that have carried nothing for so many seconds."""
        for listener in self._all():
            listener.close_idle(silent)

    def close_connections(self) -> None:
        """End every connection of every listener."""
        self.close_drained()
        for listener in self.listeners.values():
            listener.close_connections()

    @property
    def active_connections(self) -> int:
        """Connections open in this worker, those of draining listeners included."""
        listeners = self._all()
        open_now = sum(one.active for one in {one.stats: one for one in listeners}.values())
        return open_now + sum(one.pending for one in listeners)

    @property
    def accepted_connections(self) -> int:
        """Connections that the listeners have ever accepted in this worker."""
        return sum(stats.downstream_cx_total for stats in {one.stats for one in self._all()})

    def _all(self) -> list[AnyListener]:
        return [*self.listeners.values(), *self.draining]

    def _retire(self, listener: AnyListener) -> None:
        listener.drain()
        self.draining = [one for one in self.draining if one.active]
        self.draining.append(listener)
        if self._drain_time:
            self._services.loop.call_later(self._drain_time, self._close_drained, listener)

    def _close_drained(self, listener: AnyListener) -> None:
        if listener in self.draining:
            self.draining.remove(listener)
            listener.close_connections()


def _close_chains(listener: Listener, chains: list[LiveChain]) -> None:
    for chain in chains:
        listener.close_connections(chain)
