"""Following a redirect of the upstream inside the proxy, instead of telling the client.

Source: `InternalRedirectPolicy`; after Envoy's `Router::Filter::convertRequestHeadersForInternalRedirect`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.stream_info import StreamInfo
from proxy.codec.messages import ParsedResponse
from proxy.router.internal_redirect import InternalRedirectPolicy

if TYPE_CHECKING:
    from proxy.hcm.request_plan import RequestPlan
    from proxy.hcm.stream_state import StreamState

_ABSOLUTE: Final = re.compile(
    r"([a-z][a-z0-9+.-]*)://(?:[^/?#@]*@)?([^/?#@\s]+)([/?][^#\s]*)?(?:#.*)?", re.IGNORECASE
)
_SEE_OTHER: Final = 303
#: What the second round knows from the first.
_CARRIED: Final = (
    "protocol",
    "request_id",
    "remote_address",
    "request_headers_complete",
    "request_complete",
    "request_received",
    "bytes_received",
    "downstream_header_bytes_received",
    "downstream_wire_bytes_received",
    "route_name",
    "virtual_host_name",
    "virtual_host_metadata",
    "filter_state",
)


def follow(stream: StreamState, policy: InternalRedirectPolicy, response: ParsedResponse) -> bool:
    """Start the request anew at the place that the response names; False if the client must be told."""
    head = response.head
    if head.status not in policy.statuses:
        return False
    location = head.headers.get("location")
    stats = stream.manager.stats
    if location is None or not stream.request_complete or stream.upstream is None:
        return _refuse(stream)
    if stream.redirects >= policy.max_redirects:
        stats.passthrough_internal_redirect_too_many_redirects += 1
        return _refuse(stream)
    target = _ABSOLUTE.fullmatch(location)
    if target is None:
        stats.passthrough_internal_redirect_bad_location += 1
        return _refuse(stream)
    scheme = target[1].lower()
    tls = stream.connection.info.tls is not None
    if scheme not in {"http", "https"} or ((scheme == "https") != tls and not policy.allow_cross_scheme):
        stats.passthrough_internal_redirect_unsafe_scheme += 1
        return _refuse(stream)
    if policy.safe_cross_scheme and scheme == "https" and not tls:
        stats.passthrough_internal_redirect_predicate += 1
        return _refuse(stream)
    fresh = _as_sent(stream)
    request = fresh.copy()
    fresh.headers.set("x-envoy-original-url", f"{request.scheme}://{request.authority}{request.path}")
    fresh.authority = target[2]
    fresh.path = target[3] or "/"
    if not fresh.path.startswith("/"):
        fresh.path = "/" + fresh.path
    fresh.scheme = scheme
    if head.status == _SEE_OTHER and request.method not in {"GET", "HEAD"}:
        fresh.method = "GET"
        for name in ("content-length", "content-type", "transfer-encoding"):
            fresh.headers.remove(name)
    for name in policy.headers_to_copy:
        value = head.headers.get(name)
        if value is None:
            fresh.headers.remove(name)
        else:
            fresh.headers.set(name, value)
    return _start(stream, policy, fresh, head)


def _as_sent(stream: StreamState) -> RequestHead:
    """The request with what this proxy has done to it; Envoy takes that for the request of the second round."""
    plan = stream.upstream_plan
    head = stream.head if plan is None else plan.head
    head = head.copy()
    if stream.request_id is not None:
        head.headers.set("x-request-id", stream.request_id)
    return head


def _start(
    stream: StreamState, policy: InternalRedirectPolicy, fresh: RequestHead, response: ResponseHead
) -> bool:
    stats = stream.manager.stats
    plan = stream.manager.planner.rerouted(stream.plan, fresh, stream.info)
    if plan.route is None:
        stats.passthrough_internal_redirect_no_route += 1
        return _refuse(stream)
    if policy.allowed_routes is not None and plan.route.name not in policy.allowed_routes:
        stats.passthrough_internal_redirect_predicate += 1
        return _refuse(stream)
    if policy.refuse_repeats and plan.route in stream.redirected_to:
        stats.passthrough_internal_redirect_predicate += 1
        return _refuse(stream)
    assert stream.upstream is not None
    stream.upstream.cluster.stats.upstream_internal_redirect_succeeded_total += 1
    stream.upstream.uncount(response.status)
    stream.redirected_to.append(plan.route)
    _end_first_round(stream, plan, response)
    stream.restart(plan)
    return True


def _end_first_round(stream: StreamState, plan: RequestPlan, response: ResponseHead) -> None:
    """Log what was, with the request as it goes on, and begin to note what comes."""
    manager = stream.manager
    stream.describe_upstream()
    now = stream.connection.now()
    old = stream.info
    old.response = response
    old.response_code = response.status
    old.response_code_details = "internal_redirect"
    old.request = old.upstream_request_head = plan.head
    if plan.route is not None:
        old.route_name = plan.route.name
        if not plan.route.forwards:
            old.upstream_cluster = None
    old.response_complete = now
    if manager.access_log is not None:
        manager.access_log.log(old)
    manager.stats.downstream_rq_total += 1
    manager.stats.downstream_rq_http1_total += 1
    stream.info = fresh = StreamInfo(old.connection, now)
    for name in _CARRIED:
        setattr(fresh, name, getattr(old, name))


def _refuse(stream: StreamState) -> bool:
    if stream.upstream is not None:
        stream.upstream.cluster.stats.upstream_internal_redirect_failed_total += 1
    return False
