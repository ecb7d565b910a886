from __future__ import annotations

from typing import Any

import pytest

from tests.unit.xds_client.messages import cluster, delta, wrapped
from xds_client.api import WILDCARD, ClientStatus, Rejection
from xds_client.delta import DeltaState
from xds_client.resource_types import ResourceType
from xds_client.state import Change


def started(*names: str, kind: ResourceType = ResourceType.CLUSTER) -> DeltaState:
    state = DeltaState(kind)
    state.start_stream()
    state.change_interest(names, (), 0.0)
    return state


def accept(state: DeltaState, response: Any, *rejections: Rejection) -> Change:
    change = state.receive(response)
    state.conclude(change, rejections, 1.0)
    return change


def names(request: Any) -> tuple[list[str], list[str]]:
    return list(request.resource_names_subscribe), list(request.resource_names_unsubscribe)


def test_the_first_request_names_everything_the_next_only_changes() -> None:
    state = started("a", "b")
    assert names(state.request()) == (["a", "b"], [])
    assert not state.pending
    state.change_interest(["c"], ["a"], 0.0)
    assert names(state.request()) == (["c"], ["a"])


def test_everything_alone_is_asked_for_with_an_empty_list() -> None:
    state = started(WILDCARD)
    assert names(state.request()) == ([], [])
    state.change_interest(["a"], (), 0.0)
    assert names(state.request()) == (["a"], [])
    state.start_stream()
    assert names(state.request()) == ([WILDCARD, "a"], [])


def test_no_interest_sends_no_first_request() -> None:
    state = started("a")
    state.request()
    state.change_interest((), ["a"], 0.0)
    state.start_stream()
    assert not state.pending, "an empty first request would ask for everything"


def test_every_response_is_answered_on_its_own_and_in_order() -> None:
    state = started(WILDCARD)
    state.request()
    accept(state, delta(wrapped("a", cluster("a")), nonce="n1"))
    accept(state, delta(wrapped("b", cluster("b")), nonce="n2"), Rejection("b", "b is bad"))
    first, second = state.request(), state.request()
    assert (first.response_nonce, first.HasField("error_detail")) == ("n1", False)
    assert (second.response_nonce, second.error_detail.message) == ("n2", "b: b is bad")
    assert not state.pending


def test_a_new_stream_tells_the_versions_of_what_is_accepted() -> None:
    state = started(WILDCARD)
    accept(state, delta(wrapped("a", cluster("a"), version="7"), wrapped("b", cluster("b"), version="8")),
           Rejection("b", "bad"))  # fmt: skip
    state.start_stream()
    request = state.request()
    assert dict(request.initial_resource_versions) == {"a": "7"}
    assert request.response_nonce == ""
    assert not state.pending, "answers to the old stream are not owed"


def test_removal_of_what_is_asked_for_by_name_leaves_its_record() -> None:
    state = started("a", "b")
    accept(state, delta(wrapped("a", cluster("a"))))
    change = accept(state, delta(removed=["a", "b", "x"], nonce="n2"))
    assert (change.removed, change.absent) == (["a"], ["b"])
    assert state.records["a"].status is ClientStatus.DOES_NOT_EXIST


def test_the_same_again_is_not_handed_on_but_its_version_is_kept() -> None:
    state = started(WILDCARD)
    accept(state, delta(wrapped("a", cluster("a"), version="1")))
    change = accept(state, delta(wrapped("a", cluster("a"), version="2"), nonce="n2"))
    assert change.added == []
    state.start_stream()
    assert dict(state.request().initial_resource_versions) == {"a": "2"}


def test_heartbeats_prolong_lives() -> None:
    state = started(WILDCARD)
    accept(state, delta(wrapped("a", cluster("a"), version="1", ttl=3)))
    change = accept(state, delta(wrapped("a", version="1", ttl=4), nonce="n2"))
    assert (change.added, change.heartbeats, change.lifetimes) == ([], ["a"], {"a": 4.0})


def test_a_virtual_host_found_by_an_alias_and_one_that_leads_nowhere() -> None:
    from envoy.config.route.v3 import route_components_pb2

    state = started("table/a.com", "table/b.com", kind=ResourceType.VIRTUAL_HOST)
    host = route_components_pb2.VirtualHost(name="host", domains=["a.com"])
    found = wrapped("table/host", host, aliases=["table/a.com"])
    nowhere = wrapped("table/b.com", aliases=["table/b.com"])
    change = accept(state, delta(found, nowhere, kind=ResourceType.VIRTUAL_HOST))
    assert [resource.name for resource in change.added] == ["table/host"]
    assert change.absent == ["table/b.com"]
    assert state.records["table/a.com"].status is ClientStatus.ACKED


def foreign(name: str) -> Any:
    wrapper = wrapped(name, cluster(name))
    wrapper.resource.type_url = "x.y/envoy.config.cluster.v3.Cluster"
    return wrapper


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (delta(wrapped("a", cluster("a")), wrapped("a", cluster("a"))), "duplicate name a found among added"),
        (delta(wrapped("a", cluster("a")), removed=["a"]), "duplicate name a found in the union"),
        (delta(wrapped("a")), "a: has no body"),
        (delta(wrapped("a", ttl=9)), "a: has no body"),
        (delta(foreign("a"), foreign("b")), "a: type URL x.y/envoy.config.cluster.v3.Cluster embedded"),
        (delta(foreign("a"), foreign("b")), "b: type URL x.y/envoy.config.cluster.v3.Cluster embedded"),
    ],
)
def test_a_contradictory_response_is_refused_whole(response: Any, reason: str) -> None:
    state = started(WILDCARD)
    state.request()
    accept(state, response)
    assert reason in state.request().error_detail.message
    assert not state.records


def test_a_name_dropped_and_asked_for_again_before_a_request_left_says_nothing() -> None:
    state = started("a")
    state.request()
    accept(state, delta(wrapped("a", cluster("a"))))
    state.request()
    state.change_interest((), ["a"], 0.0)
    state.change_interest(["a"], (), 0.0)
    assert not state.pending
    assert state.accepted("a") is not None
    state.change_interest((), ["a"], 0.0)
    state.request()
    state.change_interest(["a"], (), 0.0)
    assert names(state.request()) == (["a"], [])


def test_structured_names_are_compared_in_one_form() -> None:
    name = "xdstp://auth/envoy.config.cluster.v3.Cluster/a?x=1&y=2"
    state = started(name)
    other = "xdstp://auth/envoy.config.cluster.v3.Cluster/a?y=2&x=1"
    assert [one.name for one in accept(state, delta(wrapped(other, cluster(other)))).added] == [name]
