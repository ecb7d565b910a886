from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.service.discovery.v3 import discovery_pb2

from proxy.control_plane.streams import Resources, ServerStream
from xds_client.resource_types import ResourceType

CDS, EDS = ResourceType.CLUSTER, ResourceType.ENDPOINT


def clusters(*names: str, mark: int = 1) -> dict[ResourceType, dict[str, Any]]:
    found = {}
    for name in names:
        found[name] = cluster_pb2.Cluster(name=name)
        found[name].per_connection_buffer_limit_bytes.value = mark
    return {CDS: found}


@pytest.fixture
def resources() -> Resources:
    one = Resources("test")
    one.replace_all(clusters("a", "b"))
    return one


def request(kind: ResourceType, *names: str, **fields: Any) -> Any:
    return discovery_pb2.DiscoveryRequest(type_url=kind.type_url, resource_names=names, **fields)


def delta(kind: ResourceType, *names: str, **fields: Any) -> Any:
    return discovery_pb2.DeltaDiscoveryRequest(
        type_url=kind.type_url, resource_names_subscribe=names, **fields
    )


def sent(stream: ServerStream) -> Any:
    """The one response that waits."""
    (message,) = stream.out
    stream.out.clear()
    return message


def test_versions_follow_the_content_and_only_types_that_differ_are_pushed(resources: Resources) -> None:
    version = resources.versions[CDS]
    assert resources.replace_all(clusters("b", "a")) == []
    assert resources.replace_all(clusters("a", "b", mark=2)) == [CDS]
    assert resources.versions[CDS] != version
    assert resources.replace_all(clusters("a", "b")) == [CDS]
    assert resources.versions[CDS] == version
    again = Resources("another server")
    again.replace_all(clusters("a", "b"))
    assert again.versions[CDS] == version
    assert again.replace_all({}) == [CDS]


def test_an_answer_is_no_question(resources: Resources) -> None:
    stream = ServerStream(resources, delta=False)
    stream.take(request(CDS))
    first = sent(stream)
    assert len(first.resources) == 2
    stream.take(request(CDS, version_info=first.version_info, response_nonce=first.nonce))
    refusal = request(CDS, response_nonce=first.nonce)
    refusal.error_detail.message = "no"
    stream.take(refusal)
    assert stream.out == []
    resources.replace_all(clusters("a"))
    stream.push(CDS)
    assert len(sent(stream).resources) == 1
    stream.push(CDS)
    assert stream.out == []


def test_a_client_that_has_everything_gets_nothing_when_it_comes_back(resources: Resources) -> None:
    stream = ServerStream(resources, delta=False)
    stream.take(request(CDS, version_info=resources.versions[CDS]))
    assert stream.out == []
    incremental = ServerStream(resources, delta=True)
    versions = {name: entry[0] for name, entry in resources.by_type[CDS].items()}
    incremental.take(delta(CDS, initial_resource_versions={**versions, "gone": "1"}))
    response = sent(incremental)
    assert (list(response.resources), list(response.removed_resources)) == ([], ["gone"])


def test_names_are_answered_as_they_are_asked_for(resources: Resources) -> None:
    resources.replace_all(
        {EDS: {name: endpoint_pb2.ClusterLoadAssignment(cluster_name=name) for name in "ab"}}
    )
    stream = ServerStream(resources, delta=False)
    stream.take(request(EDS, "a"))
    first = sent(stream)
    assert len(first.resources) == 1
    stream.take(request(EDS, "a", "b", version_info=first.version_info, response_nonce=first.nonce))
    assert len(sent(stream).resources) == 2
    stream.take(request(EDS, "a", response_nonce="stale"))
    assert stream.out == []
    incremental = ServerStream(resources, delta=True)
    incremental.take(delta(EDS, "a", "missing"))
    response = sent(incremental)
    assert [one.name for one in response.resources] == ["a"]
    assert list(response.removed_resources) == ["missing"]
    incremental.take(
        discovery_pb2.DeltaDiscoveryRequest(
            type_url=EDS.type_url, resource_names_subscribe=["b"], resource_names_unsubscribe=["a"]
        )
    )
    assert [one.name for one in sent(incremental).resources] == ["b"]
    resources.replace_all({})
    incremental.push(EDS)
    assert list(sent(incremental).removed_resources) == ["b"]


def test_a_type_that_is_held_back_waits(resources: Resources) -> None:
    stream = ServerStream(resources, delta=False)
    stream.held = {CDS}
    stream.take(request(CDS))
    assert stream.out == []
    stream.held = set()
    stream.push(CDS)
    assert len(sent(stream).resources) == 2


def test_a_heartbeat_has_no_body(resources: Resources) -> None:
    stream = ServerStream(resources, delta=True)
    stream.heartbeat(CDS, "a", 5.0)
    assert stream.out == [], "nobody asked"
    stream.take(delta(CDS))
    sent(stream)
    stream.heartbeat(CDS, "a", 5.0)
    (beat,) = sent(stream).resources
    assert (beat.name, beat.ttl.seconds, beat.HasField("resource")) == ("a", 5, False)
