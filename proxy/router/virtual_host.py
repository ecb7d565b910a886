"""A virtual host: its routes in order, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from proxy.base.matchers import HeaderMatch, compile_header_matchers
from proxy.base.messages import RequestHead
from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.router.header_operations import HeaderLevel, compile_level, in_order
from proxy.router.mirror_policy import MirrorPolicy, compile_mirror_policies
from proxy.router.per_filter_config import FilterOverrides, compile_overrides, with_cors
from proxy.router.redirect import TlsRedirectAction
from proxy.router.retry_policy import compile_retry_policy
from proxy.router.route import RateLimits, Route, buffer_limit, compile_route, rate_limits
from proxy.router.route_index import RouteIndex
from proxy.router.route_match import CompiledMatch, PathKind

_TLS_EXTERNAL_ONLY: Final = 1
_TLS_ALL: Final = 2


class TableFacts(Struct, frozen=True):
    """What a route table gives to its virtual hosts and routes.

    `path_prefix` stands before config paths in problems. `known_clusters` is None if names are not checked.
    """

    path_prefix: str
    headers: HeaderLevel
    most_specific_wins: bool
    overrides: FilterOverrides
    mirrors: tuple[MirrorPolicy, ...]
    ignore_path_parameters: bool
    max_direct_response_body: int
    known_clusters: Any


class VirtualHost:
    """A compiled virtual host.

    `path` is its config path from the table: `virtual_hosts[3]`, or with its name if its place may change.
    `deterministic` tells that the route depends on the request head alone, so that the choice may be cached.
    `retry_policy` and `hedges` are what routes inherit. `metadata` is a message, or None.
    """

    __slots__ = (
        "_index",
        "_tls_redirect",
        "_tls_required",
        "_virtual_clusters",
        "body_buffer_limit",
        "deterministic",
        "headers",
        "hedges",
        "include_attempt_count_in_response",
        "include_is_timeout_retry_header",
        "include_request_attempt_count",
        "metadata",
        "mirrors",
        "name",
        "path",
        "per_filter_config",
        "rate_limits",
        "retry_policy",
        "routes",
    )

    def __init__(self, message: Any, index: int | str, table: TableFacts, ctx: CompileContext) -> None:
        path = f"virtual_hosts[{index}]"
        full_path = table.path_prefix + path
        self.name: Final[str] = message.name
        self.path: Final = path
        self.headers = compile_level(message, full_path, ctx)
        self.per_filter_config = with_cors(
            message,
            full_path,
            ctx,
            compile_overrides(message, full_path, ctx, table.overrides),
            table.overrides,
        )
        self.mirrors = table.mirrors
        if message.request_mirror_policies:
            self.mirrors = compile_mirror_policies(
                message.request_mirror_policies,
                f"{full_path}.request_mirror_policies",
                ctx,
                table.known_clusters,
            )
        self.retry_policy = (
            compile_retry_policy(message.retry_policy, f"{full_path}.retry_policy", ctx)
            if message.HasField("retry_policy")
            else None
        )
        self.hedges: Final[bool] = message.hedge_policy.hedge_on_per_try_timeout
        self.metadata = message.metadata if message.HasField("metadata") else None
        self.body_buffer_limit = buffer_limit(message, None)
        self.rate_limits: Final[RateLimits] = rate_limits(
            message.rate_limits, f"{full_path}.rate_limits", ctx
        )
        self.include_is_timeout_retry_header: Final[bool] = message.include_is_timeout_retry_header
        self.include_request_attempt_count: Final[bool] = message.include_request_attempt_count
        self.include_attempt_count_in_response: Final[bool] = message.include_attempt_count_in_response
        if message.HasField("matcher"):
            ctx.problem(f"{full_path}.matcher", "matcher trees are not supported, use routes")
        self.routes: Final = tuple(
            compile_route(route, position, self, table, ctx) for position, route in enumerate(message.routes)
        )
        self.deterministic: Final = not any(route.match.info_tests for route in self.routes)
        self._index = RouteIndex(self.routes)
        self._tls_required: int = message.require_tls
        self._tls_redirect = self._make_tls_redirect(table) if message.require_tls else None
        self._virtual_clusters = _compile_virtual_clusters(
            message.virtual_clusters, f"{full_path}.virtual_clusters", ctx
        )

    def route(self, head: RequestHead, info: StreamInfo, draw: Callable[[], int]) -> Route | None:
        """The route for a request, None if nothing matches.

        `draw()` is an integer from 0 to 2**64-1 and must be the same each time it is called for one request:
        consecutive routes with runtime fractions share it, as in Envoy.
        """
        if self._tls_redirect is not None:
            headers = head.headers
            if headers.get("x-forwarded-proto", head.scheme) != "https" and (
                self._tls_required == _TLS_ALL or headers.get("x-envoy-internal") != "true"
            ):
                return self._tls_redirect
        return self._index.find(head, info, draw)

    def virtual_cluster(self, head: RequestHead) -> str | None:
        """The name of the first matching virtual cluster, "other" if none does, None if there are none."""
        if not self._virtual_clusters:
            return None
        for name, tests in self._virtual_clusters:
            if all(test(head) for test in tests):
                return name
        return "other"

    @property
    def has_virtual_clusters(self) -> bool:
        """Whether responses count beside the cluster by more than the route."""
        return bool(self._virtual_clusters)

    def _make_tls_redirect(self, table: TableFacts) -> Route:
        headers = in_order((self.headers, table.headers), most_specific_wins=table.most_specific_wins)
        return Route(
            "",
            self,
            -1,
            CompiledMatch(PathKind.PREFIX),
            TlsRedirectAction(),
            headers.request,
            headers.response,
            self.per_filter_config,
        )


def _compile_virtual_clusters(
    messages: Any, path: str, ctx: CompileContext
) -> tuple[tuple[str, tuple[HeaderMatch, ...]], ...]:
    compiled = []
    for index, message in enumerate(messages):
        if not message.headers:
            ctx.problem(f"{path}[{index}].headers", "virtual clusters must define 'headers'")
        tests = compile_header_matchers(message.headers, f"{path}[{index}].headers", ctx)
        compiled.append((message.name, tests))
    return tuple(compiled)
