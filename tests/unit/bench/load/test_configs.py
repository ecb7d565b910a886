from __future__ import annotations

from typing import Any

import yaml

from bench.load import configs
from bench.load.scenario import Config


def resources(config: Config) -> Any:
    return yaml.safe_load(configs.bootstrap(config, 3, None, "/tmp/x.log")(1, 2))["static_resources"]


def test_a_small_config_logs_only_when_asked() -> None:
    assert "access_log" not in str(resources(Config()))
    assert "/tmp/x.log" in str(resources(Config(access_log=True)))


def test_the_last_of_many_routes_leads_to_the_origin() -> None:
    manager = resources(Config(routes=100))["listeners"][0]["filter_chains"][0]["filters"][0]
    assert len(manager["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]) == 100


def test_resilience_adds_retries_breakers_and_outlier_detection() -> None:
    text = str(resources(Config(resilience=True)))
    for part in ("retry_policy", "circuit_breakers", "outlier_detection"):
        assert part in text
        assert part not in str(resources(Config()))


def test_as_many_listeners_as_are_asked_for() -> None:
    listeners = resources(Config(listeners=5))["listeners"]
    assert len({one["address"]["socket_address"]["port_value"] for one in listeners}) == 5


def test_a_breaker_of_tcp_takes_more_connections_when_asked() -> None:
    (cluster,) = resources(Config(kind="tcp", max_connections=5000))["clusters"]
    assert cluster["circuit_breakers"]["thresholds"][0]["max_connections"] == 5000


def test_only_a_listener_for_redirected_connections_asks_where_they_were_going() -> None:
    (listener,) = resources(Config(kind="tcp", original_dst=True))["listeners"]
    assert [one["name"] for one in listener["listener_filters"]] == ["envoy.filters.listener.original_dst"]
    (listener,) = resources(Config(kind="tcp"))["listeners"]
    assert "listener_filters" not in listener


def test_a_mesh_has_a_virtual_host_for_each_cluster() -> None:
    made = yaml.safe_load(configs.mesh(1, 2, 3, 50))["static_resources"]
    manager = made["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    hosts = manager["route_config"]["virtual_hosts"]
    names = {cluster["name"] for cluster in made["clusters"]}
    assert len(hosts) == len(names) == 50
    assert {host["routes"][0]["route"]["cluster"] for host in hosts} == names
    assert configs.mesh_host(49) in hosts[49]["domains"]
