"""The table of filter chain cases, and random ones, held against real Envoy and the running proxy.

Each case is a listener; the chain that Envoy picks names itself through the direct_response filter. A PROXY
protocol header sets the addresses, a ClientHello the server name and the application protocols.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.envoy import Envoy
from tests.support.filter_chain_cases import (
    CASES,
    Arrival,
    Case,
    compile_chains,
    describe,
    random_arrivals,
    random_cases,
)
from tests.support.outrider import Outrider
from tests.support.proxy_process import ProxyProcess


def naming_chain(name: str, match: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "filter_chain_match": match,
        "filters": [
            {
                "name": "direct_response",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config",
                    "response": {"inline_string": name},
                },
            }
        ],
    }


def listener_filter(name: str, kind: str) -> dict[str, Any]:
    return {
        "name": name,
        "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.filters.listener.{name}.v3.{kind}"},
    }


def _listener(number: int, case: Case) -> dict[str, Any]:
    chains = {name: naming_chain(name, match) for name, match in case.chains.items()}
    default = chains.pop("default", None)
    listener: dict[str, Any] = {
        "name": f"l{number}",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": f"{{{{l{number}_port}}}}"}},
        "listener_filters": [
            listener_filter("proxy_protocol", "ProxyProtocol"),
            listener_filter("tls_inspector", "TlsInspector"),
        ],
        "filter_chains": list(chains.values()),
    }
    if default is not None:
        listener["default_filter_chain"] = default
    return listener


def _client_hello(arrival: Arrival) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if arrival.alpn:
        context.set_alpn_protocols(list(arrival.alpn))
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=arrival.sni or None)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def ask(port: int, arrival: Arrival) -> str | None:
    """The name of the chain that serves the connection, None if it is closed."""
    family = "TCP6" if ":" in arrival.destination else "TCP4"
    greeting = (
        f"PROXY {family} {arrival.source} {arrival.destination} {arrival.source_port} {arrival.port}\r\n"
    ).encode()
    greeting += b"plain text\r\n" if arrival.sni is None else _client_hello(arrival)
    with socket.create_connection(("127.0.0.1", port), 5, (arrival.direct_source, 0)) as client:
        client.sendall(greeting)
        try:
            return client.recv(64).decode() or None
        except ConnectionResetError:
            return None


def _sound(case: Case) -> bool:
    return not compile_chains(case.chains)[1]


ALL = [*CASES, *filter(_sound, random_cases(60, seed=7))]


@pytest.fixture(scope="module", params=[Envoy, Outrider], ids=["envoy", "outrider"])
def proxy(request: pytest.FixtureRequest) -> Iterator[ProxyProcess]:
    config = {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": "{{admin_port}}"}}},
        "static_resources": {"listeners": [_listener(i, case) for i, case in enumerate(ALL)]},
    }
    with request.param(config, listeners=[f"l{i}" for i in range(len(ALL))]) as started:
        yield started


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: CASES[number].title)
def test_the_chains_of_the_table_are_picked(proxy: ProxyProcess, number: int) -> None:
    port = proxy.ports[f"l{number}"]
    wanted = CASES[number].arrivals
    assert [ask(port, arrival) for arrival, _ in wanted] == [expected for _, expected in wanted]


def test_the_same_chains_are_picked_among_random_ones(proxy: ProxyProcess) -> None:
    picked = set()
    for number in range(len(CASES), len(ALL)):
        index, _ = compile_chains(ALL[number].chains)
        for arrival in random_arrivals(12, seed=number):
            ours = index.match(describe(arrival))
            assert ask(proxy.ports[f"l{number}"], arrival) == ours, (ALL[number], arrival)
            picked.add(ours)
    assert len(picked) > 3
