"""Load reports that hosts send on streams of their own: out-of-band ORCA, for CLIENT_SIDE_WEIGHTED_ROUND_ROBIN.

Source: `xds.service.orca.v3.OpenRcaService`, with the times and limits of Envoy. There is a connection of HTTP/2
to each host for nothing else, which the numbers of the cluster do not count. A host that does not know the service
is not asked again; any other end is followed by another stream, later and later as long as no report comes. Each
worker that uses the cluster has streams of its own, as each weighs the hosts itself.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.services import WorkerServices
from proxy.base.stat_names import stat_name
from proxy.base.stats import StatGroup
from proxy.codec.grpc import (
    CONTENT_TYPE,
    PREFIX_BYTES,
    GrpcStatus,
    grpc_status,
    is_grpc_response,
    prefix,
    status_of_http,
)
from proxy.codec.messages import ParsedResponse
from proxy.router.upstream_head import SingleHead
from proxy.upstream.circuit_breaker import UNLIMITED, Thresholds
from proxy.upstream.cluster_config import ClusterConfig, Discovery, UpstreamProtocol
from proxy.upstream.host import Host
from proxy.upstream.lb.api import LbConfig
from proxy.upstream.lb.load_report import report_of_bytes
from proxy.upstream.pool.api import PoolFailure, ResetReason, ServerName
from proxy.upstream.pool.base import ConnectionIds
from proxy.upstream.pool.choice import make_pool

if TYPE_CHECKING:
    from proxy.upstream.cluster import Cluster

PATH: Final = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"
#: Seconds; each further attempt comes at random within twice the time of the one before.
_BACKOFF: Final = 1.0
_LONGEST_BACKOFF: Final = 30.0
#: A stream that brings no report in so many periods is given up.
_QUIET_PERIODS: Final = 3
_LONGEST_REPORT: Final = 64 * 1024
_RESOLUTION: Final = 1 << 64
_NO_LIMIT: Final = Thresholds(UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED)
_KEY: Final = (0, ServerName("", "", ("h2",)))


class OobStats(StatGroup):
    """`cluster.<name>.lb_orca_oob.*`."""

    COUNTERS = ("report_errors", "reports_received", "stream_failures", "stream_terminated")
    GAUGES = ("active_sessions",)

    active_sessions: int
    report_errors: int
    reports_received: int
    stream_failures: int
    stream_terminated: int


def stats_key(name: str) -> str:
    """Where the numbers of the cluster of that name are."""
    return f"cluster.{name} lb_orca_oob"


class OobReports:
    """The streams to all hosts of one cluster, whose `client_weights` take the reports."""

    def __init__(self, cluster: Cluster, services: WorkerServices) -> None:
        self.services = services
        self.weights = cluster.client_weights
        self.period: float = cluster.config.lb.client_weights.oob_period
        key = stats_key(cluster.name)
        stats = services.stats.get(key)
        if not isinstance(stats, OobStats):
            stats = OobStats(f"cluster.{stat_name(cluster.config.stat_name)}.lb_orca_oob.")
            services.stats.add(key, stats)
        self.stats: OobStats = stats
        self.encrypted = cluster.config.transport_of
        self.carrier = type(cluster)(_carrier_config(cluster.config), services.runtime, services.random)
        self.ids = ConnectionIds()
        #: Pools that are being closed.
        self.closing: set[asyncio.Task[None]] = set()
        self._cluster = cluster
        self._seen: tuple[Host, ...] = ()
        self._sessions: dict[Host, OobSession] = {}
        cluster.watchers.append(self.follow)
        self.follow()

    def follow(self) -> None:
        """Have a stream to each host that the cluster has now, and to no other."""
        hosts = self._cluster.hosts
        if hosts is self._seen:
            return
        self._seen = hosts
        before, self._sessions = self._sessions, {}
        for host in hosts:
            known = before.get(host)
            if known is None:
                known = OobSession(self, host)
            else:
                del before[host]
            self._sessions[host] = known
        for session in before.values():
            session.close()

    def close(self) -> None:
        """End all streams."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()


