from __future__ import annotations

from typing import Any

import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

from tests.unit.xds_client.messages import cluster, endpoints, sotw, wrapped
from xds_client.api import WILDCARD, ClientStatus, Rejection
from xds_client.resource_types import ResourceType
from xds_client.sotw import SotwState
from xds_client.state import Change


def started(*names: str, kind: ResourceType = ResourceType.CLUSTER) -> SotwState:
    state = SotwState(kind)
    state.start_stream()
    state.change_interest(names, (), 0.0)
    return state


def accept(state: SotwState, response: Any, *rejections: Rejection) -> Change:
    change = state.receive(response)
    state.conclude(change, rejections, 1.0)
    return change


def test_everything_is_asked_for_with_an_empty_list_and_acknowledged_with_version_and_nonce() -> None:
    state = started(WILDCARD)
    first = state.request()
    assert (list(first.resource_names), first.version_info, first.response_nonce) == ([], "", "")
    assert not state.pending
    assert [resource.name for resource in accept(state, sotw(cluster("a"))).added] == ["a"]
    ack = state.request()
    assert (ack.version_info, ack.response_nonce, ack.HasField("error_detail")) == ("1", "n1", False)


def test_names_and_the_wildcard_together_are_spelt_out() -> None:
    state = started(WILDCARD)
    state.request()
    state.change_interest(["a"], (), 0.0)
    assert list(state.request().resource_names) == [WILDCARD, "a"]
    state.change_interest((), ["a"], 0.0)
    assert list(state.request().resource_names) == [WILDCARD], "an empty list would now ask for nothing"


def test_nothing_is_sent_before_there_is_something_to_ask_for() -> None:
    assert not started().pending


def test_dropping_the_last_name_is_told() -> None:
    state = started("a", kind=ResourceType.ENDPOINT)
    state.request()
    state.change_interest((), ["a"], 0.0)
    assert list(state.request().resource_names) == []


def test_a_refusal_keeps_the_old_version_and_gives_every_reason() -> None:
    state = started(WILDCARD)
    accept(state, sotw(cluster("a")))
    state.request()
    rejections = [Rejection("a", "a is bad"), Rejection("b", "b is bad")]
    accept(state, sotw(cluster("a", 1), cluster("b", 1), cluster("c"), version="2", nonce="n2"), *rejections)
    nack = state.request()
    assert (nack.version_info, nack.response_nonce) == ("1", "n2")
    assert nack.error_detail.message == "a: a is bad\nb: b is bad"
    assert {name: record.status for name, record in state.records.items()} == {
        "a": ClientStatus.NACKED,
        "b": ClientStatus.NACKED,
        "c": ClientStatus.ACKED,
    }
    status = state.records["a"].describe("a")
    assert (status.version, status.rejected_version, status.rejected_reason) == ("1", "2", "a is bad")
    assert not state.request().HasField("error_detail"), "an error is told once"


def test_going_back_to_the_accepted_form_ends_the_error() -> None:
    state = started(WILDCARD)
    accept(state, sotw(cluster("a")))
    accept(state, sotw(cluster("a", 1), version="2", nonce="n2"), Rejection("a", "bad"))
    change = accept(state, sotw(cluster("a"), version="3", nonce="n3"))
    assert change.added == []
    assert state.records["a"].status is ClientStatus.ACKED
    assert (state.version, state.rejected_version) == ("3", "")


def test_only_what_differs_is_handed_on_and_what_is_not_there_is_gone() -> None:
    state = started(WILDCARD)
    accept(state, sotw(cluster("a"), cluster("b"), cluster("c")))
    change = accept(state, sotw(cluster("a"), cluster("b", 7), version="2", nonce="n2"))
    assert [resource.name for resource in change.added] == ["b"]
    assert (change.unchanged, change.removed) == (["a"], ["c"])
    assert set(state.records) == {"a", "b"}


def test_endpoints_left_out_of_an_answer_stay() -> None:
    state = started("a", "b", kind=ResourceType.ENDPOINT)
    accept(state, sotw(endpoints("a"), endpoints("b"), kind=ResourceType.ENDPOINT))
    change = accept(state, sotw(endpoints("a"), version="2", nonce="n2", kind=ResourceType.ENDPOINT))
    assert (change.removed, change.absent) == ([], [])
    assert state.accepted("b") is not None


def test_a_cluster_asked_for_by_name_that_is_not_in_the_answer_does_not_exist() -> None:
    state = started("a", "b")
    change = accept(state, sotw(cluster("a")))
    assert change.absent == ["b"]
    assert state.records["b"].status is ClientStatus.DOES_NOT_EXIST
    assert accept(state, sotw(version="2", nonce="n2")).removed == ["a"]


def test_what_nobody_asked_for_is_ignored_and_acknowledged() -> None:
    state = started("a", kind=ResourceType.ENDPOINT)
    change = accept(state, sotw(endpoints("a"), endpoints("x"), kind=ResourceType.ENDPOINT))
    assert [resource.name for resource in change.added] == ["a"]
    assert not state.request().HasField("error_detail")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda entry: setattr(entry, "value", b"\xff\xff"), "not a protobuf message"),
        (
            lambda entry: setattr(entry, "type_url", "type.googleapis.com/x.Y"),
            "does not match the message-wide",
        ),
    ],
)
def test_a_response_that_cannot_be_read_is_refused_whole(damage: Any, reason: str) -> None:
    state = started(WILDCARD)
    response = sotw(cluster("a"), cluster("b"))
    damage(response.resources[1])
    change = accept(state, response)
    assert not change.added
    assert reason in state.request().error_detail.message
    assert state.accepted("a") is None


