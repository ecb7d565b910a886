"""The checks of all hosts of one cluster, and what probes of it have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from proxy.base.address import Address
from proxy.base.runtime import Runtime
from proxy.base.services import Timers
from proxy.base.stream_info import ConnectionInfo, DrainState, StreamInfo
from proxy.connection.tls_named import NamedTls
from proxy.router.upstream_head import SingleHead
from proxy.upstream.circuit_breaker import UNLIMITED, Thresholds
from proxy.upstream.cluster import Cluster
from proxy.upstream.cluster_config import ClusterConfig, Discovery, Http1Options, UpstreamProtocol
from proxy.upstream.health_check.config import GrpcCheck, HealthCheckConfig, HttpCheck, TcpCheck
from proxy.upstream.health_check.http_probe import (
    GrpcProbe,
    HttpProbe,
    Result,
    StreamProbe,
    grpc_head,
    http_head,
)
from proxy.upstream.health_check.session import CheckedHost, HostSession
from proxy.upstream.health_check.stats import HealthCheckStats
from proxy.upstream.health_check.tcp_probe import TcpProber
from proxy.upstream.health_flags import HostKey
from proxy.upstream.host import Host
from proxy.upstream.lb.api import LbConfig
from proxy.upstream.pool.api import ServerName
from proxy.upstream.pool.base import ConnectionIds
from proxy.upstream.pool.choice import make_pool

_LOOPBACK = Address("127.0.0.1", 0)
_NO_LIMIT = Thresholds(UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED)


class Surroundings(Struct):
    """What checks need of their process. `now` gives Unix seconds; `file` a writer of lines to a path.

    `draw` gives random integers; `has_traffic` tells whether the cluster with that stat name was ever connected to;
    `record` notes a decision: what, about what, why.
    """

    loop: asyncio.AbstractEventLoop
    timers: Timers
    draw: Callable[[], int]
    now: Callable[[], float]
    runtime: Runtime
    file: Callable[[str], Callable[[str], None]]
    has_traffic: Callable[[str], bool]
    record: Callable[[str, Mapping[str, str], str], object] = lambda _what, _about, _reason: None
    ids: ConnectionIds = field(default_factory=ConnectionIds)

    def interval_bounds(self) -> tuple[int, int | None]:
        """The runtime's bounds of intervals in milliseconds; None for no upper one."""
        most = self.runtime.integer("health_check.max_interval", -1)
        return self.runtime.integer("health_check.min_interval", 0), None if most < 0 else most


class Prober(Protocol):
    """What asks one host."""

    def start(self, done: Callable[[Result], None]) -> None:
        """Ask once; `done` hears of the result unless `cancel` comes first."""

    def cancel(self) -> None:
        """Give up: it takes too long."""

    def close(self) -> None:
        """Never ask again."""


