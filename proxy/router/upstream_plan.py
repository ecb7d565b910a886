"""The head of the request as the upstream will see it, and what the router derives from it.

Depends only on the request head, the route and the chosen cluster: where the header operations read nothing
else, the result is kept and reused (see `proxy.hcm.request_plan`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from proxy.base.digits import INT64, whole_number
from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.stream_info import StreamInfo
from proxy.codec.grpc import is_grpc
from proxy.codec.head_template import HeadTemplate
from proxy.codec.http1_render import NameFormatter, render_request_fields, render_request_head
from proxy.codec.http2_render import path_field, render_request_block, request_template, string
from proxy.router.cluster_action import ClusterAction
from proxy.router.cluster_choice import ClusterChoice
from proxy.router.grpc_timeout import format_grpc_timeout, grpc_timeout
from proxy.router.grpc_timeout import stream_duration as stream_duration_of
from proxy.router.response_stats import Charges
from proxy.router.retry_policy import RETRY_FIELDS, RetryPolicy, in_place_of, policy_for, within
from proxy.router.route import Route
from proxy.router.upstream_head import Framing, http1_framing

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


class UpstreamPlan(Struct):
    """`timeout` is in seconds, 0.0 for none; see `OutgoingHead` for `chunked`.

    `stream_duration` is the client's own limit for the upstream stream in seconds, None if it names none.

    `kept` tells that the plan serves several requests: then `head` may have `REQUEST_ID_HOLE` as the value of
    x-request-id, and what is rendered is kept. `reusable` tells that it could be.

    `response_ops` apply to responses; what was derived from a response may be kept under `response_key`.

    `charges` says where responses count besides the cluster. `retry` says when the request is tried again, None for
    never. Further tries tell their number with `tells_attempts`, and with `tells_timeouts` whether the last was too
    slow. With `tells_time` the upstream hears how long we wait, with `tells_grpc_time` in the terms of gRPC.
    """

    head: RequestHead
    action: ClusterAction
    choice: ClusterChoice
    timeout: float
    stream_duration: float | None
    kept: bool
    reusable: bool
    framing: Framing | None
    chunked: bool
    formatter: NameFormatter | None
    response_ops: tuple[Any, ...]
    response_key: int
    charges: Charges | None = None
    #: The plan that this one shares its fields with.
    _like: UpstreamPlan | None = None
    grpc: bool = False
    retry: RetryPolicy | None = None
    #: The cluster's own policy that `retry` was made of, None if it had none.
    cluster_retry: RetryPolicy | None = None
    #: The status of the answer when it takes too long.
    timeout_status: int = 504
    tells_attempts: bool = False
    tells_timeouts: bool = False
    tells_time: bool = False
    tells_grpc_time: bool = False
    #: Set-Cookie values for the client of this request, which its hash was made from.
    cookies: tuple[str, ...] = ()
    #: What was rendered: the whole head, or for `_like` all but the target.
    _http1: HeadTemplate | None = None
    _http2: HeadTemplate | None = None

    def for_target(self, head: RequestHead) -> UpstreamPlan:
        """The plan of a request that differs from this one's only in its target; it shares the fields."""
        return UpstreamPlan(
            RequestHead(head.method, head.path, head.authority, self.head.headers, head.scheme),
            self.action,
            self.choice,
            self.timeout,
            self.stream_duration,
            False,
            self.reusable,
            self.framing,
            self.chunked,
            self.formatter,
            self.response_ops,
            self.response_key,
            self.charges,
            self,
            grpc=self.grpc,
            retry=self.retry,
            cluster_retry=self.cluster_retry,
            timeout_status=self.timeout_status,
            tells_attempts=self.tells_attempts,
            tells_timeouts=self.tells_timeouts,
            tells_time=self.tells_time,
            tells_grpc_time=self.tells_grpc_time,
        )

    def with_cookies(self, cookies: Sequence[str]) -> UpstreamPlan:
        """The plan of one request whose response brings cookies: it is like no other response."""
        return replace(self, cookies=tuple(cookies), response_key=0)

    def for_attempt(self, number: int, elapsed: float, *, timed_out: bool) -> UpstreamPlan:
        """The plan of another try of the same request, the `number`th, `elapsed` seconds after the request came."""
        if not (self.tells_attempts or self.tells_timeouts or self.tells_time or self.tells_grpc_time):
            return self
        head = self.head.copy()
        if self.tells_attempts:
            head.headers.set("x-envoy-attempt-count", str(number))
        if self.tells_timeouts:
            head.headers.set("x-envoy-is-timeout-retry", "true" if timed_out else "false")
        expected = expected_milliseconds(self.timeout, self.retry, elapsed)
        if self.tells_time:
            head.headers.set("x-envoy-expected-rq-timeout-ms", str(expected))
        if self.tells_grpc_time:
            head.headers.set("grpc-timeout", format_grpc_timeout(expected / 1000))
        # It may have a hole for the request id, which is filled in what is kept.
        return replace(self, head=head, kept=True, _like=None, _http1=None, _http2=None)

    def origin(self) -> str:
        """See `OutgoingHead`."""
        return self.head.origin()

    def http1_head(self, request_id: bytes) -> bytes:
        """See `OutgoingHead`."""
        like = self._like
        if like is not None:
            head = self.head
            start = f"{head.method} {head.path} HTTP/1.1\r\nhost: {head.authority}\r\n"
            template = like._http1
            if template is None:
                fields = render_request_fields(like.head, self.formatter, self.framing)
                template = like._http1 = HeadTemplate(fields.encode("latin-1"))
            return start.encode("latin-1") + template.fill_one(request_id)
        template = self._http1
        if template is None:
            rendered = render_request_head(self.head, self.formatter, self.framing)
            if not self.kept:
                return rendered
            template = self._http1 = HeadTemplate(rendered)
        return template.fill_one(request_id)

    def http2_block(self, request_id: bytes) -> bytes:
        """See `OutgoingHead`."""
        value = string(request_id)
        like = self._like
        if like is not None:
            template = like._http2
            if template is None:
                template = like._http2 = request_template(like.head, with_path=False)
            return path_field(self.head.path) + template.fill_one(value)
        template = self._http2
        if template is None:
            if not self.kept:
                return render_request_block(self.head)
            template = self._http2 = request_template(self.head)
        return template.fill_one(value)


