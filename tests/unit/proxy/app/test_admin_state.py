from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from google.protobuf import json_format

from proxy.app.admin_state import ControllerAdminState
from proxy.app.command_line import parse
from proxy.app.config_loading import ListenerPlan, LoadedConfig
from proxy.app.runtime_layers import Layer
from proxy.config.config_sources import ConfigSources
from proxy.discovery.clusters import ClusterRecord
from proxy.upstream.host import HostStats

RQ_TOTAL = HostStats.__slots__.index("rq_total")


def cluster(name: str, port: int = 80) -> tuple[str, bytes]:
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": port}}}}
    message = json_format.ParseDict(
        {
            "name": name,
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        },
        cluster_pb2.Cluster(),
    )
    return name, message.SerializeToString()


class Workers:
    """Two workers that have used cluster `b`."""

    async def ask(self, _question: str) -> dict[int, Any]:
        numbers = [0] * len(HostStats.__slots__)
        numbers[RQ_TOTAL] = 2
        return {index: {"b": {("10.0.0.1:80", 0): list(numbers)}} for index in range(2)}


@pytest.fixture
def controller() -> SimpleNamespace:
    bootstrap = bootstrap_pb2.Bootstrap()
    bootstrap.node.id = "me"
    listener = listener_pb2.Listener(name="l").SerializeToString()
    config = LoadedConfig(
        bootstrap.SerializeToString(),
        [cluster("b"), cluster("a")],
        [ListenerPlan("l", listener, (), False)],
        [],
        (Layer("s", {"k": "1"}), Layer("admin", {}, admin=True)),
    )
    return SimpleNamespace(
        config=config,
        bootstrap=bootstrap,
        config_sources=ConfigSources(),
        options=parse(["-c", "x.yaml", "--drain-strategy", "immediate", "--drain-time-s", "5"]),
        loaded_at=5.0,
        host_health=SimpleNamespace(of_cluster=lambda name: {("10.0.0.1:80", 0): 1} if name == "a" else {}),
        stats=SimpleNamespace(uptime=10.0, uptime_all_epochs=40.0),
        hot_restart=None,
        life=SimpleNamespace(state="LIVE"),
        runtime=SimpleNamespace(overrides={"k": "2"}, present=lambda: config.layers),
        workers=Workers(),
        clusters=[
            ClusterRecord(name, serialized, place, 5.0)
            for place, (name, serialized) in enumerate(config.clusters)
        ],
        listeners=[
            SimpleNamespace(plan=config.listeners[0], updated=5.0, dynamic=False, version=""),
        ],
        outliers=SimpleNamespace(monitors=lambda _name: {}, watches=lambda _name: False),
        slots=SimpleNamespace(first_builder=lambda index: 0 if index == 0 else -1),
    )


def test_the_bootstrap_is_shown_whole(controller: SimpleNamespace) -> None:
    serialized, loaded_at = ControllerAdminState(controller).bootstrap()  # type: ignore[arg-type]
    message = bootstrap_pb2.Bootstrap.FromString(serialized)
    assert loaded_at == 5.0
    assert message.node.id == "me"
    assert [one.name for one in message.static_resources.clusters] == ["b", "a"]
    assert [one.name for one in message.static_resources.listeners] == ["l"]


def test_the_command_line_is_shown_as_envoy_does(controller: SimpleNamespace) -> None:
    facts = ControllerAdminState(controller).server_facts()  # type: ignore[arg-type]
    assert (facts.uptime, facts.uptime_all_epochs, facts.hot_restart_version) == (10.0, 40.0, "disabled")
    options = facts.options
    assert options.config_path == "x.yaml"
    assert options.drain_strategy == options.Immediate
    assert options.drain_time.seconds == 5
    assert options.parent_shutdown_time.seconds == 900


def test_host_numbers_of_all_workers_are_added_up(controller: SimpleNamespace) -> None:
    state = ControllerAdminState(controller)  # type: ignore[arg-type]
    first, second = asyncio.run(state.cluster_statuses())
    assert (first.name, second.name) == ("a", "b")
    assert first.hosts[0].stats == {}
    assert second.hosts[0].stats["rq_total"] == 4
    assert second.default.max_retries == 3


def test_clusters_that_nobody_used_have_their_stats_at_zero(controller: SimpleNamespace) -> None:
    state = ControllerAdminState(controller)  # type: ignore[arg-type]
    (group,) = state.zero_groups()
    assert group.prefix == "cluster.a."
    assert group.template.counters["upstream_rq_total"] == 0
    assert {**group.template.gauges, **(group.values or {})}["membership_total"] == 1


def test_runtime_layers_show_the_overrides(controller: SimpleNamespace) -> None:
    layers = ControllerAdminState(controller).runtime_layers()  # type: ignore[arg-type]
    assert [(layer.name, dict(layer.values)) for layer in layers] == [
        ("s", {"k": "1"}),
        ("admin", {"k": "2"}),
    ]
