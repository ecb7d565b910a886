"""A proxy in a mesh: what a control plane pushes takes effect, what is wrong with it is refused, nothing breaks."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from tests.support.certs import Authority
from tests.support.client import get
from tests.support.configs import typed
from tests.support.mesh import cluster, endpoints, listener, mesh, mesh_bootstrap, route_config
from tests.support.origin import Origin
from tests.support.outrider import Outrider
from tests.support.proxy_process import ProxyProcess
from tests.support.xds_server import XdsServer
from xds_client.resource_types import ResourceType

CDS, EDS = ResourceType.CLUSTER, ResourceType.ENDPOINT
SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"
UPSTREAM_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
LDS, RDS = ResourceType.LISTENER, ResourceType.ROUTE


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as one:
        yield one


@pytest.fixture
def other() -> Iterator[Origin]:
    with Origin() as one:
        yield one


@pytest.fixture(params=[False, True], ids=["sotw", "delta"])
def meshed(request: pytest.FixtureRequest) -> Iterator[tuple[XdsServer, ProxyProcess]]:
    with mesh(delta=request.param) as pair:
        yield pair


def eventually(check: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until `check` is true."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def serve(server: XdsServer, proxy: ProxyProcess, *origins: Origin) -> None:
    """One listener, one route, one cluster."""
    server.set(
        cluster("c"),
        endpoints("c", *(one.port for one in origins)),
        route_config("r", "c"),
        listener("l", proxy.ports["first"], "r"),
    )
    proxy.wait_ready(20)


def test_everything_comes_from_the_control_plane(
    meshed: tuple[XdsServer, ProxyProcess], origin: Origin
) -> None:
    server, proxy = meshed
    serve(server, proxy, origin)
    assert get(proxy.port).status == 200
    for kind in (CDS, EDS, LDS, RDS):
        server.wait_for(lambda kind=kind: server.acked(kind))
    assert server.subscribed(EDS) == {"c"}
    assert server.subscribed(RDS) == {"r"}
    stats = proxy.stats()
    assert stats["cluster_manager.cds.update_success"] == 1
    assert stats["listener_manager.lds.update_success"] == 1
    assert stats["control_plane.connected_state"] == 1
    assert stats["cluster.c.update_success"] == 1
    assert stats["http.ingress.rds.r.update_success"] == 1
    assert stats["http.ingress.rds.r.config_reload"] == 1


def test_a_proxy_is_not_ready_before_its_routes_are_here(
    meshed: tuple[XdsServer, ProxyProcess], origin: Origin
) -> None:
    server, proxy = meshed
    server.hold(RDS)
    server.set(
        cluster("c"),
        endpoints("c", origin.port),
        route_config("r", "c"),
        listener("l", proxy.ports["first"], "r"),
    )
    server.wait_for(lambda: server.subscribed(RDS) == {"r"})
    assert proxy.admin("/ready")[0] == 503
    server.release(RDS)
    proxy.wait_ready(10)
    assert get(proxy.port).status == 200


def test_routes_change_under_an_open_connection(
    meshed: tuple[XdsServer, ProxyProcess], origin: Origin, other: Origin
) -> None:
    server, proxy = meshed
    serve(server, proxy, origin)
    request = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        for _ in range(3):
            client.sendall(request)
            assert b" 200 OK" in client.recv(65536)
        assert len(origin.requests) == 3
        server.set(cluster("d"), endpoints("d", other.port))
        eventually(lambda: proxy.stats("cluster_manager.")["cluster_manager.active_clusters"] == 3)
        server.set(route_config("r", {"/a": "d", "/": "c"}))

        def moved() -> bool:
            client.sendall(request)
            assert b" 200 OK" in client.recv(65536)
            return bool(other.requests)

        eventually(moved)
    assert get(proxy.port, "/b").status == 200
    assert (
        proxy.stats("http.ingress.downstream_cx_destroy_local")["http.ingress.downstream_cx_destroy_local"]
        == 0
    )


def test_endpoints_move_without_a_failed_request(
    meshed: tuple[XdsServer, ProxyProcess], origin: Origin, other: Origin
) -> None:
    server, proxy = meshed
    serve(server, proxy, origin)
    server.set(endpoints("c", other.port))

    def moved() -> bool:
        assert get(proxy.port).status == 200
        return bool(other.requests)

    eventually(moved)
    before = len(origin.requests)
    for _ in range(5):
        assert get(proxy.port).status == 200
    assert len(origin.requests) == before


def test_a_bad_resource_is_refused_and_the_good_ones_of_the_same_response_work(
    meshed: tuple[XdsServer, ProxyProcess], origin: Origin
) -> None:
    server, proxy = meshed
    serve(server, proxy, origin)
    bad = cluster("bad", type="STATIC", lb_policy="CLUSTER_PROVIDED")
    server.set(
        bad, cluster("new"), endpoints("new", origin.port), route_config("r", {"/new": "new", "/": "c"})
    )
    server.wait_for(lambda: server.nacks(CDS))
    (reason, *_) = server.nacks(CDS)
    assert "bad" in reason
    assert "lb_policy" in reason
    eventually(lambda: get(proxy.port, "/new").status == 200)
    assert proxy.stats("cluster_manager.cds.update_rejected")["cluster_manager.cds.update_rejected"] == 1


def test_a_refused_route_table_leaves_the_former_one(
    meshed: tuple[XdsServer, ProxyProcess], origin: Origin
) -> None:
    server, proxy = meshed
    serve(server, proxy, origin)
    table = route_config("r", "c")
    table.virtual_hosts.add().CopyFrom(table.virtual_hosts[0])
    server.set(table)
    server.wait_for(lambda: server.nacks(RDS))
    assert "Only a single wildcard domain is permitted in route r" in server.nacks(RDS)[0]
    assert get(proxy.port).status == 200


def test_a_removed_cluster_is_unknown_and_a_removed_listener_refuses(
    meshed: tuple[XdsServer, ProxyProcess], origin: Origin
) -> None:
    server, proxy = meshed
    serve(server, proxy, origin)
    server.remove(CDS, "c")
    eventually(lambda: get(proxy.port).status == 503)
    server.remove(LDS, "l")

    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", proxy.port), timeout=5).close()
        except OSError:
            return True
        return False

    eventually(refused)


def test_a_changed_listener_lets_open_connections_finish(
    meshed: tuple[XdsServer, ProxyProcess], origin: Origin
) -> None:
    server, proxy = meshed
    serve(server, proxy, origin)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 OK" in client.recv(65536)
        server.set(listener("l", proxy.port, "r", stat_prefix="changed"))
        server.wait_for(lambda: server.acked(LDS))
        eventually(lambda: get(proxy.port).status == 200 and proxy.stats("http.changed.downstream_cx_total"))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        reply = client.recv(65536)
    assert b" 200 OK" in reply
    assert b"connection: close" in reply


def test_the_control_plane_may_go_and_come_back_with_changes(
    meshed: tuple[XdsServer, ProxyProcess], origin: Origin, other: Origin
) -> None:
    server, proxy = meshed
    serve(server, proxy, origin)
    server.stop()
    for _ in range(5):
        assert get(proxy.port).status == 200
    server.start()
    server.set(endpoints("c", other.port))
    eventually(lambda: get(proxy.port).status == 200 and other.requests, 20)


def test_a_worker_that_is_replaced_learns_everything_again(
    meshed: tuple[XdsServer, ProxyProcess], origin: Origin
) -> None:
    server, proxy = meshed
    serve(server, proxy, origin)
    assert get(proxy.port).status == 200
    (worker,) = children(children(proxy.pid)[0])
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: proxy.stats("server.worker_restarted").get("server.worker_restarted") == 1)
    eventually(lambda: answers(proxy.port))
    server.set(route_config("r", "nowhere"))
    eventually(lambda: get(proxy.port).status == 503)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def answers(port: int) -> bool:
    try:
        return get(port).status == 200
    except (OSError, AssertionError):
        return False


def test_a_new_filter_chain_leaves_the_connections_of_the_others_alone(
    meshed: tuple[XdsServer, ProxyProcess], origin: Origin
) -> None:
    server, proxy = meshed
    serve(server, proxy, origin)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 OK" in client.recv(65536)
        more = listener("l", proxy.port, "r")
        added = more.filter_chains.add()
        added.CopyFrom(more.filter_chains[0])
        added.filter_chain_match.destination_port.value = 1
        server.set(more)
        name = "listener_manager.listener_in_place_updated"
        eventually(lambda: proxy.stats("listener_manager.")[name] == 1)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        reply = client.recv(65536)
    assert b" 200 OK" in reply
    assert b"connection: close" not in reply


def test_a_control_plane_that_asks_for_a_certificate_gets_the_one_of_a_file(
    tmp_path: Path, origin: Origin
) -> None:
    authority = Authority(tmp_path)
    served = authority.issue("istiod.test")
    own = authority.issue("spiffe://mesh/sidecar")
    pair = (served.key.read_bytes(), served.certificate.read_bytes())
    ca = authority.certificate.read_bytes()
    credentials = grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=True)
    sds = tmp_path / "sds.json"
    files = {
        "certificate_chain": {"filename": str(own.certificate)},
        "private_key": {"filename": str(own.key)},
    }
    sds.write_text(json.dumps({"resources": [{**typed(SECRET, name="own"), "tls_certificate": files}]}))
    source = {"path_config_source": {"path": str(sds)}, "resource_api_version": "V3"}
    name = {"san_type": "DNS", "matcher": {"exact": "istiod.test"}}
    tls = typed(
        UPSTREAM_TLS,
        sni="istiod.test",
        common_tls_context={
            "tls_certificate_sds_secret_configs": [{"name": "own", "sds_config": source}],
            "validation_context": {
                "trusted_ca": {"filename": str(authority.certificate)},
                "match_typed_subject_alt_names": [name],
            },
        },
    )
    with XdsServer(credentials=credentials) as server:
        config = mesh_bootstrap(server.port)
        config["static_resources"]["clusters"][0]["transport_socket"] = {"name": "tls", "typed_config": tls}
        with Outrider(config, listeners=("first", "second"), wait=False) as proxy:
            serve(server, proxy, origin)
            assert get(proxy.port).status == 200


def test_other_limits_of_a_cluster_leave_its_connections_alone(
    meshed: tuple[XdsServer, ProxyProcess], origin: Origin
) -> None:
    server, proxy = meshed
    serve(server, proxy, origin)
    assert get(proxy.port).status == 200
    limited = cluster("c")
    limited.circuit_breakers.thresholds.add(track_remaining=True).max_requests.value = 77
    server.set(limited)
    eventually(lambda: proxy.stats().get("cluster.c.circuit_breakers.default.remaining_rq") == 77)
    assert get(proxy.port).status == 200
    assert proxy.stats()["cluster.c.upstream_cx_total"] == 1


def test_a_large_table_changes_virtual_host_by_virtual_host(
    meshed: tuple[XdsServer, ProxyProcess], origin: Origin
) -> None:
    server, proxy = meshed
    serve(server, proxy, origin)
    table = route_config("r", "c")
    first = table.virtual_hosts[0]
    for number in range(2000):
        host = table.virtual_hosts.add()
        host.CopyFrom(first)
        host.name = f"v{number}"
        host.domains[:] = [f"v{number}.example"]
        host.routes[0].ClearField("route")
        host.routes[0].direct_response.status = 210
    server.set(table)
    eventually(lambda: get(proxy.port, host="v1999.example").status == 210)
    table.virtual_hosts[-1].routes[0].direct_response.status = 211
    del table.virtual_hosts[1]
    server.set(table)
    eventually(lambda: get(proxy.port, host="v1999.example").status == 211)
    assert get(proxy.port, host="v7.example").status == 210
    assert get(proxy.port, host="v0.example").status == 200
    os.kill(children(children(proxy.pid)[0])[0], signal.SIGKILL)
    eventually(lambda: answers(proxy.port))
    assert get(proxy.port, host="v1999.example").status == 211
