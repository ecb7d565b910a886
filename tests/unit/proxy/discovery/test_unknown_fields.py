from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from envoy.config.core.v3 import config_source_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2

from proxy.discovery.unknown_fields import UnknownFieldsClient, unknown_fields
from tests.unit.proxy.discovery.tables import cluster, listener, routes
from xds_client.api import Rejection, Resource, Update
from xds_client.resource_types import ResourceType

#: Field 15375, of which no proto knows.
UNKNOWN = b"\xf8\xc0\x07\x01"
CLUSTER = "type envoy.config.cluster.v3.Cluster(root) with unknown field set {15375}"


def strange(message: Any) -> Any:
    message.MergeFromString(UNKNOWN)
    return message


def strange_listener() -> Any:
    message = listener("l", "r")
    config = message.filter_chains[0].filters[0].typed_config
    config.value += UNKNOWN
    return message


class Table:
    """Takes everything."""

    def __init__(self) -> None:
        self.applied: list[list[str]] = []
        self.failures: list[str] = []

    async def apply(self, update: Update) -> Sequence[Rejection]:
        self.applied.append([one.name for one in update.added])
        return ()

    def missing(self, name: str, *, said: bool = False) -> None:
        raise AssertionError(name)

    def failed(self, reason: str) -> None:
        self.failures.append(reason)


def bring(kind: ResourceType, *messages: Any, reject: bool) -> tuple[Table, int, list[str]]:
    """What a table gets of an update, how many fields were counted, and the rejections."""
    table = Table()
    counted: list[None] = []
    given: list[Any] = []
    inner = SimpleNamespace(subscribe=lambda _kind, _source, _names, consumer: given.append(consumer))
    client = UnknownFieldsClient(inner, lambda: counted.append(None), reject=reject)
    client.subscribe(kind, config_source_pb2.ConfigSource(), (), table)
    added = tuple(Resource(one.name, "1", one.SerializeToString(), kind.type_url) for one in messages)
    update = Update(kind, "1", added, ())
    rejections = asyncio.run(given[0].apply(update))
    asyncio.run(given[0].apply(update))
    return table, len(counted), [str(one) for one in rejections]


def test_unknown_fields_are_described_as_envoy_does() -> None:
    message = routes("r")
    strange(message.virtual_hosts[0].routes[0].match)
    (text,), below = unknown_fields(route_pb2.RouteConfiguration, message.SerializeToString())
    assert text == (
        "type envoy.config.route.v3.RouteMatch(envoy.config.route.v3.RouteConfiguration::"
        "envoy.config.route.v3.VirtualHost::envoy.config.route.v3.Route) with unknown field set {15375}"
    )
    assert below == ()


def test_unknown_fields_of_extensions_are_told_apart() -> None:
    own, (text,) = unknown_fields(listener_pb2.Listener, strange_listener().SerializeToString())
    assert own == ()
    assert text.endswith("HttpConnectionManager(root) with unknown field set {15375}")
    assert unknown_fields(listener_pb2.Listener, listener("l", "r").SerializeToString()) == ((), ())
    assert unknown_fields(listener_pb2.Listener, b"\xff") == ((), ())


def test_they_are_counted_once_and_allowed() -> None:
    kind = ResourceType.CLUSTER
    table, counted, rejections = bring(kind, strange(cluster("a")), strange(cluster("b")), reject=False)
    assert (counted, rejections) == (1, [])
    assert table.applied == [["a", "b"], ["a", "b"]]


def test_one_in_a_resource_refuses_all_that_came_with_it() -> None:
    kind = ResourceType.CLUSTER
    table, counted, rejections = bring(kind, cluster("a"), strange(cluster("b")), reject=True)
    assert rejections[0] == f"b: Protobuf message ({CLUSTER}) has unknown fields"
    assert rejections[1:] == ["a: it came with b, for which all of the response was refused"]
    assert (counted, table.applied) == (0, [])
    assert table.failures == [rejections[0]] * 2


def test_one_in_an_extension_refuses_its_resource() -> None:
    other = listener("other", "r")
    table, _, rejections = bring(ResourceType.LISTENER, strange_listener(), other, reject=True)
    assert len(rejections) == 1
    assert table.applied[0] == ["other"]
    assert table.failures == []
