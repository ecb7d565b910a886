"""One request and its response: the thread that runs through filters, router and codec.

The connection calls `begin`, `on_request_data` and so on as bytes come; the upstream request calls the
`on_upstream_*` methods; both end in `_finish`. A request whose head was seen before and whose route needs no
filter takes the short way: the kept plan gives the bytes for the upstream at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.response_flags import ResponseFlag
from proxy.base.stream_info import StreamInfo
from proxy.codec.head_template import DATE_HOLE, REQUEST_ID_HOLE, SERVICE_TIME_HOLE
from proxy.codec.http1_render import render_request_head
from proxy.codec.http1_request import Http1Request
from proxy.codec.http1_response import Http1Response
from proxy.hcm import internal_redirect
from proxy.hcm.filter_manager import FilterManager
from proxy.hcm.local_reply import make_local_reply
from proxy.hcm.request_plan import Rejection, RequestPlan
from proxy.hcm.response_plan import (
    finish_response,
    finish_upstream_response,
    frame_response,
    plan_response,
)
from proxy.router.cluster_action import ClusterAction
from proxy.router.cluster_choice import ClusterChoice
from proxy.router.direct_response import DirectResponseAction
from proxy.router.grpc_timeout import grpc_timeout
from proxy.router.mirror import start_mirrors
from proxy.router.per_filter_config import FilterOverrides
from proxy.router.redirect import RedirectAction
from proxy.router.route import Route
from proxy.router.upstream_plan import UpstreamPlan, plan_upstream
from proxy.router.upstream_request import UpstreamRequest

if TYPE_CHECKING:
    from proxy.hcm.connection_manager import ConnectionManager
    from proxy.hcm.http1_connection import Http1ServerConnection
    from proxy.router.internal_redirect import InternalRedirectPolicy
    from proxy.upstream.cluster import Cluster
    from proxy.upstream.host import Host

_NO_REQUEST: Final = RequestHead("", "", "", HeaderMap())
_NO_OVERRIDES: Final[FilterOverrides] = {}
#: The gRPC status of a stream that took too long as a whole; other timeouts say 14 (unavailable).
_DEADLINE_EXCEEDED: Final = 4
_REQUEST_ID: Final = ord(REQUEST_ID_HOLE)
_SERVICE_TIME: Final = ord(SERVICE_TIME_HOLE)
_DATE: Final = ord(DATE_HOLE)
#: Kept with one response head: one for each route whose responses carry it.
MAX_PLANS_PER_RESPONSE: Final = 64
_SERVICE_TIME_AND_DATE: Final = (_SERVICE_TIME, _DATE)


class Stream:
    """See module. Times are monotonic seconds; 0.0 as a deadline means none."""

    plan: RequestPlan
    head: RequestHead
    request_id: str | None = None
    upstream: UpstreamRequest | None = None
    upstream_plan: UpstreamPlan | None = None
    route_timeout: float = 0.0
    deadline: float = 0.0
    max_duration_deadline: float = 0.0
    upstream_deadline: float = 0.0
    idle_timeout: float = 0.0
    request_complete = False
    response_started = False
    response_complete = False
    upgraded = False
    redirects = 0
    destroyed = False
    original_names: dict[str, str] | None = None
    original_response_names: dict[str, str] | None = None
    _filters: FilterManager | None = None
    _response_chunked = False
    _write_paused = False
    _mirrors: list[Any] | None = None
    _redirect_policy: InternalRedirectPolicy | None = None
    _body_copy: list[bytes] | None = None
    _redirected_to: list[Route] | None = None
    _choice: ClusterChoice | None = None

    def __init__(self, connection: Http1ServerConnection, manager: ConnectionManager, now: float) -> None:
        self.connection = connection
        self.manager = manager
        self.info = StreamInfo(connection.info, now)
        self.last_activity = now
        self.idle_timeout = manager.config.stream_idle_timeout

    @property
    def redirected_to(self) -> list[Route]:
        """The routes that internal redirects have led to."""
        if self._redirected_to is None:
            self._redirected_to = []
        return self._redirected_to

    def restart(self, plan: RequestPlan) -> None:
        """Begin again with another head and route: an internal redirect was followed."""
        if self.upstream is not None:
            self.upstream.abandon()
            self.upstream = None
        self.redirects += 1
        self.plan = plan
        self._choice = None
        self.head = self.info.request = plan.head
        body = self._body_copy
        has_body = bool(body) and plan.head.method != "GET"
        self.route_request(not has_body)
        if has_body and body is not None:
            self.forward_data(b"".join(body), end_stream=True)
        if self.route_timeout and not self.response_started:
            self.deadline = self.connection.now() + self.route_timeout
            self.connection.arm(self.deadline)

    # -- the downstream codec's side

    def begin(self, request: Http1Request, plan: RequestPlan, *, end_stream: bool) -> None:
        """The request head is there. `plan` says what becomes of it."""
        self.plan = plan
        manager = self.manager
        head = plan.head
        keeps_head = manager.keeps_heads or not plan.reusable
        if keeps_head:
            head = head.copy()
        if keeps_head or plan.reads_facts or manager.describes_requests:
            self._describe_request(request, plan)
        if plan.generates_id:
            self.request_id = request_id = manager.request_ids.new()
            if keeps_head:
                head.headers["x-request-id"] = request_id
        else:
            self.request_id = plan.request_id
        self.info.request_id = self.request_id
        self.info.request = self.head = head
        if manager.config.max_stream_duration:
            self.max_duration_deadline = self.info.start_time + manager.config.max_stream_duration
        if plan.rejection is not None:
            self._reject(plan.rejection)
            return
        if plan.route is not None:
            self._apply_route_times(plan.route)
        factories = manager.filters_for(plan, self.filter_overrides()) if manager.has_filters else None
        if factories:
            self._filters = FilterManager(self, factories)
            self._filters.decode_headers(head, end_stream)
        elif end_stream and plan.upstream is not None:
            manager.stats.rq_total += 1
            self._forward_planned(plan.upstream, True)
        else:
            self.route_request(end_stream)

    def _describe_request(self, request: Http1Request, plan: RequestPlan) -> None:
        """Note what only logs, formatters and filters read."""
        info = self.info
        info.protocol = plan.head.protocol
        info.downstream_header_bytes_received = request.header_bytes
        info.downstream_wire_bytes_received = request.wire_bytes
        self.original_names = request.original_names
        if plan.origin is not None:
            info.remote_address = plan.origin.address
        route = plan.route
        if route is not None:
            info.route_name = route.name
            info.virtual_host_name = route.virtual_host.name
            info.route_metadata = route.metadata
            info.virtual_host_metadata = route.virtual_host.metadata

    def _describe_upstream(self) -> None:
        """The same for the upstream connection."""
        info = self.info
        connection = info.upstream_connection
        if connection is not None and info.upstream_protocol is None:
            connection.describe(info)

    def begin_rejected(self, rejection: Rejection) -> None:
        """There is no request head that could be used: answer at once."""
        self.plan = RequestPlan(_NO_REQUEST)
        self.head = _NO_REQUEST
        if rejection.close:
            self.connection.close_after_response()
        self.local_reply(rejection.status, rejection.body, rejection.details, rejection.flags)

    def _apply_route_times(self, route: Route) -> None:
        action = route.action
        if not isinstance(action, ClusterAction):
            return
        if action.idle_timeout is not None:
            self.idle_timeout = action.idle_timeout
        if action.max_stream_duration_set:
            self._apply_max_duration(action)

    def _apply_max_duration(self, action: ClusterAction) -> None:
        """The route's own limit, or what a gRPC client asks for if the route lets it; 0 lifts the limit."""
        limit = action.grpc_timeout_header_max
        wanted = grpc_timeout(self.head.headers) if limit is not None else None
        if limit is not None and wanted is not None:
            duration = min(wanted, limit) if limit else wanted
            offset = action.grpc_timeout_header_offset
            if offset is not None:
                duration = max(duration - offset, 0.0)
            self.max_duration_deadline = self.info.start_time + duration
        elif action.max_stream_duration is not None:
            duration = action.max_stream_duration
            self.max_duration_deadline = self.info.start_time + duration if duration else 0.0

    def _reject(self, rejection: Rejection) -> None:
        stats = self.manager.stats
        if rejection.stat:
            setattr(stats, rejection.stat, getattr(stats, rejection.stat) + 1)
            if rejection.stat == "no_route":
                # In Envoy the router finds that out, so the request counts as one that reached it.
                stats.rq_total += 1
        if rejection.close:
            self.connection.close_after_response()
        modify = None
        if rejection.location:
            location = rejection.location

            def modify(headers: HeaderMap) -> None:
                headers.set("location", location)

        self.local_reply(rejection.status, rejection.body, rejection.details, rejection.flags, modify)

    def on_request_data(self, data: bytes, *, end_stream: bool) -> None:
        """Body bytes of the request."""
        self.last_activity = self.connection.now()
        self.info.bytes_received += len(data)
        if self.response_complete:
            return
        if self._filters is not None:
            self._filters.decode_data(data, end_stream)
        else:
            self.forward_data(data, end_stream)

    def on_request_trailers(self, trailers: HeaderMap) -> None:
        """Trailers of the request, which end it."""
        self.info.request_trailers = trailers
        if self.response_complete:
            return
        if self._filters is not None:
            self._filters.decode_trailers(trailers)
        else:
            self.forward_trailers(trailers)

    def on_request_complete(self, now: float) -> None:
        """The last byte of the request was read: the route's timeout starts."""
        self.request_complete = True
        self.info.request_complete = now
        if self.route_timeout and not self.response_started:
            self.deadline = now + self.route_timeout
            self.connection.arm(self.deadline)

    def on_downstream_reset(self, flags: int, details: str) -> None:
        """The client has gone, or the connection fell to a protocol error."""
        if self.response_complete or self.destroyed:
            return
        info = self.info
        info.flags |= flags
        if info.response_code_details is None or not self.response_started:
            info.response_code_details = details
        self.manager.stats.downstream_rq_rx_reset += 1
        self._finish()

    def on_client_paused(self) -> None:
        """The client does not read as fast as the upstream sends."""
        if self.upstream is not None:
            self.upstream.pause_reading()

    def on_client_resumed(self) -> None:
        """The client reads again."""
        if self.upstream is not None:
            self.upstream.resume_reading()

    # -- routing

    @property
    def route(self) -> Route | None:
        """The matched route; see `StreamCallbacks`."""
        return self.plan.route

    def filter_overrides(self) -> FilterOverrides:
        """What the route changes about filters. A weighted cluster may too, so it is chosen before they run."""
        route = self.plan.route
        if route is None:
            return _NO_OVERRIDES
        if isinstance(route.action, ClusterAction):
            own = self._cluster_choice(route.action).per_filter_config
            if own is not None:
                return own
        return route.per_filter_config

    def _cluster_choice(self, action: ClusterAction) -> ClusterChoice:
        choice = action.single or self._choice
        if choice is None:
            draw = self.manager.services.random
            choice = self._choice = action.choose(self.head, self.info, draw)
        return choice

    def route_config(self, name: str) -> Any:
        """See `StreamCallbacks`."""
        return next(iter(self.route_configs(name)), None)

    def route_configs(self, name: str) -> tuple[Any, ...]:
        """See `StreamCallbacks`."""
        override = self.filter_overrides().get(name)
        factory = self.manager.filter_factory(name)
        return () if override is None or factory is None else override.configs(factory)

    def clear_route_cache(self) -> None:
        """See `StreamCallbacks`."""
        self.plan = self.manager.planner.rerouted(self.plan, self.head, self.info)
        self._choice = None

    def continue_decoding(self) -> None:
        """See `StreamCallbacks`."""
        if self._filters is not None:
            self._filters.continue_decoding()

    def continue_encoding(self) -> None:
        """See `StreamCallbacks`."""
        if self._filters is not None:
            self._filters.continue_encoding()

    def route_request(self, end_stream: bool) -> None:
        """The end of the filter chain: act as the route says."""
        manager = self.manager
        manager.stats.rq_total += 1
        route = self.plan.route
        if route is None:
            manager.stats.no_route += 1
            self.local_reply(404, "", "route_not_found", ResponseFlag.NO_ROUTE_FOUND)
            return
        action = route.action
        if isinstance(action, ClusterAction):
            self._forward(route, action, end_stream)
        else:
            self._answer_from_route(route, action)

    def _answer_from_route(self, route: Route, action: RedirectAction | DirectResponseAction) -> None:
        answer = action.respond(self.head, self.info)
        # Envoy counts redirects here too; its `rq_redirect` stays 0.
        self.manager.stats.rq_direct_response += 1
        if isinstance(answer, tuple):
            head, body = answer[0], answer[1].decode("latin-1")
        else:
            head, body = answer, ""

        def modify(headers: HeaderMap) -> None:
            headers.update(head.headers)
            reply = ResponseHead(head.status, headers)
            for ops in route.response_ops:
                ops.apply(reply, self.info)

        self.local_reply(head.status, body, "direct_response", 0, modify)

    def _forward(self, route: Route, action: ClusterAction, end_stream: bool) -> None:
        upstream_plan: UpstreamPlan | None = (
            self.plan.upstream if self._filters is None and end_stream else None
        )
        if upstream_plan is None:
            upstream_plan = self._plan_upstream(route, action, end_stream)
        self._forward_planned(upstream_plan, end_stream)

    def _forward_planned(self, upstream_plan: UpstreamPlan, end_stream: bool) -> None:
        manager = self.manager
        action = upstream_plan.action
        self.upstream_plan = upstream_plan
        info = self.info
        cluster = manager.clusters.get(upstream_plan.choice.cluster_name)
        if cluster is None:
            manager.stats.no_cluster += 1
            self.local_reply(
                action.cluster_not_found_code, "", "cluster_not_found", ResponseFlag.NO_CLUSTER_FOUND
            )
            return
        info.upstream_cluster = cluster
        info.upstream_request_head = upstream_plan.head
        info.attempt_count = 1
        hash_policy = action.hash_policy
        host = cluster.choose_host(None if hash_policy is None else manager.request_hash(hash_policy, self))
        if host is None:
            cluster.stats.codes[503] += 1
            self.local_reply(
                503, "no healthy upstream", "no_healthy_upstream", ResponseFlag.NO_HEALTHY_UPSTREAM
            )
            return
        template = upstream_plan.template
        if template is not None:
            request_id = self.request_id
            head_bytes = template.fill_one(request_id.encode("latin-1") if request_id else b"")
        else:
            head_bytes = self._render_upstream_head(upstream_plan.head, action, cluster, host)
        upstream = UpstreamRequest(
            self,
            cluster,
            host,
            action.priority,
            upstream_plan.head.method,
            head_bytes,
            upstream_plan.chunked,
        )
        self.upstream = upstream
        if self.plan.upgrade:
            upstream.upgrading = True
        else:
            self.route_timeout = upstream_plan.timeout
            longest = upstream_plan.stream_duration
            if longest is None:
                longest = cluster.config.http.max_stream_duration
            if longest:
                self.upstream_deadline = self.connection.now() + longest
        if action.mirrors:
            self._mirrors = start_mirrors(manager, action.mirrors, upstream_plan, info, end_stream)
        if action.internal_redirect is not None:
            self._redirect_policy = action.internal_redirect
            if not end_stream:
                self._body_copy = []
        if end_stream:
            upstream.finish()
        upstream.start(manager.pools)

    def _render_upstream_head(
        self, head: RequestHead, action: ClusterAction, cluster: Cluster, host: Host
    ) -> bytes:
        manager = self.manager
        if action.auto_host_rewrite and host.hostname:
            action.rewrite_to_host(
                head, host.hostname, not manager.config.router_options.suppress_envoy_headers
            )
        return render_request_head(head, manager.upstream_formatter(cluster, self))

    def _plan_upstream(self, route: Route, action: ClusterAction, end_stream: bool) -> UpstreamPlan:
        manager = self.manager
        plan = self.plan
        choice = self._cluster_choice(action)
        # Known to formatters of the request's header operations, as in Envoy.
        self.info.upstream_cluster = manager.clusters.get(choice.cluster_name)
        keep = (
            plan.reusable
            and action.single is not None
            and self._filters is None
            and end_stream
            and plan.repeated
            and not action.auto_host_rewrite
        )
        head = self.head
        if plan.generates_id and (keep or self._shares_head):
            head = head.copy()
            head.headers["x-request-id"] = REQUEST_ID_HOLE if keep else self.request_id or ""
        options = manager.config.router_options
        upstream_plan = plan_upstream(
            head,
            route,
            action,
            choice,
            self.info,
            end_stream=end_stream,
            upgrade=bool(plan.upgrade),
            suppress_envoy_headers=options.suppress_envoy_headers,
            respect_expected_timeout=options.respect_expected_timeout,
            formatter=None,
            with_template=keep and not manager.formats_upstream_names,
            response_key=self._response_key(route, action),
        )
        if upstream_plan.template is not None:
            plan.upstream = upstream_plan
        elif "x-request-id" in upstream_plan.head.headers and self.request_id is not None and keep:
            upstream_plan.head.headers["x-request-id"] = self.request_id
        return upstream_plan

    def _response_key(self, route: Route, action: ClusterAction) -> int:
        """A key for what becomes of responses on this route; 0 if it may differ from request to request."""
        if (
            action.single is None
            or self.head.protocol != "HTTP/1.1"
            or self.manager.formats_names
            or self.plan.upgrade
            or route.virtual_host.include_attempt_count_in_response
            or "x-envoy-force-trace" in self.head.headers
        ):
            return 0
        return self.manager.response_key(route)

    @property
    def _shares_head(self) -> bool:
        """Whether `head` is the plan's own, without a request id."""
        return self.head is self.plan.head

    def forward_data(self, data: bytes, end_stream: bool) -> None:
        """Body bytes that have passed the filters."""
        upstream = self.upstream
        if upstream is None:
            return
        if data:
            upstream.send_data(data)
            if self._body_copy is not None:
                self._body_copy.append(data)
            if self._mirrors is not None:
                for mirror in self._mirrors:
                    mirror.send_data(data)
        if end_stream:
            upstream.finish()
            if self._mirrors is not None:
                for mirror in self._mirrors:
                    mirror.finish()

    def forward_trailers(self, trailers: HeaderMap) -> None:
        """Trailers that have passed the filters."""
        if self.upstream is not None:
            self.upstream.finish(trailers)
        for mirror in self._mirrors or ():
            mirror.finish(trailers)

    # -- the upstream's side

    def on_upstream_informational(self, head: ResponseHead) -> None:
        """100 is passed on if the client is to hear of it; other interim responses end here, as in Envoy."""
        if head.status == 100 and self.manager.config.proxy_100_continue and not self.response_started:
            self.connection.send_interim(head)

    def on_upstream_response(self, response: Http1Response, body: bytes, end_stream: bool) -> None:
        """The response head, with what has come of the body."""
        info = self.info
        self.last_activity = info.upstream_first_byte_received = now = self.connection.now()
        if self._redirect_policy is not None and internal_redirect.follow(
            self, self._redirect_policy, response
        ):
            return
        info.response_code = response.head.status
        info.response_code_details = "via_upstream"
        elapsed = now - info.request_complete if info.request_complete else 0.0
        service_time = int(elapsed * 1000) if elapsed > 0 else 0
        if end_stream:
            self._count_upstream_time(now)
        upstream_plan = self.upstream_plan
        assert upstream_plan is not None
        key = upstream_plan.response_key
        if key and self._filters is None and not response.upgrade:
            key = key << 3 | (self.head.method == "HEAD") << 2 | bool(body) << 1 | end_stream
            if key in response.plans:
                self._send_planned(response, key, service_time, body, end_stream)
                return
            if len(response.plans) < MAX_PLANS_PER_RESPONSE:
                response.plans[key] = None
        self._send_upstream_response(response, upstream_plan, service_time, body, end_stream)

    def _send_upstream_response(
        self,
        response: Http1Response,
        upstream_plan: UpstreamPlan,
        service_time: int,
        body: bytes,
        end_stream: bool,
    ) -> None:
        info = self.info
        info.upstream_header_bytes_received = response.header_bytes
        self.original_response_names = response.original_names
        self._describe_upstream()
        head = response.head.copy()
        options = self.manager.config.router_options
        upgraded = response.head.status == 101 and bool(self.plan.upgrade)
        finish_upstream_response(
            head,
            info,
            upstream_plan.response_ops,
            service_time=None if options.suppress_envoy_headers else str(service_time),
            upgrade=upgraded,
        )
        virtual_host = self.plan.route.virtual_host if self.plan.route is not None else None
        if virtual_host is not None and virtual_host.include_attempt_count_in_response:
            head.headers.set("x-envoy-attempt-count", str(info.attempt_count))
        if not end_stream and self.plan.upgrade and response.head.status in {101, 200}:
            self._enter_tunnel()
        self._encode(head, body, end_stream)

    def _send_planned(
        self, response: Http1Response, key: int, service_time: int, body: bytes, end_stream: bool
    ) -> None:
        """A response head that came before, for a route that does the same to all of them."""
        manager = self.manager
        plan = response.plans[key]
        if plan is None:
            assert self.upstream_plan is not None
            plan = response.plans[key] = plan_response(
                response.head,
                self.info,
                manager.config,
                self.upstream_plan.response_ops,
                end_stream=end_stream and not body,
                is_head=self.head.method == "HEAD",
                suppress_envoy_headers=manager.config.router_options.suppress_envoy_headers,
            )
        template = plan.template
        if template is None:
            assert self.upstream_plan is not None
            self._send_upstream_response(response, self.upstream_plan, service_time, body, end_stream)
            return
        date = manager.date
        if template.holes == _SERVICE_TIME_AND_DATE:
            before, between, after = template.segments
            head = b"%b%d%b%b%b" % (before, service_time, between, date.encoded(), after)
        else:
            values = {_SERVICE_TIME: b"%d" % service_time, _DATE: date.encoded()}
            if self.request_id is not None:
                values[_REQUEST_ID] = self.request_id.encode("latin-1")
            head = template.fill(values)
        info = self.info
        if manager.access_log is not None:
            info.upstream_header_bytes_received = response.header_bytes
            self._describe_upstream()
            info.response = self._filled_head(plan.head, service_time, date.text())
        else:
            info.response = plan.head
        self._response_chunked = plan.chunked
        self.response_started = True
        self.connection.send_response_head(head, body, end_stream, plan.chunked)
        info.bytes_sent = len(body)
        info.response_first_byte_sent = self.last_activity
        if end_stream:
            self.response_complete = True
            self._finish()

    def _filled_head(self, head: ResponseHead, service_time: int, date: str) -> ResponseHead:
        head = head.copy()
        headers = head.headers
        if headers.get("x-envoy-upstream-service-time") == SERVICE_TIME_HOLE:
            headers["x-envoy-upstream-service-time"] = str(service_time)
        if headers.get("date") == DATE_HOLE:
            headers["date"] = date
        if headers.get("x-request-id") == REQUEST_ID_HOLE:
            headers["x-request-id"] = self.request_id or ""
        return head

    def on_upstream_data(self, data: bytes, end_stream: bool) -> None:
        """More of the response body."""
        self.last_activity = now = self.connection.now()
        if end_stream:
            self._count_upstream_time(now)
        if self._filters is not None:
            self._filters.encode_data(data, end_stream)
        else:
            self.send_data(data, end_stream)

    def on_upstream_trailers(self, trailers: HeaderMap) -> None:
        """Trailers of the response, which end it."""
        self._count_upstream_time(self.connection.now())
        self.info.response_trailers = trailers
        if self._filters is not None:
            self._filters.encode_trailers(trailers)
        else:
            self.send_trailers(trailers)

    def _count_upstream_time(self, now: float) -> None:
        info = self.info
        info.upstream_last_byte_received = now
        upstream = self.upstream
        if upstream is not None and info.request_complete:
            upstream.cluster.stats.upstream_rq_time.record(int((now - info.request_complete) * 1000))

    def on_upstream_failure(
        self, status: int, body: str, details: str, flags: int, host: Any, *, overloaded: bool = False
    ) -> None:
        """No response came and none will."""
        if self.destroyed or self.response_started:
            return
        info = self.info
        info.upstream_host = host
        if self.upstream is not None:
            self.upstream.cluster.stats.codes[status] += 1
        self.local_reply(status, body, details, flags, _mark_overloaded if overloaded else None)

    def on_upstream_reset_after_response(self, details: str, flags: int) -> None:
        """The upstream broke off in the middle of the response: the client must see that."""
        if self.destroyed:
            return
        self.manager.stats.rq_reset_after_downstream_response_started += 1
        self.info.response_code_details = details
        self.info.flags |= flags
        self.manager.stats.downstream_rq_tx_reset += 1
        self.connection.close_delayed()
        self._finish()

    def on_upstream_write_paused(self) -> None:
        """The upstream does not read as fast as the client sends."""
        if not self._write_paused:
            self._write_paused = True
            self.connection.pause_reading()

    def on_upstream_write_resumed(self) -> None:
        """The upstream reads again."""
        if self._write_paused:
            self._write_paused = False
            self.connection.resume_reading()

    # -- replies

    def local_reply(
        self,
        status: int,
        body: str,
        details: str,
        flags: int = 0,
        modify: Callable[[HeaderMap], None] | None = None,
        grpc_status: int | None = None,
    ) -> None:
        """See `StreamCallbacks`: answer from here."""
        info = self.info
        info.flags |= flags
        info.response_code_details = details
        info.response_code = status
        if self.response_started:
            self.connection.close_delayed()
            self._finish()
            return
        if self.upstream is not None:
            self.upstream.abandon()
        if status == 400 and not self.manager.config.keep_open_on_error:
            # Envoy takes any 400 of its own as a sign that the two sides no longer understand each other.
            self.connection.close_after_response()
        mapper = self.manager.config.local_reply
        head, encoded = make_local_reply(status, body, info, mapper, modify, grpc_status)
        self._send_own_response(head, encoded)

    def _send_own_response(self, head: ResponseHead, body: bytes) -> None:
        if self.head_request:
            body = b""
        self.info.response_code = head.status
        self._encode(head, body, True)

    @property
    def head_request(self) -> bool:
        """Whether the request was HEAD, so that no body may follow."""
        request = self.info.request
        return request is not None and request.method == "HEAD"

    def _enter_tunnel(self) -> None:
        self.upgraded = True
        self.manager.stats.downstream_cx_upgrades_total += 1
        self.manager.stats.downstream_cx_upgrades_active += 1
        self.connection.enter_tunnel()

    def _encode(self, head: ResponseHead, body: bytes, end_stream: bool) -> None:
        finish_response(
            head,
            self.manager.config,
            date=self.manager.date.text(),
            request_id=self.request_id,
            request=self.info.request,
        )
        self.info.response = head
        if self._filters is not None:
            self._filters.encode_headers(head, body, end_stream)
        else:
            self.send_head(head, body, end_stream)

    def send_head(self, head: ResponseHead, body: bytes, end_stream: bool) -> None:
        """The response head has passed the filters: frame and write it."""
        self.info.response_code = head.status
        if self.upgraded:
            chunked = False
        else:
            chunked = frame_response(
                head,
                end_stream=end_stream and not body,
                is_head=self.head_request,
                is_http10=self.head.protocol == "HTTP/1.0",
            )
            if not chunked and not end_stream and "content-length" not in head.headers:
                self.connection.close_after_response()
        self._response_chunked = chunked
        self.response_started = True
        self.connection.send_head(head, body, end_stream, chunked)
        self._after_sending(len(body), end_stream)

    def send_data(self, data: bytes, end_stream: bool) -> None:
        """Response body bytes that have passed the filters."""
        self.connection.send_body(data, end_stream, chunked=self._response_chunked)
        self._after_sending(len(data), end_stream)

    def send_trailers(self, trailers: HeaderMap) -> None:
        """Response trailers that have passed the filters."""
        keep = self.manager.config.enable_trailers and self._response_chunked
        self.connection.send_trailers(trailers if keep else None, chunked=self._response_chunked)
        self._after_sending(0, True)

    def _after_sending(self, size: int, end_stream: bool) -> None:
        info = self.info
        info.bytes_sent += size
        if not info.response_first_byte_sent:
            info.response_first_byte_sent = self.last_activity
        if end_stream:
            self.response_complete = True
            self._finish()

    # -- time

    @property
    def shortest_timeout(self) -> float:
        """No deadline of a stream that begins now can come earlier than this many seconds from now."""
        timeout = self.route_timeout or 3600.0
        if self.idle_timeout and self.idle_timeout < timeout:
            timeout = self.idle_timeout
        return 0.0 if self.max_duration_deadline or self.upstream_deadline else timeout

    def next_deadline(self) -> float:
        """The earliest moment at which something of this stream may be due."""
        due = self.last_activity + self.idle_timeout if self.idle_timeout else 0.0
        for moment in (self.deadline, self.max_duration_deadline, self.upstream_deadline):
            if moment and (not due or moment < due):
                due = moment
        return due

    def on_time(self, now: float) -> None:
        """Act on whatever is due."""
        stats = self.manager.stats
        if self.max_duration_deadline and now >= self.max_duration_deadline:
            stats.downstream_rq_max_duration_reached += 1
            self._time_out(
                504 if self.request_complete else 408,
                "downstream duration timeout",
                "max_duration_timeout",
                0,
                _DEADLINE_EXCEEDED,
            )
        elif self.upstream_deadline and now >= self.upstream_deadline:
            self._on_upstream_too_long()
        elif self.deadline and now >= self.deadline:
            self._on_route_timeout()
        elif self.idle_timeout and now >= self.last_activity + self.idle_timeout:
            stats.downstream_rq_idle_timeout += 1
            status = 504 if self.request_complete else 408
            self._time_out(status, "stream timeout", "stream_idle_timeout", ResponseFlag.STREAM_IDLE_TIMEOUT)

    def _on_route_timeout(self) -> None:
        upstream = self.upstream
        self.deadline = 0.0
        if upstream is not None:
            upstream.cluster.stats.upstream_rq_timeout += 1
            upstream.host.stats.rq_timeout += 1
            if not self.response_started:
                upstream.cluster.stats.codes[504] += 1
                upstream.host.stats.rq_error += 1
        self._time_out(
            504, "upstream request timeout", "response_timeout", ResponseFlag.UPSTREAM_REQUEST_TIMEOUT
        )

    def _on_upstream_too_long(self) -> None:
        self.upstream_deadline = 0.0
        if self.upstream is not None:
            self.upstream.cluster.stats.upstream_rq_max_duration_reached += 1
        self._time_out(
            504 if self.request_complete else 408,
            "upstream max stream duration reached",
            "upstream_max_stream_duration_reached",
            ResponseFlag.UPSTREAM_MAX_STREAM_DURATION_REACHED,
        )

    def _time_out(
        self, status: int, body: str, details: str, flags: int, grpc_status: int | None = None
    ) -> None:
        if self.response_started:
            self.manager.stats.downstream_rq_tx_reset += 1
            self.manager.stats.downstream_rq_rx_reset += 1
            self.info.flags |= flags
            self.info.response_code_details = details
            self.connection.close_delayed()
            self._finish()
        else:
            self.local_reply(status, body, details, flags, grpc_status=grpc_status)

    # -- the end

    def _finish(self) -> None:
        """Once per stream: give back what it holds, log, and let the connection go on."""
        if self.destroyed:
            return
        self.destroyed = True
        upstream = self.upstream
        # References back are cut here: a cycle would live until the collector runs, and pausing for a hundred
        # thousand of them shows in the tail latency.
        if upstream is not None:
            upstream.abandon()
            self.upstream = None
        if self._mirrors is not None:
            for mirror in self._mirrors:
                mirror.finish()
            self._mirrors = None
        if self._filters is not None:
            self._filters.destroy()
            self._filters = None
        if self._write_paused:
            self._write_paused = False
            self.connection.resume_reading()
        if self.upgraded:
            self.manager.stats.downstream_cx_upgrades_active -= 1
        self.info.response_complete = now = self.connection.now()
        self.manager.stream_ended(self.info)
        self.connection.on_stream_done(self, now)


def _mark_overloaded(headers: HeaderMap) -> None:
    headers.set("x-envoy-overloaded", "true")
