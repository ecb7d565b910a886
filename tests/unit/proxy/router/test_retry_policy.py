from __future__ import annotations

from typing import Any

import pytest
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.retry.host.omit_host_metadata.v3 import omit_host_metadata_config_pb2
from google.protobuf import json_format
from msgspec.structs import replace

from proxy.base.address import Address
from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.config.context import CompileContext
from proxy.router.retry_policy import (
    RetryOn,
    RetryPolicy,
    back_off,
    compile_retry_policy,
    in_place_of,
    policy_for,
    reset_wait,
    wants_retry_of_reset,
    wants_retry_of_response,
)
from proxy.upstream.host import Host


def compiled(**fields: Any) -> RetryPolicy:
    ctx = CompileContext()
    message = json_format.ParseDict(fields, route_components_pb2.RetryPolicy())
    policy = compile_retry_policy(message, "p", ctx)
    assert ctx.problems == []
    return policy


def request(**fields: str) -> RequestHead:
    headers = HeaderMap()
    for name, value in fields.items():
        headers.add(name.replace("_", "-"), value)
    return RequestHead("GET", "/", "a", headers)


def fields_of(**fields: str) -> HeaderMap:
    return request(**fields).headers


def test_a_request_without_conditions_is_not_tried_again() -> None:
    assert policy_for(None, request()) is None
    assert policy_for(compiled(retry_on="what-nobody-knows"), request()) is None


def test_a_limit_for_each_try_counts_also_for_the_only_one() -> None:
    policy = policy_for(compiled(per_try_timeout="1s"), request())
    assert policy is not None
    assert (policy.on, policy.most_retries, policy.per_try_timeout) == (RetryOn.NONE, 0, 1.0)


def test_the_fields_of_a_request_add_to_the_policy_of_its_route() -> None:
    policy = policy_for(
        compiled(retry_on="reset", retriable_status_codes=[404]),
        request(
            x_envoy_retry_on="5xx , nonsense",
            x_envoy_retry_grpc_on="unavailable",
            x_envoy_max_retries="4",
            x_envoy_retriable_status_codes="410,no",
            x_envoy_retriable_header_names="X-A, x-b",
            x_envoy_upstream_rq_per_try_timeout_ms="250",
        ),
    )
    assert policy is not None
    assert policy.on == RetryOn.RESET | RetryOn.SERVER_ERROR | RetryOn.UNAVAILABLE
    assert policy.most_retries == 4
    assert policy.status_codes == {404, 410}
    assert policy.header_names == ("x-a", "x-b")
    assert policy.per_try_timeout == 0.25


def test_a_policy_may_be_for_some_requests_only() -> None:
    policy = compiled(retry_on="5xx", retriable_request_headers=[{"name": "x-may", "present_match": True}])
    assert policy_for(policy, request()) is None
    assert policy_for(policy, request(x_may="1")) is policy


@pytest.mark.parametrize(
    ("on", "status", "wanted"),
    [
        ("5xx", 500, True),
        ("5xx", 499, False),
        ("gateway-error", 501, False),
        ("gateway-error", 502, True),
        ("gateway-error", 505, False),
        ("retriable-4xx", 409, True),
        ("retriable-4xx", 408, False),
        ("reset,connect-failure,refused-stream", 503, False),
    ],
)
def test_which_statuses_are_tried_again(on: str, status: int, wanted: bool) -> None:
    response = ResponseHead(status, HeaderMap())
    assert wants_retry_of_response(compiled(retry_on=on), response, None) is wanted


@pytest.mark.parametrize(("status", "wanted"), [(14, True), (13, False), (None, False)])
def test_which_grpc_statuses_are_tried_again(status: int | None, wanted: bool) -> None:
    policy = compiled(retry_on="unavailable")
    assert wants_retry_of_response(policy, ResponseHead(200, HeaderMap()), status) is wanted


@pytest.mark.parametrize(
    ("on", "kind", "wanted"),
    [
        ("5xx", {}, True),
        ("5xx", {"overflow": True}, False),
        ("connect-failure", {"connect": True}, True),
        ("connect-failure", {}, False),
        ("refused-stream", {"refused": True}, True),
        ("refused-stream", {}, False),
        ("reset-before-request", {"request_began": False}, True),
        ("reset-before-request", {}, False),
        ("retriable-4xx", {"connect": True}, False),
    ],
)
def test_which_failures_are_tried_again(on: str, kind: dict[str, bool], wanted: bool) -> None:
    facts = {"overflow": False, "connect": False, "refused": False, "request_began": True, **kind}
    assert wants_retry_of_reset(compiled(retry_on=on).on, **facts) is wanted


