"""The control plane is gone and the proxy is started again: traffic flows, by what was accepted before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_mesh import eventually
from tests.support.client import get
from tests.support.mesh import cluster, endpoints, listener, mesh_bootstrap, route_config
from tests.support.origin import Origin
from tests.support.outrider import Outrider
from tests.support.ports import free_port
from tests.support.xds_server import XdsServer
from xds_client.resource_types import ResourceType

CDS, EDS = ResourceType.CLUSTER, ResourceType.ENDPOINT
LDS, RDS = ResourceType.LISTENER, ResourceType.ROUTE


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as one:
        yield one


def proxy_at(xds_port: int, state: Path, *, delta: bool = False, **options: Any) -> Outrider:
    arguments = ["--state-dir", str(state), *options.pop("arguments", ())]
    return Outrider(
        mesh_bootstrap(xds_port, delta=delta), listeners=("unused",), arguments=arguments, **options
    )


def fill(server: XdsServer, port: int, origin: Origin) -> None:
    server.set(
        cluster("c"),
        cluster("going"),
        endpoints("c", origin.port),
        endpoints("going", origin.port),
        route_config("r", "c"),
        listener("l", port, "r"),
    )


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
def test_a_restart_without_the_control_plane_serves_and_takes_its_changes_later(
    tmp_path: Path, origin: Origin, delta: bool
) -> None:
    port = free_port()
    with XdsServer() as server:
        fill(server, port, origin)
        with proxy_at(server.port, tmp_path, delta=delta) as proxy:
            assert get(port).status == 200
            proxy.stop()
        server.stop()
        with proxy_at(server.port, tmp_path, delta=delta) as proxy:
            assert get(port).status == 200
            ready = json.loads(proxy.admin("/ready?format=json")[1])
            assert ready["snapshot"]["in_use"] is True
            server.remove(CDS, "going")
            server.set(route_config("r", {"/only": "c"}), cluster("new", type="STATIC"))
            server.start()
            eventually(lambda: get(port).status == 404, 30)
            eventually(lambda: "going::" not in proxy.admin("/clusters")[1], 30)
            assert get(port, "/only").status == 200
            assert "new::" in proxy.admin("/clusters")[1]
            eventually(lambda: not json.loads(proxy.admin("/ready?format=json")[1])["snapshot"]["in_use"])


def test_a_damaged_snapshot_is_refused_in_one_line(tmp_path: Path, origin: Origin) -> None:
    port = free_port()
    with XdsServer() as server:
        fill(server, port, origin)
        with proxy_at(server.port, tmp_path) as proxy:
            proxy.stop()
        server.stop()
        (kept,) = tmp_path.iterdir()
        kept.write_bytes(kept.read_bytes()[:-1] + b"?")
        with proxy_at(server.port, tmp_path, wait=False) as proxy:
            eventually(lambda: "is not used: it is damaged: its checksum does not fit" in proxy.log(), 20)
            assert proxy.admin("/ready") == (503, "PRE_INITIALIZING\n")


def test_nothing_is_kept_where_it_is_not_wanted(tmp_path: Path, origin: Origin) -> None:
    port = free_port()
    with XdsServer() as server:
        fill(server, port, origin)
        with proxy_at(server.port, tmp_path, arguments=["--no-state"]) as proxy:
            assert get(port).status == 200
            proxy.stop()
    assert list(tmp_path.iterdir()) == []
