"""Fields that Envoy keeps in one slot: further lines are joined to the first, with a comma, as they arrive.

Of any other field the operators see the first line only, and an added value becomes a line of its own.
Seen in Envoy 1.40.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


COALESCED_IN_REQUEST = _words(
    """
    accept accept-encoding access-control-request-headers access-control-request-method authorization
    cache-control connection content-encoding content-length content-type expect grpc-timeout host
    if-match if-modified-since if-none-match if-range if-unmodified-since keep-alive origin pragma
    proxy-connection referer te transfer-encoding upgrade user-agent via x-client-trace-id
    x-envoy-attempt-count x-envoy-decorator-operation x-envoy-downstream-service-cluster
    x-envoy-downstream-service-node x-envoy-expected-rq-timeout-ms x-envoy-external-address
    x-envoy-force-trace x-envoy-hedge-on-per-try-timeout x-envoy-internal x-envoy-ip-tags
    x-envoy-is-timeout-retry x-envoy-max-retries x-envoy-original-host x-envoy-original-path
    x-envoy-original-url x-envoy-retriable-header-names x-envoy-retriable-status-codes
    x-envoy-retry-grpc-on x-envoy-retry-on x-envoy-upstream-alt-stat-name
    x-envoy-upstream-rq-per-try-timeout-ms x-envoy-upstream-rq-timeout-alt-response
    x-envoy-upstream-rq-timeout-ms x-envoy-upstream-stream-duration-ms x-forwarded-client-cert
    x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-request-id
    """
)
COALESCED_IN_RESPONSE = _words(
    """
    cache-control connection content-encoding content-length content-type date etag grpc-message grpc-status
    keep-alive proxy-connection server transfer-encoding upgrade vary via x-envoy-attempt-count
    x-envoy-decorator-operation x-envoy-degraded x-envoy-immediate-health-check-fail x-envoy-ratelimited
    x-envoy-upstream-service-time x-request-id
    """
)
