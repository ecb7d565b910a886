"""The head of the request as the upstream will see it, and what the router derives from it.

Depends only on the request head, the route and the chosen cluster: where the header operations read nothing
else, the result is kept and reused (see `proxy.hcm.request_plan`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.stream_info import StreamInfo
from proxy.codec.grpc import is_grpc
from proxy.codec.head_template import HeadTemplate
from proxy.codec.http1_render import NameFormatter, render_fields, render_request_head
from proxy.router.cluster_action import ClusterAction
from proxy.router.cluster_choice import ClusterChoice
from proxy.router.grpc_timeout import format_grpc_timeout, grpc_timeout, stream_duration
from proxy.router.response_stats import Charges
from proxy.router.route import Route

#: Methods whose requests have no body by definition, so that no length is sent (Envoy:
#: `HeaderUtility::requestShouldHaveNoBody`).
_BODILESS_METHODS: Final = frozenset({"GET", "HEAD", "DELETE", "TRACE", "CONNECT"})
_CONSUMED: Final = frozenset(
    {
        "x-envoy-upstream-rq-timeout-ms",
        "x-envoy-upstream-rq-per-try-timeout-ms",
        "x-envoy-retry-on",
        "x-envoy-retry-grpc-on",
        "x-envoy-max-retries",
        "x-envoy-hedge-on-per-try-timeout",
        "x-envoy-retriable-status-codes",
        "x-envoy-retriable-header-names",
        "x-envoy-upstream-alt-stat-name",
        "x-envoy-upstream-rq-timeout-alt-response",
        "x-envoy-upstream-stream-duration-ms",
    }
)


@dataclass(slots=True)
class UpstreamPlan:
    """`timeout` is in seconds, 0.0 for none; `chunked` tells how a body would be framed.

    `stream_duration` is the client's own limit for the upstream stream in seconds, None if it names none.

    `response_ops` apply to responses; what was derived from a response may be kept under `response_key`.

    `template` is the whole head rendered, `fields` its fields alone; both may have a hole for the request id.

    `charges` says where responses count besides the cluster.
    """

    head: RequestHead
    action: ClusterAction
    choice: ClusterChoice
    timeout: float
    stream_duration: float | None
    template: HeadTemplate | None
    reusable: bool
    chunked: bool
    response_ops: tuple[Any, ...]
    response_key: int
    fields: HeadTemplate | None = None
    charges: Charges | None = None

    def for_target(self, head: RequestHead) -> UpstreamPlan:
        """The plan of a request that differs from this one's only in its target; it shares the fields."""
        return UpstreamPlan(
            RequestHead(head.method, head.path, head.authority, self.head.headers, head.scheme),
            self.action,
            self.choice,
            self.timeout,
            self.stream_duration,
            None,
            self.reusable,
            self.chunked,
            self.response_ops,
            self.response_key,
            self.fields,
        )

    def keep_fields(self) -> None:
        """Render the fields alone, for `for_target`."""
        self.fields = HeadTemplate(f"{render_fields(self.head.headers)}\r\n".encode("latin-1"))

    def render(self, request_id: bytes) -> bytes | None:
        """The head as bytes from what was rendered before, None if nothing was."""
        if self.template is not None:
            return self.template.fill_one(request_id)
        if self.fields is None:
            return None
        head = self.head
        start = f"{head.method} {head.path} HTTP/1.1\r\nhost: {head.authority}\r\n"
        return start.encode("latin-1") + self.fields.fill_one(request_id)


