"""Connections through the TCP proxy when their host fails its checks or is ejected: who closes them, and how."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.configs import Json, address, bootstrap, cluster, file_log, typed
from tests.support.differential import Pair, Side
from tests.support.origin import Origin, OriginConnection

TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
LOG = "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% %RESPONSE_CODE_DETAILS%"
NAMES = ("closing", "keeping")
STATS = (
    "upstream_cx_active",
    "upstream_cx_destroy",
    "upstream_cx_destroy_local",
    "upstream_cx_destroy_remote",
)


def _listener(name: str) -> Json:
    config = typed(TCP_PROXY, stat_prefix=name, cluster=name, access_log=[file_log(LOG)])
    return {
        "name": name,
        "address": address(f"{{{{{name}_port}}}}"),
        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": config}]}],
    }


def _cluster(name: str) -> Json:
    made = cluster(
        name,
        "{{origin_port}}",
        close_connections_on_host_health_failure=name == "closing",
        common_lb_config={"healthy_panic_threshold": {}},
        health_checks=[
            {
                "timeout": "1s",
                "interval": "0.05s",
                "no_traffic_interval": "0.05s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "tcp_health_check": {},
            }
        ],
    )
    (endpoint,) = made["load_assignment"]["endpoints"][0]["lb_endpoints"]
    endpoint["endpoint"]["health_check_config"] = {"port_value": "{{check_port}}"}
    return made


def _echo(connection: OriginConnection) -> None:
    while data := connection.receive():
        connection.send(data)


@pytest.fixture
def pair() -> Iterator[Pair]:
    config = bootstrap([_listener(name) for name in NAMES], [_cluster(name) for name in NAMES])
    origins = {"origin": lambda: Origin(take_over=_echo), "check": Origin}
    with Pair(config, origins=origins, listeners=NAMES) as made:
        yield made


def _healthy(side: Side, count: int) -> None:
    deadline = time.monotonic() + 10
    while any(
        side.proxy.stats(f"cluster.{name}.").get(f"cluster.{name}.membership_healthy") != count
        for name in NAMES
    ):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _connect(side: Side, name: str) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", side.proxy.ports[name]), 10)
    client.sendall(b"ping")
    assert client.recv(4) == b"ping"
    return client


def _ends(side: Side) -> dict[str, int]:
    stats = side.proxy.stats("cluster.")
    names = [f"cluster.{name}.{stat}" for name in NAMES for stat in STATS]
    return {name: stats.get(name, 0) for name in names}


def test_connections_to_a_host_that_fails_its_checks(pair: Pair) -> None:
    def play(side: Side) -> dict[str, bytes]:
        _healthy(side, 1)
        clients = {name: _connect(side, name) for name in NAMES}
        side.origins["check"].close()
        _healthy(side, 0)
        heard = {}
        for name, client in clients.items():
            with client:
                if name == "keeping":
                    client.sendall(b"more")
                heard[name] = client.recv(4)
        return heard

    heard, others = pair.both(play)
    assert heard == others == {"closing": b"", "keeping": b"more"}
    assert pair.same_value("stats", _ends)["cluster.closing.upstream_cx_destroy_local"] == 1
    pair.same_log(2)


def test_connections_to_a_host_that_is_ejected() -> None:
    detection = {
        "consecutive_5xx": 1,
        "max_ejection_percent": 100,
        "interval": "60s",
        "base_ejection_time": "60s",
    }
    clusters = [
        cluster(
            name,
            "{{backend_port}}",
            close_connections_on_host_health_failure=name == "closing",
            common_lb_config={"healthy_panic_threshold": {}},
            outlier_detection=detection,
        )
        for name in NAMES
    ]
    with contextlib.ExitStack() as stack:
        backend = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        values = {"backend_port": backend.getsockname()[1]}
        config = bootstrap([_listener(name) for name in NAMES], clusters)
        pair = stack.enter_context(Pair(config, origins=(), listeners=NAMES, values=values))
        clients: dict[Side, dict[str, socket.socket]] = {}
        for side in (pair.envoy, pair.outrider):
            clients[side] = {}
            for name in NAMES:
                made = socket.create_connection(("127.0.0.1", side.proxy.ports[name]), 10)
                clients[side][name] = stack.enter_context(made)
                host = stack.enter_context(backend.accept()[0])
                host.sendall(name.encode())
                assert made.recv(16) == name.encode()
        backend.close()

        def play(side: Side) -> dict[str, str]:
            for name in NAMES:
                # Nobody listens there any more, for which the host is ejected.
                with socket.create_connection(("127.0.0.1", side.proxy.ports[name]), 10) as refused:
                    assert refused.recv(1) == b""
            heard = {}
            for name, client in clients[side].items():
                client.settimeout(10 if name == "closing" else 0.3)
                try:
                    heard[name] = "closed" if client.recv(1) == b"" else "more"
                except TimeoutError:
                    heard[name] = "open"
            return heard

        heard, others = pair.both(play)
        assert heard == others == {"closing": "closed", "keeping": "open"}
        assert pair.same_value("stats", _ends)["cluster.closing.upstream_cx_destroy_local"] == 1
