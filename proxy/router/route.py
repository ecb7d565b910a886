"""One route: what it matches, what it does, and what it says about the request beside that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from proxy.config.context import CompileContext
from proxy.router.cluster_action import ClusterAction, Inherited, compile_cluster_action
from proxy.router.cluster_choice import ClusterChoice
from proxy.router.direct_response import DirectResponseAction, compile_direct_response
from proxy.router.header_operations import Operations, compile_level, in_order
from proxy.router.per_filter_config import FilterOverrides, compile_overrides, with_cors
from proxy.router.redirect import RedirectAction, compile_redirect
from proxy.router.route_match import CompiledMatch, compile_match

if TYPE_CHECKING:
    from proxy.ratelimit.actions import RateLimit
    from proxy.router.virtual_host import TableFacts, VirtualHost
    from proxy.tracing.config import RouteTracing

RateLimits = tuple["RateLimit", ...]
Action = ClusterAction | RedirectAction | DirectResponseAction


class Route(Struct):
    """A compiled route.

    `request_ops` and `response_ops` apply in order, after those of the cluster choice.
    `per_filter_config` is merged, the most specific level wins.
    `metadata` is the message `envoy.config.core.v3.Metadata`, None if unset.
    `body_buffer_limit` is in bytes, None for the listener's limit. `index` is the place in the virtual host,
    -1 for the redirect of `require_tls`.
    """

    name: str
    virtual_host: VirtualHost
    index: int
    match: CompiledMatch
    action: Action
    request_ops: Operations
    response_ops: Operations
    per_filter_config: FilterOverrides
    metadata: Any = None
    stat_prefix: str = ""
    body_buffer_limit: int | None = None
    include_request_attempt_count: bool = False
    include_attempt_count_in_response: bool = False
    rate_limits: RateLimits = ()
    include_vh_rate_limits: bool = False
    ignores_path_parameters: bool = False
    tracing: RouteTracing | None = None

    @property
    def reads_facts(self) -> bool:
        """Whether what the route does may depend on facts of the stream beside the request's head."""
        action = self.action
        if not isinstance(action, ClusterAction) or action.single is None:
            return True
        own = action.single.request_ops or action.single.response_ops
        return bool(self.request_ops or self.response_ops or own or action.rewrites or action.mirrors)

    @property
    def forwards(self) -> bool:
        """Whether the route leads to a cluster; others are answered here."""
        return isinstance(self.action, ClusterAction)

    @property
    def why(self) -> str:
        """The config path of this route from the route table: `virtual_hosts[3].routes[2]`."""
        if self.index < 0:
            return f"{self.virtual_host.path}.require_tls"
        return f"{self.virtual_host.path}.routes[{self.index}]"


def overrides_of(route: Route, choice: ClusterChoice) -> FilterOverrides:
    """What changes about filters for requests that `route` sends to a cluster that it may choose."""
    own = choice.per_filter_config
    return route.per_filter_config if own is None else own


def compile_route(
    message: Any, index: int, virtual_host: VirtualHost, table: TableFacts, ctx: CompileContext
) -> Route:
    """`envoy.config.route.v3.Route`, with what it inherits from its virtual host and table."""
    path = f"{table.path_prefix}{virtual_host.path}.routes[{index}]"
    match = compile_match(message.match, f"{path}.match", ctx, strip_parameters=table.ignore_path_parameters)
    headers = in_order(
        (compile_level(message, path, ctx), virtual_host.headers, table.headers),
        most_specific_wins=table.most_specific_wins,
    )
    outer = virtual_host.per_filter_config
    overrides = compile_overrides(message, path, ctx, outer)
    if message.HasField("route"):
        overrides = with_cors(message.route, f"{path}.route", ctx, overrides, outer)
    inherited = Inherited(
        overrides,
        virtual_host.mirrors,
        virtual_host.retry_policy,
        virtual_host.hedges,
        table.known_clusters,
    )
    return Route(
        message.name,
        virtual_host,
        index,
        match,
        _compile_action(message, match, inherited, table, path, ctx),
        headers.request,
        headers.response,
        overrides,
        message.metadata if message.HasField("metadata") else None,
        message.stat_prefix,
        buffer_limit(message, virtual_host.body_buffer_limit),
        virtual_host.include_request_attempt_count,
        virtual_host.include_attempt_count_in_response,
        rate_limits(message.route.rate_limits, f"{path}.route.rate_limits", ctx),
        message.route.include_vh_rate_limits.value,
        table.ignore_path_parameters,
        _tracing(message, path, ctx),
    )


def _tracing(message: Any, path: str, ctx: CompileContext) -> RouteTracing | None:
    if not message.HasField("tracing") and not message.HasField("decorator"):
        return None
    from proxy.tracing.config import compile_route_tracing  # few routes say anything of it

    return compile_route_tracing(message, path, ctx)


def _compile_action(
    message: Any,
    match: CompiledMatch,
    inherited: Inherited,
    table: TableFacts,
    path: str,
    ctx: CompileContext,
) -> Action:
    match message.WhichOneof("action"):
        case "route":
            return compile_cluster_action(message.route, match, inherited, f"{path}.route", ctx)
        case "redirect":
            return compile_redirect(message.redirect, match, f"{path}.redirect", ctx)
        case "direct_response":
            return compile_direct_response(
                message.direct_response, f"{path}.direct_response", ctx, table.max_direct_response_body
            )
        case "non_forwarding_action":
            # Envoy's route entry has a cluster with an empty name here.
            return ClusterAction(ClusterChoice(""))
        case "filter_action":
            ctx.problem(f"{path}.filter_action", "is not supported")
        case _:
            ctx.problem(path, "action is required")
    return DirectResponseAction(500)


def rate_limits(messages: Any, path: str, ctx: CompileContext) -> RateLimits:
    """What requests are counted as, for the filters that limit their rate."""
    if not messages:
        return ()
    from proxy.ratelimit.actions import compile_rate_limits  # few routes have any

    return compile_rate_limits(messages, path, ctx)


def buffer_limit(message: Any, default: int | None) -> int | None:
    """`request_body_buffer_limit` or, before it existed, `per_request_buffer_limit_bytes`."""
    if message.HasField("request_body_buffer_limit"):
        return int(message.request_body_buffer_limit.value)
    if message.HasField("per_request_buffer_limit_bytes"):
        return int(message.per_request_buffer_limit_bytes.value)
    return default
