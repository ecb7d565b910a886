from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import envoy.config
import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, extension_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.metrics.v3 import stats_pb2
from envoy.config.route.v3 import route_components_pb2
from google.protobuf import duration_pb2
from google.protobuf.descriptor import FieldDescriptor

from proxy.config import validation_rules as rules


def rule(message: Any, name: str, make: Callable[[FieldDescriptor, Any], rules.Rule | None]) -> rules.Rule:
    field = message.DESCRIPTOR.fields_by_name[name]
    made = make(field, rules.rules_of(field))
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("message", "name", "good", "bad", "words"),
    [
        (address_pb2.SocketAddress, "port_value", 65535, 65536, "65536 must be at most 65535"),
        (address_pb2.SocketAddress, "address", "a", "", "must not be empty"),
        (address_pb2.SocketAddress, "protocol", 1, 7, "7 is not defined; expected one of TCP (0), UDP (1)"),
        (base_pb2.HeaderValue, "key", "x", "a\nb", "must not contain NUL, CR or LF"),
        (route_components_pb2.RouteMatch, "path_separated_prefix", "/a", "/a/", "must match"),
        (route_components_pb2.RateLimit.HitsAddend, "format", "%A%", "A%", "must begin with '%'"),
        (
            stats_pb2.HistogramBucketSettings,
            "buckets",
            [1.0, 2.0],
            [1.0, 1.0],
            "1.0 stands in the list twice",
        ),
        (route_components_pb2.VirtualHost, "domains", ["*"], [], "must have at least 1 item(s)"),
        (
            cluster_pb2.Cluster,
            "connect_timeout",
            duration_pb2.Duration(nanos=1),
            duration_pb2.Duration(seconds=-1),
            "-1s must be greater than 0s",
        ),
        (
            bootstrap_pb2.Bootstrap,
            "stats_flush_interval",
            duration_pb2.Duration(seconds=5),
            duration_pb2.Duration(seconds=300),
            "300s must be less than 300s",
        ),
    ],
)
def test_a_rule_says_what_is_wrong(message: Any, name: str, good: Any, bad: Any, words: str) -> None:
    check = rule(message, name, rules.value_rule)
    assert check(good) is None
    assert words in (check(bad) or "")


def test_wrappers_are_looked_into() -> None:
    field = "destination_port"
    check = rule(listener_components_pb2.FilterChainMatch, field, rules.value_rule)
    assert "0 must be at least 1" in (
        check(listener_components_pb2.FilterChainMatch(destination_port={}).destination_port) or ""
    )


def test_items_and_keys_have_rules_of_their_own() -> None:
    item = rule(listener_components_pb2.FilterChainMatch, "source_ports", rules.item_rule)
    assert item(80) is None
    assert item(0) == "0 must be at least 1"
    key = rule(base_pb2.Metadata, "filter_metadata", rules.key_rule)
    assert key("") == "must not be empty"


def test_required_oneofs_name_their_members() -> None:
    assert ("action", ["route", "redirect", "direct_response", "filter_action", "non_forwarding_action"]) in (
        rules.required_oneofs(route_components_pb2.Route.DESCRIPTOR)
    )


def test_required_messages() -> None:
    field = extension_pb2.TypedExtensionConfig.DESCRIPTOR.fields_by_name["typed_config"]
    assert rules.is_required(rules.rules_of(field))


def test_every_rule_of_envoys_configuration_is_understood() -> None:
    count = 0
    for module in pkgutil.walk_packages(envoy.config.__path__, "envoy.config."):
        if module.name.endswith("_pb2") and ".v3." in module.name:
            loaded = importlib.import_module(module.name)
            for message in loaded.DESCRIPTOR.message_types_by_name.values():
                count += _compile_all(message)
    assert count > 300


def _compile_all(descriptor: Any) -> int:
    count = sum(_compile_all(nested) for nested in descriptor.nested_types)
    for field in descriptor.fields:
        found = rules.rules_of(field)
        if found is not None:
            rules.value_rule(field, found)
            rules.item_rule(field, found)
            rules.key_rule(field, found)
            count += 1
    return count
