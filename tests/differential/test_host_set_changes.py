"""`close_connections_on_host_set_change`: another host takes its share of the requests at once, beside Envoy."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import get
from tests.support.configs import Json, address, http_proxy, route, typed
from tests.support.envoy import Envoy
from tests.support.origin import Origin
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess


@dataclass
class Side:
    proxy: ProxyProcess
    file: Path
    origins: list[Origin]

    def serve(self, *numbers: int) -> None:
        """Have the endpoints of these origins, and wait until the cluster has them."""
        write(self.file, [self.origins[number].port for number in numbers])
        deadline = time.monotonic() + 5
        while self.proxy.stats("cluster.c.")["cluster.c.membership_total"] != len(numbers):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def connections(self) -> tuple[int, int]:
        """How many were made, and how many are there."""
        stats = self.proxy.stats("cluster.c.")
        return stats["cluster.c.upstream_cx_total"], stats["cluster.c.upstream_cx_active"]


def write(file: Path, ports: list[int]) -> None:
    hosts = [{"endpoint": {"address": address(port)}} for port in ports]
    assignment = typed(
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        cluster_name="c",
        endpoints=[{"lb_endpoints": hosts}],
    )
    made = file.with_suffix(".new")
    made.write_text(json.dumps({"resources": [assignment]}))
    os.rename(made, file)


def config(file: Path, *, closes: bool) -> Json:
    source = {"path_config_source": {"path": str(file)}, "resource_api_version": "V3"}
    cluster: dict[str, Any] = {
        "name": "c",
        "type": "EDS",
        "eds_cluster_config": {"eds_config": source},
        "common_lb_config": {"close_connections_on_host_set_change": closes},
    }
    return http_proxy(routes=[route("c")], clusters=[cluster], node={"id": "one", "cluster": "two"})


@pytest.fixture(params=[True, False], ids=["closes", "keeps"])
def sides(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[bool, list[Side]]]:
    with ExitStack() as stack:
        made = []
        for kind in (Envoy, subject()):
            file = tmp_path / kind.__name__ / "endpoints.json"
            file.parent.mkdir()
            origins = [stack.enter_context(Origin()) for _ in range(2)]
            write(file, [origins[0].port])
            proxy = stack.enter_context(kind(config(file, closes=request.param)))
            made.append(Side(proxy, file, origins))
        yield request.param, made


def test_a_host_that_comes_ends_the_connections_to_the_others(sides: tuple[bool, list[Side]]) -> None:
    closes, both = sides
    seen = []
    for side in both:
        assert get(side.proxy.port).status == 200
        before = side.connections()
        side.serve(0, 1)
        time.sleep(0.2)
        after = side.connections()
        assert [get(side.proxy.port).status for _ in range(4)] == [200] * 4
        seen.append((before, after, side.connections()))
    assert seen[1] == seen[0] == ((1, 1), (1, 0 if closes else 1), (3 if closes else 2, 2))
    # The connections to a host that goes are closed; Envoy keeps those with the option, and closes the others'.
    outrider = both[1]
    outrider.serve(0)
    time.sleep(0.2)
    assert outrider.connections()[1] == (0 if closes else 1)
