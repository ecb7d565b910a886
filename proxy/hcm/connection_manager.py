"""What all connections of one filter chain share: config, counters, caches, filters, logs."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from msgspec.structs import replace

from proxy.access_log.logger import AccessLogger
from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup, StatRegistry
from proxy.base.stream_info import ConnectionInfo, DrainState, StreamInfo
from proxy.codec.http1_render import NameFormatter
from proxy.codec.http1_request import Http1Request, RequestParser
from proxy.codec.http2_request import Http2RequestParser
from proxy.codec.http2_stats import Http2CodecStats
from proxy.codec.messages import ParsedRequest
from proxy.config.context import CompileContext
from proxy.config.resources import ResourceSource
from proxy.filters.api import ListenerFacts, NetworkFilterFactory
from proxy.formatter.spec import Facts
from proxy.hcm.config import CodecType, HcmConfig, RouterOptions, compile_hcm, router_options
from proxy.hcm.filter_makers import FilterMakers
from proxy.hcm.forwarding import LocalNode
from proxy.hcm.http1_connection import Http1ServerConnection
from proxy.hcm.http2_connection import Http2ServerConnection
from proxy.hcm.http_date import HttpDate
from proxy.hcm.name_case import preserved, proper_case
from proxy.hcm.request_id import RequestIds
from proxy.hcm.request_plan import RequestPlan, RequestPlanner
from proxy.hcm.stats import Http1CodecStats, HttpStats, ListenerHttpStats
from proxy.hcm.stream_state import StreamState
from proxy.overload.names import (
    CONNECTION_IDLE,
    CONNECTION_MAX,
    CREATING_CODEC,
    DECODE_HEADERS,
    DISABLE_HTTP_KEEPALIVE,
    HTTP1_ABORT_DISPATCH,
    STOP_ACCEPTING_REQUESTS,
)
from proxy.overload.view import OverloadView
from proxy.router.cluster_action import ClusterAction
from proxy.router.discovered_table import discovered_table
from proxy.router.route import Route, overrides_of
from proxy.router.route_terms import RouteTerms
from proxy.router.scope_tables import ScopeTables
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.pool.api import PoolKey
from proxy.upstream.pool.base import ConnectionIds
from proxy.upstream.pool.choice import make_pool

if TYPE_CHECKING:
    from proxy.router.logged_request import UpstreamLog
    from proxy.tracing.tracer import Tracer

#: Parsed request heads kept; clients choose them, so there is an end to their number and size.
MAX_KNOWN_HEADS: Final = 1024
MAX_KNOWN_HEAD_BYTES: Final = 2048

#: Seconds between looks at all connections. A deadline that is nearer gets a wake-up of its own, so a connection
#: that is gone by then has cost no timer.
_SWEEP_INTERVAL: Final = 5.0

_Group = TypeVar("_Group", bound=StatGroup)

#: See `RequestPlanner.plan`.
Plan = Callable[[ParsedRequest, ConnectionInfo, StreamInfo, str], RequestPlan]

_numbers = itertools.count(1)


class ServerConnection(Protocol):
    """What the manager asks of a client's connection."""

    @property
    def info(self) -> ConnectionInfo:
        """The facts of it."""

    def sweep(self, now: float, until: float) -> None:
        """Look after a connection without a wake-up of its own; the next look comes at `until`."""

    def forget_heads(self) -> None:
        """Forget what was made of the heads that have come: the routes have changed."""


def _shortest(config: HcmConfig) -> float:
    return min((t for t in (config.idle_timeout, config.max_connection_duration) if t), default=float("inf"))


def _shared(stats: StatRegistry, group: _Group) -> _Group:
    """The group of this prefix that is registered already, or else `group`."""
    known = stats.get(group.prefix)
    if isinstance(known, type(group)):
        return known
    stats.add(group.prefix, group)
    return group


