"""The control plane is gone and the proxy is started again: traffic flows, by what was accepted before."""

from __future__ import annotations

import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from proxy.discovery.patience import ANSWER_SECONDS
from tests.integration.test_mesh import eventually
from tests.support.certs import Authority
from tests.support.client import exchange, get
from tests.support.configs import http2_cluster, typed
from tests.support.mesh import (
    ADS,
    cluster,
    endpoints,
    listener,
    mesh_bootstrap,
    parsed,
    route_config,
    stream_of_its_own,
)
from tests.support.origin import Origin
from tests.support.outrider import Outrider
from tests.support.ports import free_port
from tests.support.proxy_process import ProxyProcess
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


def tls_listener(port: int) -> Any:
    """One whose certificate the control plane has."""
    secret = {"name": "cert", "sds_config": ADS}
    context = {"common_tls_context": {"tls_certificate_sds_secret_configs": [secret]}}
    kind = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    socket = {"name": "tls", "typed_config": typed(kind, **context)}
    with_socket = parsed(listener_pb2.Listener(), {"filter_chains": [{"transport_socket": socket}]})
    message = listener("tls", port, "r")
    message.filter_chains[0].transport_socket.CopyFrom(with_socket.filter_chains[0].transport_socket)
    return message


def test_secrets_are_kept_only_with_a_key(tmp_path: Path, origin: Origin) -> None:
    port = free_port()
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))
    state = tmp_path / "state"
    authority = Authority(tmp_path)
    issued = authority.issue("localhost")
    secret = secret_pb2.Secret(name="cert")
    secret.tls_certificate.certificate_chain.inline_bytes = issued.certificate.read_bytes()
    secret.tls_certificate.private_key.inline_bytes = issued.key.read_bytes()
    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    with XdsServer() as server:
        server.set(
            secret, cluster("c"), endpoints("c", origin.port), route_config("r", "c"), tls_listener(port)
        )
        with proxy_at(server.port, state, arguments=["--state-key-file", str(key)]) as proxy:
            proxy.stop()
        (kept,) = state.iterdir()
        assert b"PRIVATE KEY" not in kept.read_bytes()
        server.stop()
        with proxy_at(server.port, state, arguments=["--state-key-file", str(key)]):
            request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
            assert exchange(port, request, tls=trusting, server_name="localhost").status == 200
        with proxy_at(server.port, state, wait=False) as proxy:
            eventually(lambda: missing(proxy) == ["listener tls", "secret cert"], 20)


def missing(proxy: ProxyProcess) -> list[str]:
    """What `/ready` waits for."""
    try:
        found = json.loads(proxy.admin("/ready?format=json")[1])["missing"]
    except OSError:
        return []
    return [f"{one['kind']} {one['name']}" for one in found]


def serve_at(server: XdsServer, port: int, origin: Origin, source: Any) -> None:
    """Like `fill`, with a config source that is not the aggregated stream."""
    eds = {"type": "EDS", "eds_cluster_config": {"eds_config": source}}
    server.set(
        cluster("c", **eds),
        endpoints("c", origin.port),
        route_config("r", "c"),
        listener("l", port, "r", source),
    )


EVERYTHING, ALL_BUT_LISTENERS, SECOND_LEVEL = (CDS, LDS, EDS, RDS), (CDS, EDS, RDS), (EDS, RDS)


@pytest.mark.parametrize(
    ("aggregated", "delta", "silent"),
    [
        pytest.param(True, False, EVERYTHING, id="ads-sotw-all"),
        pytest.param(True, True, EVERYTHING, id="ads-delta-all"),
        pytest.param(False, False, EVERYTHING, id="streams-sotw-all"),
        pytest.param(False, True, EVERYTHING, id="streams-delta-all"),
        pytest.param(True, False, ALL_BUT_LISTENERS, id="ads-sotw-all-but-listeners"),
        pytest.param(False, True, ALL_BUT_LISTENERS, id="streams-delta-all-but-listeners"),
        pytest.param(True, True, SECOND_LEVEL, id="ads-delta-second-level"),
        pytest.param(False, False, SECOND_LEVEL, id="streams-sotw-second-level"),
    ],
)
def test_all_that_a_silent_control_plane_leaves_out_is_waited_for_once(
    tmp_path: Path, origin: Origin, aggregated: bool, delta: bool, silent: tuple[ResourceType, ...]
) -> None:
    port = free_port()
    source = ADS if aggregated else stream_of_its_own(delta=delta)
    with XdsServer() as server:
        config = mesh_bootstrap(server.port, delta=delta)
        config["dynamic_resources"].update(cds_config=source, lds_config=source)
        arguments = ["--state-dir", str(tmp_path)]
        serve_at(server, port, origin, source)
        with Outrider(config, listeners=("unused",), arguments=arguments) as proxy:
            proxy.stop()
        server.hold(*silent)
        started = time.monotonic()
        with Outrider(config, listeners=("unused",), arguments=arguments) as proxy:
            assert get(port).status == 200
            # One time after the other was 10 to 20 s.
            assert time.monotonic() - started < ANSWER_SECONDS + 4
            assert "no answer in 5 s" in proxy.log()
            ready = json.loads(proxy.admin("/ready?format=json")[1])
            assert (ready["ready"], ready["snapshot"]["in_use"]) == (True, True)
            server.set(route_config("r", {"/only": "c"}))
            server.release(*silent)
            eventually(lambda: get(port).status == 404, 10)
            assert get(port, "/only").status == 200
            eventually(lambda: not json.loads(proxy.admin("/ready?format=json")[1])["snapshot"]["in_use"], 15)


