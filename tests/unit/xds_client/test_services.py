from __future__ import annotations

import importlib

import pytest
from envoy.service.discovery.v3 import ads_pb2  # noqa: F401 - registers its service
from google.api import annotations_pb2
from google.protobuf import descriptor_pool

from xds_client.resource_types import ResourceType
from xds_client.services import ads_method, rest_path, stream_method

for _module in (
    "listener.v3.lds",
    "cluster.v3.cds",
    "route.v3.rds",
    "route.v3.srds",
    "endpoint.v3.eds",
    "secret.v3.sds",
    "runtime.v3.rtds",
    "extension.v3.config_discovery",
):
    importlib.import_module(f"envoy.service.{_module}_pb2")


def described(method: str) -> object:
    service, _, name = method[1:].partition("/")
    return descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]


@pytest.mark.parametrize("delta", [False, True])
def test_every_method_is_one_of_the_api(delta: bool) -> None:
    for method in [ads_method(delta=delta), *(stream_method(kind, delta=delta) for kind in ResourceType)]:
        assert not method or described(method)


@pytest.mark.parametrize("kind", ResourceType)
def test_paths_are_those_of_the_api(kind: ResourceType) -> None:
    if not (path := rest_path(kind)):
        assert kind is ResourceType.VIRTUAL_HOST
        return
    fetch = stream_method(kind, delta=False).replace("/Stream", "/Fetch")
    rule = described(fetch).GetOptions().Extensions[annotations_pb2.http]  # type: ignore[attr-defined]
    assert path == rule.post
