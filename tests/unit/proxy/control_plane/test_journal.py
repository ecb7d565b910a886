from __future__ import annotations

import logging

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from proxy.control_plane.journal import StreamJournal
from xds_client.resource_types import ResourceType

URL = ResourceType.CLUSTER.type_url


def test_a_proxy_is_named_with_what_it_takes_and_refuses(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    journal = StreamJournal("/x.AggregatedDiscoveryService/StreamAggregatedResources", "ipv4:127.0.0.1:5")
    first = discovery_pb2.DiscoveryRequest(type_url=URL)
    first.node.id, first.node.cluster, first.node.user_agent_name = "n", "c", "envoy"
    journal.came(first)
    for nonce, version in (("1", "v1"), ("2", "v2")):
        journal.sent(discovery_pb2.DiscoveryResponse(type_url=URL, nonce=nonce, version_info=version))
    journal.came(discovery_pb2.DiscoveryRequest(type_url=URL, response_nonce="1", version_info="v1"))
    journal.came(discovery_pb2.DiscoveryRequest(type_url=URL, response_nonce="1", resource_names=["more"]))
    refusal = discovery_pb2.DiscoveryRequest(type_url=URL, response_nonce="2", version_info="v1")
    refusal.error_detail.message = "name: too long"
    journal.came(refusal)
    journal.ended()
    assert caplog.messages == [
        "node n of c connected from ipv4:127.0.0.1:5: StreamAggregatedResources (envoy)",
        "node n of c ACK Cluster v1",
        "node n of c NACK Cluster v2: name: too long",
        "node n of c disconnected: StreamAggregatedResources",
    ]


def test_delta_and_nodes_without_names(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    journal = StreamJournal("/x/DeltaClusters", "unix:")
    journal.came(discovery_pb2.DeltaDiscoveryRequest(type_url=URL))
    journal.sent(discovery_pb2.DeltaDiscoveryResponse(type_url=URL, nonce="1", system_version_info="v1"))
    journal.came(discovery_pb2.DeltaDiscoveryRequest(type_url=URL, response_nonce="1"))
    assert caplog.messages == [
        "node (without an id) connected from unix:: DeltaClusters (an unknown client)",
        "node (without an id) ACK Cluster v1",
    ]
