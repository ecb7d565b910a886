"""From the route to the upstream: choose, finish the head, send."""

from __future__ import annotations

from typing import Any, Final

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.response_flags import ResponseFlag
from proxy.base.stream_info import APPLICATION_PROTOCOLS
from proxy.codec.grpc import is_grpc
from proxy.codec.head_template import REQUEST_ID_HOLE
from proxy.hcm.request_plan import MAX_PLANS_PER_HEAD
from proxy.hcm.stream_state import StreamState
from proxy.router.attempt import Attempt
from proxy.router.cluster_action import ClusterAction
from proxy.router.cluster_choice import ClusterChoice
from proxy.router.direct_response import DirectResponseAction
from proxy.router.drop_overload import drop_reply
from proxy.router.mirror import start_mirrors
from proxy.router.per_filter_config import FilterOverrides
from proxy.router.redirect import RedirectAction
from proxy.router.request_kinds import hedging, kind_with
from proxy.router.response_stats import INTERNAL_CHARGES, NO_CHARGES, Charges, charges_for
from proxy.router.retry_policy import RetryPolicy
from proxy.router.retrying_request import RetryingRequest
from proxy.router.route import Route, overrides_of
from proxy.router.server_name import server_name_of, with_alpn
from proxy.router.strict_check import failed_check
from proxy.router.tunnel_request import TunnelRequest
from proxy.router.upstream_filters import mutations_for
from proxy.router.upstream_plan import UpstreamPlan, plan_upstream
from proxy.router.upstream_request import UpstreamRequest
from proxy.upstream.cluster import Cluster

_NO_OVERRIDES: Final[FilterOverrides] = {}