def test_the_back_off_doubles_up_to_its_maximum_and_is_fully_jittered() -> None:
    policy = compiled(retry_on="5xx", retry_back_off={"base_interval": "0.1s", "max_interval": "0.5s"})
    most = [max(back_off(policy, retry, number) for number in range(2000)) for retry in (1, 2, 3, 4)]
    assert most == [0.198, 0.398, 0.499, 0.499]
    assert back_off(policy, 4, 0) == 0.0


def test_a_response_says_when_to_come_again_within_the_limit() -> None:
    policy = compiled(
        retry_on="5xx",
        rate_limited_retry_back_off={
            "reset_headers": [
                {"name": "Retry-After", "format": "SECONDS"},
                {"name": "x-reset", "format": "UNIX_TIMESTAMP"},
            ],
            "max_interval": "60s",
        },
    )
    assert reset_wait(policy, fields_of(retry_after="7"), 1000.0, 0) == 7.0
    assert reset_wait(policy, fields_of(retry_after="7"), 1000.0, 3499) == 10.499
    assert reset_wait(policy, fields_of(retry_after="0"), 1000.0, 0) is None
    assert reset_wait(policy, fields_of(x_reset="1010"), 1000.7, 0) == 10.0
    assert reset_wait(policy, fields_of(x_reset="990"), 1000.0, 0) is None
    assert reset_wait(policy, fields_of(retry_after="61"), 1000.0, 0) is None
    assert reset_wait(policy, fields_of(retry_after="soon"), 1000.0, 0) is None


def host(port: int, **labels: str) -> Host:
    from envoy.config.core.v3 import base_pb2

    metadata = base_pb2.Metadata()
    for name, value in labels.items():
        metadata.filter_metadata["envoy.lb"][name] = value
    return Host(Address("10.0.0.1", port), metadata=metadata, canary="canary" in labels)


def predicate(name: str, **fields: Any) -> RetryPolicy:
    config = {"@type": f"type.googleapis.com/envoy.extensions.retry.host.{name}", **fields}
    message = route_components_pb2.RetryPolicy(retry_on="5xx")
    one = message.retry_host_predicate.add(name="p")
    if fields:
        inner = json_format.ParseDict(fields, omit_host_metadata_config_pb2.OmitHostMetadataConfig())
        one.typed_config.Pack(inner)
    else:
        one.typed_config.type_url = config["@type"]
    ctx = CompileContext()
    policy = compile_retry_policy(message, "p", ctx)
    assert ctx.problems == []
    return policy


def test_hosts_that_a_retry_leaves_out() -> None:
    first, second = host(1), host(2, canary="yes", stage="old")
    (not_tried,) = predicate("previous_hosts.v3.PreviousHostsPredicate").predicates
    assert not not_tried(first, (first,))
    assert not_tried(second, (first,))
    (no_canary,) = predicate("omit_canary_hosts.v3.OmitCanaryHostsPredicate").predicates
    assert no_canary(first, ())
    assert not no_canary(second, ())
    match = {"filter_metadata": {"envoy.lb": {"stage": "old"}}}
    (without,) = predicate("omit_host_metadata.v3.OmitHostMetadataConfig", metadata_match=match).predicates
    assert without(first, ())
    assert not without(second, ())


def test_a_back_off_whose_maximum_is_below_its_base_is_refused() -> None:
    ctx = CompileContext()
    tree = {"retry_on": "5xx", "retry_back_off": {"base_interval": "1s", "max_interval": "0.5s"}}
    compile_retry_policy(json_format.ParseDict(tree, route_components_pb2.RetryPolicy()), "p", ctx)
    assert [problem.path for problem in ctx.problems] == ["p.retry_back_off"]


def test_whether_a_slow_try_goes_on_is_for_the_request_to_say() -> None:
    policy = compiled(retry_on="5xx")
    field = "x_envoy_hedge_on_per_try_timeout"
    for hedges, text, result in (
        (False, "true", True),
        (True, "false", False),
        (False, "yes", False),
        (True, "yes", True),
    ):
        chosen = policy_for(replace(policy, hedges=hedges), request(**{field: text}))
        assert chosen is not None
        assert chosen.hedges is result


def test_early_data_is_sent_again_by_who_sent_it() -> None:
    policy = compiled(retry_on="retriable-status-codes", retriable_status_codes=[425, 429])
    assert policy_for(policy, request()) is policy
    chosen = policy_for(policy, request(early_data="1"))
    assert chosen is not None
    assert chosen.status_codes == {429}


def test_a_cluster_leaves_the_route_its_times_and_hedging() -> None:
    own = compiled(retry_on="5xx", num_retries=3, per_try_timeout="9s", per_try_idle_timeout="9s")
    assert in_place_of(None, own) == replace(own, per_try_timeout=0.0, per_try_idle_timeout=0.0)
    route = replace(compiled(retry_on="reset", per_try_timeout="1s"), hedges=True)
    expected = replace(own, per_try_timeout=1.0, per_try_idle_timeout=0.0, hedges=True)
    assert in_place_of(route, own) == expected