def plan_upstream(
    head: RequestHead,
    route: Route,
    action: ClusterAction,
    choice: ClusterChoice,
    info: StreamInfo,
    *,
    end_stream: bool,
    upgrade: bool,
    suppress_envoy_headers: bool,
    respect_expected_timeout: bool,
    formatter: NameFormatter | None,
    with_template: bool,
    response_key: int = 0,
) -> UpstreamPlan:
    """Finish a copy of `head` for the upstream. With `with_template`, render it too.

    A head that will get a generated request id has `REQUEST_ID_HOLE` as the value of x-request-id.
    """
    head = head.copy()
    headers = head.headers
    timeout = _timeout(head, action, respect_expected_timeout)
    stream_duration = None
    if not _CONSUMED.isdisjoint(headers):
        stream_duration = _milliseconds(headers.get("x-envoy-upstream-stream-duration-ms"))
        # Of two timeouts Envoy takes out only the one that it has used.
        kept = respect_expected_timeout and "x-envoy-expected-rq-timeout-ms" in headers
        for name in _CONSUMED:
            if not kept or name != "x-envoy-upstream-rq-timeout-ms":
                headers.remove(name)
    if timeout and not suppress_envoy_headers:
        headers.set("x-envoy-expected-rq-timeout-ms", str(round(timeout * 1000)))
    if action.max_stream_duration_set or action.max_grpc_timeout is not None:
        _tell_grpc_timeout(headers, action, timeout)
    if route.virtual_host.include_request_attempt_count:
        headers.set("x-envoy-attempt-count", "1")
    reusable = True
    for ops in (*choice.request_ops, *route.request_ops):
        ops.apply(head, info)
        reusable = reusable and ops.static
    if choice.host_rewrite:
        head.authority = choice.host_rewrite
    if action.rewrites:
        action.rewrite(head, info, not suppress_envoy_headers)
    _set_framing(head, end_stream=end_stream, upgrade=upgrade)
    response_ops = (*choice.response_ops, *route.response_ops) if choice.response_ops else route.response_ops
    chunked = not end_stream and "transfer-encoding" in headers
    template = None
    if with_template and reusable:
        template = HeadTemplate(render_request_head(head, formatter))
    return UpstreamPlan(
        head,
        action,
        choice,
        timeout,
        stream_duration,
        template,
        reusable,
        chunked,
        response_ops,
        response_key,
    )


def _timeout(head: RequestHead, action: ClusterAction, respect_expected: bool) -> float:
    headers = head.headers
    text = headers.get("x-envoy-expected-rq-timeout-ms") if respect_expected else None
    if text is None:
        text = headers.get("x-envoy-upstream-rq-timeout-ms")
    wanted = _milliseconds(text)
    if wanted is not None:
        return wanted
    if action.max_stream_duration_set:
        return 0.0
    if action.max_grpc_timeout is not None and is_grpc(headers.get("content-type", "")):
        return _grpc_timeout(headers, action, action.max_grpc_timeout)
    return float(action.timeout)


def _grpc_timeout(headers: HeaderMap, action: ClusterAction, limit: float) -> float:
    """What the client asks for in grpc-timeout, under the limit of the route; 0.0 stands for no end."""
    timeout = grpc_timeout(headers) or 0.0
    offset = action.grpc_timeout_offset
    if offset is not None and offset < timeout:
        timeout -= offset
    return limit if limit and (not timeout or timeout > limit) else timeout


def _tell_grpc_timeout(headers: HeaderMap, action: ClusterAction, timeout: float) -> None:
    """Let a gRPC upstream know how long we wait."""
    if not is_grpc(headers.get("content-type", "")):
        return
    if action.max_stream_duration_set:
        timeout = stream_duration(headers, action) or 0.0
    if timeout:
        headers.set("grpc-timeout", format_grpc_timeout(timeout))


def _milliseconds(text: str | None) -> float | None:
    return int(text) / 1000 if text is not None and text.isascii() and text.isdigit() else None


def _set_framing(head: RequestHead, *, end_stream: bool, upgrade: bool) -> None:
    headers = head.headers
    if upgrade:
        return
    if end_stream:
        if "content-length" not in headers and head.method not in _BODILESS_METHODS:
            headers.set("content-length", "0")
    elif "content-length" not in headers:
        headers.set("transfer-encoding", "chunked")
