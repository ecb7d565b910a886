from __future__ import annotations

from google.protobuf import symbol_database

from xds_client.resource_types import ResourceType, resource_type


def test_every_type_is_a_message_of_the_api() -> None:
    import envoy.config.core.v3.extension_pb2
    import envoy.service.cluster.v3.cds_pb2
    import envoy.service.endpoint.v3.eds_pb2
    import envoy.service.listener.v3.lds_pb2
    import envoy.service.route.v3.rds_pb2
    import envoy.service.route.v3.srds_pb2
    import envoy.service.runtime.v3.rtds_pb2
    import envoy.service.secret.v3.sds_pb2  # noqa: F401

    pool = symbol_database.Default().pool
    for kind in ResourceType:
        assert pool.FindMessageTypeByName(kind.value).full_name == kind.value


def test_a_type_is_found_by_its_url_in_either_form() -> None:
    assert resource_type("type.googleapis.com/envoy.config.cluster.v3.Cluster") is ResourceType.CLUSTER
    assert resource_type(ResourceType.ROUTE.value) is ResourceType.ROUTE
    assert resource_type("type.googleapis.com/envoy.api.v2.Cluster") is None


def test_what_is_named_by_others_is_applied_first() -> None:
    order = list(ResourceType)
    assert order.index(ResourceType.CLUSTER) < order.index(ResourceType.LISTENER)
    assert order.index(ResourceType.ENDPOINT) < order.index(ResourceType.ROUTE)
