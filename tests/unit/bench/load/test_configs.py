from __future__ import annotations

import yaml

from bench.load import configs


def test_a_small_config_logs_only_when_asked() -> None:
    assert "access_log" not in configs.small(1, 2, 3)
    assert "path: /tmp/x.log" in configs.small(1, 2, 3, "/tmp/x.log")


def test_a_mesh_has_a_virtual_host_for_each_cluster() -> None:
    resources = yaml.safe_load(configs.mesh(1, 2, 3, 50))["static_resources"]
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    hosts = manager["route_config"]["virtual_hosts"]
    names = {cluster["name"] for cluster in resources["clusters"]}
    assert len(hosts) == len(names) == 50
    assert {host["routes"][0]["route"]["cluster"] for host in hosts} == names
    assert configs.mesh_host(49) in hosts[49]["domains"]
