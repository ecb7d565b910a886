"""A server that speaks first, behind listener filters that wait for the client."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.client_hellos import BROWSER, records
from tests.support.configs import Json, address, bootstrap, cluster, typed
from tests.support.origin import Origin, OriginConnection
from tests.support.outrider import Outrider

GREETING = b"\x4a\x00\x00\x00\x0a8.0.36\x00"
FILTERS = "envoy.extensions.filters.listener"
TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
RBAC = "envoy.extensions.filters.network.rbac.v3.RBAC"


def _inspectors() -> list[Json]:
    return [
        {"name": "tls", "typed_config": typed(f"{FILTERS}.tls_inspector.v3.TlsInspector")},
        {"name": "http", "typed_config": typed(f"{FILTERS}.http_inspector.v3.HttpInspector")},
    ]


def _to(name: str, *before: Json, **match: object) -> Json:
    proxy = {"name": "tcp", "typed_config": typed(TCP_PROXY, stat_prefix=name, cluster=name)}
    return {"filters": [*before, proxy], **({"filter_chain_match": match} if match else {})}


def _listener(name: str, fallback: Json, **fields: object) -> Json:
    return {
        "name": name,
        "stat_prefix": name,
        "address": address(f"{{{{{name}_port}}}}"),
        "listener_filters": _inspectors(),
        "listener_filters_timeout": "5s",
        "continue_on_listener_filters_timeout": True,
        "filter_chains": [
            _to("encrypted", transport_protocol="tls"),
            _to("web", application_protocols=["http/1.1"]),
            fallback,
        ],
        **fields,
    }


def _greet(connection: OriginConnection) -> None:
    connection.send(GREETING)
    while data := connection.receive(30):
        connection.send(b"OK " + data)


def _echo(connection: OriginConnection) -> None:
    while data := connection.receive(30):
        connection.send(data)


class Backends:
    """The servers, the proxy and what each server has been told."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.mysql = stack.enter_context(Origin(take_over=_greet))
        self.echo = stack.enter_context(Origin(take_over=_echo))
        self.quiet = stack.enter_context(Origin(take_over=_echo))
        self.other = stack.enter_context(Origin(take_over=_echo))
        denied = {"rules": {"action": "DENY", "policies": {"none": _nobody()}}, "stat_prefix": "rbac"}
        config = bootstrap(
            [
                _listener("open", _to("mysql")),
                _listener("mixed", _to("mysql")),
                _listener("silent", _to("quiet")),
                _listener("late", _to("other")),
                _listener("gated", _to("mysql", {"name": "rbac", "typed_config": typed(RBAC, **denied)})),
                _listener("strict", _to("mysql"), continue_on_listener_filters_timeout=False),
            ],
            [
                cluster("mysql", "{{mysql_port}}"),
                cluster("web", "{{echo_port}}"),
                cluster("quiet", "{{quiet_port}}"),
                cluster("other", "{{other_port}}"),
                cluster("encrypted", "{{echo_port}}"),
            ],
        )
        self.proxy = stack.enter_context(
            Outrider(
                config,
                listeners=["open", "mixed", "silent", "late", "gated", "strict"],
                values={
                    f"{name}_port": getattr(self, name).port for name in ("mysql", "echo", "quiet", "other")
                },
            )
        )

    def connect(self, name: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.proxy.ports[name]), 10)

    def greeted_after(self, name: str) -> float:
        """Seconds until the greeting has come; a command after it is answered."""
        began = time.monotonic()
        with self.connect(name) as client:
            assert client.recv(100) == GREETING
            waited = time.monotonic() - began
            client.sendall(b"select")
            assert client.recv(100) == b"OK select"
        return waited

    def wait_until_dialled(self, name: str) -> None:
        deadline = time.monotonic() + 10
        while not self.numbers(name).get("dialled"):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def numbers(self, name: str) -> dict[str, int]:
        prefix = f"listener.{name}.server_first."
        return {key.removeprefix(prefix): value for key, value in self.proxy.stats(prefix).items()}


def _nobody() -> Json:
    return {"permissions": [{"any": True}], "principals": [{"source_ip": {"address_prefix": "192.0.2.1"}}]}


@pytest.fixture(scope="module")
def backends() -> Iterator[Backends]:
    with contextlib.ExitStack() as stack:
        yield Backends(stack)


def test_the_greeting_comes_at_once_from_the_second_connection_on(backends: Backends) -> None:
    assert backends.greeted_after("open") < 3  # a silence instead of the 5 s
    waits = [backends.greeted_after("open") for _ in range(20)]
    assert min(waits) < 0.005
    assert sorted(waits)[10] < 0.5
    assert backends.numbers("open") == {"dialled": 21, "spoke": 21, "wrong": 0}
    assert backends.proxy.log().count("speaks first") == 1
    stats = backends.proxy.stats("cluster.mysql.upstream_cx_total")
    assert stats["cluster.mysql.upstream_cx_total"] >= 21


def test_clients_that_speak_first_get_their_own_chain(backends: Backends) -> None:
    hello = records(BROWSER)
    with backends.connect("mixed") as client:
        client.sendall(hello)
        assert client.recv(len(hello), socket.MSG_WAITALL) == hello
    with backends.connect("mixed") as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert client.recv(100) == b"GET / HTTP/1.1\r\n\r\n"
    assert backends.numbers("mixed")["dialled"] == 0


def test_a_silent_host_gets_what_the_client_says_at_last(backends: Backends) -> None:
    with backends.connect("silent") as client:
        backends.wait_until_dialled("silent")
        client.sendall(b"plain\n")
        assert client.recv(100) == b"plain\n"  # over the connection that was there already
    assert backends.numbers("silent") == {"dialled": 1, "spoke": 0, "wrong": 0}
    assert len(backends.quiet.connections) == 1


def test_tls_after_a_silence_goes_to_its_own_chain_and_the_early_connection_is_closed(
    backends: Backends,
) -> None:
    hello = records(BROWSER)
    with backends.connect("late") as client:
        backends.wait_until_dialled("late")
        client.sendall(hello)
        assert client.recv(len(hello), socket.MSG_WAITALL) == hello
    early = backends.other.connections[0]
    deadline = time.monotonic() + 10
    while not early.ended and time.monotonic() < deadline:
        time.sleep(0.01)
    assert early.ended == "closed"
    assert not early.received


def test_no_early_connection_past_a_gate_or_without_a_fallback(backends: Backends) -> None:
    for name in ("gated", "strict"):
        with backends.connect(name) as client:
            client.settimeout(0.5)
            with pytest.raises(TimeoutError):
                client.recv(100)
        assert backends.numbers(name) == {}
