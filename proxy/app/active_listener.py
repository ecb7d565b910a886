"""A listener in the controller: the sockets that it binds, keeps open, and hands to workers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TypeAlias

from proxy.app.config_loading import ListenerPlan
from proxy.base.address import Address
from proxy.base.errors import UsageError
from proxy.connection.sockets import (
    ListenAddress,
    local_address,
    open_sockets,
    remove_socket_file,
    start_listening,
    stop_listening,
)

#: As `open_sockets`.
Opener: TypeAlias = Callable[[str, ListenAddress, int], list[socket.socket]]


class ActiveListener:
    """A listener with its sockets: one list per address, one socket per worker in each, or more if they come from
    a process that had more workers.

    `shared` are the numbers of addresses whose sockets another process has too: they are closed here, never shut.
    """

    _addresses: Sequence[Address] = ()

    def __init__(
        self,
        plan: ListenerPlan,
        workers: int,
        sockets: list[list[socket.socket]] | None = None,
        opener: Opener = open_sockets,
    ) -> None:
        """Bind the addresses of `plan`, unless `sockets` come from a listener that did. Raises `UsageError`."""
        self.plan = plan
        self.shared: frozenset[int] = frozenset()
        self._workers = workers
        self.sockets: list[list[socket.socket]] = sockets or []
        self.draining = False
        #: Whether the files of unix sockets go when this is closed.
        self._owns_files = sockets is None
        if sockets is not None:
            return
        try:
            for where in self.bound:
                self.sockets.append(opener(plan.name, where, workers))
        except UsageError:
            self.close()
            raise

    @property
    def udp(self) -> bool:
        """Whether it takes datagrams; its sockets then cannot be shut, only closed."""
        return any(where.udp for where in self.plan.addresses)

    def succeeded_by(self, plan: ListenerPlan) -> ActiveListener:
        """A listener on the same sockets, whose addresses are the same; both can be closed."""
        copies = [[one.dup() for one in sockets] for sockets in self.sockets]
        successor = ActiveListener(plan, self._workers, copies)
        successor.shared = self.shared
        return successor

    def shares(self, plan: ListenerPlan) -> bool:
        """Whether a listener of that plan can do with these sockets."""
        return self.plan.bound == plan.bound and self.plan.addresses == plan.addresses

    def take_over(self, other: ActiveListener) -> None:
        """This one has taken the place of `other`, whose sockets it may share."""
        if other.shares(self.plan):
            self._owns_files, other._owns_files = other._owns_files, False

    def addresses(self) -> Sequence[Address]:
        """What it is bound to, with the real ports; the configured addresses if nothing is bound."""
        if not self.plan.bound:
            return [where.address for where in self.plan.addresses]
        if not self._addresses:
            self._addresses = [local_address(sockets[0]) for sockets in self.sockets]
        return self._addresses

    @property
    def bound(self) -> tuple[ListenAddress, ...]:
        """The addresses that there are sockets for."""
        return self.plan.addresses if self.plan.bound else ()

    def of_worker(self, index: int) -> list[socket.socket]:
        """The sockets that one worker accepts on, in order of the addresses."""
        return [sockets[index] for sockets in self.sockets]

    def further_of_worker(self, index: int) -> list[tuple[int, socket.socket]]:
        """Number of an address → another socket of it that this worker accepts on."""
        step = self._workers
        return [
            (number, one)
            for number, sockets in enumerate(self.sockets)
            for one in sockets[index + step :: step]
        ]

    def listen(self) -> None:
        """Let connections come in. Raises `UsageError`."""
        for where, sockets in zip(self.bound, self.sockets, strict=True):
            start_listening(self.plan.name, where, sockets)

    def refuse(self) -> None:
        """Refuse new connections from now on."""
        self.draining = True
        if self.udp:
            self.addresses()
            self.close()
            return
        for number, sockets in enumerate(self.sockets):
            if number not in self.shared:
                stop_listening(sockets)

    def close(self) -> None:
        """Close every socket and remove socket files."""
        for number, (where, sockets) in enumerate(zip(self.bound, self.sockets, strict=False)):
            for sock in sockets:
                sock.close()
            if self._owns_files and number not in self.shared:
                remove_socket_file(where)
