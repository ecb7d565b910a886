"""The plan of an ordinary request says what the one for any request says."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.router.cluster_action import ClusterAction
from proxy.router.route import Route
from proxy.router.route_terms import RouteTerms
from proxy.router.upstream_plan import plan_upstream
from tests.unit.proxy.router.tables import request, route_of, routes, stream, table

RETRY = {"retry_on": "5xx", "num_retries": 3, "per_try_timeout": "2s"}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"retry_policy": RETRY},
        {"retry_policy": RETRY, "timeout": "1s"},
        {"retry_policy": RETRY, "hedge_policy": {"hedge_on_per_try_timeout": True}},
        {"retry_policy": {"per_try_timeout": "1s"}, "timeout": "0s"},
    ],
)
@pytest.mark.parametrize("attempts", [False, True])
def test_an_ordinary_request_gets_the_same_plan(fields: dict[str, Any], attempts: bool) -> None:
    entry = {"match": {"prefix": "/"}, "route": {"cluster": "c", **fields}}
    compiled = table(
        routes(entry, include_request_attempt_count=attempts, include_is_timeout_retry_header=not attempts)
    )
    head = request("/")
    route = route_of(compiled, head)
    assert isinstance(route, Route)
    action = route.action
    assert isinstance(action, ClusterAction)
    terms = RouteTerms(route, 1, plain_manager=True, suppress_envoy_headers=False)
    assert terms.ordinary
    assert terms.choice is not None
    quick = terms.plan_ordinary(head.copy(), None, 0, end_stream=True)
    full = plan_upstream(
        head,
        route,
        action,
        terms.choice,
        stream(),
        end_stream=True,
        upgrade=False,
        suppress_envoy_headers=False,
        respect_expected_timeout=False,
        formatter=None,
        keep=False,
    )
    assert list(quick.head.headers.fields()) == list(full.head.headers.fields())
    for name in (
        "timeout",
        "timeout_status",
        "retry",
        "tells_attempts",
        "tells_timeouts",
        "tells_time",
        "tells_grpc_time",
        "framing",
        "grpc",
    ):
        assert getattr(quick, name) == getattr(full, name), name
