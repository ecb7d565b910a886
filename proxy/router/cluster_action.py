"""`RouteAction` compiled: forward to a cluster, with everything that the route says about how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from proxy.base.messages import RequestHead
from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.config.durations import optional_seconds, seconds
from proxy.router.cluster_choice import (
    ClusterChoice,
    Draw,
    HeaderCluster,
    WeightedClusters,
    compile_weighted_clusters,
    subset_criteria,
)
from proxy.router.connect_config import ConnectConfig, compile_connect_config
from proxy.router.hash_policy import HashPolicy, compile_hash_policy
from proxy.router.mirror_policy import MirrorPolicy, compile_mirror_policies
from proxy.router.per_filter_config import FilterOverrides
from proxy.router.retry_policy import NO_POLICY, RetryPolicy, compile_retry_policy
from proxy.router.rewrite import (
    HostRewrite,
    PathRewrite,
    compile_host_rewrite,
    compile_path_rewrite,
    rewrite_path,
    update_authority,
)
from proxy.router.route_match import CompiledMatch

#: Envoy's default for `RouteAction.timeout`, seconds.
DEFAULT_TIMEOUT: Final = 15.0

#: Attribute of the action → field of the message.
_DURATIONS: Final = {
    "timeout": "timeout",
    "idle_timeout": "idle_timeout",
    "flush_timeout": "flush_timeout",
    "max_grpc_timeout": "max_grpc_timeout",
    "grpc_timeout_offset": "grpc_timeout_offset",
    "max_stream_duration": "max_stream_duration.max_stream_duration",
    "grpc_timeout_header_max": "max_stream_duration.grpc_timeout_header_max",
    "grpc_timeout_header_offset": "max_stream_duration.grpc_timeout_header_offset",
}

#: By the number of `ClusterNotFoundResponseCode`.
_NOT_FOUND_STATUS: Final = (503, 404, 500)


class Inherited(Struct, frozen=True):
    """What a route takes from its virtual host and table where it has no own setting."""

    overrides: FilterOverrides
    mirrors: tuple[MirrorPolicy, ...]
    retry_policy: RetryPolicy | None
    hedges: bool
    known_clusters: Any


class ClusterAction(Struct):
    """How to forward. Times are seconds; None means "not set here".

    `single` is the choice if it never varies. `timeout` 0 means no limit. `priority` is 0 (default) or 1.
    `upgrades` maps lower-case upgrade types to whether they are allowed; `connect_config` tells
    that CONNECT ends here.
    `max_stream_duration_set` tells that the newer gRPC timeout fields replace `max_grpc_timeout`.
    """

    single: ClusterChoice | None
    timeout: float = DEFAULT_TIMEOUT
    idle_timeout: float | None = None
    flush_timeout: float | None = None
    max_stream_duration: float | None = None
    max_stream_duration_set: bool = False
    grpc_timeout_header_max: float | None = None
    grpc_timeout_header_offset: float | None = None
    max_grpc_timeout: float | None = None
    grpc_timeout_offset: float | None = None
    priority: int = 0
    cluster_not_found_code: int = 503
    auto_host_rewrite: bool = False
    append_x_forwarded_host: bool = False
    hash_policy: HashPolicy | None = None
    mirrors: tuple[MirrorPolicy, ...] = ()
    upgrades: Mapping[str, bool] | None = None
    connect_config: ConnectConfig | None = None
    internal_redirect: Any = None  # proxy.router.internal_redirect.InternalRedirectPolicy
    retry_policy: RetryPolicy | None = None
    rewrites: bool = False
    _chooser: HeaderCluster | WeightedClusters | None = None
    _path_rewrite: PathRewrite | None = None
    _host_rewrite: HostRewrite | None = None

    def choose(self, head: RequestHead, info: StreamInfo, draw: Draw) -> ClusterChoice:
        """The cluster for one request; `draw()` is an integer from 0 to 2**64-1, the same for one request."""
        if self.single is not None:
            return self.single
        assert self._chooser is not None
        return self._chooser.choose(head, info, draw)

    def rewrite(self, head: RequestHead, info: StreamInfo, keep_original: bool = True) -> None:
        """Rewrite authority and path, after the header operations of the choice; see `rewrites`.

        `keep_original` writes x-envoy-original-host and -path (off with `suppress_envoy_headers`).
        """
        if self._host_rewrite is not None:
            authority = self._host_rewrite(head, info)
            if authority:
                update_authority(head, authority, self.append_x_forwarded_host, keep_original)
        if self._path_rewrite is not None:
            rewrite_path(head, info, self._path_rewrite, keep_original)

    def rewrite_to_host(self, head: RequestHead, hostname: str, keep_original: bool = True) -> None:
        """For `auto_host_rewrite`: take the name of the chosen endpoint, if it has one."""
        if hostname:
            update_authority(head, hostname, self.append_x_forwarded_host, keep_original)


def compile_cluster_action(
    message: Any, match: CompiledMatch, inherited: Inherited, path: str, ctx: CompileContext
) -> ClusterAction:
    """`envoy.config.route.v3.RouteAction`."""
    hash_policy = compile_hash_policy(message.hash_policy, f"{path}.hash_policy", ctx)
    base = ClusterChoice(
        message.cluster,
        per_filter_config=inherited.overrides,
        metadata_match=subset_criteria(message.metadata_match)
        if message.HasField("metadata_match")
        else None,
    )
    single, chooser = _compile_chooser(message, base, inherited, hash_policy, path, ctx)
    path_rewrite = compile_path_rewrite(message, match, path, ctx)
    host_rewrite = compile_host_rewrite(message, path, ctx)
    action = ClusterAction(
        single,
        timeout=seconds(message, "timeout", DEFAULT_TIMEOUT),
        idle_timeout=optional_seconds(message, "idle_timeout"),
        flush_timeout=optional_seconds(message, "flush_timeout"),
        priority=message.priority,
        cluster_not_found_code=_NOT_FOUND_STATUS[message.cluster_not_found_response_code],
        auto_host_rewrite=message.auto_host_rewrite.value,
        append_x_forwarded_host=message.append_x_forwarded_host,
        hash_policy=hash_policy,
        mirrors=inherited.mirrors,
        retry_policy=_retry_policy(message, inherited, path, ctx),
        rewrites=path_rewrite is not None or host_rewrite is not None,
        _chooser=chooser,
        _path_rewrite=path_rewrite,
        _host_rewrite=host_rewrite,
    )
    _set_durations(action, message)
    for attribute, field in _DURATIONS.items():
        value = getattr(action, attribute)
        if value is not None and value < 0:
            ctx.problem(f"{path}.{field}", "must not be negative")
    if message.request_mirror_policies:
        action.mirrors = compile_mirror_policies(
            message.request_mirror_policies, f"{path}.request_mirror_policies", ctx, inherited.known_clusters
        )
    if message.upgrade_configs:
        _set_upgrades(action, message.upgrade_configs, f"{path}.upgrade_configs", ctx)
    _set_internal_redirect(action, message, path, ctx)
    return action


def _retry_policy(message: Any, inherited: Inherited, path: str, ctx: CompileContext) -> RetryPolicy | None:
    policy = inherited.retry_policy
    if message.HasField("retry_policy"):
        policy = compile_retry_policy(message.retry_policy, f"{path}.retry_policy", ctx)
    hedges = inherited.hedges
    if message.HasField("hedge_policy"):
        hedges = message.hedge_policy.hedge_on_per_try_timeout
    return replace(policy or NO_POLICY, hedges=True) if hedges else policy


def _compile_chooser(
    message: Any,
    base: ClusterChoice,
    inherited: Inherited,
    hash_policy: HashPolicy | None,
    path: str,
    ctx: CompileContext,
) -> tuple[ClusterChoice | None, HeaderCluster | WeightedClusters | None]:
    match message.WhichOneof("cluster_specifier"):
        case "cluster":
            known = inherited.known_clusters
            if not message.cluster:
                ctx.problem(f"{path}.cluster", "must not be empty")
            elif known is not None and message.cluster not in known:
                ctx.problem(f"{path}.cluster", f"unknown cluster '{message.cluster}'")
            return base, None
        case "cluster_header":
            return None, HeaderCluster(message.cluster_header, base)
        case "weighted_clusters":
            chooser = compile_weighted_clusters(
                message.weighted_clusters,
                base,
                hash_policy,
                f"{path}.weighted_clusters",
                ctx,
                inherited.known_clusters,
            )
            return (base if chooser is None else None), chooser
        case None:
            ctx.problem(path, "cluster_specifier is required")
        case other:
            ctx.problem(f"{path}.{other}", "cluster specifier plugins are not supported")
    return base, None


def _set_durations(action: ClusterAction, message: Any) -> None:
    action.max_grpc_timeout = optional_seconds(message, "max_grpc_timeout")
    action.grpc_timeout_offset = optional_seconds(message, "grpc_timeout_offset")
    if message.HasField("max_stream_duration"):
        durations = message.max_stream_duration
        action.max_stream_duration_set = True
        action.max_stream_duration = optional_seconds(durations, "max_stream_duration")
        action.grpc_timeout_header_max = optional_seconds(durations, "grpc_timeout_header_max")
        action.grpc_timeout_header_offset = optional_seconds(durations, "grpc_timeout_header_offset")


def _set_upgrades(action: ClusterAction, messages: Any, path: str, ctx: CompileContext) -> None:
    upgrades: dict[str, bool] = {}
    for index, message in enumerate(messages):
        kind = message.upgrade_type.lower()
        if kind in upgrades:
            ctx.problem(f"{path}[{index}].upgrade_type", f"Duplicate upgrade {message.upgrade_type}")
        upgrades[kind] = not message.HasField("enabled") or message.enabled.value
        if message.HasField("connect_config"):
            if kind not in {"connect", "connect-udp"}:
                reason = f"Non-CONNECT upgrade type {message.upgrade_type} has ConnectConfig"
                ctx.problem(f"{path}[{index}].connect_config", reason)
            elif kind == "connect-udp":
                ctx.problem(f"{path}[{index}].connect_config", "UDP over CONNECT is not supported")
            action.connect_config = compile_connect_config(message.connect_config)
    action.upgrades = upgrades


def _set_internal_redirect(action: ClusterAction, message: Any, path: str, ctx: CompileContext) -> None:
    if not message.HasField("internal_redirect_policy") and not message.internal_redirect_action:
        return
    from proxy.router.internal_redirect import (  # its messages are rarely used
        InternalRedirectPolicy,
        compile_internal_redirect,
    )

    if message.HasField("internal_redirect_policy"):
        action.internal_redirect = compile_internal_redirect(
            message.internal_redirect_policy, f"{path}.internal_redirect_policy", ctx
        )
    elif message.HasField("max_internal_redirects"):
        action.internal_redirect = InternalRedirectPolicy(message.max_internal_redirects.value)
    else:
        action.internal_redirect = InternalRedirectPolicy()
