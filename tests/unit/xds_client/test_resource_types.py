from __future__ import annotations

import importlib

import pytest

from xds_client.resource_types import ResourceType, resource_type

MODULES = {
    ResourceType.SECRET: "envoy.extensions.transport_sockets.tls.v3.secret_pb2",
    ResourceType.RUNTIME: "envoy.service.runtime.v3.rtds_pb2",
    ResourceType.EXTENSION_CONFIG: "envoy.config.core.v3.extension_pb2",
    ResourceType.CLUSTER: "envoy.config.cluster.v3.cluster_pb2",
    ResourceType.ENDPOINT: "envoy.config.endpoint.v3.endpoint_pb2",
    ResourceType.LISTENER: "envoy.config.listener.v3.listener_pb2",
    ResourceType.SCOPED_ROUTE: "envoy.config.route.v3.scoped_route_pb2",
    ResourceType.ROUTE: "envoy.config.route.v3.route_pb2",
    ResourceType.VIRTUAL_HOST: "envoy.config.route.v3.route_components_pb2",
}


@pytest.mark.parametrize("kind", ResourceType)
def test_every_type_is_a_message_of_the_api(kind: ResourceType) -> None:
    message = kind.value.rpartition(".")[2]
    assert getattr(importlib.import_module(MODULES[kind]), message).DESCRIPTOR.full_name == kind.value


def test_a_type_is_found_by_its_url_in_either_form() -> None:
    assert resource_type("type.googleapis.com/envoy.config.cluster.v3.Cluster") is ResourceType.CLUSTER
    assert resource_type(ResourceType.ROUTE.value) is ResourceType.ROUTE
    assert resource_type("type.googleapis.com/envoy.api.v2.Cluster") is None


def test_what_is_named_by_others_is_applied_first() -> None:
    order = list(ResourceType)
    assert order.index(ResourceType.CLUSTER) < order.index(ResourceType.LISTENER)
    assert order.index(ResourceType.ENDPOINT) < order.index(ResourceType.ROUTE)