def test_the_second_of_two_clusters_of_one_name_is_told_apart() -> None:
    state = started(WILDCARD)
    change = state.receive(sotw(cluster("a", 1), cluster("a", 2)))
    assert [resource.body for resource in change.added] == [cluster("a", 1).SerializeToString()]
    assert [resource.body for resource in change.further] == [cluster("a", 2).SerializeToString()]


def test_two_scopes_of_one_name_refuse_the_response() -> None:
    from envoy.config.route.v3 import scoped_route_pb2

    kind = ResourceType.SCOPED_ROUTE
    twice = [scoped_route_pb2.ScopedRouteConfiguration(name="s")] * 2
    problem = started(WILDCARD, kind=kind).receive(sotw(*twice, kind=kind)).problem
    assert problem == "duplicate scoped route configuration 's' found"


def test_a_new_stream_starts_with_the_accepted_version_and_no_nonce() -> None:
    state = started(WILDCARD)
    accept(state, sotw(cluster("a")))
    state.start_stream()
    request = state.request()
    assert (request.version_info, request.response_nonce) == ("1", "")


def test_an_answer_to_a_stream_that_has_ended_is_not_owed() -> None:
    state = started(WILDCARD)
    change = state.receive(sotw(cluster("a")))
    state.start_stream()
    state.request()
    state.conclude(change, (), 1.0)
    assert not state.pending
    assert state.accepted("a") is not None


def test_a_name_dropped_and_asked_for_again_before_a_request_left_keeps_its_resource() -> None:
    state = started("a", "b", kind=ResourceType.ENDPOINT)
    accept(state, sotw(endpoints("a"), endpoints("b"), kind=ResourceType.ENDPOINT))
    state.change_interest((), ["a"], 0.0)
    state.change_interest(["a"], (), 0.0)
    state.request()
    assert state.accepted("a") is not None, "the server sees no change and would not send it again"
    state.change_interest((), ["a"], 0.0)
    state.request()
    assert "a" not in state.records


def test_wrappers_bring_versions_lifetimes_and_heartbeats() -> None:
    state = started(WILDCARD)
    response = sotw(wrapped("a", cluster("a"), ttl=5), cluster("b"))
    change = accept(state, response)
    assert [(resource.name, resource.ttl) for resource in change.added] == [("a", 5.0), ("b", None)]
    assert change.lifetimes == {"a": 5.0, "b": None}
    beat = accept(state, sotw(wrapped("a", ttl=9), nonce="n2"))
    assert (beat.heartbeats, beat.removed, beat.lifetimes) == (["a"], [], {"a": 9.0})


def test_a_heartbeat_of_another_version_is_refused() -> None:
    state = started("a", kind=ResourceType.ENDPOINT)
    accept(state, sotw(endpoints("a"), kind=ResourceType.ENDPOINT))
    beat = state.receive(
        sotw(wrapped("a", ttl=9), wrapped("b", ttl=9), version="2", nonce="n2", kind=ResourceType.ENDPOINT)
    )
    assert [rejection.name for rejection in beat.rejections] == ["a"]
    assert beat.heartbeats == []


def test_a_list_of_which_one_has_no_body_is_refused_and_every_problem_named() -> None:
    state = started(WILDCARD)
    accept(state, sotw(cluster("a")))
    odd = any_pb2.Any(type_url="x.y/envoy.config.cluster.v3.Cluster", value=cluster("b").SerializeToString())
    response = sotw(wrapped("c", ttl=9), version="2", nonce="n2")
    response.resources.append(odd)
    problem = state.receive(response).problem
    assert "c: has no body" in problem
    assert "b: x.y/envoy.config.cluster.v3.Cluster does not match the message-wide type URL" in problem


def test_a_listener_that_comes_twice_stays_known_by_its_first_form() -> None:
    state = started(WILDCARD, kind=ResourceType.LISTENER)
    first, second = listener_pb2.Listener(name="a"), listener_pb2.Listener(name="a", stat_prefix="s")
    change = state.receive(sotw(first, second, kind=ResourceType.LISTENER))
    state.conclude(change, [Rejection("a", "duplicate listener a found", further=True)], 0.0)
    assert state.records["a"].status is ClientStatus.NACKED
    gone = state.receive(sotw(version="2", nonce="n2", kind=ResourceType.LISTENER))
    assert gone.removed == ["a"]


def test_a_wrapper_that_is_no_message_refuses_the_response() -> None:
    wrapper = any_pb2.Any(type_url="type.googleapis.com/envoy.service.discovery.v3.Resource", value=b"\xff")
    response = discovery_pb2.DiscoveryResponse(resources=[wrapper])
    assert "wrapper" in started(WILDCARD).receive(response).problem


def test_an_error_of_the_server_is_shown() -> None:
    state = started("a", kind=ResourceType.ENDPOINT)
    response = sotw(kind=ResourceType.ENDPOINT)
    response.resource_errors.add().resource_name.name = "a"
    response.resource_errors[0].error_detail.message = "not for you"
    accept(state, response)
    status = state.records["a"].describe("a")
    assert (status.client_status, status.rejected_reason) == (ClientStatus.RECEIVED_ERROR, "not for you")


def test_a_collection_without_members_is_known_to_be_empty() -> None:
    collection = "xdstp://a/envoy.config.cluster.v3.Cluster/x/*?p=q"
    member = "xdstp://a/envoy.config.cluster.v3.Cluster/x/one?p=q"
    state = started(collection)
    assert list(state.request().resource_names) == [collection]
    assert accept(state, sotw()).absent == [collection]
    change = accept(state, sotw(cluster(member), cluster("xdstp://a/envoy.config.cluster.v3.Cluster/y")))
    assert [resource.name for resource in change.added] == [member]
    assert not change.absent
    change = accept(state, sotw())
    assert (change.removed, change.absent) == ([member], [collection])
    assert not state.records