def timeout_body(status: int) -> str:
    """The body of the answer to a request that has taken too long: none for the status that clients may ask for."""
    return "upstream request timeout" if status == 504 else ""


def expected_milliseconds(timeout: float, retry: RetryPolicy | None, elapsed: float = 0.0) -> int:
    """How long a try may take: no longer than one try, nor than what is left for all; 0 for no end."""
    per_try = 0 if retry is None or retry.hedges else round(retry.per_try_timeout * 1000)
    if not timeout:
        return per_try
    left = max(round((timeout - elapsed) * 1000), 1)
    return min(per_try, left) if per_try else left


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
    keep: bool,
    response_key: int = 0,
    cluster_retry: RetryPolicy | None = None,
) -> UpstreamPlan:
    """Finish a copy of `head` for the upstream, to `keep` it if nothing speaks against it.

    `cluster_retry` is the cluster's own retry policy. A head that will get a generated request id has
    `REQUEST_ID_HOLE` as the value of x-request-id.
    """
    retry = None
    policy = action.retry_policy
    if cluster_retry is not None:
        policy = in_place_of(policy, cluster_retry)
    if policy is not None or not RETRY_FIELDS.isdisjoint(head.headers):
        retry = policy_for(policy, head)
    head = head.copy()
    headers = head.headers
    timeout = _timeout(head, action, respect_expected_timeout)
    if retry is not None:
        retry = within(retry, timeout)
    timeout_status = 504
    stream_duration = None
    if not _CONSUMED.isdisjoint(headers):
        stream_duration = _milliseconds(headers.get("x-envoy-upstream-stream-duration-ms"))
        if "x-envoy-upstream-rq-timeout-alt-response" in headers:
            timeout_status = 204
        # Of two timeouts Envoy takes out only the one that it has used.
        kept = respect_expected_timeout and "x-envoy-expected-rq-timeout-ms" in headers
        for name in _CONSUMED:
            if not kept or name != "x-envoy-upstream-rq-timeout-ms":
                headers.remove(name)
    expected = expected_milliseconds(timeout, retry)
    if expected and not suppress_envoy_headers:
        headers.set("x-envoy-expected-rq-timeout-ms", str(expected))
    tells_grpc_time = False
    if (action.max_stream_duration_set or action.max_grpc_timeout is not None) and is_grpc(
        headers.get("content-type", "")
    ):
        tells_grpc_time = bool(expected) and not action.max_stream_duration_set
        most = (
            (stream_duration_of(headers, action) or 0.0)
            if action.max_stream_duration_set
            else expected / 1000
        )
        if most:
            headers.set("grpc-timeout", format_grpc_timeout(most))
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
    framing = http1_framing(head, end_stream=end_stream, upgrade=upgrade)
    response_ops = (*choice.response_ops, *route.response_ops) if choice.response_ops else route.response_ops
    return UpstreamPlan(
        head,
        action,
        choice,
        timeout,
        stream_duration,
        keep and reusable,
        reusable,
        framing,
        framing is not None and not end_stream,
        formatter,
        response_ops,
        response_key,
        grpc=is_grpc(headers.get("content-type", "")),
        retry=retry,
        cluster_retry=cluster_retry,
        timeout_status=timeout_status,
        tells_attempts=route.virtual_host.include_request_attempt_count,
        tells_timeouts=route.virtual_host.include_is_timeout_retry_header,
        tells_time=bool(expected) and not suppress_envoy_headers,
        tells_grpc_time=tells_grpc_time,
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


def _milliseconds(text: str | None) -> float | None:
    number = None if text is None else whole_number(text, INT64)
    return None if number is None else number / 1000
