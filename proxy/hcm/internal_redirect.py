"""Following a redirect of the upstream inside the proxy, instead of telling the client.

Source: `InternalRedirectPolicy`; after Envoy's `Router::Filter::convertRequestHeadersForInternalRedirect`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.base.messages import RequestHead
from proxy.codec.http1_response import Http1Response
from proxy.router.internal_redirect import InternalRedirectPolicy

if TYPE_CHECKING:
    from proxy.hcm.stream_state import StreamState

_ABSOLUTE: Final = re.compile(r"(https?)://([^/?#]+)([/?][^#]*)?(?:#.*)?")
_SEE_OTHER: Final = 303


def follow(stream: StreamState, policy: InternalRedirectPolicy, response: Http1Response) -> bool:
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
    scheme = target[1]
    tls = stream.connection.info.tls is not None
    if (scheme == "https") != tls and not policy.allow_cross_scheme:
        stats.passthrough_internal_redirect_unsafe_scheme += 1
        return _refuse(stream)
    if policy.safe_cross_scheme and scheme == "https" and not tls:
        stats.passthrough_internal_redirect_predicate += 1
        return _refuse(stream)
    request = stream.head
    fresh = request.copy()
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
    return _start(stream, policy, fresh)


def _start(stream: StreamState, policy: InternalRedirectPolicy, fresh: RequestHead) -> bool:
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
    stream.redirected_to.append(plan.route)
    stream.restart(plan)
    return True


def _refuse(stream: StreamState) -> bool:
    if stream.upstream is not None:
        stream.upstream.cluster.stats.upstream_internal_redirect_failed_total += 1
    return False