class OobSession:
    """The stream to one host, from one attempt to the next. A `PoolRequest`."""

    method = "POST"
    preamble = b""
    upgrading = ""
    proxied = None
    request_id = b""
    head: SingleHead

    def __init__(self, owner: OobReports, host: Host) -> None:
        self.wire_bytes_received = self.wire_bytes_sent = self.header_bytes_sent = 0
        self._owner = owner
        self._host = host
        self._over = False
        self._backoff = _BACKOFF
        self._pool: Any = None
        self._connection: Any = None
        self._received = b""
        self._timer: Any = None
        owner.stats.active_sessions += 1
        # Not all hosts at once.
        self._wake_in(owner.period * self._chance())

    def close(self) -> None:
        """The host has gone."""
        if not self._over:
            self._over = True
            self._owner.stats.active_sessions -= 1
            self._let_go()

    def on_wake(self, now: float) -> None:
        """It is time for a stream, or the host has said nothing for too long."""
        del now
        self._timer = None
        if self._over:
            return
        if self._pool is None:
            self._open()
        else:
            self._fail()

    def _chance(self) -> float:
        return self._owner.services.random() / _RESOLUTION

    def _wake_in(self, seconds: float) -> None:
        services = self._owner.services
        if self._timer is not None:
            services.timers.cancel(self._timer)
        self._timer = services.timers.wake(services.loop.time() + seconds, self)

    # -- one attempt

    def _open(self) -> None:
        owner, host = self._owner, self._host
        services = owner.services
        live = Host(host.address, host.hostname, metadata=host.metadata)
        live.cluster = owner.carrier
        headers = HeaderMap()
        headers.add("te", "trailers")
        headers.add("content-type", CONTENT_TYPE)
        scheme = "http" if owner.encrypted(host.metadata) is None else "https"
        authority = host.hostname or host.address.text
        self.head = SingleHead(
            RequestHead("POST", PATH, authority, headers, scheme=scheme, protocol="HTTP/2"), end_stream=False
        )
        self._received = b""
        self._pool = make_pool(services.loop, services.timers, owner.carrier, live, _KEY, owner.ids)
        self._wake_in(owner.period * _QUIET_PERIODS)
        self._pool.wait(self)

    def _let_go(self) -> None:
        """End what there is of the attempt, its connection included."""
        owner = self._owner
        if self._timer is not None:
            owner.services.timers.cancel(self._timer)
            self._timer = None
        pool, self._pool = self._pool, None
        connection, self._connection = self._connection, None
        if pool is None:
            return
        if connection is not None:
            connection.abandon()
        else:
            pool.cancel(self)
        pool.drain()
        if pool.in_use:
            task = owner.services.loop.create_task(pool.close(), name="close an out-of-band stream")
            owner.closing.add(task)
            task.add_done_callback(owner.closing.discard)

    def _fail(self) -> None:
        self._owner.stats.stream_failures += 1
        self._let_go()
        wait = self._backoff * self._chance()
        self._backoff = min(2 * self._backoff, _LONGEST_BACKOFF)
        self._wake_in(wait)

    def _end(self, status: int) -> None:
        """The host has ended the call, or has said what ends it here."""
        if status != GrpcStatus.UNIMPLEMENTED:
            self._fail()
            return
        self._owner.stats.stream_terminated += 1
        self.close()

    def _take(self, data: bytes) -> bool:
        """Take the reports that are whole; False if the host does not speak gRPC."""
        received = self._received + data
        while len(received) >= PREFIX_BYTES:
            size = int.from_bytes(received[1:PREFIX_BYTES], "big")
            if received[0] or size > _LONGEST_REPORT:
                return False
            end = PREFIX_BYTES + size
            if len(received) < end:
                break
            message, received = received[PREFIX_BYTES:end], received[end:]
            if message and not self._report(message):
                return False
        self._received = received
        return True

    def _report(self, message: bytes) -> bool:
        owner = self._owner
        try:
            report = report_of_bytes(message)
        except ValueError:
            return False
        owner.stats.reports_received += 1
        self._backoff = _BACKOFF
        self._wake_in(owner.period * _QUIET_PERIODS)
        if report is None or not owner.weights.take(self._host, report):
            owner.stats.report_errors += 1
        return True

    # -- see `PoolRequest`

    def on_pool_ready(self, connection: Any) -> None:
        """Ask for reports."""
        from google.protobuf.duration_pb2 import Duration
        from xds.service.orca.v3 import orca_pb2  # few clusters ask

        self._connection = connection
        interval = Duration()
        interval.FromNanoseconds(round(self._owner.period * 1e9))
        message = orca_pb2.OrcaLoadReportRequest(report_interval=interval).SerializeToString()
        connection.send_head(prefix(len(message)) + message, True)

    def on_pool_failure(self, failure: PoolFailure, detail: str) -> None:
        """There is no connection."""
        del failure, detail
        self._fail()

    def on_informational(self, response: ParsedResponse) -> None:
        """Nothing to do."""

    def on_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """The host answers."""
        head = response.head
        over = end_stream and not body
        if over:
            self._connection = None
        if not is_grpc_response(head, end_stream=over):
            status = grpc_status(head.headers) if over else None
            self._end(status_of_http(head.status) if status is None else status)
        elif over:
            status = grpc_status(head.headers)
            self._end(GrpcStatus.UNKNOWN if status is None else status)
        elif body:
            self.on_response_data(body, end_stream)

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        """Reports, or pieces of them."""
        if end_stream:
            self._connection = None
        if not self._take(data):
            self._end(GrpcStatus.INTERNAL)
        elif end_stream:
            self._end(GrpcStatus.UNKNOWN)

    def on_response_trailers(self, trailers: HeaderMap) -> None:
        """The host will send no more."""
        self._connection = None
        status = grpc_status(trailers)
        self._end(GrpcStatus.UNKNOWN if status is None else status)

    def on_reset(self, reason: ResetReason, detail: str) -> None:
        """The stream has broken."""
        del reason, detail
        self._connection = None
        self._fail()

    def on_stale(self) -> bool:
        """A connection has one stream only."""
        return False

    def on_write_paused(self) -> None:
        """All is written at once."""

    def on_write_resumed(self) -> None:
        """All is written at once."""


def _carrier_config(config: ClusterConfig) -> ClusterConfig:
    """The cluster as these streams see it: no hosts, no limits, HTTP/2."""
    http = replace(
        config.http,
        idle_timeout=0.0,
        max_connection_duration=0.0,
        max_stream_duration=0.0,
        max_requests_per_connection=0,
    )
    return replace(
        config,
        discovery=Discovery.STATIC,
        endpoints=(),
        assignment=None,
        breakers=(_NO_LIMIT, _NO_LIMIT),
        protocol=UpstreamProtocol.HTTP2,
        http=http,
        lb=LbConfig(),
        outlier=None,
        health_checks=(),
        kind=None,
        preconnect=None,
        report_metrics=(),
    )
