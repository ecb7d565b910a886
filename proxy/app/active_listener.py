"""A listener in the controller: the sockets that it binds, keeps open, and hands to workers."""

from __future__ import annotations

import socket
from collections.abc import Sequence

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


class ActiveListener:
    """A listener with its sockets: one list per address, one socket per worker in each."""

    _addresses: Sequence[Address] = ()

    def __init__(
        self, plan: ListenerPlan, workers: int, sockets: list[list[socket.socket]] | None = None
    ) -> None:
        """Bind the addresses of `plan`, unless `sockets` come from a listener that did. Raises `UsageError`."""
        self.plan = plan
        self.sockets: list[list[socket.socket]] = sockets or []
        self.draining = False
        #: Whether the files of unix sockets go when this is closed.
        self._owns_files = sockets is None
        if sockets is not None:
            return
        try:
            for where in self._bound:
                self.sockets.append(open_sockets(plan.name, where, workers))
        except UsageError:
            self.close()
            raise

    @property
    def udp(self) -> bool:
        """Whether it takes datagrams; its sockets then cannot be shut, only closed."""
        return any(where.udp for where in self.plan.addresses)

    def succeeded_by(self, plan: ListenerPlan) -> ActiveListener:
        """A listener on the same sockets, whose addresses are the same; both can be closed."""
        return ActiveListener(plan, 0, [[one.dup() for one in sockets] for sockets in self.sockets])

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
    def _bound(self) -> tuple[ListenAddress, ...]:
        return self.plan.addresses if self.plan.bound else ()

    def of_worker(self, index: int) -> list[socket.socket]:
        """The sockets that one worker accepts on, in order of the addresses."""
        return [sockets[index] for sockets in self.sockets]

    def listen(self) -> None:
        """Let connections come in. Raises `UsageError`."""
        for where, sockets in zip(self._bound, self.sockets, strict=True):
            start_listening(self.plan.name, where, sockets)

    def refuse(self) -> None:
        """Refuse new connections from now on."""
        self.draining = True
        if self.udp:
            self.addresses()
            self.close()
            return
        for sockets in self.sockets:
            stop_listening(sockets)

    def close(self) -> None:
        """Close every socket and remove socket files."""
        for where, sockets in zip(self._bound, self.sockets, strict=False):
            for sock in sockets:
                sock.close()
            if self._owns_files:
                remove_socket_file(where)
