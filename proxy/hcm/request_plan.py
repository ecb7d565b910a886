"""What becomes of a request head before any byte moves: checked, normalised, marked, routed.

Everything here depends only on the head, the client's address and the config. So the outcome is kept with the
parsed head: an equal request from the same client (a client library sends the same head again and again)
reuses it, which takes about 15 us off a request. What varies from request to request (request id, weighted
choice, formatters that read the clock) is never part of a kept plan.

A request that nobody else shares (`ParsedRequest.owned`) is changed in place, and if it has no field that speaks of
the way it came, what is to be added to it is known from the client's requests before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.response_flags import ResponseFlag
from proxy.base.stream_info import ConnectionInfo, StreamInfo
from proxy.codec.messages import ParsedRequest
from proxy.hcm import normalize
from proxy.hcm.config import (
    REJECT_REQUEST,
    UNESCAPE_AND_REDIRECT,
    HcmConfig,
)
from proxy.hcm.forwarding import AddedFields, LocalNode, Origin, apply_forwarding, remove_hop_by_hop
from proxy.hcm.ip_detection import HeaderDetection
from proxy.hcm.rejection import Rejection
from proxy.hcm.repeated_fields import REQUEST, join_repeated
from proxy.router.route import Route
from proxy.router.scope_tables import ScopeTables
from proxy.router.upstream_plan import UpstreamPlan
from proxy.router.virtual_host import VirtualHost

#: Plans kept per parsed head: one for each client address.
MAX_PLANS_PER_HEAD: Final = 64
_MAX_CLIENTS: Final = 256


def _bad_path() -> Rejection:
    return Rejection(
        400, "path_normalization_failed", close=True, stat="downstream_rq_failed_path_normalization"
    )


class RequestPlan:
    """The decided part of a request.

    `head` is as filters see it, without an x-request-id that is generated (`generates_id`) or was taken out of the
    fields for the sake of sharing them (then it is `given_id`). `reusable` tells that an equal head from the
    same client gets the same plan, `repeated` that this has happened: only then is it worth while to render the
    upstream's head with a hole. `reads_facts` is that of the route. `upstream` is what the router derived for a
    route to one constant cluster, and `upstream_with_body` the same for requests with a body. `owned` tells that
    `head` belongs to this request alone, which gets its id there; with `ordinary` as in `ParsedRequest`.
    """

    def __init__(self, head: RequestHead) -> None:
        self.head = head
        self.origin: Origin | None = None
        self.rejection: Rejection | None = None
        self.virtual_host: VirtualHost | None = None
        self.route: Route | None = None
        self.reusable = True
        self.repeated = False
        self.reads_facts = False
        self.generates_id = False
        self.given_id = ""
        self.request_id: str | None = None
        self.upgrade = ""
        self.upstream: UpstreamPlan | None = None
        self.upstream_with_body: UpstreamPlan | None = None
        self.prepared: PreparedFields | None = None
        self.owned = False
        self.ordinary = False


class PreparedFields:
    """What was made of the fields of a request, whatever its target; shared, so nobody may change it.

    `upstream` keeps what the router made of them in turn: by route, method and whether there is a body, for routes
    that change nothing. `takes_id` tells that each request brings its `given_id`.
    """

    __slots__ = ("generates_id", "headers", "last", "origin", "request_id", "scheme", "takes_id", "upstream")

    def __init__(self, plan: RequestPlan) -> None:
        self.headers = plan.head.headers
        self.scheme = plan.head.scheme
        self.origin = plan.origin
        self.generates_id = plan.generates_id
        self.takes_id = bool(plan.given_id)
        self.request_id = plan.request_id
        self.upstream: dict[tuple[int, str, bool], UpstreamPlan] = {}
        #: The last request whose plan came from there: its route, its method, whether it ended, and that plan.
        self.last: tuple[Route, str, bool, UpstreamPlan] | None = None

    def like_the_last(self, plan: RequestPlan, end_stream: bool) -> UpstreamPlan | None:
        """The upstream's plan for a new target, if it differs from that of the last one in this only."""
        last = self.last
        if last is None or last[0] is not plan.route or last[1] != plan.head.method or last[2] != end_stream:
            return None
        return last[3].for_target(plan.head)