@pytest.mark.parametrize("aggregated", [True, False], ids=["ads", "streams"])
@pytest.mark.parametrize("accepts", [True, False], ids=["mute", "hole"])
def test_a_control_plane_that_takes_connections_and_never_speaks(
    tmp_path: Path, origin: Origin, aggregated: bool, accepts: bool
) -> None:
    port = free_port()
    source = ADS if aggregated else stream_of_its_own(delta=False)
    with XdsServer() as server:
        config = mesh_bootstrap(server.port)
        config["dynamic_resources"].update(cds_config=source, lds_config=source)
        arguments = ["--state-dir", str(tmp_path)]
        serve_at(server, port, origin, source)
        with Outrider(config, listeners=("unused",), arguments=arguments) as proxy:
            proxy.stop()
        server.stop()
        with silence(server.port, accepts=accepts):
            started = time.monotonic()
            with Outrider(config, listeners=("unused",), arguments=arguments) as proxy:
                assert get(port).status == 200
                assert time.monotonic() - started < ANSWER_SECONDS + 4
                assert json.loads(proxy.admin("/ready?format=json")[1])["snapshot"]["in_use"] is True


@contextmanager
def silence(port: int, *, accepts: bool) -> Iterator[None]:
    """Something listens and never says a word; with `accepts` false nobody takes the connections either."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(128 if accepts else 0)
        if not accepts:
            # A full queue: the kernel drops what else comes.
            for _ in range(3):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
        yield


@pytest.mark.parametrize("kind", ["AGGREGATED_GRPC", "AGGREGATED_DELTA_GRPC"])
def test_what_came_by_its_authority_is_kept_too(tmp_path: Path, origin: Origin, kind: str) -> None:
    port = free_port()
    hosts = f"xdstp://mesh.example/{EDS.value}/hosts"
    routes = f"xdstp://mesh.example/{RDS.value}/routes"
    with XdsServer() as server, XdsServer() as authority:
        named = cluster("c")
        named.eds_cluster_config.service_name = hosts
        server.set(named, listener("l", port, routes))
        authority.set(endpoints(hosts, origin.port), route_config(routes, "c"))
        config = mesh_bootstrap(server.port)
        source = stream_of_its_own(delta=False, cluster_name="authority")
        source["api_config_source"]["api_type"] = kind
        config["config_sources"] = [{"authorities": [{"name": "mesh.example"}], **source}]
        config["static_resources"]["clusters"].append(http2_cluster("authority", authority.port))
        guard = "envoy.reloadable_features.xdstp_based_config_singleton_subscriptions"
        config["layered_runtime"] = {"layers": [{"name": "guard", "static_layer": {guard: True}}]}
        arguments = ["--state-dir", str(tmp_path)]
        with Outrider(config, listeners=("unused",), arguments=arguments) as proxy:
            assert get(port).status == 200
            streams = json.loads(proxy.admin("/ready?format=json")[1])["streams"]
            assert {one["source"]: one["connected"] for one in streams} == {
                "ads": True,
                "xdstp mesh.example authority": True,
            }
            proxy.stop()
        authority.stop()
        with Outrider(config, listeners=("unused",), arguments=arguments) as proxy:
            assert get(port).status == 200
            # The other control plane answers: only what the authority has is from the snapshot.
            resources = json.loads(proxy.admin("/ready?format=json")[1])["snapshot"]["resources"]
            assert resources == {"endpoint": 1, "route": 1}
            authority.set(route_config(routes, {"/only": "c"}))
            authority.start()
            eventually(lambda: get(port).status == 404, 30)
            assert get(port, "/only").status == 200


def test_nothing_is_kept_where_it_is_not_wanted(tmp_path: Path, origin: Origin) -> None:
    port = free_port()
    with XdsServer() as server:
        fill(server, port, origin)
        with proxy_at(server.port, tmp_path, arguments=["--no-state"]) as proxy:
            assert get(port).status == 200
            proxy.stop()
    assert list(tmp_path.iterdir()) == []
