from __future__ import annotations

from typing import Any

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.core.v3 import config_source_pb2

from proxy.base.runtime import Runtime
from proxy.config.config_sources import GUARD, check_config_sources, config_sources
from proxy.config.context import CompileContext
from xds_client.resource_types import ResourceType

EDS, RDS, SDS = ResourceType.ENDPOINT, ResourceType.ROUTE, ResourceType.SECRET
ON = Runtime({GUARD: "true"})
ADS = config_source_pb2.ConfigSource()
ADS.ads.SetInParent()


def source(cluster: str, *authorities: str, kind: str = "AGGREGATED_GRPC") -> config_source_pb2.ConfigSource:
    message = config_source_pb2.ConfigSource()
    message.api_config_source.api_type = message.api_config_source.ApiType.Value(kind)
    message.api_config_source.transport_api_version = 2  # V3
    message.api_config_source.grpc_services.add().envoy_grpc.cluster_name = cluster
    for name in authorities:
        message.authorities.add().name = name
    return message


def served_by(
    name: str, given: Any, kind: ResourceType = EDS, runtime: Runtime = ON, default: bool = True
) -> str:
    """The cluster of the source that serves a name, "ads", or what is wrong with it."""
    bootstrap = bootstrap_pb2.Bootstrap(config_sources=[source("one", "a", "b"), source("two", "a", "c")])
    if default:
        bootstrap.default_config_source.CopyFrom(source("default"))
    context = CompileContext(config_sources=config_sources(bootstrap, runtime))
    resource = context.resources.want(kind, name, given, "at", context)
    if context.problems:
        return "; ".join(map(str, context.problems))
    (want,) = context.resources.wants.values()
    assert want.key == resource.key
    chosen = config_source_pb2.ConfigSource.FromString(want.source)
    return (
        "ads" if chosen.HasField("ads") else chosen.api_config_source.grpc_services[0].envoy_grpc.cluster_name
    )


@pytest.mark.parametrize(
    ("authority", "server"), [("a", "one"), ("b", "one"), ("c", "two"), ("d", "default"), ("", "default")]
)
def test_the_authority_of_a_name_decides_and_the_first_source_that_has_it(
    authority: str, server: str
) -> None:
    assert served_by(f"xdstp://{authority}/t.T/x", ADS) == server
    assert served_by(f"xdstp://{authority}/t.T/x", config_source_pb2.ConfigSource(), RDS) == server


def test_everything_else_comes_from_the_source_that_stands_there() -> None:
    assert served_by("plain", ADS) == "ads"
    assert served_by("xdstp://a/t.T/x", ADS, SDS) == "ads"
    assert served_by("xdstp://a/t.T/x", ADS, runtime=Runtime()) == "ads"
    assert served_by("xdstp://d/t.T/x", ADS, default=False) == "ads"
    assert served_by("xdstp://a/t.T/x", ADS, ResourceType.CLUSTER, Runtime()) == "one"
    assert "needs ads" in served_by("xdstp://d/t.T/x", config_source_pb2.ConfigSource(), default=False)


def test_a_peer_may_not_name_a_source_for_the_authority_and_the_name_must_be_sound() -> None:
    assert "at.authorities: Dynamically using" in served_by("xdstp://a/t.T/x", source("own", "a"))
    assert served_by("xdstp://a/t.T/x", source("own", "z")) == "one"
    assert "is not xdstp://" in served_by("xdstp://a/", ADS)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (source("one"), "must have at least one authority"),
        (source("one", "a", "a"), "authority a is configured more than once"),
        (source("one", "a", kind="GRPC"), "only supports AGGREGATED_GRPC"),
        (source("nobody", "a"), "'nobody' of the control plane is not a static cluster"),
        (config_source_pb2.ConfigSource(ads=ADS.ads), "Only api_config_source type"),
    ],
)
def test_sources_that_can_never_work_are_refused(message: Any, reason: str) -> None:
    context = CompileContext(known_clusters={"one"})
    check_config_sources(bootstrap_pb2.Bootstrap(config_sources=[message]), context)
    (problem,) = context.problems
    assert str(problem).startswith("config_sources[0]")
    assert reason in str(problem)


def test_the_default_source_needs_no_authority() -> None:
    context = CompileContext(known_clusters={"one"})
    check_config_sources(bootstrap_pb2.Bootstrap(default_config_source=source("one")), context)
    assert not context.problems
