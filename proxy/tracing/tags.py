"""What spans tell of a request, in the words that all of Envoy's tracers use.

Source: the docs of tracing; `HttpTracerUtility::finalizeDownstreamSpan` and `finalizeUpstreamSpan`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from proxy.base import response_flags
from proxy.base.headers import HeaderMap
from proxy.base.stream_info import StreamInfo
from proxy.codec.grpc import GrpcStatus, grpc_status, is_grpc
from proxy.formatter.custom_tags import CustomTag

Tags = dict[str, str]

ERROR: Final = "error"
#: Statuses that are not the client's fault.
_SERVER_ERRORS: Final = frozenset(
    {
        GrpcStatus.UNKNOWN,
        GrpcStatus.DEADLINE_EXCEEDED,
        GrpcStatus.UNIMPLEMENTED,
        GrpcStatus.RESOURCE_EXHAUSTED,
        GrpcStatus.INTERNAL,
        GrpcStatus.UNAVAILABLE,
        GrpcStatus.DATA_LOSS,
    }
)
#: Names of the moments that a `verbose` span tells, with those of `StreamInfo`.
_MOMENTS: Final = (
    ("last_downstream_rx_byte_received", "last_byte_received"),
    ("first_upstream_tx_byte_sent", "upstream_first_byte_sent"),
    ("last_upstream_tx_byte_sent", "upstream_last_byte_sent"),
    ("first_upstream_rx_byte_received", "upstream_first_byte_received"),
    ("last_upstream_rx_byte_received", "upstream_last_byte_received"),
    ("first_downstream_tx_byte_sent", "response_first_byte_sent"),
    ("last_downstream_tx_byte_sent", "response_complete"),
)


def request_tags(info: StreamInfo, node_id: str, zone: str, max_path_length: int) -> Tags:
    """What the request is; `max_path_length` counts characters."""
    request = info.request
    assert request is not None
    headers = request.headers
    tags = {"node_id": node_id, "zone": zone}
    _copy(tags, "guid:x-request-id", headers, "x-request-id")
    path = headers.get("x-envoy-original-path", request.path)[:max_path_length]
    tags["http.url"] = f"{headers.get('x-forwarded-proto', '')}://{request.authority}{path}"
    tags["http.method"] = request.method
    tags["downstream_cluster"] = headers.get("x-envoy-downstream-service-cluster", "-")
    tags["user_agent"] = headers.get("user-agent", "-")
    tags["http.protocol"] = info.protocol or "-"
    peer = info.connection.direct_remote_address
    tags["peer.address"] = peer.ip or str(peer)
    _copy(tags, "guid:x-client-trace-id", headers, "x-client-trace-id")
    if is_grpc(headers.get("content-type", "")):
        tags["grpc.path"] = request.path
        tags["grpc.authority"] = request.authority
        _copy(tags, "grpc.content_type", headers, "content-type")
        _copy(tags, "grpc.timeout", headers, "grpc-timeout")
    tags["request_size"] = str(info.bytes_received)
    tags["response_size"] = str(info.bytes_sent)
    return tags


def upstream_tags(info: StreamInfo) -> Tags:
    """Which host the request went to."""
    tags = {"http.protocol": info.upstream_protocol or "-"}
    host = info.upstream_host
    if host is not None:
        tags["upstream_address"] = tags["peer.address"] = str(host.address)
    return tags


def add_outcome(tags: Tags, info: StreamInfo, custom: Sequence[CustomTag]) -> None:
    """Add what became of the request, and the tags of the config."""
    tags["component"] = "proxy"
    cluster = info.upstream_cluster
    if cluster is not None:
        tags["upstream_cluster"] = cluster.name
        tags["upstream_cluster.name"] = cluster.config.stat_name
    code = info.response_code
    tags["http.status_code"] = str(code)
    tags["response_flags"] = response_flags.short_names(info.flags) if info.flags else "-"
    _add_grpc_outcome(tags, info)
    if not code or code >= 500:
        tags[ERROR] = "true"
    for tag in custom:
        value = tag.value(info)
        if value:
            tags[tag.name] = value


def moments(info: StreamInfo, wall: Callable[[float], float]) -> list[tuple[str, float]]:
    """What a verbose span tells: names and seconds since the epoch; `wall` turns monotonic seconds into these."""
    return [(name, wall(moment)) for name, field in _MOMENTS if (moment := getattr(info, field))]


def _add_grpc_outcome(tags: Tags, info: StreamInfo) -> None:
    for fields in (info.response_trailers, None if info.response is None else info.response.headers):
        if fields is None or "grpc-status" not in fields:
            continue
        _copy(tags, "grpc.status_code", fields, "grpc-status")
        _copy(tags, "grpc.message", fields, "grpc-message")
        if grpc_status(fields) in _SERVER_ERRORS:
            tags[ERROR] = "true"
        return


def _copy(tags: Tags, tag: str, headers: HeaderMap, name: str) -> None:
    value = headers.get(name)
    if value is not None:
        tags[tag] = value