class ConnectionManager:
    """A live HCM; the `TerminalFilter` of its chain. `plan` decides what becomes of a request that has come."""

    plan: Plan

    def __init__(self, config: HcmConfig, services: WorkerServices, facts: ListenerFacts) -> None:
        self.config = config
        self.services = services
        self.clusters = services.clusters
        self.drain: DrainState = services.drain
        self._overload: OverloadView | None = None if facts.bypasses_overload else services.overload
        #: Tells the plans of one manager from those of another in heads that they share.
        self.number = next(_numbers)
        # Managers with one prefix count together, also one that follows another on the same listener.
        self.stats = _shared(services.stats, HttpStats(f"http.{config.stat_prefix}."))
        self.listener_stats = _shared(
            services.stats, ListenerHttpStats(f"{facts.stat_prefix}http.{config.stat_prefix}.")
        )
        self.codec_stats = _shared(services.stats, Http1CodecStats())
        self.parser = RequestParser(
            config.max_headers_bytes,
            config.max_headers_count,
            config.underscores,
            config.allow_absolute_url,
            config.allow_chunked_length,
            config.preserve_case,
            config.accept_http_10,
            config.ignored_upgrades,
        )
        self.known_heads: dict[bytes, Http1Request] = {}
        self.http2_options = replace(config.http2, stream_buffer_bytes=facts.buffer_limit)
        self.request_ids = RequestIds()
        self._filters = filters = FilterMakers(config, services, self.stats.prefix)
        for source in filters.sources():
            source.tell(self)
        #: Where tries of requests are logged, None for nowhere.
        self.upstream_log: UpstreamLog | None = None
        #: The message of a router that came from a control plane.
        self._router: Any = None
        self._use_routes()
        self.access_log = AccessLogger(config.access_logs, services) if config.access_logs else None
        self.tracer = self._tracer(facts)
        #: Whether each request needs a head of its own, which filters may change.
        self.keeps_heads = bool(config.filters or config.local_reply is not None or self.tracer is not None)
        self.formats_names = config.preserve_case or config.proper_case
        self._look_at_logs()
        #: Whether what a host is sent depends on more than the request's fields and its route.
        self.fits_heads = config.preserve_case or config.scheme_match_upstream
        self.max_requests = config.max_requests_per_connection or -1
        self.date = HttpDate(services.wall_clock, services.loop.time)
        self._connection_ids = ConnectionIds()
        self._connections: set[ServerConnection] = set()
        #: Whether the first bytes of a connection decide on the version of HTTP.
        self.detects_http2 = config.codec_type is CodecType.AUTO
        self.next_sweep = 0.0
        #: No idle connection is due earlier than this many seconds after its last request.
        self.shortest_idle = _shortest(config)
        self._timeouts = (config.idle_timeout, config.max_connection_duration)
        self.has_filters = filters.any
        #: The filters that a request of a plan passes, see `FilterMakers.chosen`.
        self.filters_for = filters.chosen
        #: The kind of the filter that is configured under a name.
        self.filter_factory = filters.factory
        self._response_keys: dict[int, tuple[Route, int]] = {}
        #: By the identity of routes, which their terms keep alive.
        self._terms: dict[int, RouteTerms] = {}
        self._http1_connection: Callable[[ConnectionInfo], Http1ServerConnection]
        self._http2_connection: Callable[[ConnectionInfo], Http2ServerConnection]
        self._http1_connection = partial(Http1ServerConnection, self)
        self._http2_connection = partial(Http2ServerConnection, self)
        view = self._overload
        if view is not None and view.has_point(CREATING_CODEC, HTTP1_ABORT_DISPATCH):
            from proxy.hcm.shedding_connection import SheddingHttp1Connection, SheddingHttp2Connection

            self._http1_connection = partial(SheddingHttp1Connection, self, view=view)
            self._http2_connection = partial(SheddingHttp2Connection, self, view=view)
        if self._overload is not None:
            self._overload.watch(self)
            self.on_overload()

    def on_overload(self) -> None:
        """See `OverloadWatcher`."""
        from proxy.hcm.overload import (
            KeepaliveDrain,
            OverloadedPlanner,
        )  # few workers have an overload manager

        view = self._overload
        assert view is not None
        refuses = view.state(STOP_ACCEPTING_REQUESTS) or view.state(DECODE_HEADERS)
        self.plan = self.planner.plan
        if refuses:
            tells_clients = self.config.append_local_overload
            self.plan = OverloadedPlanner(self.planner, view, tells_clients=tells_clients).plan
        self._use_timeouts(
            view.reduced(CONNECTION_IDLE, self._timeouts[0]), view.reduced(CONNECTION_MAX, self._timeouts[1])
        )
        drains = view.state(DISABLE_HTTP_KEEPALIVE)
        self.drain = KeepaliveDrain(self.services.drain, view, self.stats) if drains else self.services.drain
        if refuses:
            # What was decided for heads by then does not ask the planner.
            self.known_heads.clear()
            for connection in self._connections:
                connection.forget_heads()

    def _tracer(self, facts: ListenerFacts) -> Tracer | None:
        tracing = self.config.tracing
        if tracing is None:
            return None
        from proxy.tracing.tracer import OUTBOUND, Tracer  # few configs trace

        tracer = Tracer(tracing, self.services, self.stats, egress=facts.traffic_direction == OUTBOUND)
        if tracer.egress and tracer.provider is None:
            # Else the span looks at it first.
            self.config = replace(self.config, hides_operation=True)
        return tracer

    def _use_timeouts(self, idle: float, duration: float) -> None:
        if (idle, duration) == (self.config.idle_timeout, self.config.max_connection_duration):
            return
        self.config = replace(self.config, idle_timeout=idle, max_connection_duration=duration)
        self.shortest_idle = _shortest(self.config)
        now = self.services.loop.time()
        for connection in list(self._connections):
            # Those that are due before the next sweep would not be looked at in time.
            connection.sweep(now, self.next_sweep)

    def on_resource(self, source: ResourceSource) -> None:
        """Other routes or filters have come: whatever was decided by the former ones is forgotten.

        See `ResourceUser`. Requests under way keep what was decided for them.
        """
        del source
        self._filters.use()
        self._use_routes()
        self._look_at_logs()
        self.known_heads.clear()
        self._response_keys.clear()
        self._terms.clear()
        for connection in self._connections:
            connection.forget_heads()
        if self._overload is not None:
            self.on_overload()

    def _look_at_logs(self) -> None:
        """Find out what must be noted of streams."""
        logged = Facts.NONE if self.access_log is None else self.access_log.facts
        if self.upstream_log is not None:
            logged |= self.upstream_log.logger.facts
        #: Whether facts of requests are wanted whatever the route says; see `RequestPlan.reads_facts`.
        self.describes_requests = bool(logged & (Facts.REQUEST | Facts.BYTES)) or self.formats_names
        #: The same of upstream connections, of numbers of bytes, and of all fields of a response.
        self.describes_upstreams = Facts.UPSTREAM in logged
        self.counts_bytes = Facts.BYTES in logged
        self.fills_response_heads = Facts.RESPONSE in logged

    def _use_routes(self) -> None:
        """Make what depends on the route table, or on the router that a control plane brings."""
        config = self.config
        services = self.services
        context = CompileContext(
            services.runtime, services.wall_clock, node=services.node, resources=services.resources
        )
        if config.rds is not None:
            config = replace(config, route_table=discovered_table(config.rds, context))
        router = self._filters.router
        if router is not None and router is not self._router:
            self._router = router
            config = replace(config, router_options=router_options(router, "", context))
        if self.upstream_log is None or config.router_options is not self.config.router_options:
            self.upstream_log = _upstream_log(config.router_options, services)
        self.config = config
        #: What requests to clusters pass that have no filters of their own.
        self.upstream_filters = config.router_options.upstream_filters
        #: Whether clusters count how long answers take.
        self.times_upstreams = config.router_options.dynamic_stats
        scopes = None if config.scopes is None else ScopeTables(config.scopes, self, context)
        listed = None if config.scopes is None else config.scopes.source
        for source in (config.rds, config.route_table.vhds, listed):
            if source is not None:
                source.tell(self)
        self.http2_parser = Http2RequestParser(
            config.max_headers_bytes,
            config.max_headers_count,
            config.underscores,
            allow_connect=config.http2.allow_connect,
            table_size=config.http2.hpack_table_size,
            ids_apart=scopes is None and not config.route_table.reads_ids,
        )
        node = services.node
        self.planner = RequestPlanner(
            config,
            LocalNode(services.local_address, getattr(node, "id", ""), getattr(node, "cluster", "")),
            services.random,
            scopes,
        )
        self.plan = self.planner.plan

    @cached_property
    def http2_stats(self) -> Http2CodecStats:
        """Those of the codec; they show from the first connection of HTTP/2 on, as in Envoy."""
        return _shared(self.services.stats, Http2CodecStats("http2."))

    # -- connections

    def create_protocol(self, connection: ConnectionInfo) -> asyncio.Protocol:
        """See `TerminalFilter`."""
        codec_type = self.config.codec_type
        if codec_type is CodecType.HTTP2 or (
            codec_type is CodecType.AUTO and connection.tls is not None and connection.tls.alpn == "h2"
        ):
            return self._http2_connection(connection)
        return self._http1_connection(connection)

    def switch_to_http2(
        self, connection: Http1ServerConnection, transport: asyncio.Transport
    ) -> Http2ServerConnection:
        """The client of `connection` speaks HTTP/2, as its first bytes tell, which are yet to be delivered."""
        successor = Http2ServerConnection(self, connection.info)
        self._connections.discard(connection)
        self._connections.add(successor)
        transport.set_protocol(successor)
        successor.adopt(transport)
        return successor

    def on_connection(self, connection: ServerConnection) -> None:
        """A connection was accepted."""
        self.stats.downstream_cx_total += 1
        if connection.info.tls is not None:
            self.stats.downstream_cx_ssl_total += 1
            self.stats.downstream_cx_ssl_active += 1
        if not self._connections:
            self._schedule_sweep(connection.info.start_time)
        self._connections.add(connection)

    def on_connection_lost(self, connection: ServerConnection, *, local: bool, active: bool) -> None:
        """A connection has gone."""
        stats = self.stats
        if connection.info.tls is not None:
            stats.downstream_cx_ssl_active -= 1
        if local:
            stats.downstream_cx_destroy_local += 1
        else:
            stats.downstream_cx_destroy_remote += 1
        if active:
            self.count_ended_requests(local=local)
        elapsed = self.services.loop.time() - connection.info.start_time
        stats.downstream_cx_length_ms.record(int(elapsed * 1000))
        self._connections.discard(connection)

    def count_ended_requests(self, *, local: bool) -> None:
        """A connection has ended with requests under way."""
        stats = self.stats
        stats.downstream_cx_destroy_active_rq += 1
        if local:
            stats.downstream_cx_destroy_local_active_rq += 1
        else:
            stats.downstream_cx_destroy_remote_active_rq += 1

    def _schedule_sweep(self, now: float) -> None:
        if self.next_sweep <= now:
            self.next_sweep = now + _SWEEP_INTERVAL
            self.services.timers.wake(self.next_sweep, self)

    def on_wake(self, now: float) -> None:
        """Look after the connections whose deadlines are farther away than the last sweep looked; see `Timers`."""
        if self._connections:
            self._schedule_sweep(now)
            until = self.next_sweep
            for connection in list(self._connections):
                connection.sweep(now, until)

    # -- requests

    def parse(self, block: bytes) -> Http1Request:
        """Parse a request head not seen before and keep it if it is small. Raises `ProtocolError`."""
        request = self.parser.parse(block)
        if request.dropped_underscores:
            self.codec_stats.dropped_headers_with_underscores += request.dropped_underscores
        elif (
            request.wire_bytes == len(block) <= MAX_KNOWN_HEAD_BYTES
            and not request.has_body
            and not request.upgrade
        ):
            known = self.known_heads
            if len(known) >= MAX_KNOWN_HEADS:
                known.clear()
            known[block] = request
        return request

    def response_key(self, route: Route) -> int:
        """A number for a route that no other route of this process has."""
        known = self._response_keys.get(id(route))
        if known is None:
            known = self._response_keys[id(route)] = (route, next(_numbers))
        return known[1]

    def terms(self, route: Route) -> RouteTerms:
        """What `route` does to every head alike."""
        known = self._terms.get(id(route))
        if known is None:
            options = self.config.router_options
            known = self._terms[id(route)] = RouteTerms(
                route,
                self.response_key(route),
                plain_manager=not (
                    self.keeps_heads
                    or self.describes_requests
                    or (self.has_filters and self._passes_filters(route))
                    or self.fits_heads
                    or options.strict_check_headers
                    or options.suppress_grpc_codes
                    or not options.dynamic_stats
                ),
                suppress_envoy_headers=options.suppress_envoy_headers,
            )
        return known

    def _passes_filters(self, route: Route) -> bool:
        action = route.action
        if not isinstance(action, ClusterAction) or action.single is None:
            return True
        return self._filters.any_on(overrides_of(route, action.single))

    def pools(self, cluster: Cluster, host: Host, key: PoolKey) -> Any:
        """Make the pool of a host; see `PoolLookup`."""
        pool = make_pool(self.services.loop, self.services.timers, cluster, host, key, self._connection_ids)
        host.pools[key] = pool
        return pool

    def upstream_formatter(self, cluster: Cluster, stream: StreamState) -> NameFormatter | None:
        """How request field names are spelled towards a cluster."""
        options = cluster.config.http
        if options.proper_case:
            return proper_case
        if options.preserve_case and stream.original_names is not None:
            return preserved(stream.original_names)
        return None

    def cluster_formatter(self, name: str) -> NameFormatter | None:
        """How field names are spelled towards a cluster, as far as that does not depend on the request."""
        cluster = self.clusters.get(name)
        return proper_case if cluster is not None and cluster.config.http.proper_case else None

    def cluster_asks(self, name: str) -> bool:
        """Whether what becomes of requests to a cluster depends on more than their route."""
        cluster = self.clusters.get(name)
        return cluster is not None and (
            cluster.config.http.proper_case or cluster.config.retry_policy is not None
        )

    def downstream_formatter(self, stream: StreamState | None) -> NameFormatter | None:
        """How response field names are spelled towards the client."""
        if self.config.proper_case:
            return proper_case
        if self.config.preserve_case and stream is not None and stream.original_response_names is not None:
            return preserved(stream.original_response_names)
        return None

    def stream_ended(self, info: StreamInfo) -> None:
        """Count and log a finished stream."""
        stats = self.stats
        stats.downstream_rq_active -= 1
        status = info.response_code
        if status and not info.health_check:
            group = status // 100
            if group < 10:
                stats.by_class[group] += 1
                self.listener_stats.by_class[group] += 1
        stats.downstream_rq_time.record(int((info.response_complete - info.start_time) * 1000))
        if self.access_log is not None:
            connection = info.upstream_connection
            if connection is not None and info.upstream_protocol is None:
                connection.describe(info)
            self.access_log.log(info)


def _upstream_log(options: RouterOptions, services: WorkerServices) -> UpstreamLog | None:
    if not options.upstream_logs:
        return None
    from proxy.router.logged_request import UpstreamLog  # few routers have one

    logger = AccessLogger(options.upstream_logs, services)
    return UpstreamLog(logger, services.timers, options.logs_begins, options.log_interval)


def _compile(message: Any, path: str, context: CompileContext) -> HcmConfig:
    return compile_hcm(message, path, context)


FACTORY = NetworkFilterFactory(
    name="envoy.filters.network.http_connection_manager",
    type_name="envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    terminal=True,
    compile=_compile,
    create=ConnectionManager,
)
