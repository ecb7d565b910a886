"""Which requests are traced, and how their ids tell it."""

from __future__ import annotations

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.runtime import Runtime
from proxy.tracing.decision import Reason, Sampling, decide, reason_in, with_reason

#: Begins with 10,000 * n + 42.
ID = "0000002a-aaaa-4aaa-aaaa-aaaaaaaaaaaa"
NEVER = Sampling(random=(0, 100))


def decided(
    request_id: str | None = ID,
    sampling: Sampling = NEVER,
    runtime: dict[str, str] | None = None,
    **fields: str,
) -> Reason:
    headers = HeaderMap()
    for name, value in fields.items():
        headers.add(name.replace("_", "-"), value)
    return decide(request_id, headers, sampling, Runtime(runtime), lambda: 0)


@pytest.mark.parametrize("reason", Reason)
def test_an_id_keeps_the_reason(reason: Reason) -> None:
    told = with_reason(ID, reason)
    assert reason_in(told) is reason
    assert told[:14] + "4" + told[15:] == ID
    assert decided(told) is reason


def test_an_id_that_is_no_uuid_tells_nothing_and_stays() -> None:
    assert with_reason("12345678", Reason.random_sampling) == "12345678"
    assert reason_in("12345678-xxxx-9") is Reason.not_traceable


@pytest.mark.parametrize("request_id", [None, "", "1234567", "zz345678-aaaa-4aaa-aaaa-aaaaaaaaaaaa"])
def test_without_a_number_nothing_is_traced(request_id: str | None) -> None:
    assert decided(request_id, Sampling(), x_client_trace_id="1") is Reason.not_traceable


def test_the_id_decides_about_random_sampling() -> None:
    assert decided(sampling=Sampling(random=(43, 10_000))) is Reason.random_sampling
    assert decided(sampling=Sampling(random=(42, 10_000))) is Reason.not_traceable
    assert decided(runtime={"tracing.random_sampling": "43"}) is Reason.random_sampling


def test_clients_and_services_may_ask() -> None:
    assert decided(x_client_trace_id="1") is Reason.client_enabled
    assert decided(sampling=Sampling(client=(0, 100), random=(0, 100)), x_client_trace_id="1").traced is False
    assert decided(x_envoy_force_trace="1") is Reason.service_forced


def test_the_overall_fraction_limits_all_of_them() -> None:
    few = Sampling(random=(0, 100), overall=(42, 100))
    assert decided(sampling=few, x_envoy_force_trace="1") is Reason.not_traceable
    assert decided(with_reason(ID, Reason.client_enabled), few) is Reason.not_traceable
    assert decided(runtime={"tracing.global_enabled": "0"}, x_envoy_force_trace="1") is Reason.not_traceable
