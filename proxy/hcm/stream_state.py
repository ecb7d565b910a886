"""What a stream knows, and what its parts may call of each other.

The stream is one object (a request cannot afford more) whose methods stand in the order of a request's way:
`stream_request` (the head to the router), `stream_routing` (the route to the upstream), `stream_response` (the
upstream to the filters), `stream_reply` (to the client), `stream` (time and the end).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.stream_info import StreamInfo
from proxy.codec.messages import ParsedRequest
from proxy.hcm.filter_manager import FilterManager
from proxy.hcm.request_plan import RequestPlan
from proxy.router.cluster_action import ClusterAction
from proxy.router.cluster_choice import ClusterChoice
from proxy.router.per_filter_config import FilterOverrides
from proxy.router.route import Route
from proxy.router.upstream_plan import UpstreamPlan
from proxy.router.upstream_request import UpstreamRequest

if TYPE_CHECKING:
    from proxy.hcm.connection_manager import ConnectionManager
    from proxy.hcm.downstream_codec import DownstreamCodec
    from proxy.router.internal_redirect import InternalRedirectPolicy
    from proxy.tracing.tracer import ActiveSpan


class StreamState:
    """See module. Times are monotonic seconds; 0.0 as a deadline means none."""

    plan: RequestPlan
    head: RequestHead
    request_id: str | None = None
    upstream: UpstreamRequest | None = None
    upstream_plan: UpstreamPlan | None = None
    route_timeout: float = 0.0
    deadline: float = 0.0
    idle_timeout: float = 0.0
    request_complete = False
    response_started = False
    response_complete = False
    #: Whether bytes pass in both directions without a frame of HTTP/1 around them.
    upgraded = False
    redirects = 0
    destroyed = False
    early_end = False
    original_names: dict[str, str] | None = None
    original_response_names: dict[str, str] | None = None
    #: Whether the client speaks gRPC: as the request came in, before filters changed it. None if none could.
    asks_grpc: bool | None = None
    _response_chunked = False
    _body_copy: list[bytes] | None = None
    _redirected_to: list[Route] | None = None
    _choice: ClusterChoice | None = None
    #: Where requests are traced; None where nothing is to be done for it.
    span: ActiveSpan | None = None

    def __init__(self, connection: DownstreamCodec, manager: ConnectionManager, now: float) -> None:
        self.connection = connection
        self.manager = manager
        self.info = StreamInfo(connection.info, now)
        self.last_activity = now
        self.idle_timeout = manager.config.stream_idle_timeout
        # Read for every request; a default on the class would cost several times as much.
        self.max_duration_deadline = 0.0
        self.upstream_deadline = 0.0
        #: Whether the client may have the upgrade that it asks for; the host may still refuse it.
        self.may_upgrade = False
        #: Body bytes that came with the head, and whether they are all; taken by whoever sends the head on.
        self.early_body: bytes | None = None
        self._filters: FilterManager | None = None
        self._write_paused = False
        self._mirrors: list[Any] | None = None
        self._redirect_policy: InternalRedirectPolicy | None = None

    @property
    def route(self) -> Route | None:
        """The matched route; see `StreamCallbacks`."""
        return self.plan.route

    @property
    def head_request(self) -> bool:
        """Whether the request was HEAD, so that no body may follow."""
        request = self.info.request
        return request is not None and request.method == "HEAD"

    @property
    def responding(self) -> bool:
        """Whether a response has begun: its head was sent, or filters hold it."""
        return self.response_started or (self._filters is not None and self._filters.responding)

    @property
    def redirected_to(self) -> list[Route]:
        """The routes that internal redirects have led to."""
        if self._redirected_to is None:
            self._redirected_to = []
        return self._redirected_to

    @property
    def _shares_head(self) -> bool:
        """Whether `head` is the plan's own, without a request id."""
        return self.head is self.plan.head and not self.plan.owned

    def _describe_request(self, request: ParsedRequest, plan: RequestPlan) -> None:
        """Note what only logs, formatters and filters read."""
        info = self.info
        info.downstream_header_bytes_received = request.header_bytes
        info.downstream_wire_bytes_received = request.wire_bytes
        self.original_names = request.original_names
        self._describe_way(plan)

    def _describe_way(self, plan: RequestPlan) -> None:
        """Note where the request comes from and which way it goes."""
        if plan.origin is not None and not plan.origin.direct:
            self.info.remote_address = plan.origin.address
        self._describe_route(plan)

    def _describe_route(self, plan: RequestPlan) -> None:
        info = self.info
        route = plan.route
        if route is not None:
            info.route_name = route.name
            info.route_metadata = route.metadata
        if plan.virtual_host is not None:
            info.virtual_host_name = plan.virtual_host.name
            info.virtual_host_metadata = plan.virtual_host.metadata

    def describe_upstream(self) -> None:
        """Note what only logs, formatters and filters read of the upstream connection."""
        info = self.info
        connection = info.upstream_connection
        if connection is not None and info.upstream_protocol is None:
            connection.describe(info)

    # -- what the parts call of each other

    def restart(self, plan: RequestPlan) -> None:
        """See the class that implements it."""
        raise NotImplementedError

    def route_request(self, end_stream: bool) -> None:
        """See the class that implements it."""
        raise NotImplementedError

    def _forward_planned(self, upstream_plan: UpstreamPlan, end_stream: bool) -> None:
        """See the class that implements it."""
        raise NotImplementedError

    def _apply_max_duration(self, action: ClusterAction) -> None:
        """See the class that implements it."""
        raise NotImplementedError

    def _cluster_choice(self, action: ClusterAction) -> ClusterChoice:
        """See the class that implements it."""
        raise NotImplementedError

    def _enter_tunnel(self) -> None:
        """See the class that implements it."""
        raise NotImplementedError

    def forward_data(self, data: bytes, end_stream: bool) -> None:
        """See the class that implements it."""
        raise NotImplementedError

    def forward_trailers(self, trailers: HeaderMap) -> None:
        """See the class that implements it."""
        raise NotImplementedError

    def filter_overrides(self) -> FilterOverrides:
        """See the class that implements it."""
        raise NotImplementedError

    def local_reply(
        self,
        status: int,
        body: str,
        details: str,
        flags: int = 0,
        modify: Callable[[HeaderMap], None] | None = None,
        grpc_status: int | None = None,
    ) -> None:
        """See the class that implements it."""
        raise NotImplementedError

    def _encode(self, head: ResponseHead, body: bytes, end_stream: bool) -> None:
        """See the class that implements it."""
        raise NotImplementedError

    def send_head(self, head: ResponseHead, body: bytes, end_stream: bool) -> None:
        """See the class that implements it."""
        raise NotImplementedError

    def send_data(self, data: bytes, end_stream: bool) -> None:
        """See the class that implements it."""
        raise NotImplementedError

    def send_trailers(self, trailers: HeaderMap) -> None:
        """See the class that implements it."""
        raise NotImplementedError

    def on_client_paused(self) -> None:
        """See the class that implements it."""
        raise NotImplementedError

    def on_client_resumed(self) -> None:
        """See the class that implements it."""
        raise NotImplementedError

    def route_cluster(self) -> Any:
        """See the class that implements it."""
        raise NotImplementedError

    def route_configs(self, name: str) -> tuple[Any, ...]:
        """See the class that implements it."""
        raise NotImplementedError

    def _finish(self) -> None:
        """See the class that implements it."""
        raise NotImplementedError

    def clear_route_cache(self) -> None:
        """See the class that implements it."""
        raise NotImplementedError

    def route_cluster_name(self) -> str:
        """See the class that implements it."""
        raise NotImplementedError

    def missing_route(self) -> tuple[str, str] | None:
        """See the class that implements it."""
        raise NotImplementedError

    def _apply_route_times(self, route: Route) -> None:
        """See the class that implements it."""
        raise NotImplementedError

    def route_config(self, name: str) -> Any:
        """See the class that implements it."""
        raise NotImplementedError
