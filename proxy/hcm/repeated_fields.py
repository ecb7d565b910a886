"""Fields that Envoy keeps as one value: lines of the same name are joined with a comma when it reads them.

Every other field leaves in as many lines as it came. Which names these are was seen by sending each of them
twice through Envoy; its own fields (x-envoy-*) follow `source/common/http/headers.h`.
"""

from __future__ import annotations

from typing import Final

from proxy.base.headers import HeaderMap


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BOTH: Final = _names(
    "cache-control content-encoding content-type proxy-status via x-envoy-attempt-count "
    "x-envoy-decorator-operation x-request-id"
)
REQUEST: Final = _BOTH | _names(
    "accept accept-encoding access-control-request-headers access-control-request-method "
    "access-control-request-private-network authorization expect grpc-accept-encoding grpc-timeout "
    "if-match if-modified-since if-none-match if-range if-unmodified-since origin pragma referer "
    "user-agent x-client-trace-id x-envoy-downstream-service-cluster x-envoy-downstream-service-node "
    "x-envoy-expected-rq-timeout-ms x-envoy-external-address x-envoy-force-trace x-envoy-ip-tags "
    "x-envoy-is-timeout-retry x-envoy-original-host x-envoy-original-path x-envoy-original-url "
    "x-forwarded-client-cert x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto"
)
RESPONSE: Final = _BOTH | _names(
    "access-control-allow-credentials access-control-allow-headers access-control-allow-methods "
    "access-control-allow-origin access-control-allow-private-network access-control-expose-headers "
    "access-control-max-age age date etag expires grpc-message grpc-status last-modified location server "
    "vary x-envoy-degraded x-envoy-immediate-health-check-fail x-envoy-ratelimited "
    "x-envoy-upstream-canary x-envoy-upstream-healthchecked-cluster"
)


def join_repeated(headers: HeaderMap, names: frozenset[str]) -> None:
    """Make one line of the lines of each field in `names`."""
    repeated = headers.repeated
    if repeated is None:
        return
    for name in names & repeated.keys():
        del repeated[name]
    if not repeated:
        headers.repeated = None
