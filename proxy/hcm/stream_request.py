"""The request on its way from the codec through the filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.codec.grpc import is_grpc
from proxy.codec.messages import ParsedRequest
from proxy.hcm.filter_manager import FilterManager, after_gates
from proxy.hcm.rejection import Rejection
from proxy.hcm.request_plan import RequestPlan
from proxy.hcm.stream_state import StreamState
from proxy.router.cluster_action import ClusterAction
from proxy.router.route import Route

if TYPE_CHECKING:
    from proxy.tracing.tracer import Tracer

_NO_REQUEST: Final = RequestHead("", "", "", HeaderMap())


class RequestPart(StreamState):
    """See module."""

    def begin(self, request: ParsedRequest, plan: RequestPlan, *, end_stream: bool) -> None:
        """The request head is there. `plan` says what becomes of it."""
        self.plan = plan
        manager = self.manager
        head = plan.head
        keeps_head = manager.keeps_heads or not plan.reusable
        if plan.owned:
            shares_head = False
        elif keeps_head:
            head = head.copy()
            shares_head = False
        else:
            shares_head = True
        if keeps_head or plan.reads_facts or manager.describes_requests:
            self._describe_request(request, plan)
        if plan.generates_id:
            self.request_id = request_id = plan.given_id or manager.request_ids.new()
            if not shares_head:
                head.headers["x-request-id"] = request_id
        else:
            self.request_id = plan.request_id
        info = self.info
        info.protocol = head.protocol
        info.request_id = self.request_id
        info.request = self.head = head
        if manager.config.max_stream_duration:
            self.max_duration_deadline = self.info.start_time + manager.config.max_stream_duration
        if plan.rejection is not None:
            self._describe_cluster(plan)
            self._reject(plan.rejection)
            return
        if manager.tracer is not None:
            self._trace(manager.tracer, plan)
        if plan.upgrade:
            self.may_upgrade = True
            manager.stats.downstream_cx_upgrades_total += 1
            manager.stats.downstream_cx_upgrades_active += 1
        if plan.route is not None:
            self._apply_route_times(plan.route)
        if not (manager.has_filters and self._pass_filters(plan, end_stream)):
            upstream_plan = None
            if self.span is None:
                upstream_plan = plan.upstream if end_stream else plan.upstream_with_body
            if upstream_plan is None and plan.prepared is not None and shares_head and not plan.repeated:
                upstream_plan = plan.prepared.like_the_last(plan, end_stream)
            if upstream_plan is None:
                self.route_request(end_stream)
            else:
                manager.stats.rq_total += 1
                self._forward_planned(upstream_plan, end_stream)

    def _pass_filters(self, plan: RequestPlan, end_stream: bool) -> bool:
        """Show the head to the filters that it has to pass; whether there are any that have not let it pass yet."""
        factories = self.manager.filters_for(plan, self.filter_overrides())
        if factories:
            factories = after_gates(factories, self)
        if not factories:
            return False
        self._describe_cluster(plan)
        self.asks_grpc = is_grpc(self.head.headers.get("content-type", ""))
        self._filters = FilterManager(self, factories)
        self._filters.decode_headers(self.head, end_stream)
        return True

    def _trace(self, tracer: Tracer, plan: RequestPlan) -> None:
        route = None if plan.route is None else plan.route.tracing
        info = self.info
        before = self.request_id
        request_id = tracer.decide(info, before, route)
        if request_id is not None and request_id != before:
            self.request_id = info.request_id = request_id
            self.head.headers["x-request-id"] = request_id
        self.span = tracer.start(info, route)

    def _describe_cluster(self, plan: RequestPlan) -> None:
        """Name the cluster that the route leads to, for requests that may not get so far."""
        route = plan.route
        if route is not None and isinstance(route.action, ClusterAction):
            name = self._cluster_choice(route.action).cluster_name
            self.info.upstream_cluster = self.manager.clusters.get(name)

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

    def flush_timeout(self) -> float:
        """For how many seconds a client may leave the end of the response where it is, 0.0 for ever."""
        route = self.plan.route
        action = None if route is None else route.action
        if isinstance(action, ClusterAction) and action.flush_timeout is not None:
            return action.flush_timeout
        return self.manager.config.stream_flush_timeout

    def _reject(self, rejection: Rejection) -> None:
        stats = self.manager.stats
        if rejection.stat:
            setattr(stats, rejection.stat, getattr(stats, rejection.stat) + 1)
            if rejection.stat == "no_route":
                # In Envoy the router finds that out, so the request counts as one that reached it.
                stats.rq_total += 1
        if rejection.close:
            self.connection.close_after_response()
        elif rejection.drain:
            self.connection.drain_after_response()
        modify = None
        header = ("location", rejection.location) if rejection.location else rejection.header
        if header is not None:
            name, value = header

            def modify(headers: HeaderMap) -> None:
                headers.set(name, value)

        self.local_reply(rejection.status, rejection.body, rejection.details, rejection.flags, modify)

    def on_request_data(self, data: bytes, *, end_stream: bool) -> None:
        """Body bytes of the request."""
        self.last_activity = self.connection.now()
        self.info.bytes_received += len(data)
        if self.response_complete:
            return
        if self._filters is None:
            self.forward_data(data, end_stream)
            return
        if data and end_stream and not self.connection.http2:
            # Envoy's codec tells the end after the last bytes: who refuses these answers an unfinished request.
            self.request_complete = False
            self._filters.decode_data(data, False)
            if self.response_complete:
                return
            self.request_complete = True
            data = b""
        self._filters.decode_data(data, end_stream)

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

    def restart(self, plan: RequestPlan) -> None:
        """Begin again with another head and route: an internal redirect was followed."""
        if self.upstream is not None:
            self.upstream.abandon()
            self.upstream = None
        self.redirects += 1
        self.plan = plan
        self._choice = None
        self._redirect_policy = None
        self.head = self.info.request = plan.head
        if self._filters is not None:
            self._filters.destroy()
            self._filters = None
        body = b"".join(self._body_copy or ()) if plan.head.method != "GET" else b""
        if self.manager.has_filters and self._pass_filters(plan, not body):
            if body and self._filters is not None and not self.response_complete:
                self._filters.decode_data(body, True)
        else:
            self.route_request(not body)
            if body:
                self.forward_data(body, end_stream=True)
        if self.route_timeout and not self.response_started:
            self.deadline = self.connection.now() + self.route_timeout
            self.connection.arm(self.deadline)