class RequestPlanner:
    """Makes plans under one HCM config. `draw` gives random 64-bit integers for fractions.

    `scopes` finds the route table of a request where it is not that of the config.
    """

    def __init__(
        self,
        config: HcmConfig,
        node: LocalNode,
        draw: Callable[[], int],
        scopes: ScopeTables | None = None,
    ) -> None:
        self._config = config
        self._scopes = scopes
        self._node = node
        self._draw = draw
        #: By `client_key`, which clients choose by their number.
        self._added: dict[str, AddedFields] = {}
        self._changes_hosts = config.strip_any_port or config.strip_matching_port or config.strip_trailing_dot
        self._may_add = not (
            config.early_mutations
            or config.add_user_agent
            or config.route_table.internal_only_headers
            or scopes is not None
            # Such a field is like any other to the codec.
            or any(isinstance(detection, HeaderDetection) for detection in config.ip_detections)
        )

    def plan(
        self, request: ParsedRequest, connection: ConnectionInfo, info: StreamInfo, client: str
    ) -> RequestPlan:
        """Decide what becomes of `request`, which stays as it is. `client` is the connection's `client_key`."""
        fields = request.fields
        if fields is not None:
            prepared = fields.prepared.get(client)
            if prepared is not None:
                return self._plan_target(request, connection, info, prepared)
        if request.owned:
            if request.ordinary and self._may_add:
                return self._plan_ordinary(request, connection, info, client)
            plan = RequestPlan(request.head)
            plan.owned = True
        else:
            plan = RequestPlan(request.head.copy())
        if request.given_id:
            plan.generates_id = True
            plan.given_id = request.given_id
        if plan.head.headers.repeated is not None:
            join_repeated(plan.head.headers, REQUEST)
        plan.upgrade = "connect" if plan.head.method == "CONNECT" else request.upgrade
        plan.rejection = self._prepare(plan, request, connection)
        if plan.rejection is None:
            self._set_request_id(plan)
            if fields is not None and plan.reusable and self._may_share(request):
                if len(fields.prepared) >= MAX_PLANS_PER_HEAD:
                    fields.prepared.clear()
                plan.prepared = fields.prepared[client] = PreparedFields(plan)
            self._find_route(plan, info, request)
        return plan

    def _plan_ordinary(
        self, request: ParsedRequest, connection: ConnectionInfo, info: StreamInfo, client: str
    ) -> RequestPlan:
        """The plan of a request that is owned and ordinary."""
        head = request.head
        plan = RequestPlan(head)
        plan.owned = plan.ordinary = True
        plan.rejection = self._normalize_path(head)
        if plan.rejection is not None:
            return plan
        self._normalize_host(head, connection)
        added = self._added.get(client)
        if added is None:
            added = self._learn_added(connection, client)
        if self._config.scheme_overwrite:
            head.scheme = self._config.scheme_overwrite
        head.headers.update(added.headers)
        plan.origin = added.origin
        plan.generates_id = self._config.generate_request_id
        info.request = head
        self._match(plan, head, info)
        return plan

    def _learn_added(self, connection: ConnectionInfo, client: str) -> AddedFields:
        headers = HeaderMap()
        origin = apply_forwarding(
            RequestHead("GET", "/", "", headers, "http", "HTTP/2"), connection, self._config, self._node
        )
        if len(self._added) >= _MAX_CLIENTS:
            self._added.clear()
        added = self._added[client] = AddedFields(headers, origin)
        return added

    def _may_share(self, request: ParsedRequest) -> bool:
        """Whether what was made of the fields does not depend on the target or the method."""
        return (
            not self._config.early_mutations
            and self._scopes is None
            and not request.upgrade
            and not request.expect_continue
            and request.has_host
            and request.head.method != "QUERY"
        )

    def _plan_target(
        self, request: ParsedRequest, connection: ConnectionInfo, info: StreamInfo, prepared: PreparedFields
    ) -> RequestPlan:
        """The plan of a request whose fields were prepared for an earlier one of the same client."""
        asked = request.head
        head = RequestHead(
            asked.method, asked.path, asked.authority, prepared.headers, prepared.scheme, asked.protocol
        )
        plan = RequestPlan(head)
        plan.origin = prepared.origin
        plan.prepared = prepared
        if prepared.takes_id:
            plan.generates_id = True
            plan.given_id = request.given_id
        plan.rejection = self._normalize_path(head)
        if plan.rejection is None:
            self._normalize_host(head, connection)
            plan.generates_id = prepared.generates_id
            plan.request_id = prepared.request_id
            info.request = head
            self._match(plan, head, info)
        return plan

    def _prepare(
        self, plan: RequestPlan, request: ParsedRequest, connection: ConnectionInfo
    ) -> Rejection | None:
        config = self._config
        head = plan.head
        if head.protocol == "HTTP/1.0" and not request.has_host and config.default_host:
            head.authority = config.default_host
        if not request.has_host and not head.authority:
            return Rejection(400, "missing_host_header", close=True)
        is_connect = head.method == "CONNECT"
        if not is_connect:
            if not head.path.startswith("/"):
                return Rejection(404, "absolute_path_rejected", stat="downstream_rq_non_relative_path")
            rejection = self._normalize_path(head)
            if rejection is not None:
                return rejection
        if head.method == "QUERY" and "content-type" not in head.headers:
            return Rejection(400, "query_missing_content_type", close=True)
        self._normalize_host(head, connection)
        if config.early_mutations:
            info = StreamInfo(connection, 0.0)
            info.protocol = head.protocol
            info.request = head
            for mutations in config.early_mutations:
                mutations.apply(head, info)
                plan.reusable = plan.reusable and mutations.static
        remove_hop_by_hop(head.headers, upgrade=bool(request.upgrade))
        if request.expect_continue and not config.proxy_100_continue:
            head.headers.remove("expect")
        table = config.route_table if self._scopes is None else self._scopes.table(head)
        internal_only = () if table is None else table.internal_only_headers
        origin = plan.origin = apply_forwarding(head, connection, config, self._node, internal_only)
        if origin.reject_status:
            return Rejection(
                origin.reject_status,
                "rejecting_because_detection_failed",
                stat="downstream_rq_rejected_via_ip_detection",
            )
        return None

    def _normalize_path(self, head: RequestHead) -> Rejection | None:
        """Bring the path into the form to match on; a rejection is logged with the path as far as it got."""
        config = self._config
        path = head.path
        if "#" in path:
            return _bad_path()
        redirect = False
        if config.escaped_slashes >= REJECT_REQUEST and normalize.has_escaped_slash(path):
            path = head.path = normalize.unescape_slashes(path)
            if config.escaped_slashes == REJECT_REQUEST:
                return _bad_path()
            redirect = config.escaped_slashes == UNESCAPE_AND_REDIRECT
        if config.normalize_path:
            normalized = normalize.normalize_path(path)
            if normalized is None:
                return _bad_path()
            path = normalized
        if config.merge_slashes:
            path = normalize.merge_slashes(path)
        head.path = path
        if redirect:
            return Rejection(
                307,
                "path_normalization_failed",
                stat="downstream_rq_redirected_with_normalized_path",
                location=path,
            )
        return None

    def _normalize_host(self, head: RequestHead, connection: ConnectionInfo) -> None:
        if not self._changes_hosts:
            return
        config = self._config
        if config.strip_any_port:
            head.authority = normalize.strip_port(head.authority, None)
        elif config.strip_matching_port:
            head.authority = normalize.strip_port(head.authority, connection.local_address.port)
        if config.strip_trailing_dot:
            head.authority = normalize.strip_trailing_dot(head.authority)

    def _set_request_id(self, plan: RequestPlan) -> None:
        config = self._config
        if "x-envoy-force-trace" in plan.head.headers:
            plan.reusable = False
        present = plan.given_id or plan.head.headers.get("x-request-id")
        edge = plan.origin is not None and plan.origin.edge
        plan.generates_id = config.generate_request_id and (
            not present or (edge and not config.preserve_external_request_id)
        )
        if plan.generates_id:
            plan.head.headers.remove("x-request-id")
            plan.given_id = ""
        elif plan.given_id:
            plan.generates_id = True
        else:
            plan.request_id = present

    def _find_route(self, plan: RequestPlan, info: StreamInfo, request: ParsedRequest) -> None:
        head = plan.head
        info.request = head
        self._match(plan, head, info)
        if plan.upgrade:
            plan.rejection = self._check_upgrade(plan)
        if request.expect_continue or plan.upgrade:
            plan.reusable = False

    def _match(self, plan: RequestPlan, head: RequestHead, info: StreamInfo) -> None:
        if self._scopes is None:
            virtual_host = self._config.route_table.virtual_host(head.authority, head)
        else:
            table = self._scopes.table(head)
            virtual_host = None if table is None else table.virtual_host(head.authority, head)
        if virtual_host is None:
            plan.route = None
            return
        plan.virtual_host = virtual_host
        if virtual_host.deterministic:
            route = plan.route = virtual_host.route(head, info, self._draw)
        else:
            number = self._draw()
            route = plan.route = virtual_host.route(head, info, lambda: number)
            plan.reusable = False
        if route is not None and route.reads_facts:
            plan.reads_facts = True

    def demand(self, head: RequestHead) -> tuple[str, str] | None:
        """The resource and the part of it that may bring a route for `head`, which has none: see `Demands`."""
        scopes = self._scopes
        table = self._config.route_table if scopes is None else scopes.table(head)
        if table is not None and table.vhds is not None:
            return table.vhds.key, f"{table.name}/{head.authority.lower()}"
        return None if scopes is None else scopes.demand(head)

    def rerouted(self, plan: RequestPlan, head: RequestHead, info: StreamInfo) -> RequestPlan:
        """The plan for `head` after a filter changed it: same origin, the route chosen anew."""
        fresh = RequestPlan(head)
        fresh.origin = plan.origin
        fresh.request_id = plan.request_id
        fresh.upgrade = plan.upgrade
        fresh.reusable = False
        self._match(fresh, head, info)
        return fresh

    def _check_upgrade(self, plan: RequestPlan) -> Rejection | None:
        route = plan.route
        if route is None:
            if plan.head.method == "CONNECT":
                return Rejection(
                    404, "route_not_found", flags=ResponseFlag.NO_ROUTE_FOUND, close=True, stat="no_route"
                )
            return None
        allowed = self._config.upgrades.get(plan.upgrade)
        enabled = allowed is not None and allowed.enabled
        by_route = getattr(route.action, "upgrades", None)
        if by_route is not None and plan.upgrade in by_route:
            enabled = by_route[plan.upgrade]
        if enabled:
            return None
        return Rejection(403, "upgrade_failed", drain=True, stat="downstream_rq_ws_on_non_ws_route")


def client_key(connection: ConnectionInfo) -> str:
    """What of a connection a plan depends on."""
    remote = connection.remote_address
    key = f"{remote.ip or remote.path}|{connection.local_address.port}"
    tls = connection.tls
    if tls is None:
        return key
    # Two clients behind one address must not be taken for each other.
    return f"{key}|{hashlib.sha256(tls.peer_certificate_der).hexdigest()}"