class RoutingPart(StreamState):
    """See module."""

    def filter_overrides(self) -> FilterOverrides:
        """What the route changes about filters. A weighted cluster may too, so it is chosen before they run."""
        route = self.plan.route
        if route is None:
            return _NO_OVERRIDES
        if isinstance(route.action, ClusterAction):
            return overrides_of(route, self._cluster_choice(route.action))
        return route.per_filter_config

    def _cluster_choice(self, action: ClusterAction) -> ClusterChoice:
        choice = action.single or self._choice
        if choice is None:
            draw = self.manager.services.random
            choice = self._choice = action.choose(self.head, self.info, draw)
        return choice

    def route_config(self, name: str) -> Any:
        """See `StreamCallbacks`."""
        override = self.filter_overrides().get(name)
        if override is None:
            return None
        factory = self.manager.filter_factory(name)
        return None if factory is None else next(iter(override.configs(factory)), None)

    def route_configs(self, name: str) -> tuple[Any, ...]:
        """See `StreamCallbacks`."""
        override = self.filter_overrides().get(name)
        factory = self.manager.filter_factory(name)
        return () if override is None or factory is None else override.configs(factory)

    def clear_route_cache(self) -> None:
        """See `StreamCallbacks`."""
        had_route = self.plan.route is not None
        self.plan = self.manager.planner.rerouted(self.plan, self.head, self.info)
        self._choice = None
        if not had_route and self.plan.route is not None:
            self._describe_route(self.plan)
            self._apply_route_times(self.plan.route)

    def missing_route(self) -> tuple[str, str] | None:
        """See `StreamCallbacks`."""
        return self.manager.planner.demand(self.head)

    def route_cluster_name(self) -> str:
        """See `StreamCallbacks`."""
        route = self.plan.route
        if route is None or not isinstance(route.action, ClusterAction):
            return ""
        return self._cluster_choice(route.action).cluster_name

    def route_cluster(self) -> Any:
        """See `StreamCallbacks`."""
        route = self.plan.route
        if route is None or not isinstance(route.action, ClusterAction):
            return None
        return self.manager.clusters.get(self._cluster_choice(route.action).cluster_name)

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
        if self._shares_head:
            # A redirect notes the original path in the head.
            self.head = self.info.request = self.head.copy()
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
        upstream_plan: UpstreamPlan | None = None
        filters = self._filters
        if self.span is None and (filters is None or filters.leaves_requests):
            upstream_plan = self.plan.upstream if end_stream else self.plan.upstream_with_body
            if upstream_plan is None and filters is None and not self.plan.repeated:
                upstream_plan = self._plan_quickly(route, action, end_stream)
        if upstream_plan is None:
            strict = self.manager.config.router_options.strict_check_headers
            if strict and self._fails_check(action, strict):
                return
            charges = self._charges(route, action)
            upstream_plan = self._plan_for_target(route, action, end_stream, charges)
            upstream_plan.charges = charges
        self._forward_planned(upstream_plan, end_stream)

    def _fails_check(self, action: ClusterAction, names: tuple[str, ...]) -> bool:
        headers = self.head.headers
        failed = failed_check(headers, names)
        if failed is None:
            return False
        self.info.upstream_cluster = self.manager.clusters.get(self._cluster_choice(action).cluster_name)
        self.local_reply(
            400,
            f"invalid header '{failed}' with value '{headers[failed]}'",
            f"request_headers_failed_strict_check{{{failed}}}",
            ResponseFlag.INVALID_ENVOY_REQUEST_HEADERS,
        )
        return True

    def _charges(self, route: Route, action: ClusterAction) -> Charges | None:
        if self.info.health_check:
            return NO_CHARGES
        options = self.manager.config.router_options
        origin = self.plan.origin
        charges = charges_for(
            self.manager.services.stats,
            route,
            route.virtual_host.virtual_cluster(self.head),
            self._cluster_choice(action).cluster_name,
            self.head.headers.get("x-envoy-upstream-alt-stat-name", ""),
            internal=origin is not None and origin.internal,
            hides_codes=options.suppress_grpc_codes and is_grpc(self.head.headers.get("content-type", "")),
            counts_codes=options.dynamic_stats,
        )
        if charges is not None:
            # Known to formatters of the request's header operations, as in Envoy.
            self.info.virtual_cluster_name = charges.virtual_cluster
        return charges

    def _plan_quickly(self, route: Route, action: ClusterAction, end_stream: bool) -> UpstreamPlan | None:
        """The plan of a request that asks for nothing special, or comes after another with the same fields."""
        plan = self.plan
        prepared = plan.prepared
        if prepared is None and not plan.ordinary:
            return None
        manager = self.manager
        terms = manager.terms(route)
        if prepared is not None:
            if terms.charges_by_fields and self.head is plan.head:
                kept = prepared.upstream.get((terms.number, self.head.method, end_stream))
                if kept is not None:
                    prepared.last = (route, self.head.method, end_stream, kept)
                    return kept.for_target(plan.head)
            return None
        if not terms.ordinary or terms.choice is None or manager.cluster_asks(terms.choice.cluster_name):
            return None
        charges = INTERNAL_CHARGES if plan.origin is not None and plan.origin.internal else None
        response_key = self._response_key(route, action)
        return terms.plan_ordinary(self.head, charges, response_key, end_stream=end_stream)

    def _plan_for_target(
        self, route: Route, action: ClusterAction, end_stream: bool, charges: Charges | None
    ) -> UpstreamPlan:
        """Share the fields with an earlier request of the client, where the route leaves them alone."""
        plan = self.plan
        prepared = plan.prepared
        if prepared is None or self.span is not None or not self._leaves_fields_alone(route, action):
            return self._plan_upstream(route, action, end_stream)
        key = (self.manager.response_key(route), self.head.method, end_stream)
        kept = prepared.upstream.get(key)
        if kept is not None and not plan.repeated:
            return kept.for_target(plan.head)
        if kept is None:
            if len(prepared.upstream) >= MAX_PLANS_PER_HEAD:
                prepared.upstream.clear()
            head = plan.head.copy()
            if plan.generates_id:
                head.headers["x-request-id"] = REQUEST_ID_HOLE
            kept = self._finish_head(head, route, action, self._cluster_choice(action), end_stream, True)
            kept.charges = charges
            prepared.upstream[key] = kept
        return self._plan_upstream(route, action, end_stream)

    def _leaves_fields_alone(self, route: Route, action: ClusterAction) -> bool:
        choice = action.single
        return (
            choice is not None
            and self.head is self.plan.head
            and self._filters is None
            and self.manager.terms(route).leaves_fields_alone
            and not self.manager.fits_heads
            and self.manager.cluster_formatter(choice.cluster_name) is None
        )

    def _refused(self, cluster: Any, upstream_plan: UpstreamPlan) -> bool:
        reply = drop_reply(cluster.drop_overload, cluster.draw)
        if reply is None:
            return False
        cluster.stats.codes[503] += 1
        cluster.stats.rq_dropped += 1
        cluster.stats.rq_drop_overload += 1
        if upstream_plan.charges is not None:
            upstream_plan.charges.count(cluster.stats, 503)
        mark = None if self.manager.config.router_options.suppress_envoy_headers else reply.mark
        self.local_reply(503, reply.body, reply.details, reply.flags, mark)
        return True

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
        config = cluster.config
        if config.retry_policy is not upstream_plan.cluster_retry:
            self.upstream_plan = upstream_plan = self._plan_again(upstream_plan, end_stream)
        info.upstream_request_head = upstream_plan.head
        info.attempt_count = 1
        if upstream_plan.charges is not None:
            info.virtual_cluster_name = upstream_plan.charges.virtual_cluster
        if cluster.drop_overload and self._refused(cluster, upstream_plan):
            return
        request_hash = None
        if cluster.hashes:
            request_hash, upstream_plan = self._hash(cluster, upstream_plan)
        by_stream = cluster.choose_by_stream
        if by_stream is not None:
            info.metadata_match = upstream_plan.choice.metadata_match
        wanted = info.wanted_host if self._filters is not None else None
        host = None if wanted is None else cluster.wanted_host(wanted.address)
        if wanted is None or (host is None and not wanted.strict):
            host = cluster.choose_host(request_hash) if by_stream is None else by_stream(info, request_hash)
        if host is None:
            cluster.stats.codes[503] += 1
            if upstream_plan.charges is not None:
                upstream_plan.charges.count(cluster.stats, 503)
            self.local_reply(
                503, "no healthy upstream", "no_healthy_upstream", ResponseFlag.NO_HEALTHY_UPSTREAM
            )
            return
        if manager.fits_heads and manager.config.scheme_match_upstream:
            encrypted = host.cluster.config.transport_of(host.metadata) is not None
            upstream_plan.head.scheme = "https" if encrypted else "http"
        names = config.auto_sni
        authority = upstream_plan.head.authority
        if action.auto_host_rewrite and host.hostname:
            action.rewrite_to_host(
                upstream_plan.head,
                host.hostname,
                not manager.config.router_options.suppress_envoy_headers,
            )
        request_id = self.request_id
        # The other parts of the stream hold the methods that it hears through (`ResponseSink`).
        sink: Any = self
        retry = upstream_plan.retry
        kind: type[UpstreamRequest] = UpstreamRequest
        if retry is not None:
            kind = Attempt
            if retry.hedges:
                kind = hedging().HedgedAttempt
        if self.plan.upgrade:
            kind = TunnelRequest
        filters = config.http_filters
        if filters is None:
            filters = manager.upstream_filters
        mutations = mutations_for(filters, self.filter_overrides()) if filters else None
        log = manager.upstream_log
        if config.follows_requests or log is not None or mutations:
            kind = kind_with(kind, tracked=config.follows_requests, log=log, filtered=bool(mutations))
        upstream = kind(
            sink,
            cluster,
            host,
            action.priority,
            upstream_plan.head.method,
            upstream_plan,
            request_id.encode("latin-1") if request_id else b"",
        )
        if mutations:
            filtered: Any = upstream
            filtered.mutations = mutations
        self.upstream = upstream
        if upstream_plan.charges is not None:
            upstream.charges = upstream_plan.charges
        if self.head.protocol == "HTTP/2":
            upstream.client_speaks_http2 = True
        if names is not None:
            upstream.server_name = server_name_of(names, self.head, authority)
        if info.filter_state:
            overrides = info.filter_state.get(APPLICATION_PROTOCOLS)
            if overrides is not None:
                upstream.server_name = with_alpn(
                    upstream.server_name, overrides, config.protocol, self.head.protocol
                )
        connect_config = action.connect_config
        if connect_config is not None and connect_config.ends(upstream_plan.head.method):
            upstream.raw = True
            client = self.connection.info
            upstream.preamble = connect_config.preamble(client.remote_address, client.local_address)
        if upstream_plan.grpc:
            upstream.grpc = True
        if self.plan.upgrade:
            upstream.upgrading = upstream_plan.head.headers.get("upgrade", "")
            if self.plan.upgrade == "websocket" and upstream_plan.timeout:
                # Such a request has no end, so the time for an answer counts from its head.
                self.deadline = self.connection.now() + upstream_plan.timeout
                self.connection.arm(self.deadline)
        else:
            self.route_timeout = upstream_plan.timeout
            if self._filters is not None and self.request_complete:
                self._time_from_here()
            longest = upstream_plan.stream_duration
            if longest is None:
                longest = config.http.max_stream_duration
            if longest:
                self.upstream_deadline = self.connection.now() + longest
        if retry is not None and isinstance(upstream, Attempt):
            upstream = self._with_retries(upstream, retry, cluster, request_hash)
        mirrors = config.mirrors
        if mirrors:
            self._describe_way(self.plan)
        else:
            mirrors = action.mirrors
        if mirrors:
            self._mirrors = start_mirrors(manager, mirrors, upstream_plan, info, end_stream)
        if action.internal_redirect is not None:
            self._redirect_policy = action.internal_redirect
            if not end_stream:
                self._body_copy = []
        elif self.early_body is not None and not mirrors and self._filters is None:
            upstream.hold(self.early_body)
            self.early_body = None
            end_stream = self.early_end
        upstream.start(manager.pools, end_stream=end_stream)

    def _plan_again(self, upstream_plan: UpstreamPlan, end_stream: bool) -> UpstreamPlan:
        """The plan was made when the cluster had another retry policy."""
        plan = self.plan
        assert plan.route is not None
        if plan.prepared is not None:
            plan.prepared.upstream.clear()
            plan.prepared.last = None
        made = self._plan_upstream(plan.route, upstream_plan.action, end_stream)
        made.charges = upstream_plan.charges
        return made

    def _hash(self, cluster: Cluster, upstream_plan: UpstreamPlan) -> tuple[int | None, UpstreamPlan]:
        """The hash for the balancer, and the plan with the cookies that the client gets for it."""
        policy = cluster.hash_policy_for(upstream_plan.action.hash_policy)
        if policy is None:
            return None, upstream_plan
        cookies: list[str] = []
        number = policy.hash(self.head, self.info, cookies)
        if cookies:
            self.upstream_plan = upstream_plan = upstream_plan.with_cookies(cookies)
        return number, upstream_plan

    def _time_from_here(self) -> None:
        """Filters have held the request back, which counts as no time of the upstream's."""
        now = self.connection.now()
        if now > self.info.request_complete:
            self.info.request_received = self.info.request_complete
            self.info.request_complete = now
        if self.route_timeout:
            self.deadline = now + self.route_timeout
            self.connection.arm(self.deadline)

    def _with_retries(
        self, first: Attempt, policy: RetryPolicy, cluster: Cluster, request_hash: int | None
    ) -> Any:
        route = self.plan.route
        limit = None if route is None else route.body_buffer_limit
        # To the stream it is like the request that it stands for.
        stream: Any = self
        kind: Any = RetryingRequest
        if policy.hedges:
            kind = hedging().HedgedRequest
        request = kind(stream, first, policy, cluster, request_hash, limit)
        self.upstream = request
        return request

    def _plan_upstream(self, route: Route, action: ClusterAction, end_stream: bool) -> UpstreamPlan:
        manager = self.manager
        plan = self.plan
        choice = self._cluster_choice(action)
        # Known to formatters of the request's header operations, as in Envoy.
        self.info.upstream_cluster = manager.clusters.get(choice.cluster_name)
        keep = (
            plan.reusable
            and action.single is not None
            and (self._filters is None or self._filters.leaves_requests)
            and plan.repeated
            and not action.auto_host_rewrite
            and not manager.fits_heads
            and self.span is None
        )
        head = self.head
        if plan.generates_id and (keep or self._shares_head):
            head = head.copy()
            head.headers["x-request-id"] = REQUEST_ID_HOLE if keep else self.request_id or ""
        if self.span is not None:
            self.span.inject(head, self.info)
        upstream_plan = self._finish_head(head, route, action, choice, end_stream, keep)
        if upstream_plan.kept:
            if end_stream:
                plan.upstream = upstream_plan
            else:
                plan.upstream_with_body = upstream_plan
        elif "x-request-id" in upstream_plan.head.headers and self.request_id is not None and keep:
            upstream_plan.head.headers["x-request-id"] = self.request_id
        return upstream_plan

    def _finish_head(
        self,
        head: RequestHead,
        route: Route,
        action: ClusterAction,
        choice: ClusterChoice,
        end_stream: bool,
        keep: bool,
    ) -> UpstreamPlan:
        manager = self.manager
        cluster = manager.clusters.get(choice.cluster_name)
        options = manager.config.router_options
        return plan_upstream(
            head,
            route,
            action,
            choice,
            self.info,
            end_stream=end_stream,
            upgrade=bool(self.plan.upgrade),
            suppress_envoy_headers=options.suppress_envoy_headers,
            respect_expected_timeout=options.respect_expected_timeout,
            formatter=None if cluster is None else manager.upstream_formatter(cluster, self),
            keep=keep,
            response_key=self._response_key(route, action),
            cluster_retry=None if cluster is None else cluster.config.retry_policy,
        )

    def _response_key(self, route: Route, action: ClusterAction) -> int:
        """A key for what becomes of responses on this route; 0 if it may differ from request to request."""
        if (
            action.single is None
            or self.span is not None
            or self.head.protocol == "HTTP/1.0"
            or self.manager.formats_names
            or self.plan.upgrade
            or route.virtual_host.include_attempt_count_in_response
            or "x-envoy-force-trace" in self.head.headers
        ):
            return 0
        head = self.head
        return (
            self.manager.response_key(route) << 3
            | (self.request_id is None) << 2
            | (head.protocol == "HTTP/2") << 1
            | (head.method == "HEAD")
        )

    def forward_data(self, data: bytes, end_stream: bool) -> None:
        """Body bytes that have passed the filters."""
        upstream = self.upstream
        if upstream is None:
            return
        upstream.send_data(data, end_stream)
        if data and self._body_copy is not None:
            self._body_copy.append(data)
        if self._mirrors is not None:
            for mirror in self._mirrors:
                mirror.send_data(data, end_stream)

    def forward_trailers(self, trailers: HeaderMap) -> None:
        """Trailers that have passed the filters."""
        if self.upstream is not None:
            self.upstream.send_trailers(trailers)
        for mirror in self._mirrors or ():
            mirror.send_trailers(trailers)
