from __future__ import annotations

from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from tests.unit.xds_client.messages import cluster, delta, sotw, wrapped
from xds_client.api import WILDCARD
from xds_client.delta import DeltaState
from xds_client.resource_types import ResourceType
from xds_client.sotw import SotwState
from xds_client.state import Change


def received(protocol: str, wrapper: Any) -> Change:
    """What a response with this resource means to who asks for everything."""
    state = SotwState(ResourceType.CLUSTER) if protocol == "sotw" else DeltaState(ResourceType.CLUSTER)
    state.start_stream()
    state.change_interest([WILDCARD], (), 0.0)
    return state.receive(sotw(wrapper) if protocol == "sotw" else delta(wrapper))


def living(seconds: int, nanos: int) -> discovery_pb2.Resource:
    wrapper: discovery_pb2.Resource = wrapped("a", cluster("a"))
    wrapper.ttl.seconds, wrapper.ttl.nanos = seconds, nanos
    return wrapper


@pytest.mark.parametrize("protocol", ["sotw", "delta"])
@pytest.mark.parametrize(
    ("seconds", "nanos", "reason"),
    [
        (-5, 0, "Expected positive duration"),
        (0, -5, "Expected positive duration"),
        (1, -5, "Expected positive duration"),
        (1, 1_000_000_000, "Duration out-of-range"),
        (9_223_372_036, 0, "Duration out-of-range"),
        (2**63 - 1, 0, "Duration out-of-range"),
    ],
)
def test_a_ttl_that_is_no_lifetime_refuses_the_response(
    protocol: str, seconds: int, nanos: int, reason: str
) -> None:
    change = received(protocol, living(seconds, nanos))
    assert reason in change.problem
    assert (change.added, change.lifetimes) == ([], {})


@pytest.mark.parametrize("protocol", ["sotw", "delta"])
@pytest.mark.parametrize(("seconds", "nanos"), [(0, 300_000_000), (9_223_372_035, 999_999_999)])
def test_the_longest_and_a_short_lifetime(protocol: str, seconds: int, nanos: int) -> None:
    change = received(protocol, living(seconds, nanos))
    assert (change.problem, change.lifetimes) == ("", {"a": seconds + nanos / 1e9})
