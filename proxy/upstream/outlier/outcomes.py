"""What came of a worker's requests, host by host, for the detector in the controller.

A success is a number that is raised; the controller fetches those when it needs them. A failure goes to the
controller at the end of the turn of the loop, in order, and so does the first success after it. While a host fails
in another worker, the controller says so (`watch`), and then a success here is told at once too.
Source: Envoy's `Upstream::Outlier::Result` and how its router reports it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final, Protocol

from proxy.upstream.health_flags import HostKey
from proxy.upstream.host import Host

#: What happened, in `HostOutcomes.sequence`: an answer that is no 5xx, a 5xx, one of 502 to 504; or, where the
#: two are told apart, a connection that was made or one that was not.
ANSWERED, FAILED, GATEWAY_FAILED, CONNECTED, UNCONNECTED = range(1, 6)
#: Where the controller lags, more than this of one host is not told.
MOST_UNTOLD: Final = 1024
_RETRY_SECONDS: Final = 0.05

#: What one host did since the last report: key, answers and connections that went well, the rest in order.
Report = tuple[HostKey, int, int, bytes]


class Line(Protocol):
    """See `proxy.app.ipc.Channel`."""

    @property
    def lagging(self) -> bool:
        """Whether the controller has not read what was sent."""

    def send(self, message: tuple[Any, ...]) -> None:
        """Queue one message."""


class HostOutcomes:
    """What came of requests to one host here. `split` tells that making a connection is judged by itself."""

    __slots__ = (
        "_owner",
        "answered",
        "connected_count",
        "hosts",
        "key",
        "sequence",
        "split",
        "unsure",
        "waits",
    )

    def __init__(self, owner: ClusterOutcomes, key: HostKey, split: bool) -> None:
        self._owner = owner
        self.key = key
        self.split = split
        #: The hosts with this key: names may lead to one address twice.
        self.hosts: list[Host] = []
        self.answered = 0
        self.connected_count = 0
        self.sequence = bytearray()
        #: Whether the host has failed somewhere since its last success here.
        self.unsure = False
        #: Whether `sequence` is about to be told.
        self.waits = False

    def responded(self, status: int) -> None:
        """The host has answered with this status of HTTP."""
        if not 500 <= status < 600:
            if self.unsure:
                self.unsure = False
                self._note(ANSWERED)
            else:
                self.answered += 1
            return
        self.unsure = True
        self._note(GATEWAY_FAILED if 502 <= status <= 504 else FAILED)

    def connected(self) -> None:
        """There is a connection; the answer to what is sent on it comes later."""
        if not self.split:
            return
        if self.unsure:
            self.unsure = False
            self._note(CONNECTED)
        else:
            self.connected_count += 1

    def served(self) -> None:
        """There is a connection, and that is all that is asked of the host."""
        if self.split:
            self.connected()
        else:
            self.responded(200)

    def broke(self) -> None:
        """No connection could be made, or it ended before its time."""
        self._no_answer(503)

    def timed_out(self) -> None:
        """No connection or no answer came in time."""
        self._no_answer(504)

    def _no_answer(self, status: int) -> None:
        if self.split:
            self.unsure = True
            self._note(UNCONNECTED)
        else:
            self.responded(status)

    def _note(self, what: int) -> None:
        if len(self.sequence) < MOST_UNTOLD:
            self.sequence.append(what)
        if not self.waits:
            self.waits = True
            self._owner.reporter.due(self._owner, self)

    def take(self) -> Report:
        """What is to be told, which counts as told."""
        told = (self.key, self.answered, self.connected_count, bytes(self.sequence))
        self.answered = self.connected_count = 0
        self.sequence.clear()
        return told


class ClusterOutcomes:
    """The hosts of one cluster here."""

    __slots__ = ("_split", "by_key", "name", "reporter")

    def __init__(self, reporter: OutcomeReporter, name: str, split: bool) -> None:
        self.reporter = reporter
        self.name = name
        self._split = split
        self.by_key: dict[HostKey, HostOutcomes] = {}

    def change_hosts(self, added: Iterable[Host], removed: Iterable[Host]) -> None:
        """Hosts have come or gone."""
        come: list[HostKey] = []
        gone: list[HostKey] = []
        for host in removed:
            outcomes, host.outcomes = host.outcomes, None
            if outcomes is None:
                continue
            outcomes.hosts.remove(host)
            if not outcomes.hosts:
                del self.by_key[outcomes.key]
                gone.append(outcomes.key)
        for host in added:
            key = (host.address.text, host.priority)
            outcomes = self.by_key.get(key)
            if outcomes is None:
                outcomes = self.by_key[key] = HostOutcomes(self, key, self._split)
                come.append(key)
            outcomes.hosts.append(host)
            host.outcomes = outcomes
        if come or gone:
            self.reporter.line.send(("outlier_hosts", self.name, come, gone))

    def close(self) -> None:
        """The cluster has gone."""
        self.change_hosts((), [host for outcomes in self.by_key.values() for host in outcomes.hosts])
        self.reporter.forget(self)


class OutcomeReporter:
    """Tells the controller, for one worker."""

    def __init__(self, loop: asyncio.AbstractEventLoop, line: Line) -> None:
        self._loop = loop
        self.line = line
        self._clusters: dict[str, ClusterOutcomes] = {}
        self._due: list[tuple[ClusterOutcomes, HostOutcomes]] = []

    def follow(self, name: str, hosts: Iterable[Host], *, split: bool) -> ClusterOutcomes:
        """Begin to count for the hosts of a cluster."""
        cluster = self._clusters[name] = ClusterOutcomes(self, name, split)
        cluster.change_hosts(hosts, ())
        return cluster

    def forget(self, cluster: ClusterOutcomes) -> None:
        """The cluster has gone, or another of its name has come."""
        if self._clusters.get(cluster.name) is cluster:
            del self._clusters[cluster.name]

    def collect(self, name: str) -> list[Report]:
        """What is still to be told of the hosts of a cluster."""
        cluster = self._clusters.get(name)
        if cluster is None:
            return []
        return [
            outcomes.take()
            for outcomes in cluster.by_key.values()
            if outcomes.answered or outcomes.connected_count or outcomes.sequence
        ]

    def watch(self, name: str, keys: Iterable[HostKey]) -> None:
        """Hosts have failed elsewhere: tell of their next success at once."""
        cluster = self._clusters.get(name)
        if cluster is not None:
            for key in keys:
                outcomes = cluster.by_key.get(key)
                if outcomes is not None:
                    outcomes.unsure = True

    def failed_at_once(self, name: str, key: HostKey) -> None:
        """A host of a cluster with health checks has said in a response that it would fail them.

        Where the controller is far behind nothing is told: the host says so again with its next response.
        """
        if not self.line.lagging:
            self.line.send(("immediate_failure", name, key))

    def tell_event(self, what: str, cluster: str, why: str) -> None:
        """Something for the event log; nothing is told where the controller is far behind."""
        if not self.line.lagging:
            self.line.send(("event", what, cluster, why))

    def due(self, cluster: ClusterOutcomes, outcomes: HostOutcomes) -> None:
        """Tell of a host soon."""
        if not self._due:
            self._loop.call_soon(self._tell)
        self._due.append((cluster, outcomes))

    def _tell(self) -> None:
        if self.line.lagging:
            self._loop.call_later(_RETRY_SECONDS, self._tell)
            return
        due, self._due = self._due, []
        reports: dict[str, list[Report]] = {}
        for cluster, outcomes in due:
            outcomes.waits = False
            if outcomes.hosts:
                reports.setdefault(cluster.name, []).append(outcomes.take())
        if reports:
            self.line.send(("outcomes", reports))
