"""What the controller decides about the health of hosts, told to every worker.

The one owner of the flags in `proxy.upstream.health_flags.TOLD`. Active health checks set and clear
`FAILED_ACTIVE_HC` and its like, outlier detection `FAILED_OUTLIER_CHECK`, each by `change`. All changes of one turn
of the loop go to workers in one message for each cluster: ("health", cluster, {(address text, priority): flags,
None for "nothing is known"}). A worker that starts gets everything (`messages`). Messages carry the flags as they
are, so that one more does no harm.

Flags belong to a cluster's name and the key of a host. They outlive updates of the endpoints; who knows that a host
has gone says `forget`, and when a cluster is replaced or removed `forget_cluster` is called by whoever set flags
in it. A worker keeps flags of hosts that it has not heard of yet.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from proxy.upstream.health_flags import HostKey

Changes = dict[HostKey, int | None]


class HostHealth:
    """See module. `soon` calls a function in the next turn of the loop; `broadcast` sends to every worker.

    `watchers` are called after changes have gone to the workers, with the cluster and the keys.
    """

    def __init__(
        self,
        soon: Callable[[Callable[[], None]], object],
        broadcast: Callable[[tuple[Any, ...]], None],
    ) -> None:
        self._soon = soon
        self._broadcast = broadcast
        self._flags: dict[str, dict[HostKey, int]] = {}
        self._changes: dict[str, Changes] = {}
        self.watchers: list[Callable[[str, Collection[HostKey]], None]] = []

    def flags(self, cluster: str, host: HostKey) -> int:
        """What is set for a host, 0 if nothing is known."""
        return self._flags.get(cluster, {}).get(host, 0)

    def of_cluster(self, cluster: str) -> Mapping[HostKey, int]:
        """Flags of every host about which anything is known; a live view."""
        return self._flags.get(cluster, {})

    def change(self, cluster: str, host: HostKey, *, add: int = 0, clear: int = 0) -> bool:
        """Set and clear flags of one host, and leave its others; returns whether that changed anything.

        The host is known from then on, be it with no flag at all.
        """
        hosts = self._flags.setdefault(cluster, {})
        before = hosts.get(host)
        after = (before or 0) & ~clear | add
        if after == before:
            return False
        hosts[host] = after
        self._note(cluster, host, after)
        return True

    def forget(self, cluster: str, host: HostKey) -> None:
        """The host has gone."""
        hosts = self._flags.get(cluster, {})
        if hosts.pop(host, None) is not None:
            self._note(cluster, host, None)
            if not hosts:
                del self._flags[cluster]

    def forget_cluster(self, cluster: str) -> None:
        """The cluster has gone, or is about to be another."""
        for host in self._flags.pop(cluster, {}):
            self._note(cluster, host, None)

    def messages(self) -> Iterator[tuple[Any, ...]]:
        """What tells a new worker everything."""
        for cluster, hosts in self._flags.items():
            yield "health", cluster, dict(hosts)

    def flush(self) -> None:
        """Tell workers now, where something that depends on it is told next."""
        changes, self._changes = self._changes, {}
        for cluster, hosts in changes.items():
            self._broadcast(("health", cluster, hosts))
            for watcher in self.watchers:
                watcher(cluster, hosts.keys())

    def _note(self, cluster: str, host: HostKey, flags: int | None) -> None:
        if not self._changes:
            self._soon(self.flush)
        self._changes.setdefault(cluster, {})[host] = flags
