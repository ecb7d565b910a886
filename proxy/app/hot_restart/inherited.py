"""Listening sockets that came from the old process, until listeners of ours claim them by address."""

from __future__ import annotations

import socket

from proxy.connection.sockets import ListenAddress, open_sockets


def key_of(where: ListenAddress) -> str:
    """What both processes call the sockets of an address."""
    return f"udp {where.address}" if where.udp else str(where.address)


class InheritedSockets:
    """See module. `claimed` are the addresses whose sockets listeners of ours have."""

    def __init__(self) -> None:
        self._unclaimed: dict[str, list[socket.socket]] = {}
        self.claimed: list[str] = []

    def add(self, address: str, sockets: list[socket.socket]) -> None:
        """These belong to `address`, beside those that were added before."""
        for one in sockets:
            one.setblocking(False)
        self._unclaimed.setdefault(address, []).extend(sockets)

    def open(self, listener: str, where: ListenAddress, workers: int) -> list[socket.socket]:
        """As `proxy.connection.sockets.open_sockets`, by those of the old process as far as there are any.

        There may be more than `workers`: each must be accepted on, or what waits in its queue is lost.
        """
        taken = self._unclaimed.pop(key_of(where), [])
        if not taken:
            return open_sockets(listener, where, workers)
        self.claimed.append(key_of(where))
        if len(taken) >= workers:
            return taken
        try:
            if where.reuse_port and not where.address.path and _shares_port(taken[0]):
                return taken + open_sockets(listener, where, workers - len(taken))
            return taken + [taken[i % len(taken)].dup() for i in range(workers - len(taken))]
        except BaseException:
            for one in taken:
                one.close()
            raise

    def close(self) -> None:
        """Let go of what nobody has claimed."""
        for sockets in self._unclaimed.values():
            for one in sockets:
                one.close()
        self._unclaimed.clear()


def _shares_port(one: socket.socket) -> bool:
    return bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))
