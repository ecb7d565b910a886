"""What becomes of a response head on its way to the client.

As with requests, the outcome for one parsed head and one route is kept and reused; service time, date and
request id are holes in the rendered bytes.
"""

from __future__ import annotations

from typing import Any, Final

from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.stream_info import StreamInfo
from proxy.codec.head_template import DATE_HOLE, REQUEST_ID_HOLE, SERVICE_TIME_HOLE, HeadTemplate
from proxy.codec.http1_render import render_response_head
from proxy.codec.http2_render import response_template
from proxy.hcm.config import APPEND_IF_ABSENT, OVERWRITE, HcmConfig
from proxy.hcm.forwarding import append_via
from proxy.hcm.repeated_fields import RESPONSE, join_repeated

_UPGRADE_FIELDS: Final = frozenset({"connection", "upgrade"})
_HOP_BY_HOP: Final = _UPGRADE_FIELDS | {"keep-alive", "proxy-connection", "transfer-encoding"}


class ResponsePlan:
    """`head` has hole bytes as values where `template` has holes. `chunked` tells how a body is framed."""

    __slots__ = ("chunked", "head", "reusable", "template")

    def __init__(self, head: ResponseHead) -> None:
        self.head = head
        self.chunked = False
        self.reusable = True
        self.template: HeadTemplate | None = None


def finish_upstream_response(
    head: ResponseHead, info: StreamInfo, ops: tuple[Any, ...], *, service_time: str | None, upgrade: bool
) -> bool:
    """Router's part, in place: drop hop-by-hop fields, add the service time, apply the route's operations.

    Tells whether the result depends on nothing but the head and the route.
    """
    headers = head.headers
    if headers.repeated is not None:
        join_repeated(headers, RESPONSE)
    if not _HOP_BY_HOP.isdisjoint(headers):
        for name in _HOP_BY_HOP:
            if not (upgrade and name in _UPGRADE_FIELDS):
                headers.remove(name)
    if service_time is not None:
        headers.set("x-envoy-upstream-service-time", service_time)
    reusable = True
    for op in ops:
        op.apply(head, info)
        reusable = reusable and op.static
    return reusable


def finish_response(
    head: ResponseHead,
    config: HcmConfig,
    *,
    date: str,
    request_id: str | None,
    request: RequestHead | None = None,
) -> None:
    """The connection manager's part, in place: date, server, request id, via.

    Who sent x-envoy-force-trace in `request` is told the request id, so that the trace can be found.
    """
    headers = head.headers
    if "date" not in headers:
        headers["date"] = date
    mode = config.server_header
    if mode == OVERWRITE or (mode == APPEND_IF_ABSENT and "server" not in headers):
        headers.set("server", config.server_name)
    if request_id is not None and (
        config.always_set_request_id or (request is not None and "x-envoy-force-trace" in request.headers)
    ):
        headers.set("x-request-id", request_id)
    if config.via:
        append_via(headers, config.via)
    if config.hides_operation:
        headers.remove("x-envoy-decorator-operation")


def frame_response(head: ResponseHead, *, end_stream: bool, is_head: bool, is_http10: bool) -> bool:
    """Add the framing fields for HTTP/1; tells whether the body is chunked (RFC 9112 section 6)."""
    headers = head.headers
    status = head.status
    if "content-length" in headers or status < 200 or status in (204, 304):
        return False
    if end_stream and not is_head:
        headers.set("content-length", "0")
        return False
    if is_http10:
        return False
    # Also in the answer to HEAD, which tells how a GET would be framed (RFC 9110 section 9.3.2).
    headers.set("transfer-encoding", "chunked")
    return not is_head


def plan_response(
    original: ResponseHead,
    info: StreamInfo,
    config: HcmConfig,
    ops: tuple[Any, ...],
    *,
    end_stream: bool,
    is_head: bool,
    suppress_envoy_headers: bool,
    http2: bool,
    has_id: bool,
) -> ResponsePlan:
    """The kept form of a response whose body is `end_stream` (none) or follows, for a client of that version.

    `has_id` tells that the requests have an id, which may be told to the client.
    """
    plan = ResponsePlan(original.copy())
    plan.reusable = finish_upstream_response(
        plan.head,
        info,
        ops,
        service_time=None if suppress_envoy_headers else SERVICE_TIME_HOLE,
        upgrade=False,
    )
    finish_response(plan.head, config, date=DATE_HOLE, request_id=REQUEST_ID_HOLE if has_id else None)
    if not http2:
        plan.chunked = frame_response(plan.head, end_stream=end_stream, is_head=is_head, is_http10=False)
    if plan.reusable:
        plan.template = (
            response_template(plan.head) if http2 else HeadTemplate(render_response_head(plan.head))
        )
    return plan