class ClusterChecks:
    """See module. `on_flags` hears of the flags of a host after each result, `on_pass` of one that is well.

    `on_first_round` is called once every host that was there at `start` has been checked.
    """

    def __init__(
        self,
        config: ClusterConfig,
        env: Surroundings,
        on_flags: Callable[[HostKey, int], None],
        on_pass: Callable[[HostKey], None],
        on_first_round: Callable[[], None],
        stats: HealthCheckStats | None = None,
    ) -> None:
        self.config = config
        self.env = env
        self.check: HealthCheckConfig = config.health_checks[0]
        self.ignores_unchecked = config.ignores_unchecked
        self.stats = stats or HealthCheckStats(f"cluster.{config.stat_name}.health_check.")
        self.sessions: dict[HostKey, HostSession] = {}
        self._on_flags = on_flags
        self._on_pass = on_pass
        self._on_first_round: Callable[[], None] | None = on_first_round
        self._awaited: set[HostSession] = set()
        self._started = False
        self._writers = [env.file(path) for path in self.check.event_logs]
        self._carrier = Cluster(_carrier_config(config, self.check), env.runtime, env.draw)

    def set_hosts(self, hosts: Iterable[CheckedHost]) -> None:
        """Check these from now on, and no others; what is known of those that stay is kept."""
        wanted = {host.key: host for host in hosts}
        before = self.sessions
        if self.config.discovery is Discovery.LOGICAL_DNS and len(before) == len(wanted) == 1:
            (session,), (host,) = before.values(), wanted.values()
            if session.host != host:
                session.move(host)
            self.sessions = {host.key: session}
            return
        self.sessions = {}
        for key, host in wanted.items():
            known = before.get(key)
            if known is None or known.host.check_address != host.check_address:
                self.sessions[key] = made = HostSession(self, host)
                if not self._started:
                    self._awaited.add(made)
                made.start()
                continue
            if known.host != host:
                known.move(host)
            self.sessions[key] = before.pop(key)
        for gone in before.values():
            self._drop(gone)
        self._look()

    def start(self) -> None:
        """All hosts that the first round is to wait for are there."""
        self._started = True
        self._look()

    def close(self) -> None:
        """Check nobody any longer."""
        self._on_first_round = None
        for session in self.sessions.values():
            self._drop(session)
        self.sessions.clear()

    def log(self, line: str) -> None:
        """Write a line to every event log."""
        for write in self._writers:
            write(line)

    def has_traffic(self) -> bool:
        """Whether anything was ever sent to the cluster."""
        return self.env.has_traffic(self.config.stat_name)

    def checked(self, session: HostSession, *, passed: bool) -> None:
        """A host has a result."""
        key = session.host.key
        if self.sessions.get(key) is session:
            self._on_flags(key, session.verdict.flags)
            if passed and session.verdict.healthy:
                self._on_pass(key)
        if self._awaited:
            self._awaited.discard(session)
            self._look()

    def make_prober(self, host: CheckedHost, on_lost: Callable[[], None]) -> Prober:
        """What asks a host; `on_lost` tells of a connection that ended between two checks, where that matters."""
        metadata = self.check.criteria if self.check.criteria is not None else host.metadata
        live = Host(host.check_address, host.hostname, metadata=metadata)
        live.cluster = self._carrier
        probe = self.check.probe
        if isinstance(probe, TcpCheck):
            transport = self._carrier.config.transport_of(metadata)
            if transport is not None and self.check.alpn:
                transport = NamedTls(transport, "", "", self.check.alpn)
            return TcpProber(
                self.env.loop,
                probe,
                live,
                self._carrier.config,
                transport,
                on_lost,
                reuse=self.check.reuse_connection,
            )
        return _StreamProber(self, live, host.check_hostname, probe)

    def make_pool(self, host: Host) -> Any:
        """The pool of connections that the checks of one host use, one at a time."""
        key: Any = (0, ServerName("", "", self.check.alpn)) if self.check.alpn else 0
        return make_pool(self.env.loop, self.env.timers, self._carrier, host, key, self.env.ids)

    def _drop(self, session: HostSession) -> None:
        session.close()
        self.stats.healthy -= session.verdict.healthy
        self.stats.degraded -= session.verdict.degraded
        self._awaited.discard(session)

    def _look(self) -> None:
        if self._started and not self._awaited and self._on_first_round is not None:
            done, self._on_first_round = self._on_first_round, None
            done()


class _StreamProber:
    def __init__(self, owner: ClusterChecks, host: Host, hostname: str, probe: HttpCheck | GrpcCheck) -> None:
        self._owner = owner
        self._host = host
        self._probe = probe
        self._pool = owner.make_pool(host)
        named = probe.host if isinstance(probe, HttpCheck) else probe.authority
        self._authority = hostname or named or owner.config.name
        encrypted = self._owner.config.transport_of(host.metadata) is not None
        self._scheme = "https" if encrypted else "http"
        self._stream: StreamProbe | None = None

    def start(self, done: Callable[[Result], None]) -> None:
        probe, owner = self._probe, self._owner
        if isinstance(probe, HttpCheck):
            head = http_head(probe, self._authority, self._scheme)
        else:
            head = grpc_head(self._authority, self._scheme, owner.check.timeout)
        if probe.header_ops is not None:
            now = owner.env.loop.time()
            info = StreamInfo(ConnectionInfo(0, _LOOPBACK, _LOOPBACK, now, DrainState()), now)
            info.request = head
            info.upstream_host = self._host
            info.upstream_cluster = self._host.cluster
            probe.header_ops.apply(head, info)
        outgoing = SingleHead(head, end_stream=True)
        if isinstance(probe, HttpCheck):
            verifies = owner.env.runtime.feature_enabled(
                "health_check.verify_cluster", 100, 100, owner.env.draw
            )
            self._stream = HttpProbe(self._pool, probe, outgoing, done, verifies=verifies)
        else:
            self._stream = GrpcProbe(self._pool, probe, outgoing, done)
        self._stream.start()

    def cancel(self) -> None:
        if self._stream is not None:
            self._stream.cancel()

    def close(self) -> None:
        self.cancel()
        self._pool.drain()


def _carrier_config(config: ClusterConfig, check: HealthCheckConfig) -> ClusterConfig:
    """The cluster as its checks see it: no hosts, no limits but those of the check."""
    probe = check.probe
    http2 = isinstance(probe, GrpcCheck) or (isinstance(probe, HttpCheck) and probe.http2)
    options: Http1Options = replace(
        config.http,
        idle_timeout=0.0,
        max_connection_duration=0.0,
        max_stream_duration=0.0,
        max_requests_per_connection=0 if check.reuse_connection else 1,
    )
    return replace(
        config,
        discovery=Discovery.STATIC,
        endpoints=(),
        assignment=None,
        connect_timeout=check.timeout,
        breakers=(_NO_LIMIT, _NO_LIMIT),
        protocol=UpstreamProtocol.HTTP2 if http2 else UpstreamProtocol.HTTP1,
        http=options,
        lb=LbConfig(),
        health_checks=(),
        kind=None,
        preconnect=None,
    )
