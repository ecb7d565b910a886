"""Envoy's response flags: the only list. Source: envoy/stream_info/stream_info.h, `CoreResponseFlag`."""

from __future__ import annotations

from enum import IntFlag


class ResponseFlag(IntFlag):
    """Why a response is not simply what the upstream sent; several may be set on one stream."""

    FAILED_LOCAL_HEALTH_CHECK = 1 << 0
    NO_HEALTHY_UPSTREAM = 1 << 1
    UPSTREAM_REQUEST_TIMEOUT = 1 << 2
    LOCAL_RESET = 1 << 3
    UPSTREAM_REMOTE_RESET = 1 << 4
    UPSTREAM_CONNECTION_FAILURE = 1 << 5
    UPSTREAM_CONNECTION_TERMINATION = 1 << 6
    UPSTREAM_OVERFLOW = 1 << 7
    NO_ROUTE_FOUND = 1 << 8
    DELAY_INJECTED = 1 << 9
    FAULT_INJECTED = 1 << 10
    RATE_LIMITED = 1 << 11
    UNAUTHORIZED_EXTERNAL_SERVICE = 1 << 12
    RATE_LIMIT_SERVICE_ERROR = 1 << 13
    DOWNSTREAM_CONNECTION_TERMINATION = 1 << 14
    UPSTREAM_RETRY_LIMIT_EXCEEDED = 1 << 15
    STREAM_IDLE_TIMEOUT = 1 << 16
    INVALID_ENVOY_REQUEST_HEADERS = 1 << 17
    DOWNSTREAM_PROTOCOL_ERROR = 1 << 18
    UPSTREAM_MAX_STREAM_DURATION_REACHED = 1 << 19
    RESPONSE_FROM_CACHE_FILTER = 1 << 20
    NO_FILTER_CONFIG_FOUND = 1 << 21
    DURATION_TIMEOUT = 1 << 22
    UPSTREAM_PROTOCOL_ERROR = 1 << 23
    NO_CLUSTER_FOUND = 1 << 24
    OVERLOAD_MANAGER = 1 << 25
    DNS_RESOLUTION_FAILED = 1 << 26
    DROP_OVERLOAD = 1 << 27
    DOWNSTREAM_REMOTE_RESET = 1 << 28
    UNCONDITIONAL_DROP_OVERLOAD = 1 << 29


#: Flag → (short form of `%RESPONSE_FLAGS%`, long form of `%RESPONSE_FLAGS_LONG%`), in Envoy's order.
NAMES: dict[ResponseFlag, tuple[str, str]] = {
    ResponseFlag.FAILED_LOCAL_HEALTH_CHECK: ("LH", "FailedLocalHealthCheck"),
    ResponseFlag.NO_HEALTHY_UPSTREAM: ("UH", "NoHealthyUpstream"),
    ResponseFlag.UPSTREAM_REQUEST_TIMEOUT: ("UT", "UpstreamRequestTimeout"),
    ResponseFlag.LOCAL_RESET: ("LR", "LocalReset"),
    ResponseFlag.UPSTREAM_REMOTE_RESET: ("UR", "UpstreamRemoteReset"),
    ResponseFlag.UPSTREAM_CONNECTION_FAILURE: ("UF", "UpstreamConnectionFailure"),
    ResponseFlag.UPSTREAM_CONNECTION_TERMINATION: ("UC", "UpstreamConnectionTermination"),
    ResponseFlag.UPSTREAM_OVERFLOW: ("UO", "UpstreamOverflow"),
    ResponseFlag.NO_ROUTE_FOUND: ("NR", "NoRouteFound"),
    ResponseFlag.DELAY_INJECTED: ("DI", "DelayInjected"),
    ResponseFlag.FAULT_INJECTED: ("FI", "FaultInjected"),
    ResponseFlag.RATE_LIMITED: ("RL", "RateLimited"),
    ResponseFlag.UNAUTHORIZED_EXTERNAL_SERVICE: ("UAEX", "UnauthorizedExternalService"),
    ResponseFlag.RATE_LIMIT_SERVICE_ERROR: ("RLSE", "RateLimitServiceError"),
    ResponseFlag.DOWNSTREAM_CONNECTION_TERMINATION: ("DC", "DownstreamConnectionTermination"),
    ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED: ("URX", "UpstreamRetryLimitExceeded"),
    ResponseFlag.STREAM_IDLE_TIMEOUT: ("SI", "StreamIdleTimeout"),
    ResponseFlag.INVALID_ENVOY_REQUEST_HEADERS: ("IH", "InvalidEnvoyRequestHeaders"),
    ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR: ("DPE", "DownstreamProtocolError"),
    ResponseFlag.UPSTREAM_MAX_STREAM_DURATION_REACHED: ("UMSDR", "UpstreamMaxStreamDurationReached"),
    ResponseFlag.RESPONSE_FROM_CACHE_FILTER: ("RFCF", "ResponseFromCacheFilter"),
    ResponseFlag.NO_FILTER_CONFIG_FOUND: ("NFCF", "NoFilterConfigFound"),
    ResponseFlag.DURATION_TIMEOUT: ("DT", "DurationTimeout"),
    ResponseFlag.UPSTREAM_PROTOCOL_ERROR: ("UPE", "UpstreamProtocolError"),
    ResponseFlag.NO_CLUSTER_FOUND: ("NC", "NoClusterFound"),
    ResponseFlag.OVERLOAD_MANAGER: ("OM", "OverloadManagerTerminated"),
    ResponseFlag.DNS_RESOLUTION_FAILED: ("DF", "DnsResolutionFailed"),
    ResponseFlag.DROP_OVERLOAD: ("DO", "DropOverload"),
    ResponseFlag.DOWNSTREAM_REMOTE_RESET: ("DR", "DownstreamRemoteReset"),
    ResponseFlag.UNCONDITIONAL_DROP_OVERLOAD: ("UDO", "UnconditionalDropOverload"),
}


def short_names(flags: int) -> str:
    """`UF,URX`, or `-` if no flag is set."""
    if not flags:
        return "-"
    return ",".join(names[0] for flag, names in NAMES.items() if flags & flag)


def long_names(flags: int) -> str:
    """`UpstreamConnectionFailure,UpstreamRetryLimitExceeded`, or `-` if no flag is set."""
    if not flags:
        return "-"
    return ",".join(names[1] for flag, names in NAMES.items() if flags & flag)
